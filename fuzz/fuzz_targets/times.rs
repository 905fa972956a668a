//! The headers that state a time, an attempt or a status.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::times(input));
