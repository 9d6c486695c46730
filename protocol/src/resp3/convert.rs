//! One RESP2 value, read by its [`Shape`], as RESP3 tells it.
//!
//! What does not fit its shape is passed on as it is but for its nulls, so whatever a node sends is
//! answered with as many values as it sent. The walk is as deep as the shapes are, not as the reply is.

use super::shape::Shape;
use crate::resp::{ReplyScanner, encode, reply};

/// A shape that contains itself (documentation of nested arguments) is followed so far.
const DEPTH_MAX: usize = 16;

/// Appends `from`, one whole value.
pub fn value(from: &[u8], shape: &Shape, out: &mut Vec<u8>) {
    nested(from, shape, DEPTH_MAX, out);
}

/// Appends `from`, an array whose elements have these shapes in turn; further ones have none.
pub fn tuple(from: &[u8], shapes: &[&Shape], out: &mut Vec<u8>) {
    places(from, |place| shapes.get(place).copied(), DEPTH_MAX, out);
}

fn nested(from: &[u8], shape: &Shape, depth: usize, out: &mut Vec<u8>) {
    let Some(depth) = depth.checked_sub(1) else { return same(from, out) };
    match shape {
        Shape::Same => same(from, out),
        Shape::Double => double(from, out),
        Shape::Verbatim => verbatim(from, out),
        Shape::Set => match list(from) {
            Some(elements) => {
                head(b'~', elements.len(), out);
                elements.iter().for_each(|element| same(element, out));
            }
            None => same(from, out),
        },
        Shape::Each(shape) => places(from, |_| Some(shape), depth, out),
        Shape::Tuple(shapes) => places(from, |place| shapes.get(place), depth, out),
        Shape::Map(shape) => map(from, |_| *shape, depth, out),
        Shape::Record(fields) => map(from, |name| field(fields, name), depth, out),
        Shape::Pairs(second) => match pairs(from) {
            Some(pairs) => {
                encode::array_head(out, pairs.len());
                for (one, other) in pairs {
                    encode::array_head(out, 2);
                    same(one, out);
                    nested(other, second, depth, out);
                }
            }
            None => same(from, out),
        },
        Shape::Keyed => match keyed(from) {
            Some(pairs) => {
                head(b'%', pairs.len(), out);
                for (key, of_key) in pairs {
                    same(key, out);
                    same(of_key, out);
                }
            }
            None => same(from, out),
        },
    }
}

/// As it came; a null of either kind becomes the one of RESP3. Heads stay as they are, so this needs to
/// know nothing of what is in what.
fn same(from: &[u8], out: &mut Vec<u8>) {
    const NULL: &[u8] = b"-1\r\n";
    if memchr::memmem::find(from, NULL).is_none() {
        return out.extend_from_slice(from);
    }
    let mut rest = from;
    while let Some(kind) = rest.first() {
        let after = &rest[1..];
        if matches!(kind, b'$' | b'*') && after.starts_with(NULL) {
            encode::null(out, true);
            rest = &after[NULL.len()..];
            continue;
        }
        let len = match kind {
            // Only its head: what is in it comes next.
            b'*' | b'~' | b'%' | b'>' => memchr::memchr(b'\n', rest).map(|end| end + 1),
            _ => ReplyScanner::new().next(rest, usize::MAX).ok().flatten(),
        };
        // The whole has been scanned before; it cannot end early.
        let (one, others) = rest.split_at(len.unwrap_or(rest.len()).min(rest.len()));
        out.extend_from_slice(one);
        rest = others;
    }
}

fn double(from: &[u8], out: &mut Vec<u8>) {
    let is_number = |text: &[u8]| {
        matches!(text, b"inf" | b"-inf" | b"nan" | b"-nan")
            || (text.iter().any(u8::is_ascii_digit)
                && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')))
    };
    match text(from) {
        Some(number) if is_number(number) => {
            out.push(b',');
            out.extend_from_slice(number);
            out.extend_from_slice(b"\r\n");
        }
        _ => same(from, out),
    }
}

fn verbatim(from: &[u8], out: &mut Vec<u8>) {
    const FORMAT: &[u8] = b"txt:";
    match text(from) {
        Some(text) => {
            head(b'=', FORMAT.len() + text.len(), out);
            out.extend_from_slice(FORMAT);
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
        None => same(from, out),
    }
}

/// An array whose elements have each a shape of its own, by place.
fn places<'s>(from: &[u8], shape: impl Fn(usize) -> Option<&'s Shape>, depth: usize, out: &mut Vec<u8>) {
    let Some(elements) = list(from) else { return same(from, out) };
    encode::array_head(out, elements.len());
    for (place, element) in elements.into_iter().enumerate() {
        nested(element, shape(place).unwrap_or(&Shape::Same), depth, out);
    }
}

/// An array of names and values in turn; the name says how its value is read.
fn map<'s>(from: &[u8], shape: impl Fn(&[u8]) -> &'s Shape, depth: usize, out: &mut Vec<u8>) {
    let Some(pairs) = pairs(from) else { return same(from, out) };
    head(b'%', pairs.len(), out);
    for (name, of_name) in pairs {
        same(name, out);
        nested(of_name, shape(reply::payload(name).unwrap_or_default()), depth, out);
    }
}

/// The shape of a record's field. A name that ends with `*` stands for all that begin so.
fn field<'s>(fields: &'s [(&'static str, Shape)], name: &[u8]) -> &'s Shape {
    let means = |known: &str| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == known.as_bytes(),
    };
    fields.iter().find(|(known, _)| means(known)).map_or(&Shape::Same, |(_, shape)| shape)
}

fn text(from: &[u8]) -> Option<&[u8]> {
    if from.first() == Some(&b'$') { reply::payload(from) } else { None }
}

fn list(from: &[u8]) -> Option<Vec<&[u8]>> {
    if from.first() == Some(&b'*') { Some(reply::elements(from)?.collect()) } else { None }
}

/// The elements of an array two by two, if they come out even.
fn pairs(from: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let elements = list(from)?;
    let even = elements.len().is_multiple_of(2);
    even.then(|| elements.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// The elements of an array of pairs.
fn keyed(from: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    list(from)?
        .into_iter()
        .map(|element| match list(element)?.as_slice() {
            [key, value] => Some((*key, *value)),
            _ => None,
        })
        .collect()
}

fn head(kind: u8, count: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(count.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(from: &str, shape: &Shape) -> String {
        let mut out = Vec::new();
        value(from.as_bytes(), shape, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn t24_nulls_are_changed_wherever_they_are_and_nothing_else() {
        for (from, wanted) in [
            ("$-1\r\n", "_\r\n"),
            ("*-1\r\n", "_\r\n"),
            ("*3\r\n:-1\r\n*2\r\n$-1\r\n*-1\r\n+-1\r\n", "*3\r\n:-1\r\n*2\r\n_\r\n_\r\n+-1\r\n"),
            // What only looks like one is data.
            ("*2\r\n$5\r\n$-1\r\n\r\n$-1\r\n", "*2\r\n$5\r\n$-1\r\n\r\n_\r\n"),
            ("*1\r\n-ERR $-1\r\n", "*1\r\n-ERR $-1\r\n"),
        ] {
            assert_eq!(converted(from, &Shape::Same), wanted);
        }
        let deep = "*1\r\n".repeat(100_000) + "$-1\r\n";
        assert_eq!(converted(&deep, &Shape::Same), "*1\r\n".repeat(100_000) + "_\r\n");
    }

    #[test]
    fn t24_what_does_not_fit_its_shape_is_passed_on() {
        const FIELDS: Shape = Shape::Record(&[("n", Shape::Double), ("db.*", Shape::Map(&Shape::Same))]);
        for (shape, from, wanted) in [
            (Shape::Double, "$3\r\n1.5\r\n", ",1.5\r\n"),
            (Shape::Double, "$4\r\n-inf\r\n", ",-inf\r\n"),
            (Shape::Double, "$2\r\nno\r\n", "$2\r\nno\r\n"),
            (Shape::Double, "$3\r\n1\r\n\r\n", "$3\r\n1\r\n\r\n"),
            (Shape::Double, ":5\r\n", ":5\r\n"),
            (Shape::Verbatim, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (Shape::Verbatim, "$-1\r\n", "_\r\n"),
            (Shape::Set, "*1\r\n$-1\r\n", "~1\r\n_\r\n"),
            (Shape::Set, "+QUEUED\r\n", "+QUEUED\r\n"),
            (Shape::Map(&Shape::Same), "*1\r\n:1\r\n", "*1\r\n:1\r\n"),
            (Shape::Map(&Shape::Same), "*0\r\n", "%0\r\n"),
            (Shape::Pairs(&Shape::Double), "*3\r\n:1\r\n:2\r\n:3\r\n", "*3\r\n:1\r\n:2\r\n:3\r\n"),
            (Shape::Keyed, "*1\r\n*3\r\n:1\r\n:2\r\n:3\r\n", "*1\r\n*3\r\n:1\r\n:2\r\n:3\r\n"),
            (Shape::Keyed, "*1\r\n*2\r\n:1\r\n*-1\r\n", "%1\r\n:1\r\n_\r\n"),
            (Shape::Tuple(&[Shape::Same]), "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n"),
            (FIELDS, "*4\r\n+n\r\n$1\r\n1\r\n+x\r\n$1\r\n1\r\n", "%2\r\n+n\r\n,1\r\n+x\r\n$1\r\n1\r\n"),
            (FIELDS, "*2\r\n$4\r\ndb.7\r\n*2\r\n:1\r\n:2\r\n", "%1\r\n$4\r\ndb.7\r\n%1\r\n:1\r\n:2\r\n"),
        ] {
            assert_eq!(converted(from, &shape), wanted, "{shape:?}");
        }
    }

    #[test]
    fn a_shape_within_itself_ends() {
        static WITHIN: Shape = Shape::Each(&WITHIN);
        let deep = "*1\r\n".repeat(50_000) + "$-1\r\n";
        assert_eq!(converted(&deep, &WITHIN), "*1\r\n".repeat(50_000) + "_\r\n");
    }
}
