//! What the reports of all comparisons have in common.

use super::machine::Machine;
use super::results::Results;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::Path;

/// Prints `text`, and writes `value` as JSON to `file`; `-` prints JSON instead of the text.
pub fn write_report(
    text: &impl fmt::Display,
    value: &impl Serialize,
    file: Option<&Path>,
) -> Result<(), String> {
    let json = || serde_json::to_string_pretty(value).map_err(|error| format!("cannot write JSON: {error}"));
    match file {
        Some(path) if path == Path::new("-") => println!("{}", json()?),
        Some(path) => {
            print!("{text}");
            fs::write(path, json()? + "\n").map_err(|error| format!("--json {}: {error}", path.display()))?;
        }
        None => print!("{text}"),
    }
    Ok(())
}

/// Where, how and who.
#[derive(Debug)]
pub struct Heading<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Share of its time that its hypervisor gave to others.
    pub stolen: f64,
    /// The method.
    pub method: &'a str,
    /// Who was measured: `name: version`.
    pub programs: &'a [String],
    /// Who was not.
    pub missing: &'a [String],
}

impl fmt::Display for Heading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Machine: {}; {:.1} % stolen by its hypervisor during the run",
            self.machine,
            self.stolen * 100.0
        )?;
        writeln!(f, "Method: {}", self.method)?;
        for program in self.programs {
            writeln!(f, "  {program}")?;
        }
        for missing in self.missing {
            writeln!(f, "  NOT INSTALLED, so not measured: {missing}")?;
        }
        Ok(())
    }
}

/// Those of `all` that `programs` (`name: version`) describes.
pub fn measured<'a>(all: &[&'a str], programs: &[String]) -> Vec<&'a str> {
    let described = |name: &str| programs.iter().any(|program| program.split(':').next() == Some(name));
    all.iter().copied().filter(|name| described(name)).collect()
}

/// The tables of the cells with a load. A request is called `what`.
pub fn load_tables(
    f: &mut fmt::Formatter<'_>,
    results: &Results,
    subjects: &[&str],
    what: &str,
) -> fmt::Result {
    if results.cells().is_empty() {
        return Ok(());
    }
    writeln!(f, "\nCPU us per {what} of the process under test, median (user time in brackets)\n")?;
    write!(f, "{}", results.table(subjects, Results::cpu_word))?;
    writeln!(f, "\nThe same, smallest..largest of the rounds: the noise\n")?;
    write!(f, "{}", results.table(subjects, Results::noise_word))?;
    writeln!(f, "\n{what}s per second, and latency p50/p99/p99.9 in us\n")?;
    write!(f, "{}", results.table(subjects, Results::speed_word))
}

/// What went wrong, if anything did.
pub fn notes(f: &mut fmt::Formatter<'_>, notes: &[String]) -> fmt::Result {
    if notes.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nWhat went wrong")?;
    notes.iter().try_for_each(|note| writeln!(f, "  - {note}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_were_measured_have_a_column() {
        let programs = ["redis: Redis server v=7".to_owned(), "envoy: x: y".to_owned()];
        assert_eq!(measured(&["pointsman", "envoy", "redis", "red"], &programs), ["envoy", "redis"]);
    }
}
