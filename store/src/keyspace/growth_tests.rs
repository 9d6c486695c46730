//! How long the longest insert takes while the keyspace grows: a measurement, not a check.
//!
//! `cargo test --release -p pointsman-store growth -- --ignored --nocapture --test-threads 1`

use super::*;
use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// What a node runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU time of this thread in nanoseconds: what others did with the core meanwhile does not count.
fn busy_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn grow(title: &str, keys: u64, name: impl Fn(u64) -> String) {
    crate::avoid_huge_pages();
    let mut keyspace = Keyspace::new((3, 4));
    let (mut worst, mut over) = (0, [0u32; 4]);
    let began = Instant::now();
    for number in 0..keys {
        let key = name(number);
        let before = busy_ns();
        let place = keyspace.place(key.as_bytes());
        keyspace.put(place, key.as_bytes(), Payload::Slice(&[b'v'; 64]), Encoding::Raw, None).unwrap();
        let took = busy_ns() - before;
        worst = worst.max(took);
        for (count, bound_us) in over.iter_mut().zip([50, 100, 500, 1000]) {
            *count += u32::from(took > bound_us * 1000);
        }
    }
    println!(
        "{title}: {keys} keys in {:.1} s; the longest insert took {} us; longer than 50/100/500/1000 us: {over:?}; {:.1} bytes a key",
        began.elapsed().as_secs_f32(),
        worst / 1000,
        keyspace.bytes_held() as f64 / keys as f64,
    );
}

#[test]
#[ignore = "a measurement of a minute with 2 GB of memory"]
fn growth_over_all_slots() {
    grow("all slots", 16_000_000, |number| format!("key:{number:012}"));
}

#[test]
#[ignore = "a measurement of a minute with 2 GB of memory"]
fn growth_within_one_slot() {
    grow("one slot", 16_000_000, |number| format!("{{t}}:{number:012}"));
}
