//! Listeners (LDS) of calls that come in.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds::inbound(input));
