//! Free TCP ports of the loopback address, handed out so that two tests never get the same one.
//!
//! A port number is ours while we hold the *UDP* socket of the same number: that reserves it among
//! all test processes of the machine and leaves the TCP port free for the program under test. The
//! numbers lie below the range from which the kernel takes ports for outgoing connections. A
//! stranger can still take the TCP port before our child binds it: starters notice and try again.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports of cluster nodes; each needs its cluster bus port, 10,000 higher, as well.
const NODE_PORTS: RangeInclusive<u16> = 20_000..=22_599;
/// Ports of everything else.
const PORTS: RangeInclusive<u16> = 22_600..=29_999;
/// The distance from a node's port to its cluster bus port.
pub const BUS_OFFSET: u16 = 10_000;

/// A reserved port; free again when dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _tokens: Vec<UdpSocket>,
}

impl Port {
    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:number`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// Reserves one port.
pub fn reserve() -> Port {
    reserve_run(1).remove(0)
}

/// Reserves `count` ports with consecutive numbers.
pub fn reserve_run(count: u16) -> Vec<Port> {
    let found = search(PORTS, |first| {
        let last = first.checked_add(count - 1).filter(|last| PORTS.contains(last))?;
        (first..=last).map(|number| Some(Port { number, _tokens: vec![token(number)?] })).collect()
    });
    found.expect("no run of free ports is left between 22600 and 29999")
}

/// Reserves the port of a cluster node together with its bus port.
pub fn reserve_node() -> Port {
    let found = search(NODE_PORTS, |number| {
        Some(Port { number, _tokens: vec![token(number)?, token(number + BUS_OFFSET)?] })
    });
    found.expect("no free pair of ports is left for a cluster node (20000 to 22599, and 10000 above)")
}

fn search<T>(range: RangeInclusive<u16>, mut take: impl FnMut(u16) -> Option<T>) -> Option<T> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let width = u32::from(range.end() - range.start()) + 1;
    // Processes begin at different places, so they seldom try the same numbers at the same time.
    let start = std::process::id().wrapping_mul(97);
    (0..width).find_map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        take(range.start() + (start.wrapping_add(step) % width) as u16)
    })
}

fn token(number: u16) -> Option<UdpSocket> {
    let token = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
    // Somebody outside these tests may listen there.
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_reserved_port_is_not_handed_out_again_and_its_tcp_side_is_free() {
        let ports: Vec<Port> = (0..200).map(|_| reserve()).collect();
        let numbers: HashSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
        for port in &ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).expect("the TCP side is free");
            assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, port.number())).is_err());
        }
    }

    #[test]
    fn runs_are_consecutive() {
        let run = reserve_run(6);
        for pair in run.windows(2) {
            assert_eq!(pair[0].number() + 1, pair[1].number());
        }
    }

    #[test]
    fn a_taken_port_is_not_handed_out() {
        let node = reserve_node();
        let bus = node.number() + BUS_OFFSET;
        assert!(token(bus).is_none(), "the bus port is reserved with it");
    }
}
