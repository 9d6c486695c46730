//! Memory per idle client: fresh, and after it was busy once.
//!
//! The process is warmed first, so that what it needs once is not counted as the clients'. Then the
//! clients connect and stay silent; then each, a few at a time, asks a pipeline of GETs of 1 KiB
//! values, takes all replies, and is silent again. Resident memory after each step, minus that
//! before, is divided by the clients.

use super::running::Running;
use crate::interrupt;
use crate::measure::cell::{Generator, MEDIUM};
use crate::measure::memory::settled_bytes;
use crate::measure::table::Table;
use crate::process::sockets::connections_to;
use pointsman_protocol::resp::{ReplyScanner, encode};
use serde::Serialize;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Pipelined GETs of one burst: 16 KiB of replies.
const BURST: usize = 16;
/// Clients that are busy at the same time, then and while warming: what a pool needs for so many is
/// not counted as any client's.
const BUSY: usize = 16;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdleMemory {
    /// Who.
    pub subject: String,
    /// How many clients.
    pub clients: usize,
    /// Resident before they came, bytes.
    pub base_bytes: u64,
    /// Resident with all of them connected and silent, bytes.
    pub fresh_bytes: u64,
    /// Resident after all of them were busy once, bytes.
    pub used_bytes: u64,
    /// Connections to backends then.
    pub backend_connections: usize,
}

impl IdleMemory {
    /// KiB per client before it was busy.
    pub fn fresh_kib(&self) -> f64 {
        self.per_client_kib(self.fresh_bytes)
    }

    /// KiB per client after it was.
    pub fn used_kib(&self) -> f64 {
        self.per_client_kib(self.used_bytes)
    }

    /// Resident MB (10^6 bytes) with `clients` used clients: counted, or reckoned from what one costs.
    pub fn total_mb(&self, clients: usize) -> f64 {
        (self.base_bytes as f64 + self.used_kib() * 1024.0 * clients as f64) / 1e6
    }

    fn per_client_kib(&self, bytes: u64) -> f64 {
        (bytes as f64 - self.base_bytes as f64) / 1024.0 / self.clients.max(1) as f64
    }
}

/// Measures `running`, which must be fresh and accept `clients` clients.
pub fn measure(
    running: &mut Running,
    clients: usize,
    generator: &Generator,
    backend_ports: &[u16],
) -> Result<IdleMemory, String> {
    generator.prefill(MEDIUM, None, running.port)?;
    let pid = running.child.pid();
    {
        let mut warm = connect(running.port, BUSY)?;
        burst(&mut warm)?;
    }
    let base_bytes = settled_bytes(pid)?;
    let mut streams = connect(running.port, clients)?;
    let fresh_bytes = settled_bytes(pid)?;
    for some in streams.chunks_mut(BUSY) {
        interrupt::check()?;
        running.child.check_alive()?;
        burst(some)?;
    }
    let used_bytes = settled_bytes(pid)?;
    Ok(IdleMemory {
        subject: running.peer.name().to_owned(),
        clients,
        base_bytes,
        fresh_bytes,
        used_bytes,
        backend_connections: connections_to(pid, backend_ports)?,
    })
}

fn connect(port: u16, count: usize) -> Result<Vec<TcpStream>, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut streams = Vec::with_capacity(count);
    for number in 0..count {
        interrupt::check()?;
        let failed = |error: std::io::Error| format!("client {number} of {count} at port {port}: {error}");
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(failed)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
        stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
        streams.push(stream);
    }
    Ok(streams)
}

/// All of them ask at once, then all take their replies.
fn burst(streams: &mut [TcpStream]) -> Result<(), String> {
    for (client, stream) in streams.iter_mut().enumerate() {
        let mut request = Vec::new();
        for number in 0..BURST {
            let key = (client * BURST + number) as u64 % MEDIUM.keys;
            encode::request(&mut request, &["GET", &format!("{}{key:012}", MEDIUM.key_prefix)]);
        }
        stream.write_all(&request).map_err(|error| format!("a burst could not be sent: {error}"))?;
    }
    for stream in streams {
        take_replies(stream, BURST)?;
    }
    Ok(())
}

fn take_replies(stream: &mut TcpStream, mut due: usize) -> Result<(), String> {
    let mut scanner = ReplyScanner::new();
    let mut received: Vec<u8> = Vec::new();
    let mut space = [0; 32 * 1024];
    while due > 0 {
        let count = stream.read(&mut space).map_err(|error| format!("a burst was not answered: {error}"))?;
        if count == 0 {
            return Err("a client was closed during its burst".to_owned());
        }
        received.extend_from_slice(&space[..count]);
        let mut at = 0;
        while let Some(len) = scanner.next(&received[at..], usize::MAX).map_err(|error| error.to_string())? {
            if !received[at..].starts_with(b"$1024\r\n") {
                let text = String::from_utf8_lossy(&received[at..received.len().min(at + 80)]);
                return Err(format!("a burst was answered {}", text.escape_debug()));
            }
            at += len;
            due = due.saturating_sub(1);
        }
        received.drain(..at);
    }
    Ok(())
}

/// The figures as a table.
pub fn table(list: &[IdleMemory]) -> Table {
    let mut table = Table::new([
        "idle clients",
        "clients",
        "KiB each, fresh",
        "KiB each, used",
        "MB before",
        "MB with all",
        "backend connections",
    ]);
    for memory in list {
        table.row([
            memory.subject.clone(),
            memory.clients.to_string(),
            format!("{:.2}", memory.fresh_kib()),
            format!("{:.2}", memory.used_kib()),
            format!("{:.1}", memory.base_bytes as f64 / 1e6),
            format!("{:.1}", memory.used_bytes as f64 / 1e6),
            memory.backend_connections.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A finding of so many KiB per client.
    pub fn finding(fresh_kib: u64, used_kib: u64, backend_connections: usize) -> IdleMemory {
        let clients = 1_000;
        let base_bytes = 8_000_000;
        IdleMemory {
            subject: "pointsman".to_owned(),
            clients,
            base_bytes,
            fresh_bytes: base_bytes + fresh_kib * 1024 * clients as u64,
            used_bytes: base_bytes + used_kib * 1024 * clients as u64,
            backend_connections,
        }
    }

    #[test]
    fn per_client_and_in_all() {
        let memory = finding(1, 3, 3);
        assert_eq!((memory.fresh_kib(), memory.used_kib()), (1.0, 3.0));
        assert_eq!(memory.total_mb(10_000), 8.0 + 30.72);
        assert!(
            table(&[memory])
                .to_string()
                .contains("| pointsman    |    1000 |            1.00 |           3.00 |")
        );
    }
}
