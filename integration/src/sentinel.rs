//! Real sentinels: `redis-server --sentinel` on ports and in directories of their own.

use crate::client::Client;
use crate::eventually::{check, within};
use crate::ports::{self, Port};
use crate::process::{Launch, Process, TempDir};
use crate::redis_server::{AGREE, RedisServer};
use crate::reply::Reply;
use crate::tools;
use std::fmt::Write;

/// One running sentinel; killed when dropped.
#[derive(Debug)]
pub struct Sentinel {
    port: Port,
    process: Process,
    _dir: TempDir,
}

impl Sentinel {
    /// So many sentinels that watch these groups and know each other, and all replicas. `options` are more
    /// lines of their configuration.
    #[track_caller]
    pub fn start(count: usize, groups: &[(&str, &RedisServer, usize)], options: &[&str]) -> Vec<Sentinel> {
        let sentinels: Vec<Sentinel> = (0..count).map(|_| Sentinel::launch(count, groups, options)).collect();
        for sentinel in &sentinels {
            within(AGREE, "the sentinels know everybody", || {
                for (name, _, replicas) in groups {
                    for (field, wanted) in [("num-other-sentinels", count - 1), ("num-slaves", *replicas)] {
                        let told = sentinel.field(name, field);
                        check(told == Some(wanted.to_string()), format!("{name} {field} {told:?}"))?;
                    }
                }
                Ok::<(), String>(())
            });
        }
        sentinels
    }

    /// One of so many sentinels; nothing is waited for.
    #[track_caller]
    pub fn launch(count: usize, groups: &[(&str, &RedisServer, usize)], options: &[&str]) -> Sentinel {
        let (port, dir) = (ports::reserve(), TempDir::new("sentinel"));
        let mut config = format!("port {}\nbind 127.0.0.1\n", port.number());
        for (name, primary, _) in groups {
            let quorum = count / 2 + 1;
            writeln!(config, "sentinel monitor {name} 127.0.0.1 {} {quorum}", primary.port())
                .expect("a string takes everything");
            for option in ["down-after-milliseconds", "failover-timeout", "parallel-syncs"] {
                let value = match option {
                    "down-after-milliseconds" => "1000",
                    "failover-timeout" => "10000",
                    _ => "5",
                };
                writeln!(config, "sentinel {option} {name} {value}").expect("a string takes everything");
            }
        }
        options.iter().for_each(|line| writeln!(config, "{line}").expect("a string takes everything"));
        let file = dir.path().join("sentinel.conf");
        std::fs::write(&file, config).expect("the file can be written");
        let process = Launch::new(tools::redis("redis-server"))
            .arg(&file)
            .arg("--sentinel")
            .dir(dir.path())
            .start(&format!("sentinel {}", port.number()));
        Sentinel { port, process, _dir: dir }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// One command on a connection of its own.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> Reply {
        Client::connect(self.address()).command(words)
    }

    /// A field of what it tells of a group's primary.
    pub fn field(&self, group: &str, field: &str) -> Option<String> {
        let mut client = Client::try_connect(self.address()).ok()?;
        client.send(&["SENTINEL", "MASTER", group]);
        let reply = client.try_read().ok().filter(|reply| !reply.is_error())?;
        let words: Vec<String> = reply.elements().iter().map(Reply::text).collect();
        words.chunks_exact(2).find(|pair| pair[0] == field).map(|pair| pair[1].clone())
    }
}
