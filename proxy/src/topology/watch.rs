//! Listens to sentinels, so that a failover is noticed when they announce it and not with the next round.
//!
//! What they say is only a hint: it makes [`super::groups`] ask. So nothing is lost but time when a
//! connection is lost, and messages that nobody understands do no harm.

use super::fetch::{Control, text};
use super::publish::Published;
use pointsman_config::Backend;
use pointsman_protocol::HostPort;
use redis_protocol::resp2::types::OwnedFrame;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// What sentinels announce when something changes in a group.
const CHANNELS: [&str; 11] = [
    "+switch-master",
    "+promoted-slave",
    "+failover-end",
    "+convert-to-slave",
    "+slave",
    "+slave-reconf-done",
    "+reboot",
    "+sdown",
    "-sdown",
    "+odown",
    "-odown",
];

/// Pause before a lost connection to a sentinel is made again.
const AGAIN: Duration = Duration::from_secs(1);

/// Listens to one sentinel, forever. `backend` says how to log in to it.
pub async fn run(sentinel: HostPort, backend: Backend, groups: Vec<String>, published: Arc<Published>) {
    let mut words = vec!["SUBSCRIBE"];
    words.extend(CHANNELS);
    loop {
        let reason = match Control::connect(&sentinel, &backend).await {
            Err(error) => error,
            Ok(control) => {
                let hear = |frame: &OwnedFrame| {
                    if concerns(frame, &groups) {
                        published.request_refresh("sentinel");
                    }
                };
                control.listen(&words, backend.topology.interval, hear).await
            }
        };
        tracing::debug!(%sentinel, reason, "a sentinel cannot be listened to; trying again");
        sleep(AGAIN).await;
    }
}

/// True for a message that names one of the groups.
fn concerns(frame: &OwnedFrame, groups: &[String]) -> bool {
    let OwnedFrame::Array(parts) = frame else { return false };
    let part = |index: usize| parts.get(index).and_then(text);
    let Some(payload) = part(2).filter(|_| part(0) == Some(b"message")) else { return false };
    let payload = String::from_utf8_lossy(payload);
    payload.split(' ').any(|word| groups.iter().any(|group| group == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t90_only_our_groups_concern_us() {
        let message = |words: &[&str]| {
            OwnedFrame::Array(
                words.iter().map(|word| OwnedFrame::BulkString(word.as_bytes().to_vec())).collect(),
            )
        };
        let groups = ["ours".to_owned()];
        for (words, expected) in [
            (&["message", "+switch-master", "ours 127.0.0.1 1 127.0.0.1 2"][..], true),
            (&["message", "+sdown", "slave 127.0.0.1:2 127.0.0.1 2 @ ours 127.0.0.1 1"], true),
            (&["message", "+switch-master", "theirs 127.0.0.1 1 127.0.0.1 2"], false),
            (&["message", "+switch-master", "ours2 127.0.0.1 1 127.0.0.1 2"], false),
            (&["subscribe", "+switch-master", "1"], false),
            (&["pong", ""], false),
        ] {
            assert_eq!(concerns(&message(words), &groups), expected, "{words:?}");
        }
    }
}
