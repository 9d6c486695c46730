//! Whatever stands in the file, the answer is a configuration or a list of problems: never a panic,
//! never a problem without a true line.

use std::io;
use std::path::Path;

use pointsman_config::{BackendKind, Config, Place, Problems, parse};
use proptest::prelude::*;

const FULL: &str = include_str!("../examples/full.yaml");

fn judge(text: &str) -> Result<Config, Problems> {
    let read_file = |_: &Path| -> io::Result<String> { Err(io::ErrorKind::NotFound.into()) };
    let result = parse(text, "g.yaml", &|_| None, &read_file);
    match &result {
        Ok(config) => trusted(config),
        Err(problems) => {
            assert!(problems.count() > 0);
            let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
            for problem in problems.iter() {
                let Place::Line(file, line) = &problem.place else { panic!("no line: {problem}") };
                assert!(
                    file == "g.yaml" && (1..=lines).contains(line),
                    "{problem}\nin {lines} lines of {text:?}"
                );
                assert!(!problem.to_string().contains(['\n', '\t', '\u{1b}']), "{problem:?}");
            }
        }
    }
    result
}

/// What the rest of the program relies on without looking.
fn trusted(config: &Config) {
    assert!(config.workers > 0 && !config.listeners.is_empty() && !config.backends.is_empty());
    for listener in &config.listeners {
        assert!(listener.backend < config.backends.len());
        let limits = listener.limits;
        assert!(limits.clients_max > 0 && limits.inflight_max > 0);
        assert!(limits.bulk_bytes_max <= limits.request_bytes_max);
        assert!(limits.inline_bytes_max <= limits.request_bytes_max);
        assert!(limits.output_pause_bytes <= limits.output_bytes_max);
    }
    for backend in &config.backends {
        match &backend.kind {
            BackendKind::Bundled(bundled) => assert_eq!(bundled.ports().len(), usize::from(bundled.nodes())),
            BackendKind::Cluster(seeded) | BackendKind::Primary(seeded) => assert!(!seeded.seeds.is_empty()),
            BackendKind::Sentinel(sentinel) => {
                assert!(!sentinel.sentinels.is_empty() && !sentinel.groups.is_empty());
            }
            BackendKind::Fixed(fixed) => {
                assert!(
                    !fixed.shards.is_empty()
                        && fixed.shards.iter().all(|shard| !shard.seeds.is_empty() && shard.weight > 0)
                );
            }
        }
        assert!(backend.username.is_none() || backend.password.is_some());
        assert!(backend.reconnect.backoff <= backend.reconnect.backoff_max);
        assert!(backend.retry.backoff <= backend.retry.backoff_max);
        assert!(backend.topology.min_interval <= backend.topology.interval);
        assert!(backend.lag.interval <= backend.lag.stale_after);
    }
}

/// Text made of the pieces that YAML and our keys are made of.
fn yaml_like() -> impl Strategy<Value = String> {
    let words: Vec<&str> = FULL.split_whitespace().collect();
    let marks = [
        "\n",
        "\n  ",
        "\n    ",
        "\n- ",
        ": ",
        " ",
        ",",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "#",
        "|\n",
        ">-\n",
        "&a ",
        "*a",
        "!x ",
        "!!str ",
        "? ",
        "\t",
        "~",
        "---\n",
        "...\n",
        "%TAG ! x\n",
        "\r\n",
        "\\",
        "<<: ",
        "-1",
        "1MiB",
        "é",
        "\u{0}",
        "\u{feff}",
        "\u{85}",
    ];
    let piece = prop_oneof![
        3 => prop::sample::select(marks.to_vec()),
        2 => prop::sample::select(words),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in ".{0,200}") {
        let _ = judge(&text);
    }

    #[test]
    fn any_text_with_lines(text in "[ -~\n\t]{0,300}") {
        let _ = judge(&text);
    }

    #[test]
    fn yaml_like_text(text in yaml_like()) {
        let _ = judge(&text);
    }

    /// The full example with some of its bytes replaced, doubled or taken out.
    #[test]
    fn a_damaged_file(edits in prop::collection::vec((0..FULL.len(), 0u8..3, prop::char::range(' ', '~')), 1..8)) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (at, what, c) in edits {
            let at = at % text.len();
            match what {
                0 => text[at] = c,
                1 => text.insert(at, c),
                _ => { text.remove(at); }
            }
        }
        let text: String = text.into_iter().collect();
        let _ = judge(&text);
    }

    /// The full example with the value of one line replaced: only that line is complained about, and
    /// those whose rules name its key.
    #[test]
    fn one_damaged_value(line in 0usize..1000, value in "[a-zA-Z0-9.]{0,8}|[0-9]{1,11}(KiB|MB|GiB)?") {
        let mut lines: Vec<String> = FULL.lines().map(str::to_owned).collect();
        let line = line % lines.len();
        let Some((start, old)) = lines[line].split_once(": ") else { return Ok(()) };
        let key = start.trim_start_matches([' ', '-']).to_owned();
        // Comments are no keys, and a key without a value has others below it.
        if key.contains(['#', ' ']) || old.trim_start().starts_with('#') {
            return Ok(());
        }
        lines[line] = format!("{start}: {value}");
        let Err(problems) = judge(&lines.join("\n")) else { return Ok(()) };
        for problem in problems.iter() {
            let there = matches!(problem.place, Place::Line(_, at) if at == line + 1);
            prop_assert!(there || problem.wrong.contains(&key), "line {}: {}", line + 1, problem);
        }
    }
}
