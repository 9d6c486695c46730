//! Several nodes asked at once: their answers as they come, and an end to waiting once enough is known.
//!
//! A node that hangs would otherwise hold up what the others told. It judges no answer; whoever asks says
//! what is enough.

use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

/// How long others are waited for once enough is known.
const LATECOMERS: Duration = Duration::from_millis(250);

/// See the module's head. Dropping it ends all questions.
#[derive(Debug)]
pub struct Asking<T> {
    tasks: JoinSet<T>,
    until: Option<Instant>,
}

impl<T> Default for Asking<T> {
    /// Nobody is asked yet.
    fn default() -> Self {
        Asking { tasks: JoinSet::new(), until: None }
    }
}

impl<T: Send + 'static> Asking<T> {
    /// Asks one more.
    pub fn ask(&mut self, question: impl Future<Output = T> + Send + 'static) {
        self.tasks.spawn(question);
    }

    /// Enough is known: from the first call on, others are not waited for much longer.
    pub fn enough(&mut self) {
        self.until.get_or_insert_with(|| Instant::now() + LATECOMERS);
    }

    /// The next answer; `None` once all have answered or waiting has ended.
    ///
    /// # Errors
    /// The question itself failed (it panicked).
    pub async fn answer(&mut self) -> Option<Result<T, JoinError>> {
        match self.until {
            None => self.tasks.join_next().await,
            Some(until) => timeout_at(until, self.tasks.join_next()).await.unwrap_or(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn one_that_hangs_is_waited_for_only_until_enough_is_known() {
        let mut asking = Asking::default();
        asking.ask(ready(1));
        asking.ask(pending());
        assert_eq!(asking.answer().await.and_then(Result::ok), Some(1));
        asking.enough();
        let until = asking.until.expect("an end");
        asking.ask(ready(2));
        assert_eq!(asking.answer().await.and_then(Result::ok), Some(2), "late, and not too late");
        asking.enough();
        assert_eq!(asking.until, Some(until), "counted from the first time");
        assert!(asking.answer().await.is_none());
        assert!(Instant::now() >= until);
    }
}
