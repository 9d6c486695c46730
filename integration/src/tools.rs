//! Finds the programs that tests start: our own binaries beside the test executable, Redis' on the PATH.

use crate::process::{Finished, Launch};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Our binary of this name, built with the same profile as the running test.
///
/// Fails the test with the command that builds it if it is not there.
#[track_caller]
pub fn our_binary(name: &str) -> PathBuf {
    let path = profile_dir().join(name);
    assert!(
        path.exists(),
        "there is no {}: run 'integration/run' (or 'make test'), or build it with 'cargo build --profile {} --bin {name}'",
        path.display(),
        match profile_dir().file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        }
    );
    path
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// A program of Redis (`redis-server`, `redis-cli`, `redis-benchmark`).
///
/// Fails the test with what to install if it is not there.
#[track_caller]
pub fn redis(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // Where scripts/setup puts what the machine's packages do not offer.
        .chain([workspace().join(".tools/bin")])
        .map(|dir| dir.join(name))
        .find(|program| program.exists())
        .unwrap_or_else(|| {
            panic!("{name} was not found: run 'scripts/setup test' (or install Debian's redis-tools)")
        })
}

/// Runs redis-cli.
#[track_caller]
pub fn redis_cli<A: AsRef<str>>(args: &[A]) -> Finished {
    Launch::new(redis("redis-cli")).args(args.iter().map(AsRef::as_ref)).run(Duration::from_secs(120))
}

fn profile_dir() -> PathBuf {
    // target/<profile>/deps/<test>-<hash>
    let test = std::env::current_exe().expect("the test knows its own executable");
    test.parent().and_then(Path::parent).expect("a test lies in target/<profile>/deps").to_owned()
}
