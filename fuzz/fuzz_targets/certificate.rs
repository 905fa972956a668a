//! Certificates, PEM and the names in them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::certificate(input));
