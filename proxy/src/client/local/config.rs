//! CONFIG: the settings that clients and tools look at, as one server in our place would have them.
//!
//! The nodes' settings are not shown and not changed, with two exceptions: how much memory there is and
//! what is evicted (as last sampled), and `notify-keyspace-events`, which client libraries set themselves:
//! that goes to the primary of every shard.

use super::{Answer, Refused};
use crate::backend::connection::ClientKey;
use crate::worker::router::Router;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::glob;
use pointsman_protocol::resp::{Args, encode};

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
            let settings = settings(router, key);
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
        "CONFIG|SET" => {
            if args.len() == 4 && args.at(2).eq_ignore_ascii_case(NOTIFY) {
                router.send_to_primaries(key, spec, args);
                return Ok(Answer::Later);
            }
            set(args, &settings(router, key))?;
            encode::simple(out, "OK");
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

/// Name and value of everything there is to see, sorted by name.
fn settings(router: &mut Router, key: ClientKey) -> Vec<(&'static str, String)> {
    let figures = router.context.census.latest();
    let Some(client) = router.client_mut(key) else { return Vec::new() };
    let listener = &client.listener;
    let idle = listener.limits.idle_timeout.map_or(0, |timeout| timeout.as_secs());
    let listen = listener.listen;
    [
        ("appendfsync", "everysec".to_owned()),
        ("appendonly", "no".to_owned()),
        ("bind", listen.ip().to_string()),
        ("cluster-enabled", if listener.facade { "yes" } else { "no" }.to_owned()),
        ("databases", "1".to_owned()),
        ("maxclients", listener.limits.clients_max.to_string()),
        ("maxmemory", figures.maxmemory.to_string()),
        ("maxmemory-policy", figures.policy().to_owned()),
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
fn set(args: Args<'_>, settings: &[(&'static str, String)]) -> Result<(), Refused> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::resp::args::OwnedArgs;

    #[test]
    fn what_may_be_set() {
        let settings = [("maxmemory", "0".to_owned()), ("save", String::new())];
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
            let got = set(OwnedArgs::new(&all).args(), &settings);
            assert_eq!(got.map_err(|refused| String::from_utf8(refused.0).unwrap()), wanted, "{words:?}");
        }
    }
}
