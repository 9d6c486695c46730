//! SipHash-1-3: the keyed hash of the key space.
//!
//! Keys come from the network, so the hash must not let anybody choose colliding ones: SipHash with
//! a key of the node's own is made for that, and one compression round is what other stores trust
//! for the same use. It is written out here because it must be keyed, stable within a run, and
//! inlined into the lookup; the standard library offers none that is all three.

/// The secret that a node hashes with.
pub type Key = (u64, u64);

macro_rules! round {
    ($v0:ident, $v1:ident, $v2:ident, $v3:ident) => {
        $v0 = $v0.wrapping_add($v1);
        $v2 = $v2.wrapping_add($v3);
        $v1 = $v1.rotate_left(13) ^ $v0;
        $v3 = $v3.rotate_left(16) ^ $v2;
        $v0 = $v0.rotate_left(32);
        $v2 = $v2.wrapping_add($v1);
        $v0 = $v0.wrapping_add($v3);
        $v1 = $v1.rotate_left(17) ^ $v2;
        $v3 = $v3.rotate_left(21) ^ $v0;
        $v2 = $v2.rotate_left(32);
    };
}

/// SipHash-1-3 of `bytes` under `key`.
#[inline]
pub fn hash(key: Key, bytes: &[u8]) -> u64 {
    let mut v0 = key.0 ^ 0x736f_6d65_7073_6575;
    let mut v1 = key.1 ^ 0x646f_7261_6e64_6f6d;
    let mut v2 = key.0 ^ 0x6c79_6765_6e65_7261;
    let mut v3 = key.1 ^ 0x7465_6462_7974_6573;
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        v3 ^= word;
        round!(v0, v1, v2, v3);
        v0 ^= word;
    }
    let mut last = (bytes.len() as u64) << 56;
    for (place, byte) in tail.iter().enumerate() {
        last |= u64::from(*byte) << (8 * place);
    }
    v3 ^= last;
    round!(v0, v1, v2, v3);
    v0 ^= last;
    v2 ^= 0xff;
    round!(v0, v1, v2, v3);
    round!(v0, v1, v2, v3);
    round!(v0, v1, v2, v3);
    v0 ^ v1 ^ v2 ^ v3
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    // The standard library's default hasher is SipHash-1-3 with a zero key.
    #[test]
    #[allow(deprecated)]
    fn agrees_with_the_standard_library() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..bytes.len() {
            let mut reference = std::collections::hash_map::DefaultHasher::new();
            reference.write(&bytes[..len]);
            assert_eq!(super::hash((0, 0), &bytes[..len]), reference.finish(), "{len} bytes");
        }
        assert_ne!(super::hash((0, 1), b"a"), super::hash((1, 0), b"a"));
    }
}
