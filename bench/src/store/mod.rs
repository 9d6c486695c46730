//! `bench store`: the bundled node beside redis-server and valkey-server, by the method of
//! [`crate::compare`]: CPU time per command under load, and resident bytes per key.

mod keys;
mod nodes;
mod report;
mod targets;

use crate::cli::StoreArgs;
use crate::interrupt;
use crate::measure::cell::{Generator, LoadCell, SMALL, check_seconds, choose};
use crate::measure::machine::{Machine, MachineTime};
use crate::measure::results::Results;
use crate::measure::rounds::{self, Subject};
use crate::process::cores::Cores;
use crate::progress::Progress;
use crate::scratch::Scratch;
use keys::KeyMemory;
use nodes::{Nodes, Running};
use report::Report;
use std::process::ExitCode;

/// Resident bytes per key, without expiry.
const KEYS_PLAIN: &str = "bytes-per-key";
/// Resident bytes per key, with it.
const KEYS_TTL: &str = "bytes-per-key-ttl";

fn load_cells() -> Vec<LoadCell> {
    vec![
        LoadCell::closed("get-c50-p1", "get", 50, 1),
        LoadCell::closed("set-c50-p1", "set", 50, 1),
        LoadCell::closed("get-c50-p16", "get", 50, 16),
        LoadCell::closed("set-c50-p16", "set", 50, 16),
    ]
}

/// Makes the comparison and prints it. The error says why it could not be made at all.
pub fn run(args: &StoreArgs) -> Result<ExitCode, String> {
    check_seconds(args.rounds.seconds)?;
    let nodes = nodes::find(args)?;
    let mut names: Vec<&str> = load_cells().iter().map(|cell| cell.name).collect();
    names.extend([KEYS_PLAIN, KEYS_TTL]);
    if args.rounds.list {
        print!("{}", nodes.listing(&names));
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose("--cells", &args.rounds.cells, &names)?;
    if nodes.found.is_empty() {
        return Err(format!("nothing to measure: {}", nodes.missing.join("; ")));
    }
    let report = Session::new(args, nodes)?.measure(&chosen)?;
    report.print(args.rounds.json.as_deref())?;
    let clean = report.notes.is_empty() && !interrupt::requested();
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(crate::EXIT_ERRORS) })
}

struct Session<'a> {
    args: &'a StoreArgs,
    nodes: Nodes,
    node_cores: Cores,
    generator: Generator,
    progress: Option<Progress>,
    notes: Vec<String>,
    // Last, so that it is removed after all that runs in it has ended.
    scratch: Scratch,
}

impl<'a> Session<'a> {
    fn new(args: &'a StoreArgs, nodes: Nodes) -> Result<Self, String> {
        let (node_cores, other_cores) = Cores::pair()?;
        Ok(Session {
            args,
            nodes,
            node_cores,
            generator: Generator { cores: other_cores, seconds: args.rounds.seconds, threads: 1 },
            progress: Progress::new(true),
            notes: Vec::new(),
            scratch: Scratch::new("store")?,
        })
    }

    fn measure(mut self, chosen: &[&str]) -> Result<Report, String> {
        let machine = Machine::this();
        let before = MachineTime::now();
        let cells: Vec<LoadCell> =
            load_cells().into_iter().filter(|cell| chosen.contains(&cell.name)).collect();
        let results = if cells.is_empty() { Results::default() } else { self.under_load(&cells)? };
        let mut memory = Vec::new();
        for (name, ttl_s) in [(KEYS_PLAIN, None), (KEYS_TTL, Some(keys::TTL_S))] {
            if chosen.contains(&name) {
                memory.extend(self.key_memory(name, ttl_s));
            }
        }
        if let Some(progress) = &mut self.progress {
            progress.end();
        }
        self.notes.extend(results.failures());
        if interrupt::requested() {
            self.notes.push("interrupted: the figures are of the rounds made until then".to_owned());
        }
        Ok(Report {
            machine,
            stolen: MachineTime::now().stolen_since(before),
            method: format!(
                "node under test on core {}, load generator on core {}; rounds of {} s each, interleaved: {}; 64-byte values \
                 under {} keys",
                self.node_cores,
                self.generator.cores,
                self.args.rounds.seconds,
                self.args.rounds.rounds,
                SMALL.keys
            ),
            programs: self.nodes.descriptions(),
            missing: self.nodes.missing.clone(),
            verdicts: targets::judge(&results, &memory),
            results,
            memory,
            notes: self.notes,
        })
    }

    fn under_load(&mut self, cells: &[LoadCell]) -> Result<Results, String> {
        let mut running: Vec<Running> = Vec::new();
        for name in self.nodes.names() {
            interrupt::check()?;
            self.say(&format!("starting {name}"));
            match self.start_filled(name) {
                Ok(one) => running.push(one),
                Err(why) => self.notes.push(format!("{name} was left out: {why}")),
            }
        }
        interrupt::check()?;
        let mut subjects: Vec<Subject<'_>> = running.iter_mut().map(Running::subject).collect();
        Ok(rounds::run(
            cells,
            &mut subjects,
            self.args.rounds.rounds,
            &self.generator,
            &mut self.progress,
            &mut self.notes,
        ))
    }

    fn start_filled(&self, name: &'static str) -> Result<Running, String> {
        let running = self.nodes.start(name, &self.node_cores, &self.scratch, "load")?;
        self.generator.prefill(SMALL, None, running.port)?;
        Ok(running)
    }

    fn key_memory(&mut self, cell: &'static str, ttl_s: Option<u64>) -> Vec<KeyMemory> {
        let mut list = Vec::new();
        for name in self.nodes.names() {
            if interrupt::requested() {
                break;
            }
            self.say(&format!("{cell} of {name}"));
            let measured = self
                .nodes
                .start(name, &self.node_cores, &self.scratch, cell)
                .and_then(|running| keys::measure(&running, self.args.keys, ttl_s, &self.generator));
            match measured {
                Ok(memory) => list.push(memory),
                Err(why) => self.notes.push(format!("{cell} of {name} was not measured: {why}")),
            }
        }
        list
    }

    fn say(&mut self, what: &str) {
        if let Some(progress) = &mut self.progress {
            progress.show(what);
        }
    }
}
