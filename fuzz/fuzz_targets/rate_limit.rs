//! Answers of a rate limit service.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::rate_limit(input));
