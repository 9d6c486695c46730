//! A child process that ends with us, and whose last words are in the error when it ends before.

use super::cores::Cores;
use crate::interrupt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running child. Dropping it ends it: by its own process id, at once, as nothing here is worth
/// saving.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` on `cores`; what it prints goes to `NAME.log` in `dir`.
    pub fn start(name: &str, command: &mut Command, cores: &Cores, dir: &Path) -> Result<Child, String> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let again = file.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        // A group of its own: a ctrl-c in the terminal reaches us, and we end the children in order.
        command.stdin(Stdio::null()).stdout(file).stderr(again).process_group(0);
        let process = cores.spawn(command).map_err(|error| format!("{name}: {error}"))?;
        Ok(Child { name: name.to_owned(), process, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// An error if it has ended, with the end of its log.
    pub fn check_alive(&mut self) -> Result<(), String> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.obituary(status)),
            Err(error) => Err(format!("{}: cannot ask after the process: {error}", self.name)),
        }
    }

    /// Asks `ready` again and again until it succeeds; gives up when the child has ended, when
    /// `timeout` is over, or on ctrl-c. The error says what `ready` said last.
    pub fn wait_until<T>(
        &mut self,
        timeout: Duration,
        mut ready: impl FnMut() -> Result<T, String>,
    ) -> Result<T, String> {
        let begun = Instant::now();
        loop {
            interrupt::check()?;
            self.check_alive()?;
            match ready() {
                Ok(value) => return Ok(value),
                Err(why) if begun.elapsed() > timeout => {
                    let log = last_lines(&self.log);
                    return Err(format!(
                        "{} was not ready within {} s: {why}{log}",
                        self.name,
                        timeout.as_secs()
                    ));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn obituary(&self, status: ExitStatus) -> String {
        format!("{} has ended ({status}){}", self.name, last_lines(&self.log))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn last_lines(log: &Path) -> String {
    const SHOWN: usize = 15;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "; it printed nothing".to_owned();
    }
    let shown = &lines[lines.len().saturating_sub(SHOWN)..];
    format!("; its last lines were:\n    {}", shown.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn shell(script: &str, scratch: &Scratch) -> Child {
        let cores = Cores::available().unwrap();
        Child::start("shell", Command::new("sh").args(["-c", script]), &cores, scratch.path()).unwrap()
    }

    #[test]
    fn dropping_a_child_ends_it() {
        let scratch = Scratch::new("child-drop").unwrap();
        let child = shell("exec sleep 1000", &scratch);
        let proc = PathBuf::from(format!("/proc/{}", child.pid()));
        assert!(proc.exists());
        drop(child);
        assert!(!proc.exists());
    }

    #[test]
    fn an_early_end_shows_the_log() {
        let scratch = Scratch::new("child-end").unwrap();
        let mut child = shell("echo 'port 1 is taken' >&2; exit 3", &scratch);
        let error =
            child.wait_until(Duration::from_secs(20), || Err::<(), _>("no answer".to_owned())).unwrap_err();
        assert!(error.contains("has ended") && error.contains("port 1 is taken"), "{error}");
    }

    #[test]
    fn a_child_that_never_gets_ready_is_given_up() {
        let scratch = Scratch::new("child-slow").unwrap();
        let mut child = shell("exec sleep 1000", &scratch);
        let error = child.wait_until(Duration::ZERO, || Err::<(), _>("no answer".to_owned())).unwrap_err();
        assert!(error.contains("not ready") && error.contains("no answer"), "{error}");
    }
}
