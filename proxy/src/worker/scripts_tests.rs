use super::*;
use pointsman_protocol::resp::args::OwnedArgs;

fn sha(text: &str) -> Sha {
    Sha1::digest(text.as_bytes()).into()
}

fn hex(sha: &Sha) -> String {
    sha.iter().map(|byte| format!("{byte:02x}")).collect()
}

// T41
#[test]
fn t41_what_was_seen_is_found_by_redis_digest() {
    let scripts = Scripts::new(10, 1000);
    scripts.remember(b"return");
    // As SCRIPT LOAD answers.
    let digest = parse_sha(b"63143b6f8007b98c53ca2149822777b3566f9241").unwrap();
    assert_eq!(scripts.text(&digest).as_deref(), Some(&b"return"[..]));
    scripts.flush();
    assert_eq!(scripts.text(&digest), None);
}

#[test]
fn t41_number_and_bytes_are_bounded_and_the_oldest_goes() {
    let scripts = Scripts::new(2, 10);
    for text in ["aaaa", "bbbb", "bbbb", "cc"] {
        scripts.remember(text.as_bytes());
    }
    let known = |text: &str| scripts.text(&sha(text)).is_some();
    assert!(!known("aaaa") && known("bbbb") && known("cc"), "two at most");
    scripts.remember(b"ddddddd");
    assert!(!known("bbbb") && known("cc") && known("ddddddd"), "ten bytes at most");
    scripts.remember(b"eeeeeeeeeee");
    assert!(!known("eeeeeeeeeee") && known("ddddddd"), "what is too large alone drives nothing out");
    let none = Scripts::new(0, 10);
    none.remember(b"a");
    assert!(none.text(&sha("a")).is_none());
}

#[test]
fn t41_a_worker_tells_each_script_once_until_one_is_forgotten() {
    let (scripts, mut seen) = (Scripts::new(1, 100), Seen::default());
    assert!(seen.is_new(b"a", &scripts));
    scripts.remember(b"a");
    assert!(!seen.is_new(b"a", &scripts));
    scripts.remember(b"b");
    assert!(seen.is_new(b"a", &scripts), "it had to make room");
    scripts.flush();
    assert!(seen.is_new(b"a", &scripts));
}

#[test]
fn t41_the_digest_becomes_the_text() {
    let scripts = Scripts::new(10, 1000);
    scripts.remember(b"return 1");
    let digest = hex(&sha("return 1"));
    let upper = digest.to_uppercase();
    for (words, expected) in [
        (vec!["EVALSHA", &digest, "1", "k", "a"], Some(vec!["EVAL", "return 1", "1", "k", "a"])),
        (vec!["evalsha_ro", &upper, "0"], Some(vec!["EVAL_RO", "return 1", "0"])),
        (vec!["EVALSHA", &digest[1..], "0"], None),
        (vec!["EVALSHA", "zz143b6f8007b98c53ca2149822777b3566f9241", "0"], None),
        (vec!["EVALSHA", "00143b6f8007b98c53ca2149822777b3566f9241", "0"], None),
        (vec!["EVAL", "return 1", "0"], None),
        (vec!["GET", &digest], None),
    ] {
        let (mut told, mut wanted) = (Vec::new(), Vec::new());
        let text = with_text(OwnedArgs::new(&words).args(), &scripts, &mut told);
        if let Some(words) = &expected {
            encode::request(&mut wanted, words);
        }
        assert_eq!((text.is_some(), told), (expected.is_some(), wanted), "{words:?}");
    }
}
