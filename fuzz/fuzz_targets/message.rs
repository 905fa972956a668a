//! The text of an error as a `grpc-message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| tower_mesh::fuzzing::message(input));
