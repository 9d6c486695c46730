//! What a client asked of tracking, and which requests that concerns. Rules and texts are Redis'.
//!
//! NOLOOP is accepted and shown, but a client hears of its own changes all the same: on shared
//! connections nobody can tell who changed a key, and an invalidation too many costs a read where one too
//! few would leave a stale value.

use super::wire::Forget;
use crate::backend::connection::ClientKey;
use crate::client::local::Refused;
use pointsman_protocol::command::{CommandSpec, Flags};
use pointsman_protocol::resp::Args;
use std::collections::BTreeSet;

/// Prefixes that one client may have.
const PREFIXES_MAX: usize = 1000;
/// Longest prefix.
const PREFIX_BYTES_MAX: usize = 1024;

/// Which of the keys that a client reads it wants to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// All.
    #[default]
    All,
    /// Those read right behind CLIENT CACHING YES.
    OptIn,
    /// All but those read right behind CLIENT CACHING NO.
    OptOut,
}

/// Another client that hears the invalidations.
#[derive(Debug)]
pub struct Redirect {
    /// Its CLIENT ID.
    pub id: u64,
    /// Its worker.
    pub worker: usize,
    /// Its place there.
    pub client: ClientKey,
    /// What it is to hear next.
    pub waiting: Forget,
    /// Something is on its way to it.
    pub busy: bool,
}

/// Where a client with tracking stands.
#[derive(Debug, Default)]
pub struct Tracking {
    /// It hears of all keys with its prefixes rather than of those that it read.
    pub broadcast: bool,
    /// Its prefixes.
    pub prefixes: BTreeSet<Vec<u8>>,
    /// See [`Choice`].
    pub choice: Choice,
    /// Shown, no more.
    pub noloop: bool,
    /// Who hears the invalidations in its stead.
    pub redirect: Option<Redirect>,
    /// That one has gone.
    pub broken: bool,
    /// CLIENT CACHING was said for the next command or transaction.
    pub caching: bool,
    /// It was told to forget everything and has asked nothing since.
    pub clean: bool,
    /// It was told that it tracks: from then on it may rely on it.
    pub settled: bool,
}

impl Tracking {
    /// True for a command that reads keys. A script may, whatever it is for.
    pub fn reads(spec: &CommandSpec) -> bool {
        spec.flags.has(Flags::READONLY) || spec.flags.has(Flags::NO_MANDATORY_KEYS)
    }

    /// True if it wants to hear of the keys of a request that it sends now.
    pub fn minds(&self, spec: &CommandSpec, caching: bool) -> bool {
        Tracking::reads(spec)
            && !self.broadcast
            && match self.choice {
                Choice::All => true,
                Choice::OptIn => caching,
                Choice::OptOut => !caching,
            }
    }

    /// The words of CLIENT TRACKINGINFO.
    pub fn words(&self) -> Vec<&'static str> {
        let caching = match self.choice {
            Choice::OptIn if self.caching => Some("caching-yes"),
            Choice::OptOut if self.caching => Some("caching-no"),
            _ => None,
        };
        let choice = match self.choice {
            Choice::All => None,
            Choice::OptIn => Some("optin"),
            Choice::OptOut => Some("optout"),
        };
        let all = [
            Some("on"),
            self.broadcast.then_some("bcast"),
            choice,
            caching,
            self.noloop.then_some("noloop"),
            self.broken.then_some("broken_redirect"),
        ];
        all.into_iter().flatten().collect()
    }

    /// Takes `CLIENT CACHING YES|NO`.
    ///
    /// # Errors
    /// Redis' words; also without tracking (`None`).
    pub fn set_caching(tracking: Option<&mut Tracking>, word: &[u8]) -> Result<(), Refused> {
        let Some(tracking) = tracking else {
            return Err("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled".into());
        };
        match (word.to_ascii_lowercase().as_slice(), tracking.choice) {
            (b"yes", Choice::OptIn) | (b"no", Choice::OptOut) => {
                tracking.caching = true;
                Ok(())
            }
            (b"yes", _) => {
                Err("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.".into())
            }
            (b"no", _) => {
                Err("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.".into())
            }
            _ => Err("ERR syntax error".into()),
        }
    }
}

/// What `CLIENT TRACKING ON|OFF ...` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// ON.
    pub on: bool,
    /// REDIRECT.
    pub redirect: Option<i64>,
    /// PREFIX, each.
    pub prefixes: Vec<Vec<u8>>,
    /// BCAST.
    pub broadcast: bool,
    /// OPTIN, OPTOUT.
    pub choice: Choice,
    /// NOLOOP.
    pub noloop: bool,
}

impl Asked {
    /// Reads it; `before` is what the client has now. That the other client of REDIRECT exists is for the
    /// caller to see.
    ///
    /// # Errors
    /// Redis' words; and the bounds on prefixes, which are ours.
    pub fn read(args: Args<'_>, before: Option<&Tracking>) -> Result<Asked, Refused> {
        const SYNTAX: &str = "ERR syntax error";
        let mut asked = Asked::default();
        let (mut optin, mut optout) = (false, false);
        let mut at = 3;
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1);
            at += 1;
            match (option.to_ascii_lowercase().as_slice(), value) {
                (b"redirect", Some(_)) if asked.redirect.is_some() => {
                    return Err("ERR A client can only redirect to a single other client".into());
                }
                (b"redirect", Some(id)) => {
                    asked.redirect = Some(crate::client::local::decimal(id)?);
                    at += 1;
                }
                (b"prefix", Some(prefix)) => {
                    asked.prefixes.push(prefix.to_vec());
                    at += 1;
                }
                (b"bcast", _) => asked.broadcast = true,
                (b"optin", _) => optin = true,
                (b"optout", _) => optout = true,
                (b"noloop", _) => asked.noloop = true,
                _ => return Err(SYNTAX.into()),
            }
        }
        match args.at(2).to_ascii_lowercase().as_slice() {
            b"on" => asked.on = true,
            b"off" => return Ok(Asked { redirect: asked.redirect, ..Asked::default() }),
            _ => return Err(SYNTAX.into()),
        }
        asked.choice = match (optin, optout) {
            (true, _) => Choice::OptIn,
            (_, true) => Choice::OptOut,
            _ => Choice::All,
        };
        asked.check(before, optin && optout)?;
        Ok(asked)
    }

    fn check(&self, before: Option<&Tracking>, both: bool) -> Result<(), Refused> {
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
        }
        if before.is_some_and(|before| before.broadcast != self.broadcast) {
            return Err("ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.".into());
        }
        if self.broadcast && self.choice != Choice::All {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
        }
        if both {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
        }
        let switches = matches!(
            (before.map(|before| before.choice), self.choice),
            (Some(Choice::OptIn), Choice::OptOut) | (Some(Choice::OptOut), Choice::OptIn)
        );
        if switches {
            return Err("ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.".into());
        }
        self.check_prefixes(before)
    }

    fn check_prefixes(&self, before: Option<&Tracking>) -> Result<(), Refused> {
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        let refuse = |one: &[u8], what: &str, other: &[u8]| {
            let text: [&[u8]; 7] = [
                b"ERR Prefix '",
                one,
                b"' overlaps with ",
                what.as_bytes(),
                b" prefix '",
                other,
                b"'. Prefixes for a single client must not overlap.",
            ];
            Err(Refused(text.concat()))
        };
        let known = before.map(|before| &before.prefixes);
        let count = self.prefixes.len() + known.map_or(0, BTreeSet::len);
        if count > PREFIXES_MAX || self.prefixes.iter().any(|prefix| prefix.len() > PREFIX_BYTES_MAX) {
            let text = format!(
                "ERR a client may have {PREFIXES_MAX} prefixes of {PREFIX_BYTES_MAX} bytes each; use shorter and fewer ones"
            );
            return Err(text.as_str().into());
        }
        for (at, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = known.into_iter().flatten().find(|other| overlap(prefix, other)) {
                return refuse(prefix, "an existing", other);
            }
            if let Some(other) = self.prefixes[at + 1..].iter().find(|other| overlap(prefix, other)) {
                return refuse(prefix, "another provided", other);
            }
        }
        Ok(())
    }

    /// What the client has from now on: the old prefixes stay, everything else is as asked.
    pub fn over(&self, before: Option<Tracking>, redirect: Option<Redirect>) -> Tracking {
        let Tracking { mut prefixes, caching, settled, .. } = before.unwrap_or_default();
        prefixes.extend(self.prefixes.iter().cloned());
        if self.broadcast && self.prefixes.is_empty() {
            prefixes.insert(Vec::new());
        }
        Tracking {
            broadcast: self.broadcast,
            prefixes,
            choice: self.choice,
            noloop: self.noloop,
            redirect,
            broken: false,
            caching,
            clean: false,
            settled,
        }
    }
}

#[cfg(test)]
#[path = "mode_tests.rs"]
mod tests;
