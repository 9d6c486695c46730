//! Questions that concern the clients of every worker: who is connected, who is to go, who is to wait.
//!
//! A worker's clients are its own, so nobody else may look at them. What CLIENT LIST, KILL and PAUSE need to
//! know is asked by message, answered by each worker for the clients of one backend, and joined by
//! the one who asked. It costs nothing while nobody asks.

use super::Message;
use super::monitor::Feed;
use super::router::{Router, SharedRouter};
use super::unblock::unblock;
use crate::backend::connection::ClientKey;
use crate::client::local::filter::Filter;
use crate::client::local::line;
use crate::client::state::Client;
use crate::route::plan::{Plan, Verb};
use crate::tracking::wire::Forget;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How often a worker looks whether the writes it sent before a pause have been answered.
const SETTLE_GRAIN: Duration = Duration::from_millis(1);

/// All workers of the process, for their messages. It does not keep them: a worker ends when those who
/// started it let go of it.
#[derive(Debug, Default)]
pub struct Fleet {
    workers: OnceLock<Vec<mpsc::WeakSender<Message>>>,
}

/// What every worker is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// The lines of CLIENT LIST.
    List(Filter),
    /// Close these clients; all but the one that asks at once.
    Kill {
        /// Which.
        filter: Filter,
        /// CLIENT ID of the client that asks: it has its reply first.
        asker: u64,
    },
    /// Stop taking requests, all or those that may write, for so long.
    Pause(Pausing, Duration),
    /// Go on.
    Unpause,
    /// Whether a client of this CLIENT ID is here.
    Find(u64),
    /// Tell a client what to forget, for another that redirects to it.
    Invalidate {
        /// Its place.
        client: ClientKey,
        /// Its CLIENT ID.
        id: u64,
        /// What.
        what: Forget,
    },
    /// Show all requests there.
    Monitor(Feed),
    /// End the wait of a client.
    Unblock {
        /// Its CLIENT ID.
        id: u64,
        /// It is to be told by an error.
        with_error: bool,
    },
}

/// One worker's answer.
#[derive(Debug)]
pub enum Tally {
    /// To [`Question::List`]: clients by their ids.
    Lines(Vec<(u64, String)>),
    /// To [`Question::Kill`]: how many clients matched, and whether the one that asks is among them.
    Killed {
        /// How many.
        count: u64,
        /// The one that asks is one of them.
        asker: bool,
    },
    /// To [`Question::Find`]: its place.
    Found(Option<ClientKey>),
    /// To [`Question::Invalidate`]: whether the client is still there.
    Told(bool),
    /// To [`Question::Unblock`]: whether it was this that ended the wait.
    Unblocked(bool),
    /// To the others.
    Done,
}

/// Which requests a pause holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pausing {
    /// Those that may write.
    Writes,
    /// All.
    Everything,
}

/// A pause of the clients of one router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// What it holds back.
    pub pausing: Pausing,
    /// When it ends, in microseconds of the worker's clock.
    pub until: u64,
}

impl Pause {
    /// This pause with another on top: as in Redis a second one never makes the first weaker or shorter.
    pub fn with(self, other: Pause) -> Pause {
        Pause { pausing: self.pausing.max(other.pausing), until: self.until.max(other.until) }
    }

    /// True if a request must wait. What is refused anyway is refused at once.
    pub fn holds(&self, plan: &Plan) -> bool {
        match plan {
            Plan::Nothing | Plan::Refuse(_) => false,
            _ if self.pausing == Pausing::Everything => true,
            // What was queued may write.
            Plan::Transaction(Verb::Exec) => true,
            _ => plan.spec().is_some_and(|spec| spec.is_write()),
        }
    }
}

impl Fleet {
    /// Makes the workers known, once all have been started.
    pub fn complete(&self, workers: Vec<mpsc::WeakSender<Message>>) {
        // A second call would be a bug; the first stands.
        let _ = self.workers.set(workers);
    }

    /// Asks every worker about the clients of one backend. Waits as long as they take: the caller
    /// bounds it. A worker that is gone has no clients.
    pub async fn ask(&self, backend: Arc<str>, question: Question) -> Vec<Tally> {
        let mut waiting = Vec::new();
        for worker in self.workers.get().map(Vec::as_slice).unwrap_or_default() {
            let Some(worker) = worker.upgrade() else { continue };
            let (answer, answered) = oneshot::channel();
            let message = Message::Ask { backend: backend.clone(), question: question.clone(), answer };
            if worker.send(message).await.is_ok() {
                waiting.push(answered);
            }
        }
        let mut tallies = Vec::with_capacity(waiting.len());
        for answered in waiting {
            tallies.extend(answered.await);
        }
        tallies
    }

    /// How many workers there are.
    pub fn worker_count(&self) -> usize {
        self.workers.get().map_or(0, Vec::len)
    }

    /// Asks one worker, by its number. `None` if it is gone.
    pub async fn ask_one(&self, worker: usize, backend: Arc<str>, question: Question) -> Option<Tally> {
        let worker = self.workers.get()?.get(worker)?.upgrade()?;
        let (answer, answered) = oneshot::channel();
        worker.send(Message::Ask { backend, question, answer }).await.ok()?;
        answered.await.ok()
    }
}

/// Answers a question for the clients of one router; that a pause has begun is told when no write
/// from before is on its way any more, or the time for a request is over.
pub fn consider(router: &SharedRouter, question: &Question, answer: oneshot::Sender<Tally>) {
    if let Question::Unblock { id, with_error } = *question {
        let router = router.clone();
        tokio::task::spawn_local(async move {
            let _ = answer.send(Tally::Unblocked(unblock(router, id, with_error).await));
        });
        return;
    }
    let tally = router.borrow_mut().consider(question);
    // Who asked may be gone; then nobody needs to know.
    if !matches!(question, Question::Pause(..)) {
        let _ = answer.send(tally);
        return;
    }
    let router = router.clone();
    tokio::task::spawn_local(async move {
        let patience = router.borrow().context.config.request_timeout;
        let settled = async {
            while router.borrow().may_still_write() {
                tokio::time::sleep(SETTLE_GRAIN).await;
            }
        };
        let _ = tokio::time::timeout(patience, settled).await;
        let _ = answer.send(tally);
    });
}

impl Router {
    /// True while something is on its way that may write. A client that waits for an element counts as one that
    /// writes, and is answered when somebody writes for it.
    fn may_still_write(&self) -> bool {
        !self.left_guards.is_empty()
            || self.clients().any(|client| {
                client.writes_in_flight > u32::from(client.is_blocked())
                    || client.guarded.is_some()
                    || (client.in_flight > 0 && client.replies.will_store())
            })
    }

    fn consider(&mut self, question: &Question) -> Tally {
        self.read_clock();
        match question {
            Question::List(filter) => {
                let now = self.now;
                let matching = self.clients().filter(|client| matches(filter, client));
                Tally::Lines(matching.map(|client| (client.id, line::of(client, now))).collect())
            }
            Question::Kill { filter, asker } => self.kill(filter, *asker),
            Question::Pause(pausing, span) => {
                let pause = Pause { pausing: *pausing, until: self.now.saturating_add(Self::micros(*span)) };
                // Who drains answers what it has read; nothing new comes in anyway.
                if !self.draining {
                    self.pause = Some(self.pause.map_or(pause, |before| before.with(pause)));
                    self.wake_ticker();
                }
                Tally::Done
            }
            Question::Unpause => {
                self.end_pause();
                Tally::Done
            }
            Question::Find(id) => Tally::Found(self.find_client(*id)),
            Question::Invalidate { client, id, what } => {
                Tally::Told(self.invalidate_for_another(*client, *id, what))
            }
            Question::Monitor(feed) => self.add_monitor(feed),
            // It takes its time; see `consider` above.
            Question::Unblock { .. } => Tally::Done,
        }
    }

    fn kill(&mut self, filter: &Filter, asker: u64) -> Tally {
        let (mut count, mut asker_too) = (0, false);
        for (_, client) in self.clients.iter_mut() {
            if !matches(filter, client) {
                continue;
            }
            count += 1;
            if client.id == asker {
                asker_too = true;
            } else {
                client.broken = true;
                client.wake();
            }
        }
        Tally::Killed { count, asker: asker_too }
    }

    /// Lets every client go on that a pause stopped.
    pub(super) fn end_pause(&mut self) {
        if self.pause.take().is_none() {
            return;
        }
        let stopped: Vec<ClientKey> = self
            .clients
            .iter()
            .filter(|(_, client)| client.paused)
            .map(|(index, client)| ClientKey { index: index as u32, generation: client.generation })
            .collect();
        stopped.into_iter().for_each(|key| self.resume(key));
    }
}

fn matches(filter: &Filter, client: &Client) -> bool {
    filter.matches(
        client.id,
        client.kind(),
        || client.address.to_string(),
        || client.own_address().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::division::Division;
    use crate::route::plan::plan;
    use pointsman_protocol::resp::args::OwnedArgs;

    fn holds(pausing: Pausing, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let owned = OwnedArgs::new(&words);
        Pause { pausing, until: 0 }.holds(&plan(owned.args(), true, &Division::Slots, &mut Vec::new()))
    }

    #[test]
    fn t27_a_pause_holds_back_what_it_says() {
        use Pausing::{Everything, Writes};
        for (line, all, writes) in [
            ("GET k", true, false),
            ("SET k v", true, true),
            ("MSET a 1 b 2", true, true),
            ("MGET a b", true, false),
            ("PUBLISH c m", true, true),
            ("EVAL x 0", true, true),
            ("PFCOUNT k", true, true),
            ("FLUSHALL", true, true),
            ("PING", true, false),
            ("MULTI", true, false),
            ("EXEC", true, true),
            ("CLIENT UNPAUSE", true, false),
            ("NOSUCH", false, false),
            ("GET", false, false),
            ("", false, false),
        ] {
            assert_eq!((holds(Everything, line), holds(Writes, line)), (all, writes), "{line}");
        }
    }

    #[test]
    fn t27_a_second_pause_never_weakens_the_first() {
        let strong = Pause { pausing: Pausing::Everything, until: 5 };
        let long = Pause { pausing: Pausing::Writes, until: 9 };
        let both = Pause { pausing: Pausing::Everything, until: 9 };
        assert_eq!((strong.with(long), long.with(strong)), (both, both));
    }
}
