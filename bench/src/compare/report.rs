//! What a comparison found out, as tables and as JSON.

use super::idle::{self, IdleMemory};
use super::peers::{Peer, Programs};
use super::workers;
use crate::measure::goals::{self, Verdict};
use crate::measure::machine::Machine;
use crate::measure::output::{self, Heading};
use crate::measure::results::Results;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it was measured.
    pub machine: Machine,
    /// Share of the machine's time that its hypervisor gave to others meanwhile.
    pub stolen: f64,
    /// How it was measured.
    pub method: String,
    /// Who was measured, with versions.
    pub programs: Vec<String>,
    /// Who was not, with the way to get them.
    pub missing: Vec<String>,
    /// The cells with a load.
    pub results: Results,
    /// Memory per idle client.
    pub idle: Vec<IdleMemory>,
    /// One and two workers.
    pub workers: Results,
    /// The targets.
    pub verdicts: Vec<Verdict>,
    /// What went wrong.
    pub notes: Vec<String>,
}

impl Report {
    /// Prints the tables, or writes JSON, or both, as the command line asked.
    pub fn print(&self, json: Option<&Path>) -> Result<(), String> {
        output::write_report(self, self, json)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = Heading {
            machine: &self.machine,
            stolen: self.stolen,
            method: &self.method,
            programs: &self.programs,
            missing: &self.missing,
        };
        write!(f, "{heading}")?;
        let shown = output::measured(&Peer::names(), &self.programs);
        output::load_tables(f, &self.results, &shown, "request")?;
        if !self.idle.is_empty() {
            write!(f, "\nMemory per idle client\n\n{}", idle::table(&self.idle))?;
        }
        let workers = workers::table(&self.workers, &shown);
        if !workers.is_empty() {
            write!(f, "\nTwo workers beside one (GET, 50 clients, pipeline 16)\n\n{workers}")?;
        }
        writeln!(f, "\nTargets: ratios of medians, pointsman / peer, unless a unit is given\n")?;
        write!(f, "{}", goals::text(&self.verdicts))?;
        output::notes(f, &self.notes)
    }
}

/// What `--list` prints.
pub fn listing(cells: &[&str], programs: &Programs) -> String {
    let mut lines = vec!["cells:".to_owned()];
    lines.extend(cells.iter().map(|cell| format!("  {cell}")));
    lines.push("programs:".to_owned());
    lines.extend(programs.found.iter().map(|(peer, path)| format!("  {} = {}", peer.name(), path.display())));
    lines.extend(programs.missing.iter().map(|missing| format!("  not installed: {missing}")));
    lines.join("\n") + "\n"
}
