//! Who a node is and where it listens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The 40 hexadecimal digits by which a cluster knows a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; 20]);

impl NodeId {
    /// From the 20 bytes that the digits spell.
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        NodeId(bytes)
    }

    /// Reads 40 hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 40 {
            return None;
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *byte = (high << 4 | low) as u8;
        }
        Some(NodeId(bytes))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A host (name, IPv4 or IPv6 address without brackets) and a port. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    host: Arc<str>,
    port: u16,
}

impl HostPort {
    /// Joins the two.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        HostPort { host: host.into(), port }
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Splits `host:port` at its last colon, so that `::1:7000` (as Redis writes IPv6 addresses)
    /// and `[::1]:7000` both work. The host may be empty (see [`crate::redirect`]).
    pub fn parse(text: &str) -> Option<HostPort> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok()?;
        Some(HostPort::new(host, port))
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match HostPort::parse(text) {
            Some(address) if !address.host().is_empty() => Ok(address),
            _ => Err(format!(
                "'{text}' is not of the form host:port (for example 127.0.0.1:6379 or [::1]:6379)"
            )),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_form() {
        for (text, host, port) in [
            ("127.0.0.1:7000", "127.0.0.1", 7000),
            ("::1:7000", "::1", 7000),
            ("[fe80::1]:7000", "fe80::1", 7000),
            ("redis.local:1", "redis.local", 1),
            (":6379", "", 6379),
        ] {
            let address = HostPort::parse(text).unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
        }
        for text in ["", "host", "host:", "host:x", "host:65536"] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
        assert_eq!(HostPort::new("::1", 7000).to_string(), "[::1]:7000");
        assert!(":6379".parse::<HostPort>().is_err());
    }

    #[test]
    fn node_ids_round_trip() {
        let text = "07c37dfeb235213a872192d90877d0cd55635b91";
        assert_eq!(NodeId::parse(text.as_bytes()).unwrap().to_string(), text);
        assert_eq!(NodeId::parse(b"07c3"), None);
        assert_eq!(NodeId::parse(&[b'g'; 40]), None);
    }
}
