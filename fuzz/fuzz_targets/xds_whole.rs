//! Resources of any content: decoded, put together, and published into a mesh without a network.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds_whole(input));
