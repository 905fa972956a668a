//! Assignments (EDS) that are read beside the last good one.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds::endpoints_again(input));
