use crate::command::resolve;
use crate::resp::args::OwnedArgs;

fn refused<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let args = OwnedArgs::new(words);
    let mut out = b"earlier\r\n".to_vec();
    resolve(args.args()).expect_err("a refusal").reply(args.args(), &mut out);
    out.strip_prefix(b"earlier\r\n").expect("what was there before is left alone").to_vec()
}

// T22. The texts are redis-server 7.0.15's answers; the differential test asks it again.
#[test]
fn t22_texts_are_those_of_redis() {
    for (words, text) in [
        (&["FOO"][..], "-ERR unknown command 'FOO', with args beginning with: \r\n"),
        (&["foo", "a", "b c"], "-ERR unknown command 'foo', with args beginning with: 'a' 'b c' \r\n"),
        (&["f\r\no", "+\nOK"], "-ERR unknown command 'f  o', with args beginning with: '+ OK' \r\n"),
        (&["f\0o", "a\0b"], "-ERR unknown command 'f', with args beginning with: 'a' \r\n"),
        (&["client", "Foo"], "-ERR unknown subcommand 'Foo'. Try CLIENT HELP.\r\n"),
        (&["GET"], "-ERR wrong number of arguments for 'get' command\r\n"),
        (&["CLIENT", "ID", "x"], "-ERR wrong number of arguments for 'client|id' command\r\n"),
        (&[], "-ERR unknown command '', with args beginning with: \r\n"),
    ] {
        assert_eq!(String::from_utf8(refused(words)).unwrap(), text, "{words:?}");
    }
}

#[test]
fn t22_long_requests_are_shown_in_part() {
    let long = "x".repeat(200);
    let text = String::from_utf8(refused(&[&long, &long, "b"])).unwrap();
    let shown = "x".repeat(128);
    assert_eq!(text, format!("-ERR unknown command '{shown}', with args beginning with: '{shown}' \r\n"));
    // The quotes and spaces count too: two arguments of 60 leave room for two bytes of the third.
    let (a, b) = ("a".repeat(60), "b".repeat(60));
    let text = String::from_utf8(refused(&["f", &a, &b, "cccc", "d"])).unwrap();
    assert_eq!(text, format!("-ERR unknown command 'f', with args beginning with: '{a}' '{b}' 'cc' \r\n"));
    let many = vec!["y"; 100_000];
    assert!(refused(&many).len() < 300);
}

#[test]
fn t22_bytes_that_are_no_text_stay() {
    let bytes = refused(&[&b"\xff\xfe"[..], b"\x80"]);
    assert_eq!(bytes, b"-ERR unknown command '\xff\xfe', with args beginning with: '\x80' \r\n");
}
