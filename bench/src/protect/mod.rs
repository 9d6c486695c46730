//! `bench protect`: what clients of one shard feel of trouble that is not theirs.
//!
//! Neighbours put an open loop on keys of one shard; beside them others put one on keys of a second shard. The same
//! is measured while all is well, while the second shard is frozen (SIGSTOP), and while a client asks for a gigabyte
//! of replies and reads none. Every claim is a ratio to the undisturbed rounds of the same run.

mod trouble;

use crate::cli::ProtectArgs;
use crate::compare::files;
use crate::interrupt;
use crate::measure::cell::{Data, Generator, LoadCell, WARMUP_S, check_seconds};
use crate::measure::control::Control;
use crate::measure::machine::{Machine, MachineTime};
use crate::measure::ports::free_port;
use crate::measure::redis::{RedisNode, start_cluster};
use crate::measure::stats::{Short, Spread};
use crate::measure::table::Table;
use crate::process::child::Child;
use crate::process::cores::Cores;
use crate::process::find;
use crate::process::stat::resident_bytes;
use crate::progress::Progress;
use crate::report::LoadReport;
use crate::scratch::Scratch;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use trouble::{Frozen, SlowReader};

/// Two slots, on two of the three nodes.
const OURS: Data = Data { key_prefix: "{a}:", keys: 10_000, value_bytes: 64 };
const THEIRS: Data = Data { key_prefix: "{b}:", keys: 10_000, value_bytes: 64 };
/// Whose replies the slow reader asks for.
const BIG_KEY: &str = "{b}:big";
const NODES: u16 = 3;
/// Until a request must be answered.
const REQUEST_TIMEOUT_MS: u64 = 1_000;
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at the proxy's memory.
const LOOK: Duration = Duration::from_millis(20);

/// What befalls the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    Well,
    Frozen,
    SlowReader,
}

const SITUATIONS: [Situation; 3] = [Situation::Well, Situation::Frozen, Situation::SlowReader];

impl Situation {
    fn name(self) -> &'static str {
        match self {
            Situation::Well => "all well",
            Situation::Frozen => "their shard frozen",
            Situation::SlowReader => "1 GiB never read",
        }
    }
}

/// What one round found out.
struct Round {
    situation: Situation,
    ours: LoadReport,
    theirs: LoadReport,
    /// The most memory that the proxy held, bytes.
    resident: u64,
}

/// Makes the measurement and prints it. The error says why it could not be made.
pub fn run(args: &ProtectArgs) -> Result<ExitCode, String> {
    check_seconds(args.seconds)?;
    let ground = Ground::start(args)?;
    let mut progress = Progress::new(true);
    let (machine, before) = (Machine::this(), MachineTime::now());
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        for situation in SITUATIONS {
            interrupt::check()?;
            if let Some(progress) = &mut progress {
                progress.show(&format!("round {number} of {}: {}", args.rounds, situation.name()));
            }
            rounds.push(ground.round(situation)?);
        }
    }
    if let Some(progress) = &mut progress {
        progress.end();
    }
    println!("{machine}, {:.1} % stolen", MachineTime::now().stolen_since(before) * 100.0);
    println!(
        "pointsman, one worker on a core of its own{}; load and three redis-servers on another; {} + {} clients, open \
         loops of {} requests/s each; {} rounds of {} s, medians with min..max; request_timeout_ms {REQUEST_TIMEOUT_MS}",
        find::build_note(&ground.program),
        args.clients,
        args.clients,
        args.rate,
        args.rounds,
        args.seconds
    );
    print!("{}", table(&rounds));
    let unharmed = rounds.iter().all(|round| round.ours.errors == 0);
    if !unharmed {
        println!("requests of the neighbours failed");
    }
    Ok(if unharmed { ExitCode::SUCCESS } else { ExitCode::from(crate::EXIT_ERRORS) })
}

fn table(rounds: &[Round]) -> Table {
    let of = |situation: Situation, figure: &dyn Fn(&Round) -> f64| {
        Spread::of(rounds.iter().filter(|round| round.situation == situation).map(figure))
    };
    let spread = |spread: Option<Spread>| match spread {
        Some(Spread { median, min, max }) => format!("{} ({}..{})", Short(median), Short(min), Short(max)),
        None => "-".to_owned(),
    };
    let p99 = |round: &Round| round.ours.latency.p99_us;
    let undisturbed = of(Situation::Well, &p99).map(|spread| spread.median);
    let mut table = Table::new([
        "",
        "neighbours' p50 us",
        "p99 us",
        "p99 ratio",
        "failed",
        "theirs p50 us",
        "max us",
        "failed of",
        "proxy's most MiB",
    ]);
    for situation in SITUATIONS {
        let sum = |count: &dyn Fn(&Round) -> u64| -> u64 {
            rounds.iter().filter(|round| round.situation == situation).map(count).sum()
        };
        let ratio = of(situation, &p99).zip(undisturbed).map(|(spread, base)| spread.median / base.max(1.0));
        table.row([
            situation.name().to_owned(),
            spread(of(situation, &|round| round.ours.latency.p50_us)),
            spread(of(situation, &p99)),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            sum(&|round| round.ours.errors).to_string(),
            spread(of(situation, &|round| round.theirs.latency.p50_us)),
            spread(of(situation, &|round| round.theirs.latency.max_us)),
            format!("{} of {}", sum(&|round| round.theirs.errors), sum(&|round| round.theirs.requests)),
            spread(of(situation, &|round| round.resident as f64 / 1_048_576.0)),
        ]);
    }
    table
}

/// What is measured on. Fields are dropped in order: the files go last.
struct Ground {
    proxy: Child,
    port: u16,
    nodes: Vec<RedisNode>,
    /// Which of them has the others' keys.
    their_node: usize,
    generator: Generator,
    clients: u32,
    rate: f64,
    program: std::path::PathBuf,
    _scratch: Scratch,
}

impl Ground {
    fn start(args: &ProtectArgs) -> Result<Ground, String> {
        let program = match &args.pointsman {
            Some(path) => find::given(path, "--pointsman")?,
            None => find::beside_us("pointsman").ok_or(
                "pointsman is not beside this program: build it (cargo build --release), or --pointsman PATH",
            )?,
        };
        let redis = match &args.redis_server {
            Some(path) => find::given(path, "--redis-server")?,
            None => {
                find::in_path("redis-server").ok_or("redis-server is not installed: --redis-server PATH")?
            }
        };
        let (own, others) = Cores::pair()?;
        let scratch = Scratch::new("protect")?;
        let nodes = start_cluster(&redis, NODES, &others, &scratch)?;
        let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        let port = free_port()?;
        let clients_max = args.clients as usize * 2 + 100;
        let text = files::pointsman(port, free_port()?, 1, &ports, clients_max)
            + &format!("    request_timeout_ms: {REQUEST_TIMEOUT_MS}\n");
        let mut command = Command::new(&program);
        command.arg("--config").arg(scratch.write("pointsman.yaml", &text)?);
        let mut proxy = Child::start("pointsman", &mut command, &own, scratch.path())?;
        proxy.wait_until(READY_WITHIN, || {
            let mut control = Control::connect(port)?;
            [OURS, THEIRS].iter().try_for_each(|data| control.ask(&["GET", data.key_prefix]).map(|_| ()))
        })?;
        let owner = |key: &str| {
            ports.iter().position(|port| {
                Control::connect(*port).and_then(|mut control| control.ask(&["GET", key])).is_ok()
            })
        };
        let (our_node, their_node) = (owner(OURS.key_prefix), owner(THEIRS.key_prefix));
        let their_node = their_node
            .filter(|node| our_node.is_some_and(|ours| ours != *node))
            .ok_or("the two sets of keys are not on two nodes")?;
        let generator = Generator { cores: others, seconds: args.seconds, threads: 1 };
        for data in [OURS, THEIRS] {
            generator.prefill(data, None, port)?;
        }
        Control::connect(port)?.ask(&["SETRANGE", BIG_KEY, "1048575", "x"])?;
        let (clients, rate) = (args.clients, args.rate);
        Ok(Ground { proxy, port, nodes, their_node, generator, clients, rate, program, _scratch: scratch })
    }

    fn round(&self, situation: Situation) -> Result<Round, String> {
        let load = |name, data| LoadCell {
            name,
            workload: "mixed:0.9",
            clients: self.clients,
            pipeline: 1,
            data,
            rate: Some(self.rate),
        };
        let (pid, done) = (self.proxy.pid(), AtomicBool::new(false));
        let (ours, theirs, resident) = thread::scope(|scope| {
            let ours = scope.spawn(|| self.generator.run(&load("ours", OURS), self.port, pid));
            let theirs = scope.spawn(|| self.generator.run(&load("theirs", THEIRS), self.port, pid));
            let memory = scope.spawn(|| {
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(resident_bytes(pid).unwrap_or(0));
                    thread::sleep(LOOK);
                }
                most
            });
            // Connections are made while all is still well.
            thread::sleep(Duration::from_secs_f64(WARMUP_S));
            let trouble = match situation {
                Situation::Well => Ok((None, None)),
                Situation::Frozen => {
                    Frozen::begin(self.nodes[self.their_node].child.pid()).map(|it| (Some(it), None))
                }
                Situation::SlowReader => SlowReader::begin(self.port, BIG_KEY).map(|it| (None, Some(it))),
            };
            let ours = ours.join();
            // Who is frozen is thawed, so that the others' last requests can end.
            let trouble = trouble.map(drop);
            let theirs = theirs.join();
            done.store(true, Ordering::Relaxed);
            let panicked = |_| "a part of the measurement ended by a panic".to_owned();
            trouble?;
            Ok::<_, String>((
                ours.map_err(panicked)??,
                theirs.map_err(panicked)??,
                memory.join().map_err(panicked)?,
            ))
        })?;
        self.recovered()?;
        Ok(Round { situation, ours, theirs, resident })
    }

    /// Waits until both shards answer, so that one round is no part of the next.
    fn recovered(&self) -> Result<(), String> {
        let begun = std::time::Instant::now();
        loop {
            interrupt::check()?;
            let mut control = Control::connect(self.port)?;
            match [OURS, THEIRS]
                .iter()
                .try_for_each(|data| control.ask(&["GET", data.key_prefix]).map(|_| ()))
            {
                Ok(()) => return Ok(()),
                Err(why) if begun.elapsed() > READY_WITHIN => return Err(format!("no recovery: {why}")),
                Err(_) => thread::sleep(LOOK),
            }
        }
    }
}
