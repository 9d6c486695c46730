use super::*;
use crate::random::Random;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

fn put(keyspace: &mut Keyspace, key: &str, value: &[u8], expire_at: Option<u64>) {
    let place = keyspace.place(key.as_bytes());
    keyspace.put(place, key.as_bytes(), Payload::Slice(value), Encoding::Raw, expire_at).unwrap();
}

fn get(keyspace: &Keyspace, key: &str) -> Option<Vec<u8>> {
    let handle = keyspace.find(keyspace.place(key.as_bytes()), key.as_bytes())?;
    Some(keyspace.bytes(handle).to_vec())
}

fn remove(keyspace: &mut Keyspace, key: &str) -> bool {
    let place = keyspace.place(key.as_bytes());
    let Some(handle) = keyspace.find(place, key.as_bytes()) else { return false };
    keyspace.remove(place, handle);
    true
}

fn all_keys(keyspace: &Keyspace) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    let mut cursor = Cursor::START;
    while cursor < Cursor::END {
        cursor =
            keyspace.walk(cursor, |handle| assert!(keys.insert(keyspace.key(handle).to_vec()), "met twice"));
    }
    keys
}

// Two thirds of the keys share a slot, so that it gets a directory and many segments.
fn name(number: u64) -> String {
    if number.is_multiple_of(3) { format!("key:{number}") } else { format!("{{tag}}:{number}") }
}

#[test]
fn holds_what_a_model_holds_while_growing_and_shrinking() {
    let mut keyspace = Keyspace::new((1, 2));
    let mut model: BTreeMap<u64, (Vec<u8>, Option<u64>)> = BTreeMap::new();
    let mut random = Random::new(7);
    for round in 0..240_000u64 {
        // Grows, then shrinks, then grows again.
        let grows = !(80_000..160_000).contains(&round);
        let number = random.below(30_000);
        if random.below(10) < if grows { 8 } else { 1 } {
            let value =
                vec![number as u8; random.below(if number.is_multiple_of(50) { 3000 } else { 90 }) as usize];
            let expire_at = (random.below(4) == 0).then(|| 1 + random.below(1000));
            put(&mut keyspace, &name(number), &value, expire_at);
            model.insert(number, (value, expire_at));
        } else if random.below(5) == 0 {
            let place = keyspace.place(name(number).as_bytes());
            let handle = keyspace.find(place, name(number).as_bytes());
            assert_eq!(handle.is_some(), model.contains_key(&number));
            if let (Some(handle), Some((_, expire_at))) = (handle, model.get_mut(&number)) {
                *expire_at = (random.below(2) == 0).then(|| 1 + random.below(1000));
                keyspace.set_expiry(place, handle, *expire_at).unwrap();
            }
        } else {
            assert_eq!(remove(&mut keyspace, &name(number)), model.remove(&number).is_some());
        }
        assert_eq!(keyspace.len(), model.len() as u64);
        if round.is_multiple_of(20_000) {
            check(&keyspace, &model);
        }
    }
    check(&keyspace, &model);
    let numbers: Vec<u64> = model.keys().copied().collect();
    for number in numbers {
        assert!(remove(&mut keyspace, &name(number)));
    }
    assert_eq!((keyspace.len(), keyspace.expiring(), keyspace.bytes_live()), (0, 0, 0));
    assert_eq!(keyspace.table.bytes_of_parts(), 0);
}

fn check(keyspace: &Keyspace, model: &BTreeMap<u64, (Vec<u8>, Option<u64>)>) {
    for (number, (value, expire_at)) in model {
        let key = name(*number);
        let handle = keyspace.find(keyspace.place(key.as_bytes()), key.as_bytes()).expect(&key);
        assert_eq!(keyspace.bytes(handle), value, "{key}");
        assert_eq!(keyspace.expire_at(handle), *expire_at, "{key}");
    }
    let expiring = model.values().filter(|(_, expire_at)| expire_at.is_some()).count();
    assert_eq!(keyspace.expiring(), expiring as u64);
    let names: BTreeSet<Vec<u8>> = model.keys().map(|number| name(*number).into_bytes()).collect();
    assert_eq!(all_keys(keyspace), names);
    let tagged = model.keys().filter(|number| !number.is_multiple_of(3)).count();
    let slot = pointsman_protocol::Slot::of(b"{tag}").number();
    assert!(keyspace.keys_in_slot(slot) as usize >= tagged);
}

#[test]
fn a_walk_meets_every_key_that_stays() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut keyspace = Keyspace::new((seed, 3));
        let stays: Vec<String> = (0..3_000).map(|number| name(number * 2)).collect();
        stays.iter().for_each(|key| put(&mut keyspace, key, b"v", None));
        // Around them thousands of others come (the slot's segments split) and go (they merge).
        let mut others = Vec::new();
        let mut met: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut cursor = Cursor::START;
        let mut steps = 0;
        while cursor < Cursor::END {
            cursor =
                keyspace.walk(cursor, |handle| *met.entry(keyspace.key(handle).to_vec()).or_default() += 1);
            steps += 1;
            let grows = (steps / 4) % 2 == seed % 2;
            for _ in 0..500 {
                if grows {
                    let key = name(random.below(100_000) * 2 + 1);
                    put(&mut keyspace, &key, b"w", None);
                    others.push(key);
                } else if !others.is_empty() {
                    let key = others.swap_remove(random.below(others.len() as u64) as usize);
                    remove(&mut keyspace, &key);
                }
            }
        }
        assert!(steps > 20);
        for key in &stays {
            assert!(met.contains_key(key.as_bytes()), "{key} was not met (seed {seed})");
        }
    }
}

#[test]
fn cursors_survive_being_told() {
    let mut keyspace = Keyspace::new((5, 6));
    (0..5000).for_each(|number| put(&mut keyspace, &name(number), b"v", None));
    let mut cursor = Cursor::START;
    let mut met = 0;
    loop {
        cursor = keyspace.walk(Cursor::from_number(cursor.number()), |_| met += 1);
        assert!(cursor.number() < 1 << 34);
        if keyspace.walk_is_over(cursor) {
            break;
        }
        assert_ne!(cursor.number(), 0, "zero means the end");
    }
    assert_eq!(met, 5000);
    assert_eq!(Cursor::from_number(u64::MAX), Cursor::END);
    assert_eq!(Cursor::END.number(), 0);
}

#[test]
fn a_sweep_removes_exactly_what_has_expired() {
    let mut keyspace = Keyspace::new((1, 1));
    for number in 0..9000u64 {
        put(&mut keyspace, &name(number), b"v", (!number.is_multiple_of(4)).then_some(1000 + number));
    }
    let sweep = |keyspace: &mut Keyspace, now_ms| {
        let mut told = BTreeSet::new();
        let swept = keyspace.sweep(now_ms, || false, |_, key| assert!(told.insert(key.to_vec())));
        assert!(!swept.unfinished);
        assert_eq!(swept.removed, told.len() as u64);
        told.len()
    };
    assert_eq!(sweep(&mut keyspace, 1000), 0);
    assert_eq!(sweep(&mut keyspace, 1001), 0, "a key is there for the millisecond it expires in");
    assert_eq!(sweep(&mut keyspace, 1002), 1);
    assert_eq!(sweep(&mut keyspace, 1004), 2);
    assert_eq!(sweep(&mut keyspace, 5001), 3000 - 3);
    assert_eq!(keyspace.expiring(), 3750);
    // An expiry taken away is no reason to remove anything, one brought forward is.
    for number in 5000..9000u64 {
        let key = name(number);
        let place = keyspace.place(key.as_bytes());
        let handle = keyspace.find(place, key.as_bytes()).unwrap();
        keyspace.set_expiry(place, handle, (number < 5500).then_some(10)).unwrap();
    }
    assert_eq!(sweep(&mut keyspace, 20_000), 500 + 750);
    assert_eq!(keyspace.expiring(), 0);
    assert_eq!(keyspace.len(), 9000 / 4 + 3500 - 3500 / 4 - 125);
}

#[test]
fn a_sweep_can_stop_at_any_time() {
    let mut keyspace = Keyspace::new((1, 1));
    (0..9000).for_each(|number| put(&mut keyspace, &name(number), b"v", Some(10)));
    let mut removed = 0;
    let mut calls = 0;
    loop {
        let swept = keyspace.sweep(20, || true, |_, _| {});
        removed += swept.removed;
        calls += 1;
        if !swept.unfinished {
            break;
        }
    }
    assert_eq!((removed, keyspace.len()), (9000, 0));
    assert!(calls > 100, "{calls}");
}

#[test]
fn draws_reach_every_key_with_about_the_same_chance() {
    let mut keyspace = Keyspace::new((9, 9));
    assert_eq!(keyspace.draw(|_| 0), None);
    (0..2000).for_each(|number| put(&mut keyspace, &name(number), b"v", None));
    let mut random = Random::new(3);
    let mut drawn: HashMap<Vec<u8>, u32> = HashMap::new();
    for _ in 0..200_000 {
        let handle = keyspace.draw(|bound| random.below(bound)).unwrap();
        *drawn.entry(keyspace.key(handle).to_vec()).or_default() += 1;
    }
    assert_eq!(drawn.len(), 2000);
    let (least, most) = (drawn.values().min().unwrap(), drawn.values().max().unwrap());
    assert!(*least > 20 && *most < 300, "{least} to {most} where 100 is expected");
}

#[test]
fn clearing_forgets_everything_at_once() {
    let mut keyspace = Keyspace::new((0, 0));
    let empty = keyspace.bytes_held();
    (0..50_000).for_each(|number| put(&mut keyspace, &name(number), b"v", Some(5)));
    put(&mut keyspace, "large", &vec![0; 1 << 20], None);
    assert!(keyspace.bytes_held() > empty + (1 << 20));
    keyspace.clear();
    assert_eq!((keyspace.len(), keyspace.expiring(), keyspace.bytes_held()), (0, 0, empty));
    assert_eq!(get(&keyspace, "large"), None);
    put(&mut keyspace, "after", b"v", None);
    assert_eq!(get(&keyspace, "after"), Some(b"v".to_vec()));
}

#[test]
fn memory_is_given_back_when_keys_go() {
    let mut keyspace = Keyspace::new((0, 0));
    (0..100_000).for_each(|number| put(&mut keyspace, &name(number), &[1; 64], None));
    let full = keyspace.bytes_held();
    (0..100_000)
        .filter(|number| number % 50 != 0)
        .for_each(|number| assert!(remove(&mut keyspace, &name(number))));
    assert_eq!(all_keys(&keyspace).len(), 2000);
    // Pages that still hold an entry stay; the tables must have shrunk.
    assert!(keyspace.table.bytes_held() * 3 < full, "{} of {full}", keyspace.table.bytes_held());
    for number in 0..100_000 {
        remove(&mut keyspace, &name(number));
    }
    assert!(keyspace.bytes_held() * 5 < full, "{} of {full}", keyspace.bytes_held());
}

proptest! {
    // Values cross every boundary between the two forms in which they are kept, and back.
    #[test]
    fn values_change_their_form_and_keep_their_content(
        sizes in proptest::collection::vec((0usize..2200, any::<bool>()), 1..40),
        key_len in 0usize..400,
    ) {
        let mut keyspace = Keyspace::new((1, 2));
        let key = "k".repeat(key_len);
        let place = keyspace.place(key.as_bytes());
        for (number, (size, expires)) in sizes.into_iter().enumerate() {
            let value: Vec<u8> = (0..size).map(|at| (at + number) as u8).collect();
            let expire_at = expires.then_some(number as u64 + 1);
            put(&mut keyspace, &key, &value, expire_at);
            prop_assert_eq!(get(&keyspace, &key), Some(value.clone()));
            let handle = keyspace.find(place, key.as_bytes()).unwrap();
            // Turning the expiry round moves the entry.
            keyspace.set_expiry(place, handle, (!expires).then_some(77)).unwrap();
            let handle = keyspace.find(place, key.as_bytes()).unwrap();
            prop_assert_eq!(keyspace.expire_at(handle), (!expires).then_some(77));
            prop_assert_eq!(keyspace.key(handle), key.as_bytes());
            prop_assert_eq!(keyspace.bytes(handle), &value[..]);
            prop_assert_eq!(keyspace.expiring(), u64::from(!expires));
        }
        prop_assert!(remove(&mut keyspace, &key));
        prop_assert_eq!(keyspace.bytes_live(), 0);
    }
}
