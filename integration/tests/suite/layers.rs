//! The arrows between the crates, read from cargo itself: protocol stands on nothing of ours, the
//! store never knows the proxy, and the proxy reaches the store from one module only.

use pointsman_integration::tools;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each of our crates with those of ours that it depends on, dev-dependencies left out.
fn arrows() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(tools::workspace())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages are a list");
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let of = |package: &serde_json::Value| -> Vec<String> {
        let all = package["dependencies"].as_array().expect("dependencies are a list");
        let kept = all.iter().filter(|dependency| dependency["kind"] != "dev");
        kept.filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| ours.contains(name))
            .map(str::to_owned)
            .collect()
    };
    packages
        .iter()
        .map(|package| (package["name"].as_str().expect("a name").to_owned(), of(package)))
        .collect()
}

#[test]
fn crates_depend_downwards_only() {
    let arrows = arrows();
    let allowed: &[(&str, &[&str])] = &[
        ("pointsman-protocol", &[]),
        ("pointsman-config", &["pointsman-protocol"]),
        ("pointsman-store", &["pointsman-protocol", "pointsman-config"]),
        ("pointsman", &["pointsman-protocol", "pointsman-config", "pointsman-store"]),
    ];
    for (name, below) in allowed {
        let has = arrows.get(*name).unwrap_or_else(|| panic!("there is no crate {name}: {arrows:?}"));
        for dependency in has {
            assert!(below.contains(&dependency.as_str()), "{name} may not depend on {dependency}");
        }
    }
    // bench and integration stand on top: nothing stands on them.
    for (name, has) in &arrows {
        for top in ["pointsman-bench", "pointsman-integration"] {
            assert!(!has.iter().any(|dependency| dependency == top), "{name} depends on {top}");
        }
    }
}

#[test]
fn the_proxy_reaches_the_store_from_one_module() {
    let mut found = Vec::new();
    for file in rust_files(&tools::workspace().join("proxy/src")) {
        let text = std::fs::read_to_string(&file).expect("a source file can be read");
        // Comments and log filters may speak of it.
        let uses = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("pointsman_store::") || code.contains("use pointsman_store")
        });
        if uses {
            found.push(file.strip_prefix(tools::workspace()).expect("it lies in the workspace").to_owned());
        }
    }
    assert_eq!(found, [PathBuf::from("proxy/src/bundled.rs")]);
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
