//! CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR. What stands behind them is in [`crate::tracking`].

use super::{Answer, Refused};
use crate::admin::counters::Outcome;
use crate::backend::connection::ClientKey;
use crate::client::state::Client;
use crate::tracking::mode::{Asked, Redirect, Tracking};
use crate::tracking::watch::Standing;
use crate::worker::router::{Router, SharedRouter};
use crate::worker::track;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::{Args, encode};
use std::rc::Weak;

const NO_SUCH_CLIENT: &str = "ERR The client ID you want redirect to does not exist";

/// Answers one of them.
pub fn answer(
    router: &mut Router,
    key: ClientKey,
    spec: &'static CommandSpec,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refused> {
    let Some(client) = router.client_mut(key) else { return Ok(Answer::Close) };
    match spec.name {
        "CLIENT|TRACKING" => {
            let asked = Asked::read(args, client.tracking.as_deref())?;
            if asked == Asked::default() {
                router.end_tracking(key);
                encode::simple(out, "OK");
                return Ok(Answer::Ready);
            }
            let (me, context) = (router.myself(), router.context.clone());
            router.answer_later(key, async move {
                let redirect = match asked.redirect {
                    Some(id) => match track::find_redirect(context, id).await {
                        Some(redirect) => Some(redirect),
                        None => {
                            return (Outcome::Error, format!("-{NO_SUCH_CLIENT}\r\n").into_bytes(), false);
                        }
                    },
                    None => None,
                };
                switch(me, key, asked, redirect).await
            });
            return Ok(Answer::Later);
        }
        "CLIENT|CACHING" => {
            Tracking::set_caching(client.tracking.as_deref_mut(), args.at(2))?;
            encode::simple(out, "OK");
        }
        "CLIENT|GETREDIR" => encode::integer(out, redirected_to(client)),
        _ => info(client, out),
    }
    Ok(Answer::Ready)
}

/// Switches tracking on or off, and answers once changes are heard.
async fn switch(
    me: Weak<std::cell::RefCell<Router>>,
    key: ClientKey,
    asked: Asked,
    redirect: Option<Redirect>,
) -> (Outcome, Vec<u8>, bool) {
    let ok = (Outcome::Ok, b"+OK\r\n".to_vec(), false);
    let Some(router) = me.upgrade() else { return ok };
    let patience = {
        let mut router = router.borrow_mut();
        if !asked.on {
            router.end_tracking(key);
            return ok;
        }
        router.begin_tracking(key, &asked, redirect);
        router.context.config.connect_timeout
    };
    // A primary that cannot be reached must not keep the client waiting: while it is not watched, what is
    // read from it is called invalid at once.
    // The same goes for one that refuses only now: who has been told that it tracks keeps values, and must hear of
    // those of the other primaries.
    let settled = router.borrow_mut().tracking_is_settled(key);
    match tokio::time::timeout(patience, refusal(&router)).await {
        Ok(Some(text)) if !settled => {
            router.borrow_mut().end_tracking(key);
            let mut out = Vec::new();
            let text = String::from_utf8_lossy(&text);
            encode::error(
                &mut out,
                &format!(
                    "ERR CLIENT TRACKING is not possible, as a node refuses to tell what changes: {text}"
                ),
            );
            (Outcome::Error, out, false)
        }
        Ok(_) | Err(_) => {
            router.borrow_mut().settle_tracking(key);
            ok
        }
    }
}

/// Waits until every primary is watched, or one refuses in these words.
async fn refusal(router: &SharedRouter) -> Option<Vec<u8>> {
    loop {
        let (standing, changed) = {
            let router = router.borrow();
            (router.watch_standing(), router.watch_changed())
        };
        match standing {
            Standing::Whole => return None,
            Standing::Refused(text) => return Some(text),
            Standing::Partial => changed?.notified().await,
        }
    }
}

/// What CLIENT GETREDIR says, and CLIENT LIST: -1 without tracking, 0 without another client.
pub fn redirected_to(client: &Client) -> i64 {
    match &client.tracking {
        None => -1,
        Some(tracking) => {
            tracking.redirect.as_ref().map_or(0, |redirect| i64::try_from(redirect.id).unwrap_or(i64::MAX))
        }
    }
}

fn info(client: &Client, out: &mut Vec<u8>) {
    let resp3 = client.resp3;
    let words = client.tracking.as_ref().map_or_else(|| vec!["off"], |tracking| tracking.words());
    encode::map_head(out, 3, resp3);
    encode::bulk(out, b"flags");
    if resp3 {
        out.extend_from_slice(format!("~{}\r\n", words.len()).as_bytes());
    } else {
        encode::array_head(out, words.len());
    }
    words.iter().for_each(|word| encode::bulk(out, word.as_bytes()));
    encode::bulk(out, b"redirect");
    encode::integer(out, redirected_to(client));
    encode::bulk(out, b"prefixes");
    let prefixes = client.tracking.as_ref().map(|tracking| &tracking.prefixes);
    encode::array_head(out, prefixes.map_or(0, |prefixes| prefixes.len()));
    prefixes.into_iter().flatten().for_each(|prefix| encode::bulk(out, prefix));
}
