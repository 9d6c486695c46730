//! CONFIG: the settings that clients and tools look at, as one server in our place would have them.
//!
//! The nodes' settings are not shown and not changed, with two exceptions: how much memory there is and
//! what is evicted, which they are asked for ([`crate::health::census`]), and `notify-keyspace-events`, which
//! client libraries set themselves: that goes to the primary of every shard.

use super::{Answer, Refused};
use crate::admin::counters::Outcome;
use crate::backend::connection::ClientKey;
use crate::health::census::Figures;
use crate::worker::router::Router;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::glob;
use pointsman_protocol::resp::args::OwnedArgs;
use pointsman_protocol::resp::{Args, encode};

/// Name and value of everything there is to see, sorted by name.
type Settings = Vec<(&'static str, String)>;

/// What the nodes are asked for.
const OF_NODES: [&str; 2] = ["maxmemory", "maxmemory-policy"];
/// The one setting that clients may change.
const NOTIFY: &[u8] = b"notify-keyspace-events";

/// Answers CONFIG and its subcommands.
pub fn config(
    router: &mut Router,
    key: ClientKey,
    spec: &'static CommandSpec,
    args: Args<'_>,
    resp3: bool,
    out: &mut Vec<u8>,
) -> Result<Answer, Refused> {
    match spec.name {
        // Only the nodes know; one answers for all.
        "CONFIG|GET" if args.len() == 3 && args.at(2).eq_ignore_ascii_case(NOTIFY) => {
            router.send_to_anyone(key, spec, args);
            return Ok(Answer::Later);
        }
        "CONFIG|GET" => {
            if asks_nodes(args.iter().skip(2)) {
                return Ok(with_figures(router, key, args, move |args, settings, out| {
                    get(args, settings, resp3, out);
                    Ok(())
                }));
            }
            get(args, &settings(router, key), resp3, out);
        }
        "CONFIG|SET" => {
            if args.len() == 4 && args.at(2).eq_ignore_ascii_case(NOTIFY) {
                router.send_to_primaries(key, spec, args);
                return Ok(Answer::Later);
            }
            if asks_nodes(args.iter().skip(2).step_by(2)) {
                return Ok(with_figures(router, key, args, set));
            }
            set(args, &settings(router, key), out)?;
        }
        "CONFIG|RESETSTAT" => {
            super::info::reset_counts(router);
            encode::simple(out, "OK");
        }
        "CONFIG|REWRITE" => return Err("ERR The server is running without a config file".into()),
        _ => return Err(super::refusal(crate::route::plan::Refusal::NotThroughProxy(spec), args)),
    }
    Ok(Answer::Ready)
}

fn asks(pattern: &[u8], name: &str) -> bool {
    glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes())
}

/// True if one of these names or patterns means what only the nodes know.
fn asks_nodes<'a>(mut asked: impl Iterator<Item = &'a [u8]>) -> bool {
    asked.any(|asked| OF_NODES.iter().any(|name| asks(asked, name)))
}

/// Answers a request once the nodes have told what they know. What none of them told is not among the settings.
fn with_figures(
    router: &mut Router,
    key: ClientKey,
    args: Args<'_>,
    answer: impl FnOnce(Args<'_>, &Settings, &mut Vec<u8>) -> Result<(), Refused> + 'static,
) -> Answer {
    let (context, mut settings) = (router.context.clone(), settings(router, key));
    let args = OwnedArgs::new(&args.iter().collect::<Vec<_>>());
    router.answer_later(key, async move {
        let figures = context.census.fresh().await;
        add_figures(&mut settings, &figures);
        let mut out = Vec::new();
        match answer(args.args(), &settings, &mut out) {
            Ok(()) => (Outcome::Ok, out, false),
            Err(refused) => {
                out.clear();
                refused.write(&mut out);
                (Outcome::Error, out, false)
            }
        }
    });
    Answer::Later
}

fn add_figures(settings: &mut Settings, figures: &Figures) {
    if figures.answered > 0 {
        settings
            .extend(OF_NODES.into_iter().zip([figures.maxmemory.to_string(), figures.policy().to_owned()]));
        settings.sort_unstable_by_key(|(name, _)| *name);
    }
}

/// `CONFIG GET name...`
fn get(args: Args<'_>, settings: &Settings, resp3: bool, out: &mut Vec<u8>) {
    let asked = |name: &str| args.iter().skip(2).find(|asked| asks(asked, name));
    let found: Vec<_> =
        settings.iter().filter_map(|(name, value)| Some((asked(name)?, name, value))).collect();
    encode::map_head(out, found.len(), resp3);
    for (asked, name, value) in found {
        // Redis tells a name in full as it was written.
        let whole = asked.eq_ignore_ascii_case(name.as_bytes());
        encode::bulk(out, if whole { asked } else { name.as_bytes() });
        encode::bulk(out, value.as_bytes());
    }
}

/// All that the nodes need not be asked for.
fn settings(router: &mut Router, key: ClientKey) -> Settings {
    let databases = router.databases();
    let Some(client) = router.client_mut(key) else { return Vec::new() };
    let listener = &client.listener;
    let idle = listener.limits.idle_timeout.map_or(0, |timeout| timeout.as_secs());
    let listen = listener.listen;
    [
        ("appendfsync", "everysec".to_owned()),
        ("appendonly", "no".to_owned()),
        ("bind", listen.ip().to_string()),
        ("cluster-enabled", if listener.facade { "yes" } else { "no" }.to_owned()),
        ("databases", databases.to_string()),
        ("maxclients", listener.limits.clients_max.to_string()),
        ("port", listen.port().to_string()),
        ("proto-max-bulk-len", listener.limits.bulk_bytes_max.to_string()),
        ("protected-mode", "no".to_owned()),
        ("replica-read-only", "yes".to_owned()),
        ("save", String::new()),
        ("slave-read-only", "yes".to_owned()),
        ("timeout", idle.to_string()),
    ]
    .into()
}

/// `CONFIG SET name value...`: what is so already may be set; anything else says why not.
fn set(args: Args<'_>, settings: &Settings, out: &mut Vec<u8>) -> Result<(), Refused> {
    if !args.len().is_multiple_of(2) {
        return Err("ERR syntax error".into());
    }
    let failed = |name: &[u8], why: &str| {
        Refused::quoting(
            "ERR CONFIG SET failed (possibly related to argument '",
            name,
            &format!("') - {why}"),
        )
    };
    let mut at = 2;
    while let (Some(name), Some(value)) = (args.get(at), args.get(at + 1)) {
        if (2..at).step_by(2).any(|before| args.at(before).eq_ignore_ascii_case(name)) {
            return Err(failed(name, "duplicate parameter"));
        }
        if name.eq_ignore_ascii_case(NOTIFY) {
            return Err(failed(
                name,
                "through the proxy it is set alone: it goes to the primary of every shard",
            ));
        }
        match settings.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())) {
            Some((_, current)) if current.as_bytes() == value => {}
            Some(_) => return Err(failed(name, "it cannot be changed through the proxy")),
            None => return Err(failed(name, "it is a setting of the nodes; set it on each of them")),
        }
        at += 2;
    }
    encode::simple(out, "OK");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_set() {
        let settings = vec![("maxmemory", "0".to_owned()), ("save", String::new())];
        let failed = "ERR CONFIG SET failed (possibly related to argument";
        for (words, wanted) in [
            (&["maxmemory", "0"][..], Ok(())),
            (&["MAXMEMORY", "0", "save", ""], Ok(())),
            (
                &["maxmemory", "1"],
                Err(format!("{failed} 'maxmemory') - it cannot be changed through the proxy")),
            ),
            (
                &["hz", "1"],
                Err(format!("{failed} 'hz') - it is a setting of the nodes; set it on each of them")),
            ),
            (&["save", "", "SAVE", ""], Err(format!("{failed} 'SAVE') - duplicate parameter"))),
            (&["save", "", "x"], Err("ERR syntax error".to_owned())),
        ] {
            let all: Vec<&str> = ["CONFIG", "SET"].iter().chain(words).copied().collect();
            let got = set(OwnedArgs::new(&all).args(), &settings, &mut Vec::new());
            assert_eq!(got.map_err(|refused| String::from_utf8(refused.0).unwrap()), wanted, "{words:?}");
        }
    }

    #[test]
    fn t28_what_no_node_told_is_not_told_as_a_fact() {
        let shown = |figures: &Figures| {
            let mut settings = vec![("databases", "1".to_owned()), ("port", "1".to_owned())];
            add_figures(&mut settings, figures);
            let names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
            names.join(" ")
        };
        assert_eq!(shown(&Figures::default()), "databases port");
        let mut figures = Figures::default();
        figures.add("maxmemory:1\r\n");
        assert_eq!(shown(&figures), "databases maxmemory maxmemory-policy port");
    }

    #[test]
    fn t28_nodes_are_asked_only_for_what_they_know() {
        for (asked, wanted) in [
            (&["maxmemory"][..], true),
            (&["port", "MAXMEMORY-POLICY"], true),
            (&["*"], true),
            (&["max*"], true),
            (&["maxclients", "databases", "maxmemory-samples"], false),
        ] {
            assert_eq!(asks_nodes(asked.iter().map(|name| name.as_bytes())), wanted, "{asked:?}");
        }
    }
}
