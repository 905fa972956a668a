//! The headers that say which trace a request is a part of.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::trace(input));
