//! The command table and the search for keys, fed with anything.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/support/fuzz_bodies.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_bodies::keys(input));
