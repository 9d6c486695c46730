//! Requests of clients that are limited ([`crate::limit::rate`]): counted, or refused in their place.

use super::dispatch::Step;
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::ClientKey;
use crate::limit::rate::Asked;
use crate::route::plan::Plan;
use pointsman_protocol::resp::Args;

impl Router {
    /// Asks the limits of a client that has any; `Some` if they are exceeded, and the request answered.
    #[cold]
    pub(super) fn limited(
        &mut self,
        key: ClientKey,
        plan: &Plan,
        args: Args<'_>,
        bytes: usize,
    ) -> Option<Step> {
        if matches!(plan, Plan::Transaction(_) | Plan::Nothing) {
            return None;
        }
        let client = self.client_mut(key)?;
        let (first, ticket) = client.replies.span();
        let rates = client.rates.as_mut()?;
        rates.answered(first, 0);
        let answered = !matches!(plan, Plan::Subscription { .. });
        let mut refused = Vec::new();
        rates.ask(&Asked { spec: plan.spec(), args, bytes, ticket, answered }, &mut refused);
        if refused.is_empty() {
            return None;
        }
        // As with any command that is refused while a transaction is queued, EXEC will tell.
        if let Some(transaction) = client.transaction.as_mut() {
            transaction.abort();
        }
        self.answer(key, Outcome::Error, |out| out.extend_from_slice(&refused));
        Some(Step::Done)
    }
}
