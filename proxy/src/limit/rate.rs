//! The limits of a listener (`listeners[].limits`): requests and bytes in a second, requests in flight.
//!
//! Rates are the generic cell rate algorithm of the governor crate, one atomic number an allowance, shared by all
//! workers. Whose allowance a client draws from (its listener's, its address's, its own) is settled when it connects, so that
//! a request looks nothing up.
//!
//! Bytes are paid for afterwards: what a request (and its reply) takes is known only then, and one that is larger than
//! all that may be saved up could otherwise never come. A request may begin when everything before it is paid.
//!
//! It neither delays nor closes: who asks too much is told when to come back.

use crate::client::replies::Ticket;
use crate::route::selection::{self, Selection};
use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use pointsman_config::{Limit, LimitPer};
use pointsman_protocol::command::{CommandSpec, KeyRef};
use pointsman_protocol::resp::Args;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Cells in a second that an allowance of bytes counts in, at most: governor counts whole nanoseconds a cell.
const CELLS_PER_SECOND: u64 = 10_000_000;
/// Rest between two searches for addresses that need not be remembered.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The limits of one listener, for all workers.
#[derive(Debug, Default)]
pub struct Throttle {
    rules: Vec<Arc<Rule>>,
    keys_max: usize,
}

/// One limit.
#[derive(Debug)]
pub struct Rule {
    /// As it is written.
    pub limit: Limit,
    selection: Selection,
    /// Requests refused.
    refused: AtomicU64,
    /// That of all clients together.
    shared: Arc<Bucket>,
    /// Those of addresses.
    by_address: Mutex<Addresses>,
}

/// The allowances of one limit for one of those it counts apart.
#[derive(Debug)]
struct Bucket {
    requests: Option<Meter>,
    bytes: Option<Meter>,
    inflight: AtomicU32,
}

/// One allowance, in cells.
#[derive(Debug)]
struct Meter {
    limiter: DefaultDirectRateLimiter,
    /// What a cell stands for: so many requests or bytes.
    cell: u64,
    /// Time of a cell.
    period: Duration,
    /// Cells that may be saved up.
    burst: NonZeroU32,
    /// What was taken and is not paid for yet, in the meter's own unit.
    owed: AtomicU64,
}

/// The allowances of addresses.
#[derive(Debug, Default)]
struct Addresses {
    known: HashMap<IpAddr, Arc<Bucket>>,
    /// When those of no consequence were last looked for.
    swept: Option<Instant>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Too many requests in a second.
    Requests(Duration),
    /// Too many bytes in a second.
    Bytes(Duration),
    /// Too many requests in flight.
    InFlight,
}

impl Throttle {
    /// From the configuration.
    pub fn new(limits: &[Limit], keys_max: usize) -> Throttle {
        Throttle { rules: limits.iter().cloned().map(|limit| Arc::new(Rule::new(limit))).collect(), keys_max }
    }

    /// What a client that connects from `address` draws from; `None` if nothing is limited.
    pub fn admit(&self, address: SocketAddr) -> Option<Box<Rates>> {
        if self.rules.is_empty() {
            return None;
        }
        let held = self.rules.iter().map(|rule| (rule.clone(), rule.bucket(address.ip(), self.keys_max)));
        Some(Box::new(Rates { held: held.collect(), open: VecDeque::new(), charged: None, keys: Vec::new() }))
    }

    /// The limits.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }
}

impl Rule {
    fn new(limit: Limit) -> Rule {
        Rule {
            selection: Selection::new(&limit.scope),
            refused: AtomicU64::new(0),
            shared: Arc::new(Bucket::new(&limit)),
            by_address: Mutex::default(),
            limit,
        }
    }

    /// Requests refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Addresses remembered.
    pub fn keys(&self) -> usize {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner).known.len()
    }

    fn bucket(&self, address: IpAddr, keys_max: usize) -> Arc<Bucket> {
        match self.limit.per {
            LimitPer::Listener => self.shared.clone(),
            LimitPer::Client => Arc::new(Bucket::new(&self.limit)),
            LimitPer::Address => {
                let mut addresses = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
                let key = network_of(address);
                if let Some(bucket) = addresses.known.get(&key) {
                    return bucket.clone();
                }
                // Looking through all of them is for a flood of addresses to cause now and then, not each time.
                if addresses.known.len() >= keys_max
                    && addresses.swept.is_none_or(|swept| swept.elapsed() >= SWEEP_INTERVAL)
                {
                    addresses.known.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_whole());
                    addresses.swept = Some(Instant::now());
                }
                if addresses.known.len() >= keys_max {
                    return self.shared.clone();
                }
                let bucket = Arc::new(Bucket::new(&self.limit));
                addresses.known.insert(key, bucket.clone());
                bucket
            }
        }
    }

    /// What a client is told.
    fn write(&self, excess: Excess, out: &mut Vec<u8>) {
        let text = Refused { rule: self, excess }.to_string();
        out.push(b'-');
        // A name is printable by its rule in the configuration; a line it must stay in any case.
        out.extend(text.bytes().map(|byte| if byte < b' ' { b' ' } else { byte }));
        out.extend_from_slice(b"\r\n");
    }
}

/// The network that counts as one address: whoever has one address of IPv6 has its first 64 bits with all behind them.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        four => four,
    }
}

struct Refused<'r> {
    rule: &'r Rule,
    excess: Excess,
}

impl fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = &self.rule.limit;
        let again = |wait: Duration| wait.as_micros().div_ceil(1000).max(1);
        write!(f, "THROTTLED limit '{}' ", limit.name)?;
        match self.excess {
            Excess::Requests(wait) => {
                let rate = limit.requests_per_second.unwrap_or(0);
                write!(f, "({rate} requests per second): try again in {} ms", again(wait))
            }
            Excess::Bytes(wait) => {
                let rate = limit.bytes_per_second.unwrap_or(0);
                write!(f, "({rate} bytes per second): try again in {} ms", again(wait))
            }
            Excess::InFlight => {
                let most = limit.inflight_max.unwrap_or(0);
                write!(f, "({most} requests in flight): try again when earlier ones have been answered")
            }
        }
    }
}

impl Bucket {
    fn new(limit: &Limit) -> Bucket {
        let meter = |rate: u64| Meter::new(rate, limit.burst);
        Bucket {
            requests: limit.requests_per_second.and_then(|rate| meter(u64::from(rate))),
            bytes: limit.bytes_per_second.and_then(meter),
            inflight: AtomicU32::new(0),
        }
    }

    /// True if it may be forgotten, since a new one would be just the same. It is used up by being asked.
    fn is_whole(&self) -> bool {
        self.inflight.load(Ordering::Relaxed) == 0
            && self.requests.iter().chain(&self.bytes).all(Meter::is_whole)
    }

    /// Counts a request as in flight, unless there are enough.
    fn begin(&self, most: u32) -> bool {
        let before = self.inflight.fetch_add(1, Ordering::Relaxed);
        if before >= most {
            self.end();
        }
        before < most
    }

    fn end(&self) {
        self.inflight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a request's share of what comes by the second. Bytes come first: asking for them takes nothing.
    fn take(&self) -> Result<(), Excess> {
        if let Some(bytes) = &self.bytes {
            bytes.settle().map_err(Excess::Bytes)?;
        }
        if let Some(requests) = &self.requests {
            requests.take_one().map_err(Excess::Requests)?;
        }
        Ok(())
    }
}

impl Meter {
    fn new(rate: u64, burst: Duration) -> Option<Meter> {
        let cell = rate.div_ceil(CELLS_PER_SECOND).max(1);
        let cells = (rate / cell).max(1);
        let period = Duration::from_nanos(((1_000_000_000 + cells / 2) / cells).max(1));
        let saved = u128::from(cells) * burst.as_millis() / 1000;
        let burst = NonZeroU32::new(u32::try_from(saved).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        let limiter = RateLimiter::direct(Quota::with_period(period)?.allow_burst(burst));
        Some(Meter { limiter, cell, period, burst, owed: AtomicU64::new(0) })
    }

    fn is_whole(&self) -> bool {
        self.owed.load(Ordering::Relaxed) < self.cell
            && matches!(self.limiter.check_n(self.burst), Ok(Ok(())))
    }

    fn take_one(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    /// Notes what was taken.
    fn charge(&self, count: usize) {
        self.owed.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Pays for what was taken; if not all of it can be paid yet, how long that will take.
    fn settle(&self) -> Result<(), Duration> {
        // Whoever asks meanwhile finds nothing owed and goes ahead: one request a worker, which is paid for later.
        let mut owed = self.owed.swap(0, Ordering::Relaxed);
        let mut result = Ok(());
        while owed >= self.cell {
            let all = owed / self.cell;
            let now = u32::try_from(all).unwrap_or(u32::MAX).min(self.burst.get());
            let Some(count) = NonZeroU32::new(now) else { break };
            match self.limiter.check_n(count) {
                Ok(Ok(())) => owed -= u64::from(now) * self.cell,
                Ok(Err(until)) => {
                    let rest = u32::try_from(all - u64::from(now)).unwrap_or(u32::MAX);
                    let wait = until.wait_time_from(self.limiter.clock().now());
                    result = Err(wait.saturating_add(self.period.saturating_mul(rest)));
                    break;
                }
                // No more than the burst is ever asked for.
                Err(_) => break,
            }
        }
        self.owed.fetch_add(owed, Ordering::Relaxed);
        result
    }
}

/// What one client draws from.
#[derive(Debug)]
pub struct Rates {
    held: Vec<(Arc<Rule>, Arc<Bucket>)>,
    /// Requests in flight that are counted, in the order of their places, with a bit for each limit.
    open: VecDeque<(Ticket, u16)>,
    /// The place of the request that was counted last: one that is looked at again later is not counted again.
    charged: Option<Ticket>,
    /// Scratch space.
    keys: Vec<KeyRef>,
}

// A bit a limit.
const _: () = assert!(pointsman_config::LIMITS_MAX <= u16::BITS as usize);

/// A request, as limits see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its command, if it is one.
    pub spec: Option<&'static CommandSpec>,
    /// Its arguments.
    pub args: Args<'a>,
    /// Its bytes.
    pub bytes: usize,
    /// The place that it will have.
    pub ticket: Ticket,
    /// It takes a place and is answered there.
    pub answered: bool,
}

impl Rates {
    /// Counts a request, or writes to `refused` why it may not come now.
    pub fn ask(&mut self, asked: &Asked<'_>, refused: &mut Vec<u8>) {
        if self.charged.take() == Some(asked.ticket) {
            return;
        }
        let mut begun = 0u16;
        for place in 0..self.held.len() {
            if !self.counts(place, asked) {
                continue;
            }
            let Some((rule, bucket)) = self.held.get(place) else { continue };
            let most = rule.limit.inflight_max.filter(|_| asked.answered);
            let outcome = match most {
                Some(most) if !bucket.begin(most) => Err(Excess::InFlight),
                _ => {
                    begun |= u16::from(most.is_some()) << place;
                    bucket.take()
                }
            };
            if let Err(excess) = outcome {
                rule.refused.fetch_add(1, Ordering::Relaxed);
                rule.write(excess, refused);
                return self.end(begun);
            }
        }
        for place in 0..self.held.len() {
            let counted = self.held.get(place).is_some_and(|(_, bucket)| bucket.bytes.is_some())
                && self.counts(place, asked);
            if let Some((_, bucket)) = self.held.get(place).filter(|_| counted)
                && let Some(bytes) = &bucket.bytes
            {
                bytes.charge(asked.bytes);
            }
        }
        if begun != 0 {
            self.open.push_back((asked.ticket, begun));
        }
        self.charged = asked.answered.then_some(asked.ticket);
    }

    /// Notes how far its client has been answered: everything before `head`, with so many bytes just now.
    pub fn answered(&mut self, head: Ticket, bytes: usize) {
        while let Some((ticket, begun)) = self.open.front().copied()
            && (ticket.0.wrapping_sub(head.0) as i32) < 0
        {
            self.open.pop_front();
            self.end(begun);
        }
        if bytes > 0 {
            let everything = self.held.iter().filter(|(rule, _)| rule.selection.is_everything());
            everything.filter_map(|(_, bucket)| bucket.bytes.as_ref()).for_each(|meter| meter.charge(bytes));
        }
    }

    /// True if the limit at this place counts a request. What only concerns the connection or a transaction as such
    /// is counted only where it is named.
    fn counts(&mut self, place: usize, asked: &Asked<'_>) -> bool {
        let Some((rule, _)) = self.held.get(place) else { return false };
        let selection = &rule.selection;
        match asked.spec {
            None => selection.is_everything(),
            Some(spec) => {
                (selection.is_by_command()
                    || !(selection::is_of(spec, "connection") || selection::is_of(spec, "transaction")))
                    && selection.holds_for(spec, asked.args, &mut self.keys)
            }
        }
    }

    fn end(&self, begun: u16) {
        for (place, (_, bucket)) in self.held.iter().enumerate() {
            if begun & 1 << place != 0 {
                bucket.end();
            }
        }
    }
}

impl Drop for Rates {
    fn drop(&mut self) {
        while let Some((_, begun)) = self.open.pop_front() {
            self.end(begun);
        }
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
