use super::super::role::Role;
use super::*;

fn at(port: u16) -> HostPort {
    HostPort::new("h", port)
}

/// `epoch primary up-replica -down-replica ...`
fn view(line: &str) -> View {
    let mut words = line.split(' ');
    let mut number = || words.next().unwrap().parse::<u16>().unwrap();
    let (epoch, primary) = (u64::from(number()), at(number()));
    let replicas = words.map(|word| {
        let port = word.trim_start_matches('-').parse().unwrap();
        (at(port), !word.starts_with('-'))
    });
    View { primary, epoch, replicas: replicas.collect() }
}

#[test]
fn t90_of_several_sentinels_the_newest_and_then_the_most_count() {
    for (what, lines, expected) in [
        ("nobody", "", "none"),
        ("one", "0 1 2 3", "1 @0 by 1 [2 3]"),
        ("one stale", "1 2 3|1 2 3|0 1 2 3", "2 @1 by 2 [3]"),
        ("all but one stale", "0 1 2 3|0 1 2 3|1 2 3", "2 @1 by 1 [3]"),
        ("of one epoch, two against one", "4 1 2|4 5 1|4 1 2", "1 @4 by 2 [2]"),
        ("of one epoch, one against one", "4 5 1|4 1 5", "1 @4 by 1 [5]"),
        ("down for most", "1 1 -2 3|1 1 -2 -3|1 1 2 3", "1 @1 by 3 [3]"),
        ("down for half", "1 1 -2|1 1 2", "1 @1 by 2 []"),
        ("known to one only", "1 1|1 1 2", "1 @1 by 2 [2]"),
    ] {
        let views: Vec<View> = lines.split('|').filter(|line| !line.is_empty()).map(view).collect();
        let found = choose(&views).map_or("none".to_owned(), |chosen| {
            let replicas: Vec<String> =
                chosen.replicas.iter().map(|address| address.port().to_string()).collect();
            format!(
                "{} @{} by {} [{}]",
                chosen.primary.port(),
                chosen.epoch,
                chosen.votes,
                replicas.join(" ")
            )
        });
        assert_eq!(found, expected, "{what}");
    }
}

fn told(port: u16, is_primary: bool, history: &str, before: Option<&str>) -> Told {
    let role = Role {
        is_primary,
        history: history.to_owned(),
        before: before.map(str::to_owned),
        link_up: !is_primary,
        ..Role::default()
    };
    Told { address: at(port), role }
}

// T90: the node itself must say so, and nobody else who came after it.
#[test]
fn t90_what_sentinels_say_is_verified() {
    let chosen = choose(&[view("3 1 2")]).unwrap();
    let judged = |told: &[Told], majority| judge(told, &chosen, majority).map(|node| node.address.port());
    let healthy = [told(1, true, "a", None), told(2, false, "a", None)];
    assert_eq!(judged(&healthy, true), Ok(1));
    assert_eq!(judged(&healthy, false), Ok(1));
    for (why, told) in [
        ("does not answer", vec![told(2, false, "a", None)]),
        ("says that it is a replica", vec![told(1, false, "a", None), told(2, false, "a", None)]),
        ("promoted from it", vec![told(1, true, "a", None), told(2, true, "b", Some("a"))]),
    ] {
        let error = judged(&told, true).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let contested = [told(1, true, "c", None), told(2, true, "b", None), told(3, false, "b", None)];
    assert_eq!(judged(&contested, true), Ok(1));
    // One of three that answered tells the newest failover: the others have only not heard of it yet.
    let newest = choose(&[view("3 1 2"), view("2 2 1"), view("2 2 1")]).unwrap();
    assert_eq!(newest.votes, 1);
    assert_eq!(judge(&contested, &newest, true).map(|node| node.address.port()), Ok(1));
    assert!(judged(&contested, false).unwrap_err().contains("minority"));
}

#[test]
fn answers_as_redis_gives_them() {
    fn frame(words: &[&str]) -> OwnedFrame {
        OwnedFrame::Array(words.iter().map(|word| OwnedFrame::BulkString(word.as_bytes().to_vec())).collect())
    }
    let address = frame(&["127.0.0.1", "7001"]);
    let primary = frame(&["name", "g", "ip", "127.0.0.1", "port", "7000", "config-epoch", "7"]);
    let replicas = OwnedFrame::Array(vec![
        frame(&["name", "x", "ip", "127.0.0.1", "port", "7002", "flags", "slave"]),
        frame(&["name", "y", "ip", "::1", "port", "7003", "flags", "s_down,slave,disconnected"]),
        frame(&["name", "z", "ip", "", "port", "0", "flags", "slave"]),
    ]);
    let view = View::parse(&address, &primary, &replicas).unwrap();
    assert_eq!((view.primary.to_string(), view.epoch), ("127.0.0.1:7001".to_owned(), 7));
    assert_eq!(
        view.replicas,
        [(HostPort::new("127.0.0.1", 7002), true), (HostPort::new("::1", 7003), false)]
    );
    assert!(View::parse(&OwnedFrame::Null, &primary, &replicas).is_err());
    let map = HashMap::from([(HostPort::new("127.0.0.1", 7001), at(1))]);
    assert_eq!(view.mapped(&map).primary, at(1));
}
