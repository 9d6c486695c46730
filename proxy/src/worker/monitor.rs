//! MONITOR: what the clients of a backend send, shown to a client that wants to see it.
//!
//! Every worker writes a line for each request it takes care of and offers it to the queues of all
//! monitors; each monitor's own worker brings the lines from its queue to its socket. Nobody waits for a
//! monitor: beyond `monitor_per_second` lines a worker, and where a monitor's queue is full, lines are
//! dropped, and the monitor is told how many. On a worker that knows no monitor, nothing of this runs.
//!
//! It shows what the proxy was asked, as one large Redis would: not what it asked nodes, not what scripts
//! do inside.

use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::ClientKey;
use crate::worker::fleet::{Question, Tally};
use pointsman_protocol::command::{CommandSpec, Flags};
use pointsman_protocol::resp::{Args, encode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Lines on their way to one monitor.
const LINES_MAX: usize = 1024;
/// Longest line. What goes beyond is told as a number of bytes.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// Lines that one turn brings to a monitor.
const LINES_PER_TURN: usize = 128;
/// Unread lines at a monitor beyond which its queue has to wait.
const UNREAD_BYTES_MAX: usize = 256 * 1024;
/// How often a monitor that does not read is looked at.
const UNREAD_GRAIN: Duration = Duration::from_millis(5);
/// How long a monitor waits for a line until it is told what was dropped.
const NOTE_GRAIN: Duration = Duration::from_millis(500);
const SECOND_US: u64 = 1_000_000;

/// Number of the next MONITOR: a client may end one and begin another.
static NEXT_MONITOR: AtomicU64 = AtomicU64::new(1);

/// The way of lines to one monitor.
#[derive(Clone, Debug)]
pub struct Feed {
    lines: mpsc::Sender<Arc<[u8]>>,
    /// Lines dropped and not yet told.
    dropped: Arc<AtomicU64>,
}

impl Feed {
    /// Offers a line. False if the monitor has gone.
    fn offer(&self, line: &Arc<[u8]>) -> bool {
        match self.lines.try_send(line.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.drop_one();
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lines written within the second that began then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    since: u64,
    used: u32,
}

impl Allowance {
    /// Takes one of `per_second`, if there is one left. `now` is in microseconds.
    fn take(&mut self, now: u64, per_second: u32) -> bool {
        if now.saturating_sub(self.since) >= SECOND_US {
            *self = Allowance { since: now, used: 0 };
        }
        let free = self.used < per_second;
        self.used += u32::from(free);
        free
    }
}

impl Router {
    /// MONITOR, from a client that may: it is answered once every worker knows of it.
    pub(crate) fn begin_monitor(&mut self, key: ClientKey) {
        let context = self.context.clone();
        let Some(client) = self.client_mut(key) else { return };
        let id = NEXT_MONITOR.fetch_add(1, Ordering::Relaxed);
        client.monitor = Some(id);
        tracing::info!(client = %client.address, "a client sees what all send (MONITOR)");
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let feed = Feed { lines: sender, dropped: dropped.clone() };
        let me = self.me.clone();
        self.answer_later(key, async move {
            let asked = context.fleet.ask(context.name.clone(), Question::Monitor(feed));
            let mut out = Vec::new();
            match tokio::time::timeout(context.config.request_timeout, asked).await {
                Ok(_) => encode::simple(&mut out, "OK"),
                Err(_) => {
                    if let Some(router) = me.upgrade() {
                        router.borrow_mut().end_monitor(key, id);
                    }
                    encode::error(&mut out, "ERR a worker of the proxy did not answer in time; try again")
                }
            }
            let outcome = if out.first() == Some(&b'-') { Outcome::Error } else { Outcome::Ok };
            (outcome, out, false)
        });
        let me = self.me.clone();
        tokio::task::spawn_local(async move {
            let mut lines = lines;
            loop {
                // What was dropped is told soon, even if nobody sends anything any more.
                let line = match tokio::time::timeout(NOTE_GRAIN, lines.recv()).await {
                    Ok(Some(line)) => line,
                    Ok(None) => return,
                    Err(_) => Arc::default(),
                };
                loop {
                    let Some(router) = me.upgrade() else { return };
                    let brought = router.borrow_mut().bring_lines((key, id), &line, &mut lines, &dropped);
                    match brought {
                        Brought::All => break,
                        Brought::Gone => return,
                        Brought::Unread => {}
                    }
                    tokio::time::sleep(UNREAD_GRAIN).await;
                }
            }
        });
    }

    /// A MONITOR that was not answered with OK has not begun: the next one is the first again.
    fn end_monitor(&mut self, key: ClientKey, id: u64) {
        if let Some(client) = self.client_mut(key)
            && client.monitor == Some(id)
        {
            client.monitor = None;
        }
    }

    /// Takes in a monitor of this worker or another.
    pub(super) fn add_monitor(&mut self, feed: &Feed) -> Tally {
        self.monitors.retain(|known| !known.lines.is_closed());
        self.monitors.push(feed.clone());
        self.note_observers();
        Tally::Done
    }

    /// Forgets monitors that have gone.
    pub(super) fn sweep_monitors(&mut self) {
        if self.monitors.iter().any(|feed| feed.lines.is_closed()) {
            self.monitors.retain(|feed| !feed.lines.is_closed());
            self.note_observers();
        }
    }

    /// Writes a line for all monitors.
    pub(super) fn show_to_monitors(&mut self, from: &str, spec: &CommandSpec, args: Args<'_>) {
        if !self.monitor_allowance.take(self.now, self.context.config.monitor_per_second) {
            self.counters.monitor_dropped.add(1);
            return self.monitors.iter().for_each(Feed::drop_one);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line: Arc<[u8]> = line(now, from, spec, args).into();
        let before = self.monitors.len();
        self.monitors.retain(|feed| feed.offer(&line));
        if self.monitors.len() != before {
            self.note_observers();
        }
    }

    /// Brings a line and those behind it to a monitor of ours.
    fn bring_lines(
        &mut self,
        (key, id): (ClientKey, u64),
        first: &[u8],
        lines: &mut mpsc::Receiver<Arc<[u8]>>,
        dropped: &AtomicU64,
    ) -> Brought {
        let Some(client) = self.client_mut(key) else { return Brought::Gone };
        if client.monitor != Some(id) || client.closing || client.broken {
            return Brought::Gone;
        }
        if client.replies.held() > UNREAD_BYTES_MAX {
            return Brought::Unread;
        }
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            client.replies.push_behind(&note(now, missing));
        }
        client.replies.push_behind(first);
        for _ in 0..LINES_PER_TURN {
            let Ok(line) = lines.try_recv() else { break };
            client.replies.push_behind(&line);
        }
        if client.replies.held() > 0 {
            self.written_aside(key);
        }
        Brought::All
    }

    /// What a client that is a monitor may not send. As in Redis, where it is a kind of replica.
    pub(super) fn in_monitor_mode(&mut self, key: ClientKey, spec: Option<&CommandSpec>) -> bool {
        const KEYSPACE: Flags = Flags::READONLY.and(Flags::WRITE).and(Flags::MAY_REPLICATE);
        if !spec.is_some_and(|spec| spec.flags.has_any(KEYSPACE)) {
            return false;
        }
        self.answer(key, Outcome::Error, |out| {
            encode::error(out, "ERR Replica can't interact with the keyspace")
        });
        true
    }
}

/// What became of lines for a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brought {
    All,
    /// It has too much to read already.
    Unread,
    /// It is no monitor any more.
    Gone,
}

/// The line of one request, `now` since 1970.
fn line(now: Duration, from: &str, spec: &CommandSpec, args: Args<'_>) -> Vec<u8> {
    let mut out = head(now, from);
    for (place, arg) in args.iter().enumerate() {
        out.push(b' ');
        if is_secret(spec, args, place) {
            out.extend_from_slice(b"\"(redacted)\"");
            continue;
        }
        let room = LINE_BYTES_MAX.saturating_sub(out.len());
        quote(&mut out, &arg[..arg.len().min(room)]);
        let rest =
            arg.len().saturating_sub(room) + args.iter().skip(place + 1).map(<[u8]>::len).sum::<usize>();
        if out.len() >= LINE_BYTES_MAX && rest > 0 {
            out.extend_from_slice(format!(" \"... ({rest} more bytes)\"").as_bytes());
            break;
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The line that tells of lines dropped; clients read it as a command of nobody's.
fn note(now: Duration, count: u64) -> Vec<u8> {
    let mut out = head(now, "0 pointsman:0");
    out.extend_from_slice(format!(" \"#\" \"{count} requests are not shown\"\r\n").as_bytes());
    out
}

fn head(now: Duration, from: &str) -> Vec<u8> {
    format!("+{}.{:06} [{from}]", now.as_secs(), now.subsec_micros()).into_bytes()
}

/// True for an argument that nobody else may see.
fn is_secret(spec: &CommandSpec, args: Args<'_>, place: usize) -> bool {
    let after_auth = |place: usize| args.get(place).is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH"));
    match spec.name {
        "AUTH" => place > 0,
        // HELLO 3 AUTH user password SETNAME name.
        "HELLO" => (place > 2 && after_auth(place - 1)) || (place > 3 && after_auth(place - 2)),
        "MIGRATE" => place > 5 && args.at(place - 1).to_ascii_uppercase().starts_with(b"AUTH"),
        _ => false,
    }
}

/// Appends an argument in quotes, whatever is in it, as Redis writes it.
fn quote(out: &mut Vec<u8>, arg: &[u8]) {
    out.push(b'"');
    for &byte in arg {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::stage::Stage;
    use pointsman_protocol::command::resolve;
    use pointsman_protocol::resp::args::OwnedArgs;
    use tokio::task::LocalSet;

    fn shown(words: &[&str]) -> String {
        let owned = OwnedArgs::new(words);
        let from = "0 127.0.0.1:5000";
        let spec = resolve(owned.args()).unwrap();
        let bytes = line(Duration::from_micros(1_700_000_000_000_042), from, spec, owned.args());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_have_redis_form() {
        let rows: [(&[&str], &str); 9] = [
            (&["get", "k"], r#""get" "k""#),
            (&["ECHO", "a\x01\"\n\\\\\r\t\x07\x08é"], r#""ECHO" "a\x01\"\n\\\\\r\t\a\b\xc3\xa9""#),
            (&["SET", "", "v w"], r#""SET" "" "v w""#),
            (&["AUTH", "secret"], r#""AUTH" "(redacted)""#),
            (&["AUTH", "user", "secret"], r#""AUTH" "(redacted)" "(redacted)""#),
            (&["HELLO", "3"], r#""HELLO" "3""#),
            (
                &["HELLO", "3", "auth", "user", "secret", "SETNAME", "me"],
                r#""HELLO" "3" "auth" "(redacted)" "(redacted)" "SETNAME" "me""#,
            ),
            (
                &["HELLO", "3", "SETNAME", "me", "AUTH", "user", "secret"],
                r#""HELLO" "3" "SETNAME" "me" "AUTH" "(redacted)" "(redacted)""#,
            ),
            (&["CLIENT", "SETNAME", "AUTH"], r#""CLIENT" "SETNAME" "AUTH""#),
        ];
        for (words, expected) in rows {
            assert_eq!(shown(words), format!("+1700000000.000042 [0 127.0.0.1:5000] {expected}\r\n"));
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let long = "v".repeat(100_000);
        let text = shown(&["SET", "k", &long, "EX", "10"]);
        assert!(text.len() < LINE_BYTES_MAX + 100, "{}", text.len());
        assert!(text.ends_with("more bytes)\"\r\n"), "{}", &text[text.len() - 60..]);
        let many = vec!["w"; 10_000];
        let words: Vec<&str> = [&["MGET"][..], &many].concat();
        assert!(shown(&words).len() < LINE_BYTES_MAX + 100);
    }

    #[test]
    fn so_many_a_second() {
        let mut allowance = Allowance::default();
        let taken = |allowance: &mut Allowance, now| (0..10).filter(|_| allowance.take(now, 3)).count();
        assert_eq!(taken(&mut allowance, 5_000_000), 3);
        assert_eq!(taken(&mut allowance, 5_999_999), 0);
        assert_eq!(taken(&mut allowance, 6_000_000), 3);
    }

    #[test]
    fn what_was_dropped_is_told_in_the_form_of_a_line() {
        let text = String::from_utf8(note(Duration::from_secs(7), 12)).unwrap();
        assert_eq!(text, "+7.000000 [0 pointsman:0] \"#\" \"12 requests are not shown\"\r\n");
    }

    #[tokio::test]
    async fn t68_a_monitor_that_did_not_begin_may_be_asked_for_again() {
        LocalSet::new()
            .run_until(async {
                let stage = Stage::with("request_timeout_ms: 20");
                let (key, _own) = stage.client().await;
                for _ in 0..2 {
                    stage.say(key, &["MONITOR"]);
                    let is_monitor = || stage.router.borrow_mut().client_mut(key).unwrap().monitor.is_some();
                    assert!(is_monitor());
                    while stage.router.borrow_mut().client_mut(key).unwrap().in_flight > 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    assert!(!is_monitor());
                }
            })
            .await;
    }
}
