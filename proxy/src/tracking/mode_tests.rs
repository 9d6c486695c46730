use super::*;
use pointsman_protocol::command::lookup;
use pointsman_protocol::resp::args::OwnedArgs;

fn read(line: &str, before: Option<&Tracking>) -> Result<Asked, String> {
    let line = format!("CLIENT TRACKING {line}");
    let words: Vec<&str> = line.split(' ').collect();
    let owned = OwnedArgs::new(&words);
    Asked::read(owned.args(), before).map_err(|refused| String::from_utf8(refused.0).unwrap())
}

fn having(line: &str) -> Tracking {
    read(line, None).unwrap().over(None, None)
}

// T27: each row was asked of redis-server 7.0.
#[test]
fn t27_options_are_refused_as_redis_does() {
    let switch_bcast = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.";
    let switch_opt = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.";
    for (before, line, error) in [
        ("", "x", "ERR syntax error"),
        ("", "on foo", "ERR syntax error"),
        ("", "on redirect", "ERR syntax error"),
        ("", "OFF foo", "ERR syntax error"),
        ("", "ON REDIRECT abc", "ERR value is not an integer or out of range"),
        ("", "ON REDIRECT 1 REDIRECT 3", "ERR A client can only redirect to a single other client"),
        ("", "ON PREFIX a", "ERR PREFIX option requires BCAST mode to be enabled"),
        ("", "ON BCAST OPTIN", "ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ("", "ON OPTIN OPTOUT", "ERR You can't specify both OPTIN mode and OPTOUT mode"),
        (
            "",
            "ON BCAST PREFIX a PREFIX ab",
            "ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap.",
        ),
        (
            "ON BCAST PREFIX a",
            "ON BCAST PREFIX ab",
            "ERR Prefix 'ab' overlaps with an existing prefix 'a'. Prefixes for a single client must not overlap.",
        ),
        (
            "ON BCAST",
            "ON BCAST PREFIX q",
            "ERR Prefix 'q' overlaps with an existing prefix ''. Prefixes for a single client must not overlap.",
        ),
        ("ON OPTIN", "ON OPTOUT", switch_opt),
        ("ON OPTOUT", "ON OPTIN", switch_opt),
        ("ON", "ON BCAST", switch_bcast),
        ("ON BCAST", "ON", switch_bcast),
    ] {
        let before = (!before.is_empty()).then(|| having(before));
        assert_eq!(read(line, before.as_ref()), Err(error.to_owned()), "{line}");
    }
    let many: Vec<String> = (0..=PREFIXES_MAX).map(|number| format!("PREFIX {number:05}")).collect();
    assert!(
        read(&format!("ON BCAST {}", many.join(" ")), None).is_err_and(|text| text.contains("1000 prefixes"))
    );
}

#[test]
fn t27_what_is_told_of_it() {
    let all = having("ON");
    assert_eq!(all.words(), ["on"]);
    assert_eq!(having("ON BCAST NOLOOP PREFIX b PREFIX a").words(), ["on", "bcast", "noloop"]);
    let mut optin = having("on optin");
    let caching = |tracking: &mut Tracking, word: &str| {
        Tracking::set_caching(Some(tracking), word.as_bytes())
            .map_err(|refused| String::from_utf8(refused.0).unwrap())
    };
    let wrong_no = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
    assert_eq!(caching(&mut optin, "NO"), Err(wrong_no.to_owned()));
    assert_eq!(caching(&mut optin, "maybe"), Err("ERR syntax error".to_owned()));
    assert_eq!(caching(&mut optin, "Yes"), Ok(()));
    assert_eq!(optin.words(), ["on", "optin", "caching-yes"]);
    let mut optout = having("on optout noloop");
    assert!(caching(&mut optout, "yes").is_err());
    assert_eq!(caching(&mut optout, "no"), Ok(()));
    assert_eq!(optout.words(), ["on", "optout", "caching-no", "noloop"]);
    assert!(Tracking::set_caching(None, b"yes").is_err());
}

#[test]
fn t27_a_second_on_adds_prefixes_and_replaces_the_rest() {
    let first = having("ON BCAST NOLOOP PREFIX b");
    let second = read("ON BCAST PREFIX a", Some(&first)).unwrap().over(Some(first), None);
    assert_eq!(second.prefixes.iter().map(Vec::as_slice).collect::<Vec<_>>(), [b"a", b"b"]);
    assert!(!second.noloop);
    let third = read("ON BCAST", Some(&second)).unwrap().over(Some(second), None);
    assert_eq!(third.prefixes.len(), 3, "as in Redis");
    assert_eq!(read("OFF PREFIX x BCAST", None), Ok(Asked::default()));
    assert_eq!(having("ON BCAST").prefixes.into_iter().collect::<Vec<_>>(), [b""]);
}

#[test]
fn t27_which_requests_count() {
    let minds =
        |line: &str, name: &str, caching: bool| having(line).minds(lookup(name.as_bytes()).unwrap(), caching);
    for (line, name, caching, expected) in [
        ("ON", "GET", false, true),
        ("ON", "MGET", false, true),
        ("ON", "PFCOUNT", false, true),
        ("ON", "EVAL_RO", false, true),
        ("ON", "EVAL", false, true),
        ("ON", "SET", false, false),
        ("ON", "GETEX", false, false),
        ("ON BCAST", "GET", false, false),
        ("ON OPTIN", "GET", false, false),
        ("ON OPTIN", "GET", true, true),
        ("ON OPTOUT", "GET", false, true),
        ("ON OPTOUT", "GET", true, false),
    ] {
        assert_eq!(minds(line, name, caching), expected, "{line}, {name}, {caching}");
    }
}
