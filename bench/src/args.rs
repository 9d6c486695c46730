//! From what was written on the command line of `bench load` to what may be trusted.

use crate::cli::LoadArgs;
use crate::load::spec::{End, Limits, LoadSpec, Login, Pace};
use crate::random::Random;
use crate::workload::{Shape, Workload};
use std::time::Duration;

const DURATION_DEFAULT_S: f64 = 10.0;
/// A week: what is longer is a mistake.
const DURATION_MAX_S: f64 = 604_800.0;
const RATE_MAX: f64 = 1e9;
/// Where a password is looked for that is not on the command line.
const PASSWORD_VARIABLE: &str = "BENCH_PASSWORD";

/// Checks the options together. The error lists every problem, one a line.
pub fn load_spec(args: &LoadArgs) -> Result<LoadSpec, String> {
    let mut problems = Vec::new();
    let mut seconds = |flag: &str, value: f64, above: f64| {
        if value.is_finite() && value >= above && value <= DURATION_MAX_S {
            return Duration::from_secs_f64(value);
        }
        problems
            .push(format!("{flag} {value}: must be a number of seconds from {above} to {DURATION_MAX_S}"));
        Duration::ZERO
    };
    let duration = seconds("--duration", args.duration.unwrap_or(DURATION_DEFAULT_S), 0.001);
    let warmup = seconds("--warmup", args.warmup, 0.0);
    let pace = match args.rate {
        None => Pace::Closed,
        Some(rate) if rate.is_finite() && (0.001..=RATE_MAX).contains(&rate) => Pace::Open(rate),
        Some(rate) => {
            problems.push(format!(
                "--rate {rate}: must be a number of requests per second from 0.001 to {RATE_MAX}"
            ));
            Pace::Closed
        }
    };
    if args.threads > args.clients {
        problems.push(format!(
            "--threads {}: more than --clients {}; a thread without clients does nothing",
            args.threads, args.clients
        ));
    }
    if args.requests == Some(0) && !args.prefill {
        problems.push("--requests 0: does nothing without --prefill".to_owned());
    }
    if args.prefill && args.workload == Workload::Incr {
        problems
            .push("--prefill: the values are no numbers, so incr would fail; it needs no prefill".to_owned());
    }
    if args.ttl == Some(0) {
        problems.push("--ttl 0: an expiry must be at least 1 second".to_owned());
    }
    let password = args.password.clone().or_else(|| std::env::var(PASSWORD_VARIABLE).ok());
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let prefix = if args.workload == Workload::Incr { "counter:" } else { "key:" };
    Ok(LoadSpec {
        address: args.address.clone(),
        login: Login { resp3: args.resp == 3, password },
        clients: args.clients as usize,
        pipeline: args.pipeline as usize,
        threads: args.threads as usize,
        end: args.requests.map_or(End::Duration(duration), End::Requests),
        pace,
        warmup,
        shape: Shape {
            workload: args.workload,
            key_prefix: args.key_prefix.clone().unwrap_or_else(|| prefix.to_owned()),
            value: value(args.value_bytes as usize, args.seed),
            keys_per_request: args.mget_keys as usize,
            ttl_s: args.ttl,
        },
        keys: args.keys,
        distribution: args.key_distribution,
        seed: args.seed,
        limits: Limits {
            connect_timeout: Duration::from_millis(args.connect_timeout_ms),
            reconnect_for: Duration::from_millis(args.reconnect_for_ms),
            reply_timeout: Duration::from_millis(args.reply_timeout_ms),
            reply_bytes_max: args.reply_bytes_max,
            inflight_max: args.inflight_max,
        },
    })
}

/// Letters and digits by chance: nothing that a server could compress or store as a number.
fn value(bytes: usize, seed: u64) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = Random::stream(seed, u64::MAX);
    let mut value: Vec<u8> = (0..bytes).map(|_| LETTERS[random.below(64) as usize]).collect();
    // A value of digits alone would be stored as a number.
    if let Some(first) = value.first_mut() {
        *first = b'v';
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn spec(line: &str) -> Result<LoadSpec, String> {
        let words = ["bench", "load"].into_iter().chain(line.split_ascii_whitespace());
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Load(args) => load_spec(&args),
            _ => Err("not load".to_owned()),
        }
    }

    #[test]
    fn defaults() {
        let spec = spec("").unwrap();
        assert_eq!((spec.clients, spec.pipeline, spec.threads), (50, 1, 1));
        assert_eq!(spec.end, End::Duration(Duration::from_secs(10)));
        assert_eq!(spec.pace, Pace::Closed);
        assert_eq!(spec.shape.key_prefix, "key:");
        assert_eq!(spec.shape.value.len(), 64);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let error = spec("--duration 0 --rate 0 --clients 2 --threads 3 --workload incr --prefill --ttl 0")
            .unwrap_err();
        for flag in ["--duration", "--rate", "--threads", "--prefill", "--ttl"] {
            assert!(error.lines().any(|line| line.starts_with(flag)), "{flag} is missing in:\n{error}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "--requests 5 --duration 1",
            "--requests 5 --warmup 1",
            "--requests 0",
            "--resp 4",
            "--clients 0",
        ] {
            assert!(spec(line).is_err(), "{line}");
        }
    }

    #[test]
    fn counters_keep_away_from_the_other_keys() {
        assert_eq!(spec("--workload incr").unwrap().shape.key_prefix, "counter:");
        assert_eq!(spec("--workload incr --key-prefix x").unwrap().shape.key_prefix, "x");
    }

    #[test]
    fn a_prefill_writes_every_key_once() {
        let spec = spec("--workload mget --keys 1000 --clients 4 --threads 2 --rate 10 --value-bytes 100000")
            .unwrap();
        let prefill = spec.prefill();
        assert_eq!(prefill.end, End::Requests(1_000));
        assert_eq!(prefill.pace, Pace::Closed);
        assert_eq!(prefill.shape.workload, Workload::Set);
        assert_eq!((prefill.clients, prefill.threads, prefill.pipeline), (4, 2, 2));
    }

    #[test]
    fn values_are_no_numbers() {
        for bytes in [1, 2, 20] {
            assert!(String::from_utf8(value(bytes, 3)).unwrap().parse::<i64>().is_err());
        }
        assert_eq!(value(0, 1), b"");
        assert_eq!(value(100, 1), value(100, 1));
        assert_ne!(value(100, 1), value(100, 2));
    }
}
