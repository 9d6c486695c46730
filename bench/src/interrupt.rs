//! Ctrl-C, SIGTERM and SIGHUP as a flag that every waiting loop looks at.
//!
//! The flag makes the loops return, so that children are ended, directories removed and a report of
//! what has been measured is printed. A signal handler that exits would leave all of that behind.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Watches for the signals, on a thread of its own, from now on.
pub fn install() -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot watch for signals: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt()).map_err(failed)?,
            signal(SignalKind::terminate()).map_err(failed)?,
            signal(SignalKind::hangup()).map_err(failed)?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        REQUESTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// True once a signal has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error once a signal has come.
pub fn check() -> Result<(), String> {
    if requested() { Err("interrupted".to_owned()) } else { Ok(()) }
}
