//! Sessions and the cookies that are hashed by: what requests carry, and what they are told.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::session(input));
