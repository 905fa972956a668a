//! The grammar of service names.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| tower_mesh::fuzzing::name(input));
