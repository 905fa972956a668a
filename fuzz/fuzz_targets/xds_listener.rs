//! Listeners (LDS) of a control plane.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds::listener(input));
