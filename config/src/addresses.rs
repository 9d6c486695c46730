//! Who listens where, and which of them would get in each other's way. Pure: it opens no socket, and
//! so knows nothing of other programs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pointsman_protocol::HostPort;

use crate::trusted::Bundled;

/// The wish to listen on consecutive ports of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The key or flag that makes it.
    pub owner: String,
    pub ip: IpAddr,
    pub first: u16,
    pub last: u16,
    /// Whether these are bundled nodes, which the proxy may well connect to.
    pub nodes: bool,
    /// The line of the key; of its section when it was left out.
    pub line: usize,
    /// Whether it was written, or is a default.
    pub given: bool,
}

impl Claim {
    /// One address.
    pub fn one(owner: String, address: SocketAddr, line: usize, given: bool) -> Claim {
        Claim {
            owner,
            ip: address.ip(),
            first: address.port(),
            last: address.port(),
            nodes: false,
            line,
            given,
        }
    }

    /// The ports of bundled nodes, which listen on loopback.
    pub fn nodes(owner: String, bundled: &Bundled, line: usize, given: bool) -> Claim {
        let ports = bundled.ports();
        Claim {
            owner,
            ip: Ipv4Addr::LOCALHOST.into(),
            first: *ports.start(),
            last: *ports.end(),
            nodes: true,
            line,
            given,
        }
    }

    /// What it claims, for a message.
    pub fn shown(&self) -> impl fmt::Display + use<> {
        let first = SocketAddr::new(self.ip, self.first);
        if self.first == self.last { format!("{first}") } else { format!("{first} to {}", self.last) }
    }

    /// Port 0 means any free port, which clashes with nothing.
    fn clashes_with(&self, other: &Claim) -> bool {
        let ports =
            self.first <= other.last && other.first <= self.last && self.first != 0 && other.first != 0;
        // `[::]` takes IPv4 connections too on most systems, so it overlaps with everything.
        let ips = self.ip == other.ip
            || self.ip.is_unspecified() && (self.ip.is_ipv6() || other.ip.is_ipv4())
            || other.ip.is_unspecified() && (other.ip.is_ipv6() || self.ip.is_ipv4());
        ports && ips
    }
}

/// An address that the proxy is told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    /// The key that says so.
    pub key: String,
    /// Its line.
    pub line: usize,
    pub to: HostPort,
}

/// All that listens and all that is connected to, gathered while the file is read.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    pub claims: Vec<Claim>,
    pub dials: Vec<Dial>,
}

/// Every pair of claims that cannot both be had, in the order of the claims.
pub(crate) fn clashes(claims: &[Claim]) -> Vec<(&Claim, &Claim)> {
    let mut found = Vec::new();
    for (index, other) in claims.iter().enumerate() {
        // One clash of a claim is enough to say; its further ones have the same cure.
        if let Some(one) = claims.iter().take(index).find(|one| one.clashes_with(other)) {
            found.push((one, other));
        }
    }
    found
}

/// The claim that whoever connects to `to` from this machine reaches, as far as that can be known
/// without looking names up. Bundled nodes are no such place: to connect to them is no circle.
pub(crate) fn reached<'c>(to: &HostPort, claims: &'c [Claim]) -> Option<&'c Claim> {
    let ip = match to.host() {
        "localhost" => IpAddr::from(Ipv4Addr::LOCALHOST),
        host => host.parse().ok()?,
    };
    let reaches = |claim: &&Claim| {
        let port = claim.first <= to.port() && to.port() <= claim.last;
        !claim.nodes && port && (ip == claim.ip || claim.ip.is_unspecified() && ip.is_loopback())
    };
    claims.iter().find(reaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(text: &str) -> Claim {
        Claim::one("x".to_owned(), text.parse().unwrap(), 1, true)
    }

    #[test]
    fn clashing_addresses() {
        for (one, other, clash) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "[::1]:1", false),
            ("0.0.0.0:1", "127.0.0.2:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(claim(one).clashes_with(&claim(other)), clash, "{one} {other}");
            assert_eq!(claim(other).clashes_with(&claim(one)), clash, "{other} {one}");
        }
        let nodes =
            Claim::nodes("n".to_owned(), &Bundled { shards: 3, replicas: 1, node_port: 7001 }, 1, true);
        assert_eq!(nodes.shown().to_string(), "127.0.0.1:7001 to 7006");
        for (other, clash) in [
            ("127.0.0.1:7000", false),
            ("0.0.0.0:7001", true),
            ("127.0.0.1:7006", true),
            ("127.0.0.1:7007", false),
        ] {
            assert_eq!(nodes.clashes_with(&claim(other)), clash, "{other}");
        }
    }

    #[test]
    fn loops() {
        for (to, listen, leads) in [
            ("127.0.0.1:6379", "127.0.0.1:6379", true),
            ("localhost:6379", "0.0.0.0:6379", true),
            ("127.0.0.1:6379", "[::]:6379", true),
            ("127.0.0.1:6380", "127.0.0.1:6379", false),
            ("10.0.0.1:6379", "0.0.0.0:6379", false),
            ("10.0.0.1:6379", "10.0.0.1:6379", true),
            ("redis:6379", "0.0.0.0:6379", false),
        ] {
            let to = HostPort::parse(to).unwrap();
            assert_eq!(reached(&to, &[claim(listen)]).is_some(), leads, "{to} {listen}");
        }
    }
}
