//! The example files are right, and mean to another YAML library what they mean to ours.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use pointsman_config::{BackendKind, Config, Distribution, ReadPolicy, parse};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// An example on a machine where its secrets are in place.
fn example(name: &str) -> Config {
    let text = std::fs::read_to_string(examples().join(name)).unwrap();
    let read_file = |_: &Path| -> io::Result<String> { Ok("from a file\n".to_owned()) };
    match parse(&text, name, &|_| Some("from the environment".to_owned()), &read_file) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn every_example_is_valid() {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(examples()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        example(&name);
        names.insert(name);
    }
    let wanted = [
        "fixed-shards.yaml",
        "from-twemproxy.yaml",
        "full.yaml",
        "job-frameworks.yaml",
        "legacy-client.yaml",
        "one-primary.yaml",
        "read-write-splitting.yaml",
        "sentinel.yaml",
        "shared-endpoint.yaml",
        "sidecar.yaml",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn the_examples_say_what_their_names_promise() {
    let sidecar = example("sidecar.yaml");
    assert!(sidecar.listeners.iter().all(|listener| listener.listen.ip().is_loopback()));
    let shared = example("shared-endpoint.yaml");
    assert!(shared.listeners.iter().all(|listener| listener.password.is_some()));
    let legacy = example("legacy-client.yaml");
    assert_eq!(legacy.listeners[0].reads.policy, ReadPolicy::Primary);
    let BackendKind::Cluster(cluster) = &legacy.backends[0].kind else { panic!("a cluster") };
    assert_eq!(cluster.address_map.len(), 3);
    let split = example("read-write-splitting.yaml");
    let policies: Vec<_> = split.listeners.iter().map(|listener| listener.reads.policy).collect();
    assert_eq!(policies, [ReadPolicy::Primary, ReadPolicy::PreferReplica]);
    let ring = example("from-twemproxy.yaml");
    let BackendKind::Fixed(ring) = &ring.backends[0].kind else { panic!("fixed shards") };
    assert_eq!((ring.distribution, ring.hash_tag), (Distribution::Ketama, Some((b'{', b'}'))));
    assert_eq!((ring.shards[1].name.as_str(), ring.shards[1].weight), ("server2", 2));
    let one = example("one-primary.yaml");
    assert!(matches!(&one.backends[0].kind, BackendKind::Primary(seeded) if seeded.seeds.len() == 3));
    let sentinels = example("sentinel.yaml");
    let BackendKind::Sentinel(sentinel) = &sentinels.backends[1].kind else { panic!("sentinels") };
    assert_eq!((sentinels.backends.len(), sentinel.groups.len()), (2, 3));
    let fixed = example("fixed-shards.yaml");
    assert!(matches!(&fixed.backends[0].kind, BackendKind::Fixed(fixed) if fixed.shards.len() == 3));
    assert_eq!(example("full.yaml"), Config::embedded_default());
}

#[test]
fn another_library_reads_the_same_values() {
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        // Written by that library in its own layout, the file must say the same.
        let rewritten = serde_yaml::to_string(&value).unwrap();
        assert_ne!(rewritten, text);
        let env = |_: &str| Some("x".to_owned());
        let read_file = |_: &Path| -> io::Result<String> { Ok("x".to_owned()) };
        let original = parse(&text, "original", &env, &read_file).unwrap();
        assert_eq!(parse(&rewritten, "rewritten", &env, &read_file), Ok(original), "{}", path.display());
    }
}
