//! Union, intersection and difference of sets, from the members that nodes told.

use super::Op;
use pointsman_protocol::resp::{encode, reply};
use std::collections::HashSet;

/// The members in a reply; `None` if it is no list of strings.
pub fn members(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    reply::elements(bytes)?.map(reply::payload).collect()
}

/// The head of a reply of so many members: a set where the protocol has one.
pub fn head(out: &mut Vec<u8>, count: usize, resp3: bool) {
    let at = out.len();
    encode::array_head(out, count);
    if resp3 && let Some(kind) = out.get_mut(at) {
        *kind = b'~';
    }
}

/// The result, each member once.
pub fn compute<'a>(op: Op, sets: &[Vec<&'a [u8]>]) -> Vec<&'a [u8]> {
    let Some((first, others)) = sets.split_first() else { return Vec::new() };
    match op {
        Op::Union => {
            let mut seen = HashSet::new();
            sets.iter().flatten().copied().filter(|member| seen.insert(*member)).collect()
        }
        Op::Diff => {
            let others: HashSet<&[u8]> = others.iter().flatten().copied().collect();
            first.iter().copied().filter(|member| !others.contains(member)).collect()
        }
        Op::Inter => {
            // The smallest decides how much there can be.
            let mut ordered: Vec<&Vec<&[u8]>> = sets.iter().collect();
            ordered.sort_by_key(|set| set.len());
            let Some((smallest, others)) = ordered.split_first() else { return Vec::new() };
            let mut left = (*smallest).clone();
            for other in others {
                let other: HashSet<&[u8]> = other.iter().copied().collect();
                left.retain(|member| other.contains(member));
            }
            left
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algebra_of_three_sets() {
        let sets: Vec<Vec<&[u8]>> =
            ["abcd", "bcx", "cdbb"].iter().map(|set| set.as_bytes().chunks(1).collect()).collect();
        let told = |op| {
            let mut members: Vec<u8> = compute(op, &sets).concat();
            members.sort_unstable();
            String::from_utf8(members).unwrap()
        };
        assert_eq!(told(Op::Union), "abcdx");
        assert_eq!(told(Op::Inter), "bc");
        assert_eq!(told(Op::Diff), "a");
        assert!(compute(Op::Inter, &[]).is_empty());
    }

    #[test]
    fn what_is_no_list_of_strings_is_told() {
        assert_eq!(members(b"~2\r\n$1\r\na\r\n$1\r\nb\r\n").unwrap(), [b"a", b"b"]);
        assert_eq!(members(b"*0\r\n").unwrap().len(), 0);
        for reply in [&b":1\r\n"[..], b"$-1\r\n", b"*1\r\n*0\r\n", b"*1\r\n$-1\r\n", b"*9\r\n"] {
            assert!(members(reply).is_none_or(|members| members.len() < 9));
        }
    }
}
