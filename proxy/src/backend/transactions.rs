//! Whether a node lets us execute transactions, asked once on each new connection.
//!
//! A transaction goes out as one piece (see [`crate::client::transaction`]). If the node refused its MULTI,
//! as it does where our user may not say that, it would execute each of the commands behind it by
//! itself; and if it took MULTI and refused EXEC, it would queue whatever any client sends from then on. Neither
//! can be mended afterwards, so an empty transaction goes first, before the connection carries anything.

use super::dial::read_reply;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What the node said to one of the three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It did it.
    Done,
    /// It does not know the word, or we may not say it.
    Denied,
    /// EXEC: nothing was executed, and the transaction is over.
    Aborted,
    /// DISCARD: there is no transaction.
    NoneOpen,
    /// Anything else.
    Broken,
}

fn understand(reply: &[u8]) -> Answer {
    match reply {
        [b'-', ..] if reply.starts_with(b"-EXECABORT") => Answer::Aborted,
        [b'-', ..] if reply.starts_with(b"-ERR DISCARD without MULTI") => Answer::NoneOpen,
        [b'-', ..] if reply.starts_with(b"-NOPERM") || reply.starts_with(b"-ERR unknown command") => {
            Answer::Denied
        }
        [b'-', ..] => Answer::Broken,
        _ => Answer::Done,
    }
}

/// Executes an empty transaction. `Ok(false)` if the node does not let us, and the connection is as before.
///
/// # Errors
/// The connection is of no use: it broke, or the node is busy, or it cannot be brought out of the transaction.
pub(super) async fn are_allowed(stream: &mut TcpStream) -> Result<bool, String> {
    match ask(stream, b"*1\r\n$5\r\nMULTI\r\n").await? {
        (Answer::Done, _) => {}
        (Answer::Denied, _) => return Ok(false),
        (_, text) => return Err(format!("it refused to begin a transaction: {text}")),
    }
    match ask(stream, b"*1\r\n$4\r\nEXEC\r\n").await? {
        (Answer::Done, _) => return Ok(true),
        (Answer::Aborted, _) => return Ok(false),
        (Answer::Denied, _) => {}
        (_, text) => return Err(format!("it refused to end a transaction: {text}")),
    }
    match ask(stream, b"*1\r\n$7\r\nDISCARD\r\n").await? {
        (Answer::Done | Answer::NoneOpen, _) => Ok(false),
        (_, text) => Err(format!(
            "its user may say MULTI but neither EXEC nor DISCARD; allow all three or none: {text}"
        )),
    }
}

async fn ask(stream: &mut TcpStream, word: &[u8]) -> Result<(Answer, String), String> {
    stream.write_all(word).await.map_err(|error| error.to_string())?;
    let reply = read_reply(stream).await?;
    let text = String::from_utf8_lossy(&reply).trim_start_matches('-').trim_end().to_owned();
    Ok((understand(&reply), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_to_an_empty_transaction() {
        for (reply, answer) in [
            (&b"+OK\r\n"[..], Answer::Done),
            (b"*0\r\n", Answer::Done),
            (b"-NOPERM User p has no permissions to run the 'multi' command\r\n", Answer::Denied),
            (b"-ERR unknown command 'MULTI', with args beginning with: \r\n", Answer::Denied),
            (b"-EXECABORT Transaction discarded because of: NOPERM ...\r\n", Answer::Aborted),
            (b"-ERR DISCARD without MULTI\r\n", Answer::NoneOpen),
            (b"-BUSY Redis is busy running a script.\r\n", Answer::Broken),
            (b"-NOAUTH Authentication required.\r\n", Answer::Broken),
        ] {
            assert_eq!(understand(reply), answer, "{}", reply.escape_ascii());
        }
    }
}
