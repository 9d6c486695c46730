use super::*;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

const LANE: Lane = Lane { resp3: false, readonly: false, database: 0, index: 0 };

fn connection() -> Connection {
    Connection::new(HostPort::new("h", 1), LANE, Arc::default())
}

fn request(ticket: u32, since: u64) -> Request {
    Request {
        client: ClientKey { index: 7, generation: 1 },
        ticket: Ticket(ticket),
        part: None,
        slot: Slot::new(1),
        traits: Traits::default(),
        since,
        ahead: 0,
    }
}

fn put(connection: &mut Connection, ticket: u32, since: u64, bytes: &str) {
    connection.enqueue(request(ticket, since), since, |out| out.extend_from_slice(bytes.as_bytes()));
}

/// The two ends of a socket: ours to write to, the node's to read from.
async fn socket() -> (OwnedWriteHalf, TcpStream, OwnedReadHalf) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (reader, writer) = ours.unwrap().into_split();
    (writer, theirs.unwrap().0, reader)
}

async fn read(node: &mut TcpStream, len: usize) -> String {
    let mut bytes = vec![0; len];
    node.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

fn lost(connection: &mut Connection) -> Vec<(u32, String, bool)> {
    let unanswered = connection.down(Phase::Down);
    unanswered
        .into_iter()
        .map(|lost| (lost.entry.request.ticket.0, String::from_utf8(lost.bytes).unwrap(), lost.sent))
        .collect()
}

fn expired(connection: &mut Connection, before: u64) -> Vec<(u32, bool)> {
    connection.expire(before).into_iter().map(|(entry, sent)| (entry.request.ticket.0, sent)).collect()
}

// T12: what the kernel took is of unknown fate, the rest was not sent.
#[tokio::test]
async fn t12_what_was_sent_and_what_was_not() {
    let (writer, mut node, _reader) = socket().await;
    let mut connection = connection();
    put(&mut connection, 1, 0, "one");
    put(&mut connection, 2, 0, "two");
    connection.up(writer, 0);
    connection.flush(0).unwrap();
    assert_eq!(read(&mut node, 6).await, "onetwo");
    assert_eq!(connection.pop().unwrap().request.ticket, Ticket(1));
    connection.release();
    put(&mut connection, 3, 0, "three");
    assert_eq!(lost(&mut connection), [(2, "two".into(), true), (3, "three".into(), false)]);
    assert_eq!((connection.waiting(), connection.waiting_bytes()), (0, 0));
    // The next life starts clean.
    let (writer, mut node, _reader) = socket().await;
    put(&mut connection, 4, 0, "four");
    connection.up(writer, 0);
    connection.flush(0).unwrap();
    assert_eq!(read(&mut node, 4).await, "four");
    assert_eq!(lost(&mut connection), [(4, "four".into(), true)]);
}

// A connection that never came up has sent nothing.
#[test]
fn t12_never_connected_means_never_sent() {
    let mut connection = connection();
    put(&mut connection, 1, 0, "one");
    assert_eq!(lost(&mut connection), [(1, "one".into(), false)]);
}

// T10: who timed out keeps the place, so that the late reply goes to nobody and the next one fits.
#[tokio::test]
async fn t10_a_late_reply_finds_nobody() {
    let (writer, _node, _reader) = socket().await;
    let mut connection = connection();
    connection.up(writer, 0);
    put(&mut connection, 1, 10, "one");
    put(&mut connection, 2, 20, "two");
    connection.flush(20).unwrap();
    assert_eq!(expired(&mut connection, 15), [(1, true)]);
    assert_eq!(expired(&mut connection, 15), [(0, true); 0], "told once");
    assert_eq!(connection.pop().unwrap().request.client, ClientKey::NOBODY);
    let next = connection.pop().unwrap();
    assert_eq!((next.request.ticket, next.request.client.index), (Ticket(2), 7));
}

// What timed out before it was sent must not be sent afterwards: its client was told that it was not.
#[tokio::test]
async fn t12_an_expired_request_is_not_sent_later() {
    let mut connection = connection();
    put(&mut connection, 1, 10, "one");
    let asking = Request { traits: Traits { asking: true, ..Traits::default() }, ..request(2, 10) };
    connection.enqueue(asking, 10, |out| out.extend_from_slice(b"two"));
    put(&mut connection, 3, 20, "three");
    assert_eq!(expired(&mut connection, 15), [(1, false), (2, false)]);
    let (writer, mut node, _reader) = socket().await;
    connection.up(writer, 20);
    connection.flush(20).unwrap();
    assert_eq!(read(&mut node, 5).await, "three");
    let entry = connection.pop().unwrap();
    assert_eq!((entry.request.ticket, connection.bytes_of(&entry)), (Ticket(3), &b"three"[..]));
    assert!(connection.pop().is_none());
}

// What was answered and what was sent stay in their places when the unsent is taken out behind them.
#[tokio::test]
async fn t12_taking_out_the_unsent_leaves_the_rest() {
    let (writer, mut node, _reader) = socket().await;
    let mut connection = connection();
    connection.up(writer, 0);
    put(&mut connection, 1, 10, "one");
    put(&mut connection, 2, 10, "two");
    connection.flush(10).unwrap();
    put(&mut connection, 3, 10, "three");
    put(&mut connection, 4, 30, "four");
    assert_eq!(connection.pop().unwrap().request.ticket, Ticket(1));
    assert_eq!(expired(&mut connection, 15), [(2, true), (3, false)]);
    put(&mut connection, 5, 30, "five");
    connection.flush(30).unwrap();
    assert_eq!(read(&mut node, 6 + 8).await, "onetwofourfive");
    let rest: Vec<_> = std::iter::from_fn(|| connection.pop())
        .map(|entry| (entry.request.ticket.0, entry.request.client.index))
        .collect();
    assert_eq!(rest, [(2, u32::MAX), (4, 7), (5, 7)]);
}

// An answer to nothing must not be taken for the answer to what has not been sent yet.
#[tokio::test]
async fn what_was_not_sent_cannot_be_answered() {
    let (writer, _node, _reader) = socket().await;
    let mut connection = connection();
    connection.up(writer, 0);
    put(&mut connection, 1, 0, "one");
    assert!(connection.pop().is_none());
    connection.flush(0).unwrap();
    assert!(connection.pop().is_some());
}

// T05: ASKING stands right before its request, and its reply is nobody's.
#[test]
fn t05_asking_is_adjacent() {
    let mut connection = connection();
    put(&mut connection, 1, 0, "one");
    let asking = Request { traits: Traits { asking: true, ..Traits::default() }, ..request(2, 0) };
    connection.enqueue(asking, 0, |out| out.extend_from_slice(b"two"));
    connection.written = u64::MAX;
    let all: Vec<_> = std::iter::from_fn(|| {
        let entry = connection.pop()?;
        Some((entry.request.client.index, String::from_utf8(connection.bytes_of(&entry).to_vec()).unwrap()))
    })
    .collect();
    let nobody = ClientKey::NOBODY.index;
    assert_eq!(all, [(7, "one".into()), (nobody, "*1\r\n$6\r\nASKING\r\n".into()), (7, "two".into())]);
}

#[test]
fn the_log_is_cut_while_requests_keep_waiting() {
    let mut connection = connection();
    let large = "x".repeat(10_000);
    for ticket in 0..1_000 {
        put(&mut connection, ticket, 0, &format!("{ticket:04}{large}"));
        connection.written = connection.base + connection.log.len() as u64;
        if ticket >= 5 {
            let entry = connection.pop().unwrap();
            assert!(connection.bytes_of(&entry).starts_with(format!("{:04}", ticket - 5).as_bytes()));
            connection.release();
        }
        assert!(connection.waiting_bytes() < 300_000, "{}", connection.waiting_bytes());
    }
    assert_eq!(connection.waiting(), 5);
}

#[test]
fn the_queue_is_bounded_by_number_and_by_bytes() {
    let mut connection = connection();
    let limits = QueueLimits { inflight_max: 2, inflight_bytes_max: 10 };
    assert!(connection.accepts(0, &limits));
    put(&mut connection, 1, 0, "123456789");
    assert!(connection.accepts(0, &limits) && !connection.accepts(2, &limits));
    put(&mut connection, 2, 0, "1");
    assert!(!connection.accepts(0, &limits), "two requests wait");
}

// T48: a transaction is one request with replies ahead of its own, and one that did not get out whole was
// not executed.
#[test]
fn t48_a_transaction_is_one_request() {
    let mut connection = connection();
    let ahead = Request { ahead: 2, ..request(1, 0) };
    connection.enqueue(ahead, 0, |out| out.extend_from_slice(b"multi-get-exec"));
    put(&mut connection, 2, 0, "next");
    assert!(!connection.takes_ahead(b"+OK\r\n"), "nothing of it was sent");
    // MULTI got out before the rest: its reply may come first.
    connection.written = 5;
    assert!(connection.takes_ahead(b"+OK\r\n"));
    assert!(connection.pop().is_none(), "its own reply cannot have come yet");
    connection.written = u64::MAX;
    assert!(connection.takes_ahead(b"-MOVED 1 h:1\r\n"));
    assert!(!connection.takes_ahead(b"-EXECABORT\r\n"), "this is its own");
    assert_eq!(connection.pop().unwrap().request.ticket, Ticket(1));
    assert_eq!(connection.take_refused().as_deref(), Some(&b"-MOVED 1 h:1\r\n"[..]));
    assert!(!connection.takes_ahead(b"+OK\r\n"), "the next request has none ahead");
    assert_eq!(connection.pop().unwrap().request.ticket, Ticket(2));
}

#[tokio::test]
async fn t48_a_transaction_in_part_was_not_executed() {
    for (written, sent) in [(5, false), (14, true)] {
        let (writer, _node, _reader) = socket().await;
        let mut connection = connection();
        connection.up(writer, 0);
        let ahead = Request { ahead: 2, ..request(1, 0) };
        connection.enqueue(ahead, 0, |out| out.extend_from_slice(b"multi-get-exec"));
        connection.written = written;
        assert_eq!(lost(&mut connection), [(1, "multi-get-exec".into(), sent)], "{written} bytes");
    }
}
