//! The code that an error reply begins with, and what it says about the request's fate.
//!
//! Sources: the error replies of redis-server 7.0.15 and the Redis Cluster specification.

/// The first word of an error reply, as far as routing cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The slot lives elsewhere for good.
    Moved,
    /// This one key is elsewhere: the slot is being migrated.
    Ask,
    /// A multi-key command hit a slot in migration with its keys on both sides.
    TryAgain,
    /// The cluster, or this slot, has no owner right now.
    ClusterDown,
    /// The node is reading its data set from disk.
    Loading,
    /// A replica that refuses to answer because its primary is away.
    MasterDown,
    /// A write reached a replica.
    ReadOnly,
    /// The backend wants a password that we did not give: our configuration is wrong, not the client's.
    NoAuth,
    /// The backend refused the password that we gave.
    WrongPass,
    /// Anything else: an answer to the command, to be passed on.
    Other,
}

impl ErrorCode {
    /// Reads the code of an error reply (its bytes from the `-` on).
    pub fn of(reply: &[u8]) -> ErrorCode {
        let word = reply.strip_prefix(b"-").unwrap_or(reply);
        let end = word.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n')).unwrap_or(word.len());
        match &word[..end] {
            b"MOVED" => ErrorCode::Moved,
            b"ASK" => ErrorCode::Ask,
            b"TRYAGAIN" => ErrorCode::TryAgain,
            b"CLUSTERDOWN" => ErrorCode::ClusterDown,
            b"LOADING" => ErrorCode::Loading,
            b"MASTERDOWN" => ErrorCode::MasterDown,
            b"READONLY" => ErrorCode::ReadOnly,
            b"NOAUTH" => ErrorCode::NoAuth,
            b"WRONGPASS" => ErrorCode::WrongPass,
            _ => ErrorCode::Other,
        }
    }

    /// True if the node answers this only when it has *not* executed the command, so that even a
    /// write may be sent again.
    pub fn proves_not_executed(self) -> bool {
        self != ErrorCode::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T07
    #[test]
    fn t07_codes_of_error_replies() {
        for (reply, code, retried) in [
            (&b"-MOVED 1 :6379\r\n"[..], ErrorCode::Moved, true),
            (b"-ASK 1 a:1\r\n", ErrorCode::Ask, true),
            (b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", ErrorCode::TryAgain, true),
            (b"-CLUSTERDOWN Hash slot not served\r\n", ErrorCode::ClusterDown, true),
            (b"-LOADING Redis is loading the dataset in memory\r\n", ErrorCode::Loading, true),
            (b"-MASTERDOWN Link with MASTER is down\r\n", ErrorCode::MasterDown, true),
            (b"-READONLY You can't write against a read only replica.\r\n", ErrorCode::ReadOnly, true),
            (b"-NOAUTH Authentication required.\r\n", ErrorCode::NoAuth, true),
            (b"-WRONGPASS invalid username-password pair\r\n", ErrorCode::WrongPass, true),
            (b"-ERR syntax error\r\n", ErrorCode::Other, false),
            (b"-MOVEDX 1\r\n", ErrorCode::Other, false),
            (b"-OOM command not allowed\r\n", ErrorCode::Other, false),
            (b"-BUSY Redis is busy\r\n", ErrorCode::Other, false),
            (b"-WRONGTYPE Operation\r\n", ErrorCode::Other, false),
            (b"-MISCONF x\r\n", ErrorCode::Other, false),
            (b"-NOREPLICAS x\r\n", ErrorCode::Other, false),
            (b"-\r\n", ErrorCode::Other, false),
        ] {
            assert_eq!(ErrorCode::of(reply), code);
            assert_eq!(code.proves_not_executed(), retried, "{code:?}");
        }
    }
}
