//! What the process as a whole is set to.

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
