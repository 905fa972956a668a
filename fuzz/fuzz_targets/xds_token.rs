//! What is taken for a token that is shown to a control plane.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds_token(input));
