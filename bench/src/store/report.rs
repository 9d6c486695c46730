//! What a comparison of stores found out, as tables and as JSON.

use super::keys::{self, KeyMemory};
use super::nodes::ALL;
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
    /// Bytes per key.
    pub memory: Vec<KeyMemory>,
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
        output::load_tables(f, &self.results, &output::measured(&ALL, &self.programs), "command")?;
        if !self.memory.is_empty() {
            write!(f, "\nResident memory per key\n\n{}", keys::table(&self.memory))?;
        }
        write!(f, "\nTargets: ratios, pointsman-store / peer\n\n{}", goals::text(&self.verdicts))?;
        output::notes(f, &self.notes)
    }
}
