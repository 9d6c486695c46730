//! One client of the proxy and one of a single server, to whom the same bytes are said.

use super::grammar::Mark;
use super::rules::Needed;
use super::stream::{Unit, row_of};
use super::words::Request;
use pointsman_integration::reply::show_request;
use pointsman_integration::{Client, Random, Reply};
use pointsman_protocol::resp::encode;
use std::io::{ErrorKind, Write};

/// Ends a unit whose replies nobody has counted.
const SENTINEL: &str = "the-end-of-it";
/// No iteration takes more steps.
const STEPS_MAX: usize = 100_000;

/// What was not alike.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which unit of those given.
    pub unit: usize,
    /// The request.
    pub request: Request,
    /// The reply through the proxy.
    pub ours: String,
    /// The reply of the server.
    pub theirs: String,
}

impl Difference {
    /// One that says nothing but its place.
    #[cfg(test)]
    pub fn at(unit: usize) -> Difference {
        Difference { unit, request: Request::new(), ours: String::new(), theirs: String::new() }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n    proxy:  {}\n    server: {}", show_request(&self.request), self.ours, self.theirs)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pair {
    ours: Client,
    theirs: Client,
    /// Between MULTI and EXEC: what has been queued.
    queued: Option<Vec<Request>>,
    /// The connections have been closed.
    pub closed: bool,
}

impl Pair {
    /// Connects both and says HELLO.
    #[track_caller]
    pub fn connect(ours: &str, theirs: &str, protocol: &str) -> Pair {
        let connect = |address: &str| {
            let mut client = Client::connect(address);
            let _ = client.command(&["HELLO", protocol]);
            client
        };
        Pair { ours: connect(ours), theirs: connect(theirs), queued: None, closed: false }
    }

    /// Sends units at once, cut by chance into several writes, and compares all replies. Units that need
    /// more than that (see [`Mark`]) must come alone.
    pub fn say(
        &mut self,
        units: &[Unit],
        random: &mut Random,
        needed: &mut Needed,
    ) -> Result<(), Difference> {
        match units {
            [Unit { mark: Mark::Uncounted, requests }] => return self.say_uncounted(requests),
            [Unit { mark: Mark::Iteration, requests }] => return self.iterate(&requests[0], needed),
            _ => {}
        }
        let requests: Vec<(usize, &Request)> = units
            .iter()
            .enumerate()
            .flat_map(|(unit, one)| one.requests.iter().map(move |request| (unit, request)))
            .collect();
        self.send(requests.iter().map(|(_, request)| *request), random);
        // All of them, before anything is judged: the connections stay in step.
        let replies: Vec<(Reply, Reply)> = requests
            .iter()
            .map(|(_, request)| (read(&mut self.ours, request), read(&mut self.theirs, request)))
            .collect();
        for ((unit, request), (ours, theirs)) in requests.into_iter().zip(replies) {
            self.judge(unit, request, &ours, &theirs, needed)?;
        }
        Ok(())
    }

    fn judge(
        &mut self,
        unit: usize,
        request: &Request,
        ours: &Reply,
        theirs: &Reply,
        needed: &mut Needed,
    ) -> Result<(), Difference> {
        let difference = |ours: &Reply, theirs: &Reply| Difference {
            unit,
            request: request.clone(),
            ours: ours.to_string(),
            theirs: theirs.to_string(),
        };
        let is = |name: &str| request.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
        if *ours == "+QUEUED\r\n" && theirs == ours {
            if let Some(queued) = &mut self.queued {
                queued.push(request.clone());
            }
            return Ok(());
        }
        if is("EXEC")
            && let Some(queued) = self.queued.take()
            && ours != theirs
        {
            // Each element by the rules of its own command.
            let (one, other) = (elements(ours), elements(theirs));
            if one.len() != other.len() || one.len() != queued.len() || one.is_empty() {
                return Err(difference(ours, theirs));
            }
            for ((request, one), other) in queued.iter().zip(one).zip(other) {
                if !needed.alike(request, row_of(request), &one, &other) {
                    return Err(Difference { request: request.clone(), ..difference(&one, &other) });
                }
            }
            return Ok(());
        }
        if is("MULTI") && *ours == "+OK\r\n" {
            self.queued = Some(Vec::new());
        } else if (is("DISCARD") || is("RESET") || is("EXEC")) && !ours.is_error_of("ERR") {
            self.queued = None;
        }
        if needed.alike(request, row_of(request), ours, theirs) {
            Ok(())
        } else {
            Err(difference(ours, theirs))
        }
    }

    /// Replies until a word comes back that nobody else says, or the end.
    fn say_uncounted(&mut self, requests: &[Request]) -> Result<(), Difference> {
        let mut bytes = Vec::new();
        requests.iter().for_each(|request| encode::request(&mut bytes, request));
        encode::request(&mut bytes, &["PING", SENTINEL]);
        let mut all = [Vec::new(), Vec::new()];
        let mut closed = [false; 2];
        for (place, client) in [&mut self.ours, &mut self.theirs].into_iter().enumerate() {
            // Who has said QUIT may be gone before all is said.
            let _ = client.stream().write_all(&bytes);
            loop {
                match client.try_read() {
                    Ok(reply) if contains(&reply.0, SENTINEL.as_bytes()) => break,
                    Ok(reply) => all[place].push(reply),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        panic!("no reply within the time: {}", show_request(&requests[0]))
                    }
                    Err(_) => {
                        closed[place] = true;
                        break;
                    }
                }
            }
        }
        self.closed = closed[0] || closed[1];
        if all[0] == all[1] && closed[0] == closed[1] {
            return Ok(());
        }
        let request = requests.iter().flatten().cloned().collect();
        let show =
            |place: usize| format!("{:?}{}", all[place], if closed[place] { " and the end" } else { "" });
        Err(Difference { unit: 0, request, ours: show(0), theirs: show(1) })
    }

    /// SCAN and its like: both to their ends; what they tell must be the same.
    fn iterate(&mut self, first: &Request, needed: &mut Needed) -> Result<(), Difference> {
        let (ours, theirs) = (walk(&mut self.ours, first), walk(&mut self.theirs, first));
        let difference =
            |ours: String, theirs: String| Difference { unit: 0, request: first.clone(), ours, theirs };
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => Ok(()),
            (Err(ours), Err(theirs)) if needed.alike(first, row_of(first), &ours, &theirs) => Ok(()),
            (ours, theirs) => Err(difference(format!("{ours:?}"), format!("{theirs:?}"))),
        }
    }

    /// The same bytes to both, in the same pieces.
    fn send<'a>(&mut self, requests: impl Iterator<Item = &'a Request>, random: &mut Random) {
        let mut bytes = Vec::new();
        for request in requests {
            // Now and then as a person would type it.
            if random.once_in(40) && request.iter().map(Vec::len).sum::<usize>() < 2_000 {
                encode_inline(&mut bytes, request);
            } else {
                encode::request(&mut bytes, request);
            }
        }
        let mut cuts: Vec<usize> = match random.below(3) {
            0 => (0..1 + random.below(3)).map(|_| random.below(bytes.len())).collect(),
            _ => Vec::new(),
        };
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut from = 0;
        for to in cuts {
            if from < to {
                self.ours.send_bytes(&bytes[from..to]);
                self.theirs.send_bytes(&bytes[from..to]);
            }
            from = to;
        }
    }
}

#[track_caller]
fn read(client: &mut Client, request: &Request) -> Reply {
    match client.try_read() {
        Ok(reply) => reply,
        Err(error) => panic!("no reply to '{}': {error}", show_request(request)),
    }
}

fn elements(reply: &Reply) -> Vec<Reply> {
    if reply.0.first() == Some(&b'*') { reply.elements() } else { Vec::new() }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Everything an iteration tells, each once and sorted; or the error it ends with.
#[track_caller]
fn walk(client: &mut Client, first: &Request) -> Result<Vec<Vec<Reply>>, Reply> {
    let mut request = first.clone();
    let name = request[0].to_ascii_uppercase();
    let (cursor, group) = match &name[..] {
        b"SCAN" => (1, 1),
        b"SSCAN" => (2, 1),
        _ => (2, 2),
    };
    let mut told = Vec::new();
    for _ in 0..STEPS_MAX {
        let reply = client.command(&request);
        if reply.is_error() {
            return Err(reply);
        }
        let parts = reply.elements();
        told.extend(parts[1].elements().chunks(group).map(<[Reply]>::to_vec));
        let next = parts[0].text();
        if next == "0" {
            told.sort_by(|one, other| {
                one.iter().map(|reply| &reply.0).cmp(other.iter().map(|reply| &reply.0))
            });
            told.dedup();
            return Ok(told);
        }
        request[cursor] = next.into_bytes();
    }
    panic!("an iteration does not end: {}", show_request(first));
}

/// As a line, every word quoted.
fn encode_inline(out: &mut Vec<u8>, request: &Request) {
    for word in request {
        out.push(b'"');
        for byte in word {
            match byte {
                b' '..=b'~' if !matches!(byte, b'"' | b'\\') => out.push(*byte),
                _ => write!(out, "\\x{byte:02x}").expect("memory takes everything"),
            }
        }
        out.extend_from_slice(b"\" ");
    }
    out.extend_from_slice(b"\r\n");
}
