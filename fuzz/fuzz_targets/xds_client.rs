//! The client of control planes: what servers send, in any order, at any time.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds_client(input));
