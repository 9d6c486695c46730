//! Reading real files.

use std::fs;
use std::path::PathBuf;

use pointsman_config::load;

/// A directory of its own for one test, removed with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("pointsman-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn password_files_are_found_beside_the_file() {
    let directory = Directory::new("beside");
    directory.write("secret", "hunter2\n");
    let path = directory.write("p.yaml", "listeners: [{ password_file: secret }]");
    let config = load(&path).unwrap();
    assert_eq!(config.listeners[0].password.as_ref().unwrap().expose(), "hunter2");

    let absolute = format!("listeners: [{{ password_file: '{}' }}]", directory.0.join("secret").display());
    let path = directory.write("q.yaml", absolute);
    assert!(load(&path).unwrap().listeners[0].password.is_some());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = Directory::new("unreadable");
    let missing = directory.0.join("missing.yaml");
    let problems = load(&missing).unwrap_err().to_string();
    assert!(
        problems.starts_with(&format!("{}: this file cannot be read (", missing.display())),
        "{problems}"
    );

    let binary = directory.write("binary.yaml", [0xff, 0xfe, 0x00]);
    assert!(load(&binary).unwrap_err().to_string().contains("UTF-8"));

    let large = directory.write("large.yaml", "#".repeat((1 << 20) + 1));
    assert!(load(&large).unwrap_err().to_string().contains("larger than 1048576 bytes"));
    let whole = directory.write("whole.yaml", "#".repeat(1 << 20));
    assert!(load(&whole).is_ok());

    assert!(load(&directory.0).is_err(), "a directory");
    let path = directory.write("p.yaml", "workers: 1\nlisteners: [{ password_file: ./missing }]");
    let problems = load(&path).unwrap_err().to_string();
    let place =
        format!("{}:2: listeners[0].password_file = ./missing: this file cannot be read (", path.display());
    assert!(problems.starts_with(&place), "{problems}");
}
