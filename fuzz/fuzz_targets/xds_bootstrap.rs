//! The bootstrap of control planes, and the variables that stand for it in a pod of Istio.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds_bootstrap(input));
