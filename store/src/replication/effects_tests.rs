use super::*;
use crate::keyspace::Place;

fn log(waiting_bytes_max: usize) -> EffectLog {
    let limits = NodeLimits {
        backlog_bytes: 100,
        replica_output_bytes_max: waiting_bytes_max,
        ..NodeLimits::default()
    };
    EffectLog::new(NodeId::from_bytes([1; 20]), &limits)
}

fn follower(id: u64, phase: Phase) -> Follower {
    Follower {
        id,
        host: "127.0.0.1".to_owned(),
        port: 1,
        phase,
        acked: 0,
        acked_ms: 0,
        overrun: false,
        wake: Rc::new(Notify::new()),
    }
}

fn cursor(slot: u16) -> Cursor {
    Cursor::of(Place { slot, hash: 0 })
}

fn copying(cursor: Cursor) -> Phase {
    Phase::Copying { cursor, pending: Vec::new(), out: Vec::new() }
}

fn stage(log: &mut EffectLog, slot: Option<u16>, text: &str) {
    log.stage(slot.map(cursor), |out| out.extend_from_slice(text.as_bytes()));
}

fn copied(log: &mut EffectLog, id: u64) -> String {
    match &log.follower_mut(id).unwrap().phase {
        Phase::Copying { out, .. } => String::from_utf8(out.clone()).unwrap(),
        Phase::Streaming { .. } => panic!("it streams"),
    }
}

fn stream(log: &EffectLog) -> String {
    String::from_utf8(log.backlog().read(log.backlog().start()).to_vec()).unwrap()
}

#[test]
fn nothing_is_written_until_somebody_follows() {
    let mut log = log(1000);
    stage(&mut log, Some(1), "a");
    assert!(!log.commit());
    assert_eq!(log.offset(), 0);
    log.follow(follower(1, Phase::Streaming { sent: 0 }));
    stage(&mut log, Some(1), "b");
    assert!(log.commit());
    assert!(!log.commit(), "a command without an effect");
    log.unfollow(1);
    stage(&mut log, Some(1), "c");
    assert!(log.commit(), "who has gone may come back");
    assert_eq!((log.offset(), stream(&log)), (2, "bc".to_owned()));
}

#[test]
fn several_effects_of_one_command_are_a_group() {
    let mut log = log(1000);
    log.follow(follower(1, Phase::Streaming { sent: 0 }));
    stage(&mut log, Some(1), "one;");
    log.commit();
    stage(&mut log, Some(1), "two;");
    stage(&mut log, Some(2), "three;");
    log.commit();
    stage(&mut log, Some(1), "failed;");
    log.discard();
    assert!(!log.commit());
    assert_eq!(stream(&log), "one;*1\r\n$5\r\nMULTI\r\ntwo;three;*1\r\n$4\r\nEXEC\r\n");
}

#[test]
fn a_copy_gets_the_effects_on_keys_that_it_has_passed() {
    let mut log = log(1000);
    log.follow(follower(1, copying(cursor(100))));
    log.follow(follower(2, copying(Cursor::START)));
    for (slot, text) in [(Some(99), "behind;"), (Some(100), "ahead;"), (None, "all;")] {
        stage(&mut log, slot, text);
        log.commit();
    }
    assert_eq!(copied(&mut log, 1), "behind;all;");
    assert_eq!(copied(&mut log, 2), "all;");
    // Of a group only what concerns it; a group of one is none.
    stage(&mut log, Some(5), "x;");
    stage(&mut log, Some(500), "y;");
    log.commit();
    assert_eq!(copied(&mut log, 1), "behind;all;x;");
    stage(&mut log, Some(5), "x;");
    stage(&mut log, Some(500), "y;");
    stage(&mut log, Some(6), "z;");
    log.commit();
    assert_eq!(copied(&mut log, 1), "behind;all;x;*1\r\n$5\r\nMULTI\r\nx;z;*1\r\n$4\r\nEXEC\r\n");
}

#[test]
fn who_falls_behind_too_far_is_overrun_and_holds_nothing_up() {
    let chunk = "x".repeat(10_000);
    let mut log = log(200_000);
    log.follow(follower(1, Phase::Streaming { sent: 0 }));
    log.follow(follower(2, copying(Cursor::END)));
    for written in 1..=40 {
        stage(&mut log, Some(1), &chunk);
        log.commit();
        let overrun = written * chunk.len() > 200_000;
        assert_eq!(log.follower_mut(1).unwrap().overrun, overrun, "{written}");
        assert_eq!(log.follower_mut(2).unwrap().overrun, overrun, "{written}");
        let Phase::Streaming { sent } = log.follower_mut(1).unwrap().phase else { panic!() };
        assert_eq!(log.backlog().reaches(sent), !overrun, "{written}");
    }
    assert!(log.backlog().len() < 70_000, "{}", log.backlog().len());
}
