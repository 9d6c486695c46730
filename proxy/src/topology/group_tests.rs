use super::*;

/// `port role history before offset`: `1 primary b a 10`, `2 replica a - 10`, `3 unlinked a - 5`.
fn told(line: &str) -> Told {
    let words: Vec<&str> = line.split(' ').collect();
    let [port, role, history, before, offset] = words[..] else { panic!("{line}") };
    Told {
        address: HostPort::new("h", port.parse().unwrap()),
        role: Role {
            is_primary: role == "primary",
            link_up: role == "replica",
            history: history.to_owned(),
            before: (before != "-").then(|| before.to_owned()),
            offset: offset.parse().unwrap(),
            ..Role::default()
        },
    }
}

/// `history before`; silent for so many seconds before [`now`].
fn used(port: u16, histories: &str, silent: u64) -> Option<InUse> {
    let (history, before) = histories.split_once(' ').unwrap_or((histories, "-"));
    Some(InUse {
        address: HostPort::new("h", port),
        history: history.to_owned(),
        before: (before != "-").then(|| before.to_owned()),
        heard: now() - Duration::from_secs(silent),
    })
}

/// Some moment, always the same.
fn now() -> Instant {
    static NOW: std::sync::LazyLock<Instant> =
        std::sync::LazyLock::new(|| Instant::now() + Duration::from_secs(1000));
    *NOW
}

#[test]
fn t90_who_is_believed() {
    for (what, lines, in_use, expected) in [
        ("the only one", "1 primary a - 5|2 replica a - 5", None, "1"),
        ("nobody claims it", "1 replica a - 5|2 replica a - 5", None, "nobody"),
        ("nobody answers", "", used(1, "a", 9), "nobody"),
        ("a replica is never one", "2 unlinked a - 5", used(1, "a", 9), "nobody"),
        ("followed by more", "1 primary a - 90|2 primary b - 5|3 replica b - 5", None, "2"),
        ("further ahead", "1 primary a - 5|2 primary b - 90", None, "2"),
        ("promoted from the other", "1 primary a - 90|2 primary b a 5", None, "2"),
        (
            "promoted from the other, whose replicas have not followed yet",
            "1 primary a - 9|2 primary b a 5|3 replica a - 9",
            used(1, "a", 0),
            "2",
        ),
        ("a failover", "2 primary b a 5|3 replica b a 5", used(1, "a", 0), "2"),
        ("the old one came back empty", "1 primary c - 0", used(2, "b", 0), "doubtful 1"),
        ("the old one came back, and the new one stalls", "1 primary c - 0", used(2, "b", 9), "doubtful 1"),
        ("the new one is gone for good", "1 primary c - 0", used(2, "b", 10), "1"),
        ("promoted from the old one, and stalls", "1 primary a - 900", used(2, "b a", 1), "outdated 1"),
        (
            "promoted from the old one, and silent for long",
            "1 primary a - 900",
            used(2, "b a", 900),
            "outdated 1",
        ),
        (
            "silent, and the old one has kept replicas",
            "1 primary a - 900|3 replica a - 900",
            used(2, "b a", 900),
            "outdated 1",
        ),
        (
            "silent, and its own replica was promoted beside the old one",
            "1 primary a - 900|3 replica a - 900|4 primary c b 9",
            used(2, "b a", 1),
            "4",
        ),
        (
            "it was made a replica of the old one again",
            "1 primary a - 9|2 replica a - 9",
            used(2, "b a", 0),
            "1",
        ),
        ("another run of the old one", "1 primary c a 900", used(2, "b a", 9), "doubtful 1"),
        (
            "the old one came back beside the new one",
            "1 primary c - 900|2 primary b a 5",
            used(2, "b", 0),
            "2",
        ),
        ("the old one came back with its data", "1 primary a - 900|2 primary b a 5", used(2, "b", 0), "2"),
        ("restarted in its place", "1 primary c - 0|2 unlinked a - 5", used(1, "a", 0), "1"),
        ("it says itself that it is none", "1 replica b - 5|2 primary b x 5", used(1, "a", 0), "2"),
        (
            "its replicas have left it",
            "1 primary a - 9|2 primary b - 5|3 replica b - 5",
            used(1, "a", 0),
            "2",
        ),
        ("its replicas stay", "1 primary a - 9|2 primary b - 50|3 replica a - 5", used(1, "a", 0), "1"),
    ] {
        let told: Vec<Told> = lines.split('|').filter(|line| !line.is_empty()).map(told).collect();
        let found = match choose(&told, in_use.as_ref(), now()) {
            Choice::Primary(node) => node.address.port().to_string(),
            Choice::Doubtful(node) => format!("doubtful {}", node.address.port()),
            Choice::Outdated(node) => format!("outdated {}", node.address.port()),
            Choice::Nobody => "nobody".to_owned(),
        };
        assert_eq!(found, expected, "{what}");
    }
}

// T72, T77: a replica of something else is no replica of this primary.
#[test]
fn t77_replicas_are_those_of_the_same_history() {
    let told: Vec<Told> =
        ["1 primary b a 5", "2 replica b a 5", "3 replica a - 5", "4 unlinked b a 1", "5 primary c - 0"]
            .map(told)
            .to_vec();
    let ports: Vec<u16> = replicas(&told, &told[0]).iter().map(|node| node.address.port()).collect();
    assert_eq!(ports, [2, 4]);
}
