//! T07, T09, T12: the retry table of ARCHITECTURE.md, each row with each class of request.
//!
//! A row is something that goes wrong at a node, once or twice; a column is what the client asked for.
//! After each cell the client's connection is asked something whose answer is known, and a counter shows
//! that nothing was executed twice. What the columns mean is at [`Class`], what the words in the table mean
//! at [`Outcome`].

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::{Client, Fake, Pointsman, Reply, Setup};
use pointsman_protocol::Slot;
use std::thread;

/// Warnings that broken connections and refused words may cause.
const LOST: &[&str] = &["lost", "closed", "connect", "reach", "refus", "refresh", "topology", "reset"];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    /// GET.
    Read,
    /// INCR.
    Write,
    /// MGET of keys on both shards; the fault is on one side.
    SplitRead,
    /// MSET of keys on both shards, likewise.
    SplitWrite,
    /// MULTI, INCR, EXEC; the fault is at the INCR.
    Queued,
    /// MULTI, INCR, EXEC; the fault is at the EXEC.
    Exec,
    /// WATCH, MULTI, INCR, EXEC; the fault is at the WATCH.
    Watch,
    /// WATCH, MULTI, INCR, EXEC; the fault is at the EXEC.
    WatchedExec,
    /// BLPOP.
    Blocking,
}

use Class::{Blocking, Exec, Queued, Read, SplitRead, SplitWrite, Watch, WatchedExec, Write};

const CLASSES: [Class; 9] = [Read, Write, SplitRead, SplitWrite, Queued, Exec, Watch, WatchedExec, Blocking];

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// The right answer, after exactly one execution.
    Done,
    /// An error that says that it may or may not have been executed.
    Maybe,
    /// An error that says that the read may be repeated.
    Lost,
    /// EXEC's null: what was watched is not sure to be unchanged.
    Null,
    /// The node's error, unchanged.
    Same,
    /// EXECABORT: a command was refused when the transaction was put together.
    Abort,
    /// An error that names the proxy's own credentials, not the client's.
    Ours,
}

use Outcome::{Abort, Done, Lost, Maybe, Null, Ours, Same};

/// What goes wrong at the node that has the key.
#[derive(Clone, Debug)]
enum Fault {
    /// The slot has gone to the other shard.
    Moved,
    /// The slot is on its way to the other shard, and this key is not here any more.
    Ask,
    /// This error, so many times.
    Error(&'static str, usize),
    /// This act, once.
    Act(Act),
    /// Connections are refused for a while.
    Refused,
    /// New connections fail for a while, as this word of the handshake gets this error.
    Handshake(&'static str, &'static str),
}

const BUSY: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const MISCONF: &str =
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist";
const NOREPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";
const NOPERM: &str = "NOPERM User pointsman has no permissions to run the command";
const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

/// The table. Columns: Read, Write, SplitRead, SplitWrite, Queued, Exec, Watch, WatchedExec, Blocking.
fn table() -> Vec<(Fault, [Outcome; 9])> {
    use Fault::{Act as A, Ask, Error as E, Handshake, Moved, Refused};
    const HEALED: [Outcome; 9] = [Done, Done, Done, Done, Done, Done, Done, Null, Done];
    const SURE_OF_NOTHING: [Outcome; 9] = [Done, Maybe, Done, Maybe, Maybe, Maybe, Done, Maybe, Done];
    const CREDENTIALS: [Outcome; 9] = [Ours, Ours, Ours, Ours, Ours, Ours, Ours, Ours, Ours];
    const PASSED: [Outcome; 9] = [Same, Same, Same, Same, Abort, Same, Same, Same, Same];
    // What fails before a connection is up concerns no connection that is: none is while WATCH has one.
    const DIALLED: [Outcome; 9] = [Done, Done, Done, Done, Done, Done, Done, Done, Done];
    vec![
        (Moved, HEALED),
        // A key is watched where it is; EXEC does not follow it there.
        (Ask, [Done, Done, Done, Done, Done, Done, Null, Null, Done]),
        (E("TRYAGAIN Multiple keys request during rehashing of slot", 2), HEALED),
        (E("CLUSTERDOWN The cluster is down", 2), HEALED),
        (E("LOADING Redis is loading the dataset in memory", 2), HEALED),
        (E("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", 2), HEALED),
        (E("READONLY You can't write against a read only replica.", 2), HEALED),
        (Refused, DIALLED),
        (Handshake("AUTH", "WRONGPASS invalid username-password pair or user is disabled."), DIALLED),
        (Handshake("AUTH", "ERR max number of clients reached"), DIALLED),
        (Handshake("HELLO", "ERR max number of clients reached"), DIALLED),
        (A(Act::CloseBefore), SURE_OF_NOTHING),
        (A(Act::CloseAfter), SURE_OF_NOTHING),
        (A(Act::CloseWithin(3)), SURE_OF_NOTHING),
        (E("NOAUTH Authentication required.", 1), CREDENTIALS),
        (E("WRONGPASS invalid username-password pair or user is disabled.", 1), CREDENTIALS),
        (E(NOSCRIPT, 1), PASSED),
        (E(BUSY, 1), PASSED),
        (E(OOM, 1), PASSED),
        (E(MISCONF, 1), PASSED),
        (E(NOREPLICAS, 1), PASSED),
        // EXEC refused for that reason leaves the transaction open: its connection is closed.
        (E(NOPERM, 1), [Same, Same, Same, Same, Abort, Abort, Same, Abort, Same]),
        (E(WRONGTYPE, 1), PASSED),
        (E("ERR anything else", 1), PASSED),
    ]
}

impl Class {
    /// The command at which the fault happens.
    fn at(self) -> &'static str {
        match self {
            Read => "GET",
            Write | Queued => "INCR",
            SplitRead => "MGET",
            SplitWrite => "MSET",
            Exec | WatchedExec => "EXEC",
            Watch => "WATCH",
            Blocking => "BLPOP",
        }
    }
}

/// One request of a class: its keys, and what is asked.
struct Asked<'a> {
    class: Class,
    client: &'a mut Client,
    key: String,
    other: String,
}

impl Asked<'_> {
    /// What is agreed on before the fault.
    fn prepare(&mut self) {
        if self.class == WatchedExec {
            assert_eq!(self.client.command(&["WATCH", &self.key]), Reply::ok());
        }
    }

    fn send(&mut self) {
        let (key, other) = (&self.key, &self.other);
        let transaction = [words(&["MULTI"]), words(&["INCR", key]), words(&["EXEC"])];
        match self.class {
            Read => self.client.send(&["GET", key]),
            Write => self.client.send(&["INCR", key]),
            SplitRead => self.client.send(&["MGET", key, other]),
            SplitWrite => self.client.send(&["MSET", key, "1", other, "1"]),
            Queued | Exec | WatchedExec => self.client.send_all(&transaction),
            Watch => {
                self.client.send(&["WATCH", key]);
            }
            Blocking => self.client.send(&["BLPOP", key, "0"]),
        }
    }

    /// The reply that counts.
    fn read(&mut self) -> Reply {
        if self.class == Watch {
            let watched = self.client.read();
            if watched.is_error() {
                return watched;
            }
            assert_eq!(watched, Reply::ok());
            let all = [words(&["MULTI"]), words(&["INCR", &self.key]), words(&["EXEC"])];
            return self.client.pipeline(&all).remove(2);
        }
        if matches!(self.class, Queued | Exec | WatchedExec) {
            assert_eq!(self.client.read(), Reply::ok());
            assert_eq!(self.client.read(), "+QUEUED\r\n");
        }
        self.client.read()
    }

    /// The answer when all is well.
    fn right(&self) -> Reply {
        let resp = |text: &str| Reply(text.as_bytes().to_vec());
        match self.class {
            Read => Reply::bulk("0"),
            Write => Reply::number(1),
            SplitRead => resp("*2\r\n$1\r\n0\r\n$1\r\n0\r\n"),
            SplitWrite => Reply::ok(),
            Queued | Exec | Watch | WatchedExec => resp("*1\r\n:1\r\n"),
            Blocking => popped(),
        }
    }

    /// The value of the key after one execution.
    fn executed(&self) -> &'static str {
        if matches!(self.class, Read | SplitRead | Blocking) { "0" } else { "1" }
    }

    fn judge(&self, expected: Outcome, reply: &Reply, fault: &Fault) {
        let right = match (expected, fault) {
            (Done, _) => *reply == self.right(),
            (Null, _) => reply.is_null(),
            (Maybe, _) => reply.is_error_of("ERR") && reply.error().contains("may or may not"),
            (Lost, _) => reply.is_error_of("ERR") && reply.error().contains("may be retried"),
            // Joined replies say how many of them failed.
            (Same, Fault::Error(text, _)) if matches!(self.class, SplitRead | SplitWrite) => {
                let told = format!("{text} (1 of 2 parts failed");
                reply.is_error() && reply.error().starts_with(&told)
            }
            (Same, Fault::Error(text, _)) => reply.is_error() && reply.error() == *text,
            (Abort, _) => reply.is_error_of("EXECABORT"),
            (Ours, _) => reply.is_error_of("ERR") && reply.error().contains("the proxy's own credentials"),
            (Same, _) => false,
        };
        assert!(right, "{expected:?} was expected of {:?} after {fault:?}, not {reply}", self.class);
    }
}

/// What the fake answers to BLPOP.
fn popped() -> Reply {
    Reply(b"*2\r\n$3\r\nkey\r\n$7\r\nelement\r\n".to_vec())
}

/// Brings the fault about and asks.
fn run(fake: &Fake, pointsman: &Pointsman, asked: &mut Asked<'_>, fault: &Fault) -> Reply {
    let (at, slot) = (asked.class.at(), Slot::of(asked.key.as_bytes()));
    for key in [&asked.key, &asked.other] {
        fake.change(|world| {
            let shard = world.view.owner[Slot::of(key.as_bytes()).index()].expect("there are no holes");
            world.data[shard].put(key.as_bytes(), b"0");
        });
    }
    asked.prepare();
    match fault {
        Fault::Moved | Fault::Ask => {
            let asking = matches!(fault, Fault::Ask);
            if asking {
                fake.change(|world| {
                    world.begin_move(slot, 1);
                    world.move_key(asked.key.as_bytes(), 1);
                });
            } else {
                fake.move_slot(slot, 1);
            }
            if asked.class == Blocking {
                // The fake waits for nothing, so it does not look for the owner either.
                fake.rule(Rule::on(at, Act::Redirect { to: 1, asking }).at(0).times(1));
            }
        }
        Fault::Error(text, times) => {
            fake.rule(Rule::on(at, Act::Error((*text).to_owned())).at(0).times(*times));
        }
        Fault::Act(act) => fake.rule(Rule::on(at, act.clone()).at(0).times(1)),
        Fault::Refused | Fault::Handshake(..) => {}
    }
    fake.rule(Rule::on("BLPOP", Act::Answer(popped().0)));
    match fault {
        Fault::Refused => {
            fake.take_down(0);
            wait_until_noticed(fake, pointsman);
            let before = failures(pointsman);
            asked.send();
            wait_for_failures(pointsman, before);
            fake.bring_up(0);
        }
        Fault::Handshake(word, text) => {
            fake.change(|world| world.rules.insert(0, Rule::on(word, Act::Error((*text).to_owned())).at(0)));
            fake.close_connections(0);
            wait_until_noticed(fake, pointsman);
            let before = failures(pointsman);
            asked.send();
            wait_for_failures(pointsman, before);
            fake.change(|world| {
                world.rules.remove(0);
            });
        }
        _ => asked.send(),
    }
    asked.read()
}

fn failures(pointsman: &Pointsman) -> f64 {
    pointsman.metrics().sum("pointsman_backend_connect_failures_total", &[])
}

fn wait_for_failures(pointsman: &Pointsman, before: f64) {
    eventually("new connections fail", || check(failures(pointsman) >= before + 1.0, failures(pointsman)));
}

/// No connection to the first node is left, as far as the proxy knows.
fn wait_until_noticed(fake: &Fake, pointsman: &Pointsman) {
    let node = format!("node=\"{}\"", fake.address(0));
    eventually("the proxy has noticed", || {
        let metrics = pointsman.metrics();
        let open = metrics.sum("pointsman_backend_connections", &[&node]);
        let own = metrics.sum("pointsman_pinned_connections", &[]);
        check(open == 0.0 && own == 0.0, (open, own))
    });
}

fn run_row(fault: &Fault, expected: &[Outcome; 9]) {
    let fake = Fake::start(2, 0);
    fake.change(|world| world.password = Some("backend".into()));
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.cluster_extra.push("password: \"backend\"".into());
            setup.request_timeout_ms = 10_000;
        })
        .allow(LOST)
        .start();
    // HELLO is said to a node only for clients that speak RESP3.
    let resp3 = matches!(fault, Fault::Handshake("HELLO", _));
    let [mut client, mut another] = [pointsman.client(), pointsman.client()];
    if resp3 {
        client.line("HELLO 3");
        another.line("HELLO 3");
    }
    for (number, (class, expected)) in CLASSES.into_iter().zip(expected).enumerate() {
        let dials = matches!(fault, Fault::Refused | Fault::Handshake(..));
        // What is watched is lost with its connection: that row is T50's.
        if dials && class == WatchedExec {
            continue;
        }
        let name = format!("cell{number}");
        let (key, other) = (key_on(0, 2, &name, 0), key_on(1, 2, &name, 0));
        let mut asked = Asked { class, client: &mut client, key: key.clone(), other };
        let reply = run(&fake, &pointsman, &mut asked, fault);
        asked.judge(*expected, &reply, fault);
        let value = fake.change(|world| world.value(&key)).expect("it was there before");
        match expected {
            Done => assert_eq!(value, asked.executed(), "{class:?} after {fault:?}"),
            Maybe => assert!(["0", "1"].contains(&value.as_str()), "{class:?} after {fault:?}: {value}"),
            _ => assert_eq!(value, "0", "{class:?} after {fault:?}"),
        }
        let executed = fake.received(|received| {
            received.is(asked.class.at()) && received.has_key(&key) && received.executed
        });
        let reads = matches!(class, Read | SplitRead);
        assert!(
            reads || executed.len() <= 1,
            "{class:?} after {fault:?} was executed {} times",
            executed.len()
        );
        // The next answer is the next request's, for this client and another.
        fake.change(|world| world.rules.clear());
        let unique = format!("unique {number}");
        assert_eq!(client.command(&["SET", &key, &unique]), Reply::ok(), "{class:?} after {fault:?}");
        assert_eq!(client.command(&["GET", &key]), Reply::bulk(&unique), "{class:?} after {fault:?}");
        assert_eq!(another.command(&["GET", &key]), Reply::bulk(&unique));
        client.line("UNWATCH");
    }
    // Only what says that the node itself is not well counts against it.
    let unwell = matches!(fault, Fault::Error(text, _) if ["CLUSTERDOWN", "LOADING", "MASTERDOWN"].iter().any(|code| text.starts_with(code)));
    let counted = pointsman.metrics().sum("pointsman_backend_unhealthy_total", &[]);
    assert_eq!(counted > 0.0, unwell, "{counted} after {fault:?}");
    eventually("nothing is left over", || {
        let metrics = pointsman.metrics();
        let left = [
            metrics.sum("pointsman_inflight_requests", &[]),
            metrics.sum("pointsman_detours", &[]),
            metrics.sum("pointsman_client_connections", &[]) - 2.0,
        ];
        check(left == [0.0; 3], left)
    });
}

#[test]
fn t07_t09_t12_t48_every_row_of_the_table_with_every_class_of_request() {
    let rows = table();
    thread::scope(|scope| {
        for chunk in rows.chunks(rows.len().div_ceil(4)) {
            scope.spawn(move || chunk.iter().for_each(|(fault, expected)| run_row(fault, expected)));
        }
    });
}

/// No answer in time: an error in its place, and the late answer is nobody's.
#[test]
fn t10_t12_silence_with_every_class_of_request() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| setup.request_timeout_ms = 1000)
        .allow(&["time", "stall", "refresh"])
        .start();
    let mut client = pointsman.client();
    let expected = [Lost, Maybe, Lost, Maybe, Maybe, Maybe, Lost, Maybe, Maybe];
    for (number, (class, expected)) in CLASSES.into_iter().zip(expected).enumerate() {
        let name = format!("silent{number}");
        let (key, other) = (key_on(0, 2, &name, 0), key_on(1, 2, &name, 0));
        let mut asked = Asked { class, client: &mut client, key: key.clone(), other };
        let gate = fake.gate();
        let fault = Fault::Act(Act::HoldReply(gate.clone()));
        let reply = if class == Blocking {
            // One without end would wait without end: that is what it asks for.
            fake.rule(Rule::on("BLPOP", Act::Hold(gate.clone())).times(1));
            asked.client.command(&["BLPOP", &key, "0.05"])
        } else {
            run(&fake, &pointsman, &mut asked, &fault)
        };
        asked.judge(expected, &reply, &fault);
        fake.change(|world| world.rules.clear());
        // These wait at the node behind the silent one, unless that had a connection of its own.
        let unique = format!("unique {number}");
        client.send_all(&[words(&["SET", &key, &unique]), words(&["GET", &key])]);
        fake.wait_for("they are at the node", 1, |received| received.is("SET") && received.has_key(&key));
        gate.open();
        assert_eq!([client.read(), client.read()], [Reply::ok(), Reply::bulk(&unique)], "{class:?}");
        client.line("UNWATCH");
    }
    eventually("nothing is left over", || {
        let metrics = pointsman.metrics();
        let left = [metrics.sum("pointsman_inflight_requests", &[]), metrics.sum("pointsman_detours", &[])];
        check(left == [0.0; 2], left)
    });
}

/// The answer of every kind of request, cut at every byte.
#[test]
fn t19_answers_cut_at_every_byte() {
    let fake = Fake::start(2, 0);
    let (key, other) = (key_on(0, 2, "cut", 0), key_on(1, 2, "cut", 0));
    let pointsman = Setup::cluster(fake.addresses()).start();
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut client = pointsman.client();
        client.line(hello);
        client.command(&["MSET", &key, "a\r\nb", &other, "12345678901234567890"]);
        let null = if hello == "HELLO 2" { "$-1\r\n" } else { "_\r\n" };
        let transaction: &[Vec<Vec<u8>>] =
            &[words(&["MULTI"]), words(&["GET", &key]), words(&["STRLEN", &key]), words(&["EXEC"])];
        for (at, requests, expected, longest) in [
            ("GET", &[words(&["GET", &key])][..], "$4\r\na\r\nb\r\n".to_owned(), 10),
            ("GET", &[words(&["GET", &format!("{{{key}}}none")])], null.to_owned(), null.len()),
            (
                "MGET",
                &[words(&["MGET", &key, &other])],
                "*2\r\n$4\r\na\r\nb\r\n$20\r\n12345678901234567890\r\n".to_owned(),
                32,
            ),
            (
                "INCR",
                &[words(&["INCR", &key])],
                "-ERR value is not an integer or out of range\r\n".into(),
                47,
            ),
            ("STRLEN", &[words(&["STRLEN", &key])], ":4\r\n".to_owned(), 4),
            ("MULTI", transaction, "*2\r\n$4\r\na\r\nb\r\n:4\r\n".to_owned(), 5),
            ("GET", transaction, "*2\r\n$4\r\na\r\nb\r\n:4\r\n".to_owned(), 9),
            ("EXEC", transaction, "*2\r\n$4\r\na\r\nb\r\n:4\r\n".to_owned(), 19),
        ] {
            for cut in 0..=longest {
                fake.rule(Rule::on(at, Act::CutAt(cut)));
                let replies = client.pipeline(requests);
                assert_eq!(replies.last(), Some(&Reply(expected.clone().into_bytes())), "{at} cut at {cut}");
                fake.change(|world| world.rules.clear());
            }
        }
    }
}
