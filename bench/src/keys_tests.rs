use super::*;

fn counts(distribution: Distribution, keys: u64, draws: u64) -> Vec<u64> {
    let mut source = KeySource::new(distribution, keys, 42, 0, 1);
    let mut counts = vec![0; keys as usize];
    for _ in 0..draws {
        counts[source.next() as usize] += 1;
    }
    counts
}

#[test]
fn uniform_covers_every_key_about_equally() {
    let counts = counts(Distribution::Uniform, 100, 1_000_000);
    // 10,000 expected each, standard deviation 100: six of them would be one in 10^9.
    for (key, count) in counts.iter().enumerate() {
        assert!((9_400..=10_600).contains(count), "key {key} was drawn {count} times of about 10,000");
    }
}

#[test]
fn zipf_follows_its_law() {
    for theta in [0.5, 0.99, 1.0, 1.3] {
        let keys = 1_000u64;
        let draws = 2_000_000u64;
        let counts = counts(Distribution::Zipf { theta }, keys, draws);
        let total: f64 = (1..=keys).map(|rank| (rank as f64).powf(-theta)).sum();
        for rank in [1u64, 2, 3, 10, 100] {
            let expected = draws as f64 * (rank as f64).powf(-theta) / total;
            let seen = counts[rank as usize - 1] as f64;
            let slack = 6.0 * expected.sqrt();
            assert!(
                (seen - expected).abs() < slack,
                "theta {theta}, rank {rank}: {seen} draws, {expected:.0} expected"
            );
        }
        let tail: u64 = counts[500..].iter().sum();
        let expected: f64 = (501..=keys).map(|rank| draws as f64 * (rank as f64).powf(-theta) / total).sum();
        assert!(
            (tail as f64 - expected).abs() < 6.0 * expected.sqrt(),
            "theta {theta}: the tail took {tail}"
        );
    }
}

#[test]
fn zipf_stays_inside_its_keys_at_the_edges() {
    for (keys, theta) in [(1, 0.99), (2, 0.01), (2, 10.0), (10_000_000_000, 0.99), (1 << 40, 3.0)] {
        let mut source = KeySource::new(Distribution::Zipf { theta }, keys, 1, 0, 1);
        for _ in 0..10_000 {
            assert!(source.next() < keys, "keys {keys}, theta {theta}");
        }
    }
}

#[test]
fn sequential_clients_share_the_keys_out() {
    for (keys, clients) in [(10u64, 3u64), (7, 7), (1_000, 16), (3, 5)] {
        let mut seen = vec![0; keys as usize];
        for client in 0..clients {
            let mut source = KeySource::new(Distribution::Sequential, keys, 1, client, clients);
            let mine = share_start(keys, client + 1, clients) - share_start(keys, client, clients);
            for _ in 0..mine {
                seen[source.next() as usize] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count == 1), "{keys} keys, {clients} clients: {seen:?}");
    }
}

#[test]
fn sequential_begins_again_after_the_last_key() {
    let mut source = KeySource::new(Distribution::Sequential, 3, 1, 0, 1);
    let keys: Vec<u64> = (0..7).map(|_| source.next()).collect();
    assert_eq!(keys, [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn hot_gives_one_key_its_share() {
    let counts = counts(Distribution::Hot { share: 0.9 }, 11, 1_000_000);
    assert!((898_000..=902_000).contains(&counts[0]), "{counts:?}");
    for count in &counts[1..] {
        assert!((9_400..=10_600).contains(count), "{counts:?}");
    }
    assert!(super::tests::counts(Distribution::Hot { share: 0.0 }, 1, 10).iter().all(|count| *count == 10));
}

#[test]
fn the_seed_decides_every_key() {
    for distribution in
        [Distribution::Uniform, Distribution::Zipf { theta: 0.99 }, Distribution::Hot { share: 0.5 }]
    {
        let draw = |seed, client| {
            let mut source = KeySource::new(distribution, 100_000, seed, client, 4);
            (0..100).map(|_| source.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(2, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
    }
}

#[test]
fn distributions_are_read_and_printed() {
    for (text, distribution) in [
        ("uniform", Distribution::Uniform),
        ("zipf", Distribution::Zipf { theta: 0.99 }),
        ("zipf:1.2", Distribution::Zipf { theta: 1.2 }),
        ("sequential", Distribution::Sequential),
        ("hot", Distribution::Hot { share: 0.9 }),
        ("hot:0.25", Distribution::Hot { share: 0.25 }),
    ] {
        assert_eq!(text.parse(), Ok(distribution));
        assert_eq!(distribution.to_string().parse(), Ok(distribution));
    }
    for text in ["", "zipf:", "zipf:0", "zipf:x", "zipf:nan", "hot:1.1", "uniform:1", "gauss"] {
        let error = text.parse::<Distribution>().unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn shares_cover_the_whole() {
    assert_eq!((0..=3).map(|index| share_start(10, index, 3)).collect::<Vec<_>>(), [0, 3, 6, 10]);
    assert_eq!(share_start(u64::MAX, 3, 3), u64::MAX);
}
