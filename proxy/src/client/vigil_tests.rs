use super::*;
use pointsman_protocol::command::{self, keys};
use pointsman_protocol::resp::args::OwnedArgs;

fn read(line: &str) -> Result<Option<Asked>, &'static str> {
    let words = OwnedArgs::new(&line.split(' ').collect::<Vec<_>>());
    let spec = command::resolve(words.args()).unwrap();
    let mut found = Vec::new();
    keys::find(spec, words.args(), &mut found).unwrap();
    Asked::read(spec, words.args(), &found, &Division::Slots)
}

fn vigil(line: &str) -> Vigil {
    Vigil::new(read(line).unwrap().unwrap(), Ticket(7), u64::MAX, false)
}

fn written(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with(['*', '$']))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn t59_what_is_asked_of_each_key() {
    for (line, pop, time) in [
        ("BLPOP a b 5", "LPOP b", Some(5000)),
        ("BRPOP a b 0", "RPOP b", None),
        ("BZPOPMIN a b 0.25", "ZPOPMIN b", Some(250)),
        ("BZPOPMAX a b 1", "ZPOPMAX b", Some(1000)),
        ("BLMPOP 1.5 2 a b LEFT COUNT 3", "LMPOP 1 b LEFT COUNT 3", Some(1500)),
        ("BZMPOP 0 2 a b MIN", "ZMPOP 1 b MIN", None),
    ] {
        let vigil = vigil(line);
        assert_eq!(vigil.slots(), [Slot::of(b"a"), Slot::of(b"b")], "{line}");
        assert_eq!(written(|out| vigil.write_pop(1, out)), pop);
        assert_eq!(written(|out| vigil.write_look(0, out)), "EXISTS a");
        assert_eq!(vigil.asked.time.map(|time| time.as_millis()), time, "{line}");
    }
}

#[test]
fn t59_what_cannot_be_asked_so() {
    assert_eq!(read("BLPOP a b soon"), Err(NOT_FLOAT));
    assert_eq!(read("BLPOP a b nan"), Err(NOT_FLOAT));
    assert_eq!(read("BLPOP a b 1e300"), Err(NOT_FLOAT));
    assert_eq!(read("BZMPOP -1 2 a b MIN"), Err(NEGATIVE));
    // The words and their order are a server's: what stands behind the keys is judged before the timeout.
    for (rest, text) in [
        ("", SYNTAX),
        (" NO", SYNTAX),
        (" NO COUNT 0", SYNTAX),
        (" LEFT LEFT", SYNTAX),
        (" LEFT COUNT", SYNTAX),
        (" LEFT COUNT 1 x", SYNTAX),
        (" LEFT COUNT 1 COUNT 1", SYNTAX),
        (" LEFT COUNT 0", COUNT),
        (" LEFT COUNT -1", COUNT),
        (" LEFT COUNT +1", COUNT),
        (" LEFT COUNT x", COUNT),
        (" LEFT COUNT 0 x", COUNT),
        (" LEFT COUNT 99999999999999999999", COUNT),
    ] {
        for time in ["0.1", "soon", "-1"] {
            assert_eq!(read(&format!("BLMPOP {time} 2 a b{rest}")), Err(text), "{rest}");
            let of_sets = rest.replace("LEFT", "MIN");
            assert_eq!(read(&format!("BZMPOP {time} 2 a b{of_sets}")), Err(text), "{of_sets}");
        }
    }
    assert_eq!(read("BLMPOP 1 2 a b MIN"), Err(SYNTAX));
    assert_eq!(read("BZMPOP 1 2 a b RIGHT"), Err(SYNTAX));
    assert_eq!(read("BLMPOP soon 2 a b right count 2"), Err(NOT_FLOAT));
    assert_eq!(read("BLMOVE a b LEFT RIGHT 1"), Ok(None));
    assert_eq!(read("XREAD BLOCK 0 STREAMS a b 0 0"), Ok(None));
    let many: Vec<String> = (0..=KEYS_MAX).map(|n| n.to_string()).collect();
    assert_eq!(read(&format!("BLPOP {} 0", many.join(" "))), Ok(None));
}

#[test]
fn t59_the_first_key_that_has_something_gives_it() {
    let mut vigil = vigil("BLPOP a b c 0");
    // Answers come in any order; the keys' order decides.
    assert_eq!(vigil.take(2, b":1\r\n"), Next::Wait);
    assert_eq!(vigil.take(1, b":1\r\n"), Next::Wait);
    assert_eq!(vigil.take(0, b":0\r\n"), Next::Pop(1));
    // Somebody else was quicker.
    assert_eq!(vigil.take(1, b"$-1\r\n"), Next::Pop(2));
    assert_eq!(vigil.take(2, b"$1\r\nx\r\n"), Next::Answer(b"*2\r\n$1\r\nc\r\n$1\r\nx\r\n".to_vec()));
}

#[test]
fn t59_answers_name_their_key() {
    for (line, answer, told) in [
        ("BZPOPMIN a b 0", "*2\r\n$1\r\nm\r\n$1\r\n1\r\n", "*3\r\n$1\r\na\r\n$1\r\nm\r\n$1\r\n1\r\n"),
        ("BZPOPMIN a b 0", "*2\r\n$1\r\nm\r\n,1.5\r\n", "*3\r\n$1\r\na\r\n$1\r\nm\r\n,1.5\r\n"),
        ("BLMPOP 0 2 a b LEFT", "*2\r\n$1\r\na\r\n*1\r\n$1\r\nx\r\n", "*2\r\n$1\r\na\r\n*1\r\n$1\r\nx\r\n"),
        ("BLPOP a b 0", "-WRONGTYPE no\r\n", "-WRONGTYPE no\r\n"),
    ] {
        let mut vigil = vigil(line);
        vigil.take(0, b":1\r\n");
        assert_eq!(vigil.take(1, b":0\r\n"), Next::Pop(0));
        assert_eq!(vigil.take(0, answer.as_bytes()), Next::Answer(told.as_bytes().to_vec()), "{line}");
    }
}

#[test]
fn t59_rounds_follow_one_another_ever_more_slowly() {
    let mut vigil = vigil("BZPOPMIN a b 0");
    let longest = Duration::from_millis(20);
    let mut rests = Vec::new();
    for _ in 0..7 {
        vigil.take(0, b":0\r\n");
        // It was there and is gone, or it is of another type.
        assert_eq!(vigil.take(1, b":1\r\n"), Next::Pop(1));
        assert_eq!(vigil.take(1, b"*0\r\n"), Next::Rest);
        assert!(vigil.rests());
        rests.push(vigil.rest(longest).as_millis());
        vigil.look_again();
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 20, 20]);
    vigil.take(0, b":0\r\n");
    vigil.take(1, b":1\r\n");
    assert_eq!(vigil.take(1, b"-WRONGTYPE no\r\n"), Next::Rest, "a key of another type that came later");
    assert_eq!(vigil.nothing(), b"*-1\r\n");
}

#[test]
fn t59_an_error_is_told_once_every_look_is_answered() {
    let mut vigil = vigil("BLPOP a b 0");
    assert_eq!(vigil.take(0, b"-ERR a shard cannot be reached\r\n"), Next::Wait);
    assert_eq!(vigil.take(1, b":1\r\n"), Next::Answer(b"-ERR a shard cannot be reached\r\n".to_vec()));
}

#[test]
fn t59_an_end_loses_no_element() {
    let mut resting = vigil("BLPOP a b 0");
    resting.take(0, b":0\r\n");
    resting.take(1, b":0\r\n");
    assert!(resting.end(b"*-1\r\n"), "nothing is on its way");
    let mut looking = vigil("BLPOP a b 0");
    assert!(!looking.end(b"*-1\r\n"));
    looking.take(0, b":1\r\n");
    assert_eq!(looking.take(1, b":0\r\n"), Next::Answer(b"*-1\r\n".to_vec()), "nothing is popped any more");
    let mut popping = vigil("BLPOP a b 0");
    popping.take(0, b":1\r\n");
    popping.take(1, b":0\r\n");
    assert!(!popping.end(b"*-1\r\n"));
    assert_eq!(popping.take(0, b"$1\r\nx\r\n"), Next::Answer(b"*2\r\n$1\r\na\r\n$1\r\nx\r\n".to_vec()));
}
