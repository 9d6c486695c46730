//! POINTSMAN: what operators ask the proxy about itself over a client's connection. It names nodes, so it is off unless
//! the listener has it on; what it shows is this worker's view.

use super::{Answer, Refused, verbatim};
use crate::admin::topology;
use crate::backend::connection::ClientKey;
use crate::worker::router::Router;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::{Args, RequestDecoder, RequestLimits, encode};

const HELP: &[&str] = &[
    "POINTSMAN <subcommand> [<arg> ...]. Subcommands are:",
    "EXPLAIN <command> [<arg> ...]",
    "    What would become of this request now: slot, shard, node, why. Nothing is sent.",
    "LAG",
    "    How far each replica is behind its primary.",
    "TOPOLOGY",
    "    Who owns what, as JSON (as the admin port's /topology tells it).",
    "HELP",
    "    Print this help.",
];

/// Answers POINTSMAN and its subcommands.
pub fn pointsman(
    router: &mut Router,
    key: ClientKey,
    spec: &'static CommandSpec,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refused> {
    let Some(client) = router.client_mut(key) else { return Ok(Answer::Close) };
    let resp3 = client.resp3;
    if !client.listener.pointsman {
        return Err(
            "ERR POINTSMAN is switched off here: it tells where the nodes are (listeners[].pointsman)".into(),
        );
    }
    match spec.name {
        "POINTSMAN|EXPLAIN" => {
            let words: Vec<&[u8]> = args.iter().skip(2).collect();
            let mut bytes = Vec::new();
            encode::request(&mut bytes, &words);
            let mut decoder = RequestDecoder::new();
            if !matches!(decoder.next(&bytes, &RequestLimits::ADMITTED), Ok(Some(_))) {
                return Err("ERR EXPLAIN needs a command".into());
            }
            let told = router.explain(key, decoder.args(&bytes));
            // A replica may stand there several times, so it is a list of lines and no map.
            encode::array_head(out, told.len());
            told.iter().for_each(|(name, what)| encode::bulk(out, format!("{name}: {what}").as_bytes()));
        }
        "POINTSMAN|LAG" => {
            let lines = router.lags();
            encode::array_head(out, lines.len());
            lines.iter().for_each(|line| encode::bulk(out, line.as_bytes()));
        }
        "POINTSMAN|TOPOLOGY" => {
            let context = &router.context;
            verbatim(out, &topology::json(&context.name, &context.snapshots).to_string(), resp3);
        }
        _ => {
            encode::array_head(out, HELP.len());
            HELP.iter().for_each(|line| encode::bulk(out, line.as_bytes()));
        }
    }
    Ok(Answer::Ready)
}
