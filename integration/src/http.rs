//! A minimal HTTP client for the admin endpoints, and a reader of Prometheus' text format.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// Asks for `path`.
pub fn get(address: &str, path: &str) -> Result<Answer, String> {
    request(address, "GET", path)
}

/// Sends a request without a body.
pub fn request(address: &str, method: &str, path: &str) -> Result<Answer, String> {
    let place =
        |what: &str, error: std::io::Error| format!("{method} http://{address}{path}: {what}: {error}");
    let mut stream = TcpStream::connect(address).map_err(|error| place("connect", error))?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| place("set up", error))?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).map_err(|error| place("send", error))?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(|error| place("read", error))?;
    parse(&bytes).ok_or_else(|| {
        format!("{method} http://{address}{path}: no HTTP answer: \"{}\"", bytes.escape_ascii())
    })
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked =
        headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let body = if chunked { join_chunks(body)? } else { body.to_owned() };
    Some(Answer { status, headers, body })
}

fn join_chunks(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}

/// The samples of a /metrics page.
#[derive(Clone, Debug)]
pub struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    /// As written between the braces.
    labels: String,
    value: f64,
}

impl Metrics {
    /// Reads the page; a line that is no sample fails the test.
    #[track_caller]
    pub fn parse(page: &str) -> Metrics {
        let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics(
            lines
                .map(|line| parse_sample(line).unwrap_or_else(|| panic!("no metrics sample: {line}")))
                .collect(),
        )
    }

    /// The sum of the samples of `name` whose labels contain each of `labels` (written `kind="moved"`).
    /// 0 if there is none: a counter that never counted may be absent.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|label| sample.labels.split(',').any(|has| has == *label))
        };
        self.0.iter().filter(fits).map(|sample| sample.value).sum()
    }

    /// True if a sample has this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }

    /// The labels of the samples of `name`, as written.
    pub fn labels(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|sample| sample.name == name).map(|sample| sample.labels.clone()).collect()
    }
}

fn parse_sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    Some(Sample { name: name.to_owned(), labels: labels.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_plain_and_chunked() {
        let plain =
            parse(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\nno\n").unwrap();
        assert_eq!(
            (plain.status, plain.header("content-type"), plain.body.as_str()),
            (503, Some("text/plain"), "no\n")
        );
        let chunked =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(chunked.unwrap().body, "abcde");
    }

    #[test]
    fn samples_are_summed_over_the_labels_not_named() {
        let page = "# TYPE a counter\na{k=\"x\",n=\"1\"} 2\na{k=\"y\",n=\"1\"} 3\nb 1e3\n";
        let metrics = Metrics::parse(page);
        assert_eq!(metrics.sum("a", &["n=\"1\""]), 5.0);
        assert_eq!(metrics.sum("a", &["k=\"y\"", "n=\"1\""]), 3.0);
        assert_eq!((metrics.sum("b", &[]), metrics.sum("c", &[])), (1000.0, 0.0));
        assert!(metrics.has("b") && !metrics.has("c"));
    }
}
