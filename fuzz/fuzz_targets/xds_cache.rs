//! Files that are taken for the cache of a client of control planes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds_cache(input));
