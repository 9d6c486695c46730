//! The end of a task's turn: how a connection that always has more to read lets the others have theirs.
//!
//! A task that wakes itself at once is ready again before anybody has looked at the sockets, and they are looked at only
//! once in so many polls of ready tasks (`EVENT_INTERVAL` in `worker/mod.rs`). As long as one connection brings
//! more than is read in a turn, that is all polls there are: whoever else has sent something would wait for hundreds
//! of its turns. So the scheduler is asked to wake the task only after it looked.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

/// Ends the turn of the task being polled: it is polled again behind all that are ready, and after sockets and timers
/// were looked at.
pub(crate) fn end<T>(cx: &mut Context<'_>) -> Poll<T> {
    // The first poll tells the scheduler; there is nothing to keep of it, since any later poll is the next turn.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io::Write;
    use std::rc::Rc;
    use std::task::Poll;
    use tokio::io::AsyncReadExt;
    use tokio::runtime::{Builder, LocalOptions};

    /// One task is always ready; how often it is polled until another has read each of ten bytes.
    #[test]
    fn sockets_are_looked_at_between_two_turns() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(100_000)
            .build_local(LocalOptions::default())
            .unwrap();
        let turns = runtime.block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut sending = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            sending.set_nodelay(true).unwrap();
            let (reading, _) = listener.accept().unwrap();
            reading.set_nonblocking(true).unwrap();
            let mut reading = tokio::net::TcpStream::from_std(reading).unwrap();
            let turns = Rc::new(Cell::new(0_u64));
            let counted = turns.clone();
            tokio::task::spawn_local(poll_fn(move |cx| -> Poll<()> {
                counted.set(counted.get() + 1);
                super::end(cx)
            }));
            for _ in 0..10 {
                let mut byte = [0];
                // Nothing is there yet: only the driver can tell that it has come.
                assert!(reading.try_read(&mut byte).is_err());
                sending.write_all(b"x").unwrap();
                reading.read_exact(&mut byte).await.unwrap();
            }
            turns.get()
        });
        assert!(turns < 10_000, "{turns} turns of the one before ten bytes were read");
    }
}
