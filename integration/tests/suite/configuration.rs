//! Configuration files: `pointsman check`, the examples, passwords.

use pointsman_integration::process::{Finished, Launch, TempDir};
use pointsman_integration::{Fake, Reply, Setup, tools};
use std::time::Duration;

fn check(text: &str) -> (Finished, String) {
    let dir = TempDir::new("check");
    let file = dir.path().join("file.yaml");
    std::fs::write(&file, text).expect("a file can be written");
    let finished =
        Launch::new(tools::our_binary("pointsman")).arg("check").arg(&file).run(Duration::from_secs(20));
    (finished, file.display().to_string())
}

#[test]
fn a_good_file_is_ok() {
    let (finished, _) = check(&Setup::cluster(["127.0.0.1:7001"]).yaml("127.0.0.1:6379", "127.0.0.1:9180"));
    assert!(finished.expect_success().contains("ok"));
}

#[test]
fn all_problems_are_named_at_once_each_with_its_place() {
    let text = "worker: 2\n\
                listeners:\n\
                \x20 - listen: nowhere\n\
                \x20   reads: replicas\n\
                backends:\n\
                \x20 main:\n\
                \x20   cluster:\n\
                \x20     seeds: []\n\
                \x20   request_timeout_ms: -5\n";
    let (finished, file) = check(text);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.output);
    let has = |line: usize, words: &[&str]| {
        let place = format!("{file}:{line}:");
        let found = finished.output.lines().find(|text| text.contains(&place));
        let found = found.unwrap_or_else(|| panic!("nothing about {place}\n{}", finished.output));
        words.iter().for_each(|word| assert!(found.contains(word), "'{word}' is not in: {found}"));
    };
    has(1, &["worker", "workers"]);
    has(3, &["listen", "nowhere"]);
    has(4, &["reads", "replicas", "primary", "prefer_replica"]);
    has(8, &["seeds"]);
    has(9, &["request_timeout_ms", "-5"]);
}

#[test]
fn what_is_no_yaml_is_named_with_its_line() {
    let (finished, file) = check("workers: 2\nlisteners: [\n");
    assert_eq!(finished.status.code(), Some(1), "{}", finished.output);
    assert!(finished.output.contains(&format!("{file}:")), "{}", finished.output);
}

#[test]
fn the_examples_are_ok() {
    let examples = tools::workspace().join("config/examples");
    let files: Vec<_> = std::fs::read_dir(&examples)
        .expect("there are examples")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("an example can be read");
        // Some take a password from outside; check wants it to be there.
        let dir = TempDir::new("example");
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "secret").expect("a file can be written");
        let text: String = text
            .lines()
            .map(|line| match line.split_once("password_file:") {
                Some((before, _)) => format!("{before}password_file: {}\n", secret.display()),
                None => format!("{line}\n"),
            })
            .collect();
        let copy = dir.path().join("example.yaml");
        std::fs::write(&copy, &text).expect("a file can be written");
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("password_env:"));
        let set = names.map(|rest| format!("{}=secret", rest.split_whitespace().next().expect("a name")));
        let launch = Launch::new("env").args(set);
        let launch = launch.arg(tools::our_binary("pointsman")).arg("check").arg(&copy);
        let finished = launch.run(Duration::from_secs(20));
        assert!(finished.status.success(), "{}:\n{}", file.display(), finished.output);
    }
}

#[test]
fn t29_a_listener_with_a_password_lets_in_who_knows_it() {
    let fake = Fake::start(1, 0);
    let pointsman =
        Setup::cluster(fake.addresses()).with(|setup| setup.password = Some("open sesame".into())).start();
    let mut client = pointsman.client();
    assert!(client.line("GET k").is_error_of("NOAUTH"));
    assert!(client.line("PING").is_error_of("NOAUTH"));
    assert!(client.command(&["AUTH", "wrong"]).is_error_of("WRONGPASS"));
    assert_eq!(client.command(&["AUTH", "open sesame"]), Reply::ok());
    assert!(client.line("GET k").is_null());
    assert_eq!(pointsman.client().command(&["AUTH", "default", "open sesame"]), Reply::ok());
    let hello = pointsman.client().command(&["HELLO", "3", "AUTH", "default", "open sesame"]);
    assert!(hello.0.starts_with(b"%"), "{hello}");
    // Pipelined behind a wrong one nothing gets in.
    let mut stranger = pointsman.client();
    let replies = stranger.pipeline(&[vec!["AUTH", "wrong"], vec!["SET", "k", "stolen"]]);
    assert!(replies.iter().all(Reply::is_error), "{replies:?}");
    assert!(client.line("GET k").is_null());
    assert!(!pointsman.log().join("\n").contains("sesame"), "no secret in the log");
}

#[test]
fn t19_who_is_not_let_in_yet_may_send_little() {
    let fake = Fake::start(1, 0);
    let pointsman =
        Setup::cluster(fake.addresses()).with(|setup| setup.password = Some("secret".into())).start();
    for bytes in [&b"*1000\r\n"[..], b"*2\r\n$4\r\nAUTH\r\n$1000000\r\n"] {
        let mut client = pointsman.client();
        client.send_bytes(bytes);
        assert!(client.read().is_error(), "{}", bytes.escape_ascii());
        assert!(client.is_closed_within(Duration::from_secs(5)));
    }
}
