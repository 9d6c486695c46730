use super::*;
use crate::command::{Call, HANDLERS, Handlers, Outcome};
use crate::{NodeLimits, NodeSpec, Role};
use pointsman_protocol::HostPort;
use pointsman_protocol::command::lookup;

fn executor() -> Executor {
    let address = HostPort::new("127.0.0.1", 7001);
    Executor::new(NodeSpec::standalone(address, Role::Primary, NodeLimits::default()), 1, 1_000_000)
}

fn client() -> Rc<Client> {
    let address = "127.0.0.1:1".parse().unwrap();
    Rc::new(Client::new(1, address, address, 0))
}

const ALL: Budget = Budget { commands: 1000, reply_bytes: 1 << 20 };

/// Gives the pieces to a batch one by one, as reads would bring them.
fn run_pieces(pieces: &[&[u8]], budget: Budget) -> Vec<u8> {
    let mut executor = executor();
    let client = client();
    let mut batch = Batch::default();
    let mut all = Vec::new();
    let (mut kept, mut decoder): (Vec<u8>, _) = (Vec::new(), None);
    for piece in pieces {
        // What came before is by itself, what comes anew is in the shared buffer.
        let fresh = kept.is_empty();
        kept.extend_from_slice(piece);
        let mut shared = if fresh { std::mem::take(&mut kept) } else { Vec::new() };
        loop {
            let input = if shared.is_empty() {
                Input::Own(std::mem::take(&mut kept))
            } else {
                Input::Shared(0..shared.len())
            };
            let mut parts = [Part::new((), Rc::clone(&client), input, decoder.take(), budget)];
            let mut replies = Vec::new();
            batch.run(&mut executor, &shared, &mut parts, &mut replies);
            let [mut part] = parts;
            all.extend_from_slice(&replies[part.replies.clone()]);
            kept = part.input.bytes(&shared)[part.consumed..].to_vec();
            shared = Vec::new();
            decoder = part.decoder.take().filter(|_| !kept.is_empty());
            match part.end.expect("a part that has run has ended") {
                End::More if !kept.is_empty() => {}
                End::Last => return all,
                _ => break,
            }
        }
    }
    all
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, words);
    bytes
}

/// A pipeline with everything in it, and its replies.
fn pipeline() -> (Vec<u8>, Vec<u8>) {
    let mut input = Vec::new();
    let mut wanted = Vec::new();
    let mut add = |bytes: Vec<u8>, reply: &str| {
        input.extend_from_slice(&bytes);
        wanted.extend_from_slice(reply.as_bytes());
    };
    add(request(&["SET", "a", "1\r\n2"]), "+OK\r\n");
    add(request(&["GET", "a"]), "$4\r\n1\r\n2\r\n");
    add(b"SET b 'in line'\r\n".to_vec(), "+OK\r\n");
    add(b"\r\n".to_vec(), "");
    add(b"*0\r\n".to_vec(), "");
    add(request(&["MGET", "a", "b", "none"]), "*3\r\n$4\r\n1\r\n2\r\n$7\r\nin line\r\n$-1\r\n");
    add(request(&["NOSUCH", "x"]), "-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n");
    add(request(&["GET"]), "-ERR wrong number of arguments for 'get' command\r\n");
    add(b"PING\n".to_vec(), "+PONG\r\n");
    for number in 1..=40 {
        add(request(&["INCR", "n"]), &format!(":{number}\r\n"));
    }
    add(request(&["DEL", "a", "b", "n"]), ":3\r\n");
    (input, wanted)
}

#[test]
fn t19_every_split_of_a_pipeline_gives_the_same_replies() {
    let (input, wanted) = pipeline();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&run_pieces(&[&input], ALL)), text(&wanted));
    for at in 1..input.len() {
        let (first, second) = input.split_at(at);
        assert_eq!(text(&run_pieces(&[first, second], ALL)), text(&wanted), "split at {at}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(text(&run_pieces(&bytes, ALL)), text(&wanted), "byte by byte");
}

#[test]
fn t17_budgets_cut_a_pipeline_into_turns_and_lose_nothing() {
    let (input, wanted) = pipeline();
    for commands in [1, 2, 3, 7, 32, 33] {
        assert_eq!(run_pieces(&[&input], Budget { commands, ..ALL }), wanted, "{commands} commands a turn");
    }
    for reply_bytes in [1, 10, 100] {
        assert_eq!(
            run_pieces(&[&input], Budget { reply_bytes, ..ALL }),
            wanted,
            "{reply_bytes} bytes a turn"
        );
    }
}

#[test]
fn t21_a_protocol_error_comes_after_the_replies_before_it() {
    let mut input = request(&["PING"]);
    input.extend_from_slice(b"*1\r\n!\r\n");
    input.extend_from_slice(&request(&["PING"]));
    let replies = run_pieces(&[&input], ALL);
    assert_eq!(String::from_utf8_lossy(&replies), "+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n");
}

#[test]
fn t30_nothing_is_executed_behind_quit() {
    let mut input = request(&["PING"]);
    input.extend_from_slice(&request(&["QUIT"]));
    input.extend_from_slice(&request(&["SET", "a", "1"]));
    assert_eq!(run_pieces(&[&input], ALL), b"+PONG\r\n+OK\r\n");
}

#[test]
fn a_mistake_in_one_command_is_answered_and_the_others_run() {
    fn broken(call: &mut Call<'_>) -> Outcome {
        call.reply_bulk(b"half a reply");
        let key = call.arg(1);
        call.effect(call.first, &[&b"DEL"[..], key]);
        panic!("a mistake made on purpose");
    }
    let mut handlers: Box<Handlers> = HANDLERS.clone();
    handlers[usize::from(lookup(b"STRLEN").unwrap().index)] = Some(broken);
    let mut executor = executor();
    executor.handlers = Box::leak(handlers);
    let mut input = Vec::new();
    let mut wanted = String::new();
    for (words, reply) in [
        (&["SET", "k", "v"][..], "+OK\r\n"),
        (&["STRLEN", "k"], "-ERR internal error\r\n"),
        (&["GET", "k"], "$1\r\nv\r\n"),
        (&["STRLEN", "k"], "-ERR internal error\r\n"),
        (&["PING"], "+PONG\r\n"),
    ] {
        input.extend_from_slice(&request(words));
        wanted += reply;
    }
    let length = input.len();
    let mut parts = [Part::new((), client(), Input::Own(input), None, ALL)];
    let mut replies = Vec::new();
    Batch::default().run(&mut executor, &[], &mut parts, &mut replies);
    assert_eq!(String::from_utf8_lossy(&replies), wanted);
    assert_eq!((parts[0].consumed, parts[0].end), (length, Some(End::Read)));
    assert_eq!(executor.stats.internal_errors, 2);
    assert!(!executor.log.commit(), "the effect of a command that failed must not stay");
}

#[test]
fn t01_connections_that_share_a_batch_keep_their_own_order_and_replies() {
    let mut executor = executor();
    let mut batch = Batch::default();
    let mut shared = Vec::new();
    let mut parts = Vec::new();
    let mut wanted = Vec::new();
    for owner in 0..9usize {
        let start = shared.len();
        let mut replies = String::new();
        // Some have sent more than a window, some nothing whole, one an error, one QUIT in the middle.
        for number in 0..[1, 40, 0, 3, 100, 2, 7, 33, 5][owner] {
            let word = format!("{owner}:{number}");
            if owner == 6 && number == 3 {
                shared.extend_from_slice(&request(&["QUIT"]));
                replies += "+OK\r\n";
            } else if owner == 8 && number == 4 {
                shared.extend_from_slice(b"*1\r\n!");
                replies += "-ERR Protocol error: expected '$', got '!'\r\n";
            } else {
                shared.extend_from_slice(&request(&["ECHO", &word]));
                if owner != 6 || number < 3 {
                    replies += &format!("${}\r\n{word}\r\n", word.len());
                }
            }
        }
        if owner == 3 {
            shared.extend_from_slice(b"*2\r\n$4\r\nEC");
        }
        wanted.push(replies);
        parts.push(Part::new(owner, client(), Input::Shared(start..shared.len()), None, ALL));
    }
    let mut replies = Vec::new();
    batch.run(&mut executor, &shared, &mut parts, &mut replies);
    for part in &parts {
        let own = String::from_utf8_lossy(&replies[part.replies.clone()]);
        assert_eq!(own, wanted[part.owner], "connection {}", part.owner);
        let end = if [6, 8].contains(&part.owner) { End::Last } else { End::Read };
        assert_eq!(part.end, Some(end), "connection {}", part.owner);
    }
    assert!(parts[3].decoder.is_some(), "a request that has come in part");
    assert_eq!(parts[3].input.bytes(&shared).len() - parts[3].consumed, 10);
}
