//! The mesh file, YAML and JSON.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::mesh_file(input));
