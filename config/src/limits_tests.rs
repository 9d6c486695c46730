use super::*;
use crate::Config;
use std::io;

fn parse(limits: &str) -> Result<Config, crate::Problems> {
    let text = format!("listeners:\n  - limits:\n{limits}");
    crate::parse(&text, "p.yaml", &|_| None, &|_| Err(io::ErrorKind::NotFound.into()))
}

fn wrong(limits: &str) -> String {
    parse(limits).expect_err(limits).to_string()
}

#[test]
fn a_limit_is_read_with_what_it_holds_for() {
    let config = parse(
        "      - { name: jobs, per: address, prefix: 'job:', commands: [lpush, '@WRITE', 'client|list', ft.search], requests_per_second: 7, bytes_per_second: 1MiB, inflight_max: 3, burst_ms: 50 }\n      - { name: all, inflight_max: 9 }\n",
    )
    .unwrap();
    let [jobs, all] = &config.listeners[0].rate_limits[..] else { panic!("two limits") };
    let commands = ["LPUSH", "@write", "CLIENT|LIST", "FT.SEARCH"].map(str::to_owned).to_vec();
    assert_eq!((jobs.name.as_str(), jobs.per), ("jobs", LimitPer::Address));
    assert_eq!(jobs.scope, Scope { prefix: b"job:".to_vec(), commands });
    assert_eq!(
        (jobs.requests_per_second, jobs.bytes_per_second, jobs.inflight_max),
        (Some(7), Some(1 << 20), Some(3))
    );
    assert_eq!(jobs.burst, Duration::from_millis(50));
    assert_eq!((all.per, &all.scope, all.requests_per_second), (LimitPer::Client, &Scope::default(), None));
    assert_eq!(all.burst, Duration::from_millis(BURST_MS));
}

#[test]
fn mistakes_in_limits_are_told_where_they_are() {
    for (limits, part) in [
        ("      - { name: a }\n", "listeners[0].limits[0]: it limits nothing"),
        ("      - { inflight_max: 1 }\n", "listeners[0].limits[0].name: it has to be given"),
        (
            "      - { name: a, inflight_max: 1 }\n      - { name: a, inflight_max: 1 }\n",
            "limits[0] has this name already",
        ),
        (
            "      - { name: a, inflight_max: 1, commands: [gte] }\n",
            "limits[0].commands[0] = gte: there is no such command or category",
        ),
        (
            "      - { name: a, inflight_max: 1, commands: ['@raed'] }\n",
            "limits[0].commands[0] = raed: there is no such command or category",
        ),
        ("      - { name: a, inflight_max: 1, commands: ['client|lisst'] }\n", "there is no such command"),
    ] {
        assert!(wrong(limits).contains(part), "{limits}{}", wrong(limits));
    }
    let many: String =
        (0..=LIMITS_MAX).map(|n| format!("      - {{ name: l{n}, inflight_max: 1 }}\n")).collect();
    assert!(wrong(&many).contains("more than 16 limits"));
}
