//! Child processes that cannot outlive their test.
//!
//! Dropping a [`Process`] kills it. If the test process itself dies, the kernel kills the child:
//! `setpriv --pdeathsig` asks for that. The kernel counts the death of the *thread* that started the
//! child, and a test's thread ends with the test while a shared cluster lives on; so one thread that
//! never ends starts all children.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A child that prints more than this loses its oldest lines.
const LINES_MAX: usize = 200_000;

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
}

impl Launch {
    /// This program.
    pub fn new(program: impl Into<PathBuf>) -> Launch {
        Launch { program: program.into(), args: Vec::new(), dir: None }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Launch {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Launch {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Its working directory.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Launch {
        self.dir = Some(dir.into());
        self
    }

    /// Starts it. `name` stands before its lines where they are shown.
    #[track_caller]
    pub fn start(self, name: &str) -> Process {
        let shown = self.program.display().to_string();
        let mut child = match spawn(self) {
            Ok(child) => child,
            Err(error) => panic!("cannot start {shown}: {error}"),
        };
        let lines: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(collect(stdout, lines.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(collect(stderr, lines.clone()));
        }
        Process { name: name.to_owned(), child, status: None, lines, readers }
    }

    /// Starts it, waits for its end, and gives what it printed. Killed, and the test failed, after
    /// `deadline`.
    #[track_caller]
    pub fn run(self, deadline: Duration) -> Finished {
        let shown = format!("{} {:?}", self.program.display(), self.args);
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut process = self.start(&name);
        match process.wait(deadline) {
            Some(status) => Finished { status, output: process.output() },
            None => panic!("still running after {} s: {shown}\n{}", deadline.as_secs(), process.output()),
        }
    }
}

/// How a program that was run to its end ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed, both streams.
    pub output: String,
}

impl Finished {
    /// Its output, if it ended well; fails the test otherwise.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.status.success(), "ended with {}:\n{}", self.status, self.output);
        self.output
    }
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    lines: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("our own child can be waited for");
            if self.status.is_some() {
                // All it printed is there when its pipes have closed.
                self.readers.drain(..).for_each(|reader| drop(reader.join()));
            }
        }
        self.status
    }

    /// Waits for its end, at most this long.
    pub fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            match self.ended() {
                Some(status) => return Some(status),
                None if began.elapsed() > deadline => return None,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Sends a signal by its name (`TERM`, `STOP`, `CONT`).
    #[track_caller]
    pub fn signal(&self, name: &str) {
        assert!(self.status.is_none(), "{} has ended; SIG{name} would reach a stranger", self.name);
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid().to_string()])
            .status()
            .expect("sh can be started");
        assert!(status.success(), "SIG{name} could not be sent to {}", self.name);
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            drop(self.child.kill());
            self.wait(Duration::from_secs(10));
        }
    }

    /// What it has printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no reader panicked").iter().cloned().collect()
    }

    /// What it has printed so far, as one text.
    pub fn output(&self) -> String {
        self.lines().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory that is removed with everything in it when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new, empty one.
    pub fn new(purpose: &str) -> TempDir {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pointsman-{purpose}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        TempDir(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn spawn(launch: Launch) -> std::io::Result<Child> {
    type Order = (Launch, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (launch, answer) in queue {
                drop(answer.send(start(&launch)));
            }
        });
        Mutex::new(orders)
    });
    let (answer, started) = mpsc::channel();
    starter.lock().expect("nobody panics here").send((launch, answer)).expect("the starter never ends");
    started.recv().expect("the starter never ends")
}

fn start(launch: &Launch) -> std::io::Result<Child> {
    // setpriv would report a missing program as its own failure.
    if launch.program.components().count() > 1 && !launch.program.exists() {
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such file"));
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(&launch.program).args(&launch.args);
    if let Some(dir) = &launch.dir {
        command.current_dir(dir);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

fn collect(pipe: impl Read + Send + 'static, lines: Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let mut lines = lines.lock().expect("no reader panicked");
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(text);
            line.clear();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_of_a_program() {
        let finished =
            Launch::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).run(Duration::from_secs(10));
        assert_eq!(finished.status.code(), Some(3));
        assert!(finished.output.contains("out") && finished.output.contains("err"));
    }

    #[test]
    fn a_dropped_child_is_gone_and_a_stopped_one_too() {
        let child = Launch::new("sleep").arg("1000").start("sleep");
        let place = PathBuf::from(format!("/proc/{}", child.pid()));
        assert!(place.exists());
        child.signal("STOP");
        drop(child);
        assert!(!place.exists());
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let mut child =
            std::thread::spawn(|| Launch::new("sleep").arg("1000").start("sleep")).join().unwrap();
        assert_eq!(child.wait(Duration::from_millis(100)), None);
    }

    #[test]
    #[should_panic(expected = "cannot start /nowhere/at/all: there is no such file")]
    fn a_missing_program_is_named() {
        Launch::new("/nowhere/at/all").start("nothing");
    }
}
