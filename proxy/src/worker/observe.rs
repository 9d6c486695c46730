//! Looks at requests that were just taken care of, for those who want to know of them: the table of what
//! tracking clients read, and MONITOR. Nothing of it runs on a worker without either
//! ([`Router::is_observed`]).

use super::router::Router;
use crate::backend::connection::ClientKey;
use crate::route::plan::{self, Plan, Refusal};
use crate::route::unknown;
use pointsman_protocol::command::{self, CommandSpec, Flags};
use pointsman_protocol::resp::{Args, RequestDecoder, RequestLimits};

/// A transaction about to be sent, for [`Router::observe_queued`].
pub(super) struct Queued {
    /// Its commands as they would go over the wire, in their order.
    commands: Vec<Vec<u8>>,
    /// What CLIENT CACHING said before it.
    caching: bool,
}

impl Router {
    /// True if requests are to be given to [`Self::observe`] once they are taken care of.
    #[inline]
    pub fn is_observed(&self) -> bool {
        self.observed
    }

    /// Notes whether anybody wants to know of requests.
    pub(super) fn note_observers(&mut self) {
        let tracked = self.watch.as_ref().is_some_and(|watch| watch.client_count() > 0);
        self.observed = tracked || !self.monitors.is_empty();
    }

    /// A request of a client was taken care of: sent, queued, answered or refused.
    #[cold]
    pub fn observe(&mut self, key: ClientKey, args: Args<'_>) {
        let Some(client) = self.client_mut(key) else { return };
        // Of other clients only monitors want to know.
        if client.tracking.is_none() && self.monitors.is_empty() {
            return;
        }
        let plan = self.plan_again(key, args);
        let Some(spec) = plan.spec().or_else(|| command::resolve(args).ok()) else { return };
        let keeps_vigil = matches!(plan, Plan::Refuse(Refusal::CrossSlot)) && self.keeps_vigil(key, args);
        let Some(client) = self.client_mut(key) else { return };
        // What was refused for its words alone, or for who said it, was not carried out.
        let keyspace = spec.flags.has_any(Flags::READONLY.and(Flags::WRITE).and(Flags::MAY_REPLICATE));
        if (matches!(plan, Plan::Refuse(_)) && !keeps_vigil)
            || (!client.authenticated && !spec.flags.has(Flags::NO_AUTH))
            || (client.monitor.is_some() && keyspace)
        {
            return;
        }
        // What is queued is looked at when it is sent.
        if client.transaction.is_some() && spec.name != "MULTI" {
            return;
        }
        if let Some(tracking) = &mut client.tracking {
            let caching = tracking.caching;
            // It is said for the next command that is none of CLIENT's, or for a transaction.
            if !spec.name.starts_with("CLIENT|") && spec.name != "MULTI" {
                tracking.caching = false;
            }
            self.note_reads(key, spec, args, caching);
        }
        if !self.monitors.is_empty() {
            self.show(key, spec, args);
        }
    }

    /// What was decided of a request. Nothing is counted a second time.
    fn plan_again(&mut self, key: ClientKey, args: Args<'_>) -> Plan {
        let authenticated = self.client_mut(key).is_some_and(|client| client.authenticated);
        let mut keys = std::mem::take(&mut self.keys);
        let mut plan = plan::plan(args, true, &self.division, &mut keys);
        if let Plan::Refuse(Refusal::Table(refusal)) = plan
            && authenticated
        {
            let (rule, announced) = (self.context.config.unknown_commands, self.context.commands.load());
            plan = unknown::plan(args, refusal, &announced, rule, &self.division, &mut keys);
        }
        self.keys = keys;
        plan
    }

    /// What a client has queued, before it is sent.
    #[cold]
    pub(super) fn queued(&mut self, key: ClientKey) -> Option<Queued> {
        let unseen = self.monitors.is_empty();
        let client = self.client_mut(key).filter(|client| !unseen || client.tracking.is_some())?;
        let caching = client.tracking.as_ref().is_some_and(|tracking| tracking.caching);
        let transaction = client.transaction.as_ref().filter(|transaction| !transaction.is_aborted())?;
        Some(Queued { commands: transaction.all(), caching })
    }

    /// The same once it is sent.
    #[cold]
    pub(super) fn observe_queued(&mut self, key: ClientKey, queued: Queued) {
        let Queued { commands, caching: before } = queued;
        let caching = |router: &mut Router| {
            let tracking = router.client_mut(key)?.tracking.as_ref()?;
            // What was said inside counts for what follows it; for what came before it, it is as well to
            // tell too much.
            Some(match tracking.choice {
                crate::tracking::mode::Choice::OptOut => before,
                _ => before || tracking.caching,
            })
        };
        let caching = caching(self);
        let mut decoder = RequestDecoder::new();
        for bytes in commands {
            let Ok(Some(_)) = decoder.next(&bytes, &RequestLimits::ADMITTED) else { continue };
            let args = decoder.args(&bytes);
            let Some(spec) = command::resolve(args).ok().or_else(|| self.plan_again(key, args).spec()) else {
                continue;
            };
            if let Some(caching) = caching {
                self.note_reads(key, spec, args, caching);
            }
            if !self.monitors.is_empty() {
                self.show(key, spec, args);
            }
        }
    }

    fn show(&mut self, key: ClientKey, spec: &'static CommandSpec, args: Args<'_>) {
        // Administrators' commands are not for everybody's eyes, says Redis.
        if spec.flags.has(Flags::ADMIN) {
            return;
        }
        let Some(client) = self.client_mut(key) else { return };
        let from = format!("{} {}", client.database, client.address);
        self.show_to_monitors(&from, spec, args);
    }
}
