//! Where the programs under test are: a given path, `PATH` and the system's daemon directories,
//! beside this binary, or the project's `.tools` directory.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directories that hold daemons and are often not in a user's `PATH`.
const DAEMON_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program of this name in `PATH` or a daemon directory.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> =
        env::split_paths(&path).chain(DAEMON_DIRECTORIES.iter().map(PathBuf::from)).collect();
    directories.into_iter().map(|directory| directory.join(name)).find(|file| is_program(file))
}

/// A program of this name beside this very binary, where cargo puts the workspace's others.
pub fn beside_us(name: &str) -> Option<PathBuf> {
    let file = env::current_exe().ok()?.parent()?.join(name);
    is_program(&file).then_some(file)
}

/// A program of this name under `.tools` of the current directory or of one above it: directly, in
/// `bin`, or (for `envoy`) inside the Python package that carries it.
pub fn in_tools(name: &str) -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    here.ancestors().map(|directory| directory.join(".tools")).filter(|tools| tools.is_dir()).find_map(
        |tools| {
            [tools.join(name), tools.join("bin").join(name)]
                .into_iter()
                .find(|file| is_program(file))
                .or_else(|| in_python_package(&tools, name, 3))
        },
    )
}

/// Looks for `lib/pythonX/site-packages/NAME/_bin/NAME` at most `depth` directories down.
fn in_python_package(directory: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let inside = directory.join("site-packages").join(name).join("_bin").join(name);
    if is_program(&inside) {
        return Some(inside);
    }
    let below = depth.checked_sub(1)?;
    let entries = std::fs::read_dir(directory).ok()?;
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .find_map(|entry| in_python_package(&entry.path(), name, below))
}

/// The path if it is a program, otherwise an error that names the flag it came from.
pub fn given(path: &Path, flag: &str) -> Result<PathBuf, String> {
    if is_program(path) {
        return path.canonicalize().map_err(|error| format!("{flag} {}: {error}", path.display()));
    }
    Err(format!("{flag} {}: there is no program of this name", path.display()))
}

/// The first line that a program prints about its version, or its name if it prints none.
pub fn version(program: &Path, flag: &str) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(output) = Command::new(program).arg(flag).output() else { return name };
    let text = [output.stdout, output.stderr].concat();
    // Some print their whole path, which says nothing to others.
    let text = String::from_utf8_lossy(&text).replace(&*program.to_string_lossy(), &name);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map_or(name, str::to_owned)
}

/// ` (built in target/quick)` for a program of ours that cargo did not build for release: its
/// figures are not those of what is shipped.
pub fn build_note(program: &Path) -> String {
    let directory =
        |path: &Path| path.parent().and_then(|parent| Some(parent.file_name()?.to_str()?.to_owned()));
    let target = program.parent().and_then(directory);
    match directory(program) {
        Some(profile) if target.as_deref() == Some("target") && profile != "release" => {
            format!(" (a {profile} build, NOT the release build)")
        }
        _ => String::new(),
    }
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::fs;

    #[test]
    fn programs_and_other_files() {
        assert!(in_path("sh").is_some());
        assert_eq!(in_path("no-such-program-here"), None);
        assert!(given(Path::new("Cargo.toml"), "--envoy").unwrap_err().contains("--envoy Cargo.toml"));
    }

    #[test]
    fn builds_that_are_not_for_release_are_marked() {
        assert_eq!(build_note(Path::new("/x/target/quick/bench")), " (a quick build, NOT the release build)");
        assert_eq!(build_note(Path::new("/x/target/release/bench")), "");
        assert_eq!(build_note(Path::new("/usr/bin/envoy")), "");
    }

    #[test]
    fn a_program_inside_a_python_package() {
        let scratch = Scratch::new("find").unwrap();
        let directory = scratch.path().join("venv/lib/python3.11/site-packages/envoy/_bin");
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("envoy");
        fs::write(&file, "#!/bin/sh\n").unwrap();
        assert_eq!(in_python_package(scratch.path(), "envoy", 3), None, "not executable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(in_python_package(scratch.path(), "envoy", 3), Some(file));
        assert_eq!(in_python_package(scratch.path(), "envoy", 2), None, "too deep");
    }
}
