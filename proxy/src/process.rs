//! What the process as a whole is set to.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::disable_transparent_huge_pages;

/// A task that panics leaves half a worker behind: its clients hang, and nothing tells. Ending the
/// process is better; whoever supervises it starts a fresh one. Bundled nodes are excepted: they
/// answer a command that fails by a bug with an error, and go on.
pub fn abort_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        if !std::thread::current().name().is_some_and(|name| name.starts_with("store-")) {
            tracing::error!(%panic, "a bug; ending the process");
            std::process::abort();
        }
    }));
}

/// Every client and every connection to a node is a file descriptor; many systems allow a process
/// 1,024 unless it asks for more.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}

/// Has memory come in pages of the usual size: with huge ones a proxy with 10,000 idle clients holds
/// 36 MB instead of 22, and bundled nodes pause (see the store's `process.rs`).
pub fn avoid_huge_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "huge pages cannot be switched off; the process takes more memory");
    }
}
