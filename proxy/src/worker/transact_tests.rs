use super::*;
use crate::route::division::Division;
use crate::route::plan::plan;
use crate::worker::stage::Stage;
use pointsman_protocol::resp::args::OwnedArgs;
use tokio::task::LocalSet;

/// What a local command may be asked, besides its name: these words, in all places.
const WORDS: [&str; 9] = ["x", "0", "1", "*", "get", "on", "yes", "maxmemory", "notify-keyspace-events"];
/// And these requests.
const LINES: [&str; 6] = [
    "COMMAND LIST FILTERBY MODULE x",
    "COMMAND LIST FILTERBY ACLCAT read",
    "COMMAND DOCS get",
    "CONFIG SET notify-keyspace-events KEA",
    "CLIENT TRACKING ON REDIRECT 1",
    "INFO server",
];

// A reply that came later would come beside the place that EXEC has for it.
#[tokio::test]
async fn t45_what_is_queued_as_local_is_answered_at_once() {
    LocalSet::new()
        .run_until(async {
            let stage = Stage::with("");
            let mut requests: Vec<Vec<&str>> = LINES.iter().map(|line| line.split(' ').collect()).collect();
            for spec in command::all().iter().flat_map(|spec| [spec].into_iter().chain(spec.subcommands)) {
                let name: Vec<&str> = spec.name.split('|').collect();
                for count in (name.len()..=6).filter(|count| spec.accepts(*count)) {
                    for word in WORDS {
                        let mut words = name.clone();
                        words.resize(count, word);
                        requests.push(words);
                    }
                }
            }
            let mut queued = 0;
            for words in requests {
                let owned = OwnedArgs::new(&words);
                let plan = plan(owned.args(), true, &Division::Slots, &mut Vec::new());
                let Plan::Local { spec } = plan else { continue };
                // They act at once, and end the client or its transaction.
                if matches!(spec.name, "QUIT" | "RESET") {
                    continue;
                }
                let (key, _own) = stage.client().await;
                stage.say(key, &["MULTI"]);
                stage.say(key, &words);
                stage.say(key, &["EXEC"]);
                let mut router = stage.router.borrow_mut();
                let client = router.client_mut(key).unwrap();
                assert!(client.transaction.is_none() && !client.broken, "{words:?}");
                assert_eq!((client.in_flight, client.replies.open_count()), (0, 0), "{words:?}");
                queued += usize::from(!local::needs_others(spec, false));
                router.remove_client(key);
            }
            assert!(queued > 100, "{queued}");
        })
        .await;
}
