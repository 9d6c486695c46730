//! Which TCP connections a process holds to given ports: how many backend connections a proxy has.

use std::collections::HashSet;
use std::fs;

/// Established connections of `pid` to any of `ports` (IPv4).
pub fn connections_to(pid: u32, ports: &[u16]) -> Result<usize, String> {
    let own = socket_inodes(pid)?;
    let path = format!("/proc/{pid}/net/tcp");
    let table = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(table
        .lines()
        .filter_map(parse_line)
        .filter(|socket| {
            socket.established && ports.contains(&socket.remote_port) && own.contains(&socket.inode)
        })
        .count())
}

fn socket_inodes(pid: u32) -> Result<HashSet<u64>, String> {
    let path = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect())
}

#[derive(Debug, PartialEq)]
struct Socket {
    remote_port: u16,
    established: bool,
    inode: u64,
}

/// `sl local remote state queues timer retransmits uid timeout inode ...`, ports in hexadecimal.
fn parse_line(line: &str) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace();
    let (_, remote) = words.nth(2)?.split_once(':')?;
    let remote_port = u16::from_str_radix(remote, 16).ok()?;
    let established = words.next()? == "01";
    let inode = words.nth(5)?.parse().ok()?;
    Some(Socket { remote_port, established, inode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn a_line_of_the_table() {
        let line = "   3: 0100007F:C5DC 0100007F:1BBD 01 00000000:00000000 00:00000000 00000000     0        0 123456 1 0000 20 4 30 10 -1";
        assert_eq!(parse_line(line), Some(Socket { remote_port: 7101, established: true, inode: 123_456 }));
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(parse_line(heading), None);
    }

    #[test]
    fn our_own_connections_are_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(connections_to(std::process::id(), &[port]).unwrap(), 0);
        let _two = [
            TcpStream::connect(("127.0.0.1", port)).unwrap(),
            TcpStream::connect(("127.0.0.1", port)).unwrap(),
        ];
        assert_eq!(connections_to(std::process::id(), &[port]).unwrap(), 2);
        assert_eq!(connections_to(std::process::id(), &[1]).unwrap(), 0);
    }
}
