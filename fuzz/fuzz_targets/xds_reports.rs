//! Load reports (LRS): what a server answers, in any order, at any time.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds_reports(input));
