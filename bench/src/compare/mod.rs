//! `bench compare`: Pointsman beside its peers.
//!
//! Everything under test runs at the same time, idle but for its turn, alone on the first core; the
//! load generator and the backends share the second. See the long help of the command for the method.

mod backends;
mod cells;
pub mod files;
mod idle;
mod peers;
mod report;
mod running;
mod targets;
mod workers;

use crate::cli::CompareArgs;
use crate::interrupt;
use crate::measure::cell::{Generator, LARGE, LoadCell, SMALL, check_seconds, choose};
use crate::measure::machine::{Machine, MachineTime};
use crate::measure::results::Results;
use crate::measure::rounds::{self, Subject};
use crate::process::cores::Cores;
use crate::progress::Progress;
use crate::scratch::Scratch;
use backends::Backends;
use idle::IdleMemory;
use peers::{Peer, Programs};
use report::Report;
use running::{Ground, Running, Setting};
use std::process::ExitCode;

/// Makes the comparison and prints it. The error says why it could not be made at all.
pub fn run(args: &CompareArgs) -> Result<ExitCode, String> {
    check(args)?;
    let programs = peers::find(args)?;
    let names = cells::names();
    if args.rounds.list {
        print!("{}", report::listing(&names, &programs));
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose("--cells", &args.rounds.cells, &names)?;
    if programs.found.is_empty() {
        return Err("nothing to measure: none of the chosen programs is installed".to_owned());
    }
    let session = Session::new(args, programs)?;
    let report = session.measure(&chosen)?;
    report.print(args.rounds.json.as_deref())?;
    let clean = report.notes.is_empty() && !interrupt::requested();
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(crate::EXIT_ERRORS) })
}

fn check(args: &CompareArgs) -> Result<(), String> {
    check_seconds(args.rounds.seconds)?;
    if !(1.0..=1e9).contains(&args.rate) {
        return Err(format!("--rate {}: must be from 1 to 1e9 requests per second", args.rate));
    }
    Ok(())
}

/// What all parts of one comparison share.
struct Session<'a> {
    args: &'a CompareArgs,
    programs: Programs,
    /// Where the process under test runs, and where the rest does.
    proxy_cores: Cores,
    other_cores: Cores,
    all_cores: Cores,
    generator: Generator,
    progress: Option<Progress>,
    notes: Vec<String>,
    // Last, so that it is removed after all that runs in it has ended.
    scratch: Scratch,
}

impl<'a> Session<'a> {
    fn new(args: &'a CompareArgs, programs: Programs) -> Result<Self, String> {
        let all_cores = Cores::available()?;
        let (proxy_cores, other_cores) = Cores::pair()?;
        let generator = Generator { cores: other_cores.clone(), seconds: args.rounds.seconds, threads: 1 };
        Ok(Session {
            args,
            programs,
            proxy_cores,
            other_cores,
            all_cores,
            generator,
            progress: Progress::new(true),
            notes: Vec::new(),
            scratch: Scratch::new("compare")?,
        })
    }

    fn measure(mut self, chosen: &[&str]) -> Result<Report, String> {
        let machine = Machine::this();
        let before = MachineTime::now();
        self.say("starting the backends");
        let backends = Backends::start(&self.programs, &self.other_cores, &self.scratch)?;
        let load_cells: Vec<LoadCell> = cells::load_cells(self.args.rate)
            .into_iter()
            .filter(|cell| chosen.contains(&cell.name))
            .collect();
        let mut results = Results::default();
        if !load_cells.is_empty() {
            results = self.under_load(&load_cells, &backends)?;
        }
        let idle =
            if chosen.contains(&cells::IDLE_MEMORY) { self.idle_memory(&backends)? } else { Vec::new() };
        let workers = if chosen.contains(&cells::TWO_WORKERS) {
            workers::measure(&mut self, &backends)?
        } else {
            Results::default()
        };
        if let Some(progress) = &mut self.progress {
            progress.end();
        }
        self.notes.extend(results.failures());
        self.notes.extend(workers.failures());
        if interrupt::requested() {
            self.notes.push("interrupted: the figures are of the rounds made until then".to_owned());
        }
        let verdicts = targets::judge(&results, &idle, &workers, self.all_cores.len());
        Ok(Report {
            machine,
            stolen: MachineTime::now().stolen_since(before),
            method: format!(
                "process under test on core {}, load generator and backends on core {}; rounds of {} s each, interleaved: {}; \
                 64-byte values under {} keys unless the cell says otherwise",
                self.proxy_cores,
                self.other_cores,
                self.args.rounds.seconds,
                self.args.rounds.rounds,
                SMALL.keys
            ),
            programs: self.programs.descriptions(),
            missing: self.programs.missing.clone(),
            results,
            idle,
            workers,
            verdicts,
            notes: self.notes,
        })
    }

    /// All cells with a load: everybody is started, filled and measured in turn.
    fn under_load(&mut self, cells: &[LoadCell], backends: &Backends) -> Result<Results, String> {
        let mut running = Vec::new();
        for peer in self.programs.peers() {
            interrupt::check()?;
            self.say(&format!("starting {}", peer.name()));
            match self.start_filled(peer, backends, cells) {
                Ok(one) => running.push(one),
                Err(why) => self.notes.push(format!("{} was left out: {why}", peer.name())),
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

    fn start_filled(&self, peer: Peer, backends: &Backends, cells: &[LoadCell]) -> Result<Running, String> {
        let running = running::start(peer, self.ground(backends), Setting::load("load", 1))?;
        for data in [SMALL, LARGE] {
            if cells.iter().any(|cell| cell.data == data) {
                self.generator.prefill(data, None, running.port)?;
            }
        }
        Ok(running)
    }

    /// Memory per idle client, of a fresh process each: what was busy before has spare memory.
    fn idle_memory(&mut self, backends: &Backends) -> Result<Vec<IdleMemory>, String> {
        let mut list = Vec::new();
        for peer in self.programs.peers().into_iter().filter(|peer| *peer != Peer::Direct) {
            if interrupt::requested() {
                break;
            }
            self.say(&format!("idle memory of {}", peer.name()));
            let clients = self.args.idle_clients as usize;
            let setting = Setting { purpose: "idle", workers: 1, clients };
            let measured = running::start(peer, self.ground(backends), setting).and_then(|mut running| {
                idle::measure(&mut running, clients, &self.generator, &backends.ports())
            });
            match measured {
                Ok(memory) => list.push(memory),
                Err(why) => {
                    self.notes.push(format!("idle memory of {} was not measured: {why}", peer.name()))
                }
            }
        }
        Ok(list)
    }

    fn ground<'b>(&'b self, backends: &'b Backends) -> Ground<'b> {
        Ground { programs: &self.programs, backends, cores: &self.proxy_cores, scratch: &self.scratch }
    }

    fn say(&mut self, what: &str) {
        if let Some(progress) = &mut self.progress {
            progress.show(what);
        }
    }
}
