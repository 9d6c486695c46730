//! Which cores a process may run on.
//!
//! A child inherits the affinity of the thread that starts it, so the thread takes the wanted
//! cores, starts the child and takes its own back. That needs no other program, leaves the child's
//! process id ours, and has no moment in which the child's threads run elsewhere, which setting the
//! affinity afterwards would have. The calls are rustix' safe ones.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fmt;
use std::process::{Child, Command};

/// A set of cores, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

impl Cores {
    /// The cores that this process may use.
    pub fn available() -> Result<Cores, String> {
        let set =
            sched_getaffinity(None).map_err(|error| format!("cannot read the CPU affinity: {error}"))?;
        Ok(Cores((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()))
    }

    /// The first core, for the process under test, and the second one, for all else.
    pub fn pair() -> Result<(Cores, Cores), String> {
        let (first, rest) = Cores::available()?.split(1);
        let (second, _) = rest.split(1);
        if second.len() == 0 {
            return Err(
                "the method needs two cores, and this process may use one: the process under test must not \
                        share its core with the load generator"
                    .to_owned(),
            );
        }
        Ok((first, second))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The `count` first ones, and the rest.
    pub fn split(&self, count: usize) -> (Cores, Cores) {
        let (first, rest) = self.0.split_at(count.min(self.0.len()));
        (Cores(first.to_vec()), Cores(rest.to_vec()))
    }

    /// Starts `command` on these cores.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |what: &str, error: &dyn fmt::Display| format!("{program}: cannot {what}: {error}");
        let own = sched_getaffinity(None).map_err(|error| failed("read the CPU affinity", &error))?;
        let mut wanted = CpuSet::new();
        for core in &self.0 {
            wanted.set(*core);
        }
        sched_setaffinity(None, &wanted)
            .map_err(|error| failed(&format!("be pinned to core {self}"), &error))?;
        let child = command.spawn();
        sched_setaffinity(None, &own).map_err(|error| failed("restore the CPU affinity", &error))?;
        child.map_err(|error| failed("be started", &error))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn a_child_runs_where_it_was_told_and_we_stay_where_we_were() {
        let all = Cores::available().unwrap();
        let (last, _) = Cores(all.0.iter().rev().copied().collect()).split(1);
        let child = last.spawn(Command::new("cat").arg("/proc/self/status").stdout(Stdio::piped())).unwrap();
        let output = child.wait_with_output().unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        assert_eq!(allowed.trim(), last.to_string());
        assert_eq!(Cores::available().unwrap(), all);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Cores::available().unwrap().spawn(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(error.contains("no-such-program-here"), "{error}");
    }

    #[test]
    fn splitting() {
        let cores = Cores(vec![0, 2, 5]);
        assert_eq!(cores.split(1), (Cores(vec![0]), Cores(vec![2, 5])));
        assert_eq!(cores.split(9), (cores.clone(), Cores(vec![])));
        assert_eq!(cores.to_string(), "0,2,5");
    }
}
