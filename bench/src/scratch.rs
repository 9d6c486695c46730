//! A temporary directory that goes away with its owner.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// An empty directory of our own; dropping it removes it and what is inside.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a directory under the system's temporary one; `purpose` is part of its name.
    pub fn new(purpose: &str) -> Result<Scratch, String> {
        let base = env::temp_dir();
        for attempt in 0..1_000 {
            let path = base.join(format!("pointsman-bench-{purpose}-{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Scratch(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(format!("cannot make {}: {error}", path.display())),
            }
        }
        Err(format!("{} is full of pointsman-bench directories; remove the old ones", base.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and gives its path.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path)
    }

    /// Makes a directory inside it and gives its path.
    pub fn directory(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory left behind is untidy but harms nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}
