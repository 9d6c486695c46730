use super::*;
use pointsman_protocol::resp::args::OwnedArgs;

fn patience(line: &str) -> Option<(usize, Option<u128>)> {
    let owned = OwnedArgs::new(&line.split(' ').collect::<Vec<_>>());
    let spec = command::resolve(owned.args()).unwrap();
    Patience::of(spec, owned.args()).map(|patience| (patience.at, patience.time.map(|time| time.as_millis())))
}

// T54
#[test]
fn t54_how_long_each_command_waits() {
    for (line, expected) in [
        ("BLPOP a b 5", Some((3, Some(5000)))),
        ("BRPOP a 0.25", Some((2, Some(250)))),
        ("BLPOP a 0", Some((2, None))),
        ("BLMOVE a b LEFT RIGHT 1.5", Some((5, Some(1500)))),
        ("BRPOPLPUSH a b 2", Some((3, Some(2000)))),
        ("BLMPOP 3 1 a LEFT", Some((1, Some(3000)))),
        ("BZMPOP 0 1 a MIN", Some((1, None))),
        ("BZPOPMIN a 1", Some((2, Some(1000)))),
        ("XREAD COUNT 1 BLOCK 300 STREAMS s 0", Some((4, Some(300)))),
        ("XREADGROUP GROUP g c block 0 STREAMS s >", Some((5, None))),
        ("WAIT 1 100", Some((2, Some(100)))),
        ("WAITAOF 1 0 0", Some((3, None))),
        ("BLPOP a soon", None),
        ("BLPOP a -1", None),
    ] {
        assert_eq!(patience(line), expected, "{line}");
    }
}

fn said_again(line: &str, waited_ms: u64) -> Result<String, Again> {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, &line.split(' ').collect::<Vec<_>>());
    match again(&bytes, Duration::from_millis(waited_ms)) {
        Again::Send(bytes) => {
            let mut decoder = RequestDecoder::new();
            decoder.next(&bytes, &RequestLimits::AUTHENTICATED).unwrap().unwrap();
            let words = decoder.args(&bytes);
            Ok(words.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "))
        }
        other => Err(other),
    }
}

// T57
#[test]
fn t57_it_goes_again_with_the_time_that_is_left() {
    assert_eq!(said_again("BLPOP a 5", 1500), Ok("BLPOP a 3.500".to_owned()));
    assert_eq!(said_again("BLPOP a 0", 1500), Ok("BLPOP a 0".to_owned()));
    assert_eq!(said_again("BLPOP a 1", 1500), Err(Again::TimeIsUp));
    assert_eq!(said_again("BRPOPLPUSH a b 1", 1000), Err(Again::TimeIsUp));
    assert_eq!(said_again("BLMPOP 2 1 a LEFT", 500), Ok("BLMPOP 1.500 1 a LEFT".to_owned()));
    assert_eq!(said_again("XREAD BLOCK 300 STREAMS s 0", 100), Ok("XREAD BLOCK 200 STREAMS s 0".to_owned()));
    assert_eq!(said_again("XREAD BLOCK 0 STREAMS s $", 100), Err(Again::Never));
}

#[test]
fn t57_what_puts_elsewhere_what_it_takes_is_known() {
    for (line, expected) in [
        ("BLMOVE a b LEFT RIGHT 1", true),
        ("brpoplpush a b 1", true),
        ("BLPOP a 1", false),
        ("BLMPOP 1 1 a LEFT", false),
        ("XREADGROUP GROUP g c BLOCK 1 STREAMS s >", false),
    ] {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(moves(&bytes), expected, "{line}");
    }
}
