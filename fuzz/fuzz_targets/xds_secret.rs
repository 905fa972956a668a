//! Secrets (SDS) of a control plane, and clusters with them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mesh::fuzzing::xds::secret(input));
