//! `bench`: load for any RESP endpoint, and measurements of Pointsman beside its peers.

mod args;
mod cli;
mod compare;
mod interrupt;
mod keys;
mod latency;
mod load;
mod measure;
mod process;
mod progress;
mod protect;
mod random;
mod report;
mod schedule;
mod scratch;
mod store;
mod tally;
mod workload;

use clap::Parser;
use cli::{Cli, Command, LoadArgs};
use load::spec::End;
use process::limits::raise_open_files;
use progress::Progress;
use report::LoadReport;
use std::process::ExitCode;

/// The run was made, and requests failed.
const EXIT_ERRORS: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = interrupt::install().and_then(|()| {
        raise_open_files();
        match &cli.command {
            Command::Load(args) => run_load(args),
            Command::Compare(args) => compare::run(args),
            Command::Store(args) => store::run(args),
            Command::Protect(args) => protect::run(args),
        }
    });
    match result {
        Ok(code) => code,
        Err(why) => {
            eprintln!("bench: {}", why.replace('\n', "\nbench: "));
            ExitCode::FAILURE
        }
    }
}

fn run_load(args: &LoadArgs) -> Result<ExitCode, String> {
    let spec = args::load_spec(args)?;
    let mut progress = Progress::new(args.progress);
    if args.prefill {
        let report = load::run(&spec.prefill(), &[], progress.as_mut())?;
        if report.errors > 0 {
            return Err(format!("the prefill failed\n{}", report.text().trim_end()));
        }
        if spec.end == End::Requests(0) {
            return print_report(&report, args.json);
        }
    }
    let report = load::run(&spec, &args.watch_pid, progress.as_mut())?;
    print_report(&report, args.json)
}

fn print_report(report: &LoadReport, json: bool) -> Result<ExitCode, String> {
    if json {
        println!("{}", serde_json::to_string(report).map_err(|error| format!("cannot write JSON: {error}"))?);
    } else {
        print!("{}", report.text());
    }
    Ok(if report.errors > 0 { ExitCode::from(EXIT_ERRORS) } else { ExitCode::SUCCESS })
}
