//! The configuration that tests write is well-formed, and binaries that lack are named.

use pointsman_integration::{Setup, tools};

#[test]
fn the_file_says_what_the_test_set() {
    let setup = Setup::cluster(["127.0.0.1:1", "127.0.0.1:2"]).with(|setup| {
        setup.reads = "prefer_replica";
        setup.password = Some("secret".into());
        setup.listener_extra = vec!["client_limits:".into(), "  inflight_max: 7".into()];
    });
    let yaml = setup.yaml("127.0.0.1:3", "127.0.0.1:4");
    for line in [
        "  - listen: \"127.0.0.1:3\"",
        "    reads: prefer_replica",
        "    password: \"secret\"",
        "    client_limits:\n      inflight_max: 7",
        "        - \"127.0.0.1:2\"",
    ] {
        assert!(yaml.contains(line), "'{line}' is not in\n{yaml}");
    }
}

#[test]
#[should_panic(expected = "or build it with 'cargo build --profile")]
fn a_missing_binary_is_named_with_the_command_that_builds_it() {
    tools::our_binary("no-such-binary");
}
