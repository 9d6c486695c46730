//! CLIENT: what a client says about itself, asks about others, and does to them.

use super::{Answer, Refused, decimal, filter, integer, line, refusal, tracking, valid_name, verbatim};
use crate::admin::counters::Outcome;
use crate::backend::connection::ClientKey;
use crate::client::replies::Withhold;
use crate::route::plan::Refusal;
use crate::worker::fleet::{Pausing, Question, Tally};
use crate::worker::router::Router;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::{Args, encode};
use std::time::Duration;

/// True for the subcommands that ask all workers: they wait for what their client has on its way.
pub fn asks_everyone(spec: &CommandSpec) -> bool {
    matches!(
        spec.name,
        "CLIENT|LIST"
            | "CLIENT|KILL"
            | "CLIENT|PAUSE"
            | "CLIENT|UNPAUSE"
            | "CLIENT|UNBLOCK"
            | "CLIENT|TRACKING"
    )
}

/// Answers CLIENT and its subcommands.
pub fn client(
    router: &mut Router,
    key: ClientKey,
    spec: &'static CommandSpec,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refused> {
    let now = router.now();
    let Some(client) = router.client_mut(key) else { return Ok(Answer::Close) };
    let resp3 = client.resp3;
    match spec.name {
        "CLIENT|ID" => encode::integer(out, client.id as i64),
        "CLIENT|GETNAME" => match client.identity.as_ref().map(|identity| identity.name.as_slice()) {
            Some(name) if !name.is_empty() => encode::bulk(out, name),
            _ => encode::null(out, resp3),
        },
        "CLIENT|SETNAME" => {
            client.identity_mut().name = valid_name(args.at(2))?.to_vec();
            encode::simple(out, "OK");
        }
        "CLIENT|SETINFO" => {
            set_info(client, args.at(2), args.at(3))?;
            encode::simple(out, "OK");
        }
        "CLIENT|INFO" => verbatim(out, &line::of(client, now), resp3),
        "CLIENT|NO-EVICT" => {
            client.identity_mut().no_evict = switch(args.at(2))?;
            encode::simple(out, "OK");
        }
        // Remembered and shown, no more: the nodes see connections that many clients share.
        "CLIENT|NO-TOUCH" => {
            client.identity_mut().no_touch = switch(args.at(2))?;
            encode::simple(out, "OK");
        }
        // Valkey's "redirect": a replica may then send its client elsewhere. There is no elsewhere here;
        // what is not known is ignored there, too.
        "CLIENT|CAPA" => encode::simple(out, "OK"),
        "CLIENT|REPLY" => return reply(&mut client.replies, args.at(2), out),
        "CLIENT|TRACKING" | "CLIENT|CACHING" | "CLIENT|TRACKINGINFO" | "CLIENT|GETREDIR" => {
            return tracking::answer(router, key, spec, args, out);
        }
        "CLIENT|UNBLOCK" => {
            let question = unblock(args)?;
            return Ok(ask(router, key, question, |tallies, _, out| {
                encode::integer(
                    out,
                    i64::from(tallies.iter().any(|tally| matches!(tally, Tally::Unblocked(true)))),
                );
                false
            }));
        }
        "CLIENT|LIST" => {
            let question = Question::List(filter::list(args)?);
            return Ok(ask(router, key, question, move |tallies, asked, out| {
                verbatim(out, &listed(tallies, asked), resp3);
                false
            }));
        }
        "CLIENT|KILL" => {
            let (id, old_form) = (client.id, args.len() == 3);
            let question = Question::Kill { filter: filter::kill(args, id)?, asker: id };
            let by = client.address;
            return Ok(ask(router, key, question, move |tallies, _, out| {
                let (count, asker) = killed(&tallies);
                tracing::info!(client = %by, count, "a client had others closed (CLIENT KILL)");
                match (old_form, count) {
                    (true, 0) => encode::error(out, "ERR No such client"),
                    (true, _) => encode::simple(out, "OK"),
                    (false, count) => encode::integer(out, count as i64),
                }
                asker
            }));
        }
        "CLIENT|PAUSE" => {
            let (pausing, span) = pause(args)?;
            tracing::info!(client = %client.address, ?pausing, ?span, "a client had all paused (CLIENT PAUSE)");
            return Ok(ask(router, key, Question::Pause(pausing, span), |_, _, out| {
                encode::simple(out, "OK");
                false
            }));
        }
        "CLIENT|UNPAUSE" => {
            return Ok(ask(router, key, Question::Unpause, |_, _, out| {
                encode::simple(out, "OK");
                false
            }));
        }
        _ => return Err(refusal(Refusal::NotThroughProxy(spec), args)),
    }
    Ok(Answer::Ready)
}

/// Asks all workers and answers when they have; `finish` writes the reply and says whether the client
/// that asked is to be closed behind it.
fn ask(
    router: &mut Router,
    key: ClientKey,
    question: Question,
    finish: impl FnOnce(Vec<Tally>, &Question, &mut Vec<u8>) -> bool + 'static,
) -> Answer {
    let context = router.context.clone();
    // A pause waits for writes on their way, which takes no longer than a request may.
    let patience = context.config.request_timeout + Duration::from_secs(1);
    router.answer_later(key, async move {
        let mut out = Vec::new();
        let asked = context.fleet.ask(context.name.clone(), question.clone());
        let Ok(tallies) = tokio::time::timeout(patience, asked).await else {
            encode::error(&mut out, "ERR a worker of the proxy did not answer in time; try again");
            return (Outcome::Failed, out, false);
        };
        let close = finish(tallies, &question, &mut out);
        let outcome = if out.first() == Some(&b'-') { Outcome::Error } else { Outcome::Ok };
        (outcome, out, close)
    });
    Answer::Later
}

/// All lines in the order in which the clients came; those asked for by id in the order asked.
fn listed(tallies: Vec<Tally>, asked: &Question) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for tally in tallies {
        if let Tally::Lines(more) = tally {
            lines.extend(more);
        }
    }
    lines.sort_unstable_by_key(|(id, _)| *id);
    match asked {
        Question::List(filter::Filter { ids: Some(ids), .. }) => ids
            .asked
            .iter()
            .filter_map(|id| {
                lines.binary_search_by_key(id, |(id, _)| *id).ok().map(|at| lines[at].1.as_str())
            })
            .collect(),
        _ => lines.into_iter().map(|(_, line)| line).collect(),
    }
}

fn killed(tallies: &[Tally]) -> (u64, bool) {
    tallies.iter().fold((0, false), |(sum, any), tally| match tally {
        Tally::Killed { count, asker } => (sum + count, any | asker),
        _ => (sum, any),
    })
}

/// `CLIENT REPLY ON|OFF|SKIP`; only ON is answered.
fn reply(
    replies: &mut crate::client::replies::Replies,
    mode: &[u8],
    out: &mut Vec<u8>,
) -> Result<Answer, Refused> {
    match mode.to_ascii_lowercase().as_slice() {
        b"on" => {
            replies.withhold(Withhold::Nothing);
            encode::simple(out, "OK");
            Ok(Answer::Ready)
        }
        b"off" => {
            replies.withhold(Withhold::All);
            Ok(Answer::Silent)
        }
        b"skip" => {
            replies.withhold_next();
            Ok(Answer::Silent)
        }
        _ => Err("ERR syntax error".into()),
    }
}

fn switch(word: &[u8]) -> Result<bool, Refused> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err("ERR syntax error".into()),
    }
}

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`.
fn unblock(args: Args<'_>) -> Result<Question, Refused> {
    if args.len() > 4 {
        return Err(subcommand_syntax(args));
    }
    let with_error = match args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"timeout") => false,
        Some(b"error") => true,
        Some(_) => return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into()),
    };
    // No client has a negative id.
    let id = u64::try_from(decimal(args.at(2))?).unwrap_or(0);
    Ok(Question::Unblock { id, with_error })
}

/// `CLIENT PAUSE milliseconds [WRITE|ALL]`.
fn pause(args: Args<'_>) -> Result<(Pausing, Duration), Refused> {
    if args.len() > 4 {
        return Err(subcommand_syntax(args));
    }
    let pausing = match args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"all") => Pausing::Everything,
        Some(b"write") => Pausing::Writes,
        Some(_) => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
    };
    let millis = integer(args.at(2)).ok_or("ERR timeout is not an integer or out of range")?;
    let millis = u64::try_from(millis).map_err(|_| "ERR timeout is negative")?;
    Ok((pausing, Duration::from_millis(millis)))
}

fn subcommand_syntax(args: Args<'_>) -> Refused {
    Refused::quoting(
        "ERR unknown subcommand or wrong number of arguments for '",
        args.at(1),
        "'. Try CLIENT HELP.",
    )
}

/// `CLIENT SETINFO LIB-NAME|LIB-VER value`.
fn set_info(client: &mut crate::client::state::Client, field: &[u8], value: &[u8]) -> Result<(), Refused> {
    let is_name = field.eq_ignore_ascii_case(b"LIB-NAME");
    if !is_name && !field.eq_ignore_ascii_case(b"LIB-VER") {
        return Err(Refused::quoting("ERR Unrecognized option '", field, "'"));
    }
    if !value.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(Refused::quoting(
            "ERR ",
            field,
            " cannot contain spaces, newlines or special characters.",
        ));
    }
    let identity = client.identity_mut();
    if is_name {
        identity.lib_name = value.to_vec()
    } else {
        identity.lib_version = value.to_vec()
    }
    Ok(())
}
