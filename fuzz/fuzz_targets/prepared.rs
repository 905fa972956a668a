//! What is sent of any URI and `host`, on each protocol.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: (&str, Option<&[u8]>)| {
    let (uri, host) = input;
    tower_mesh::fuzzing::prepared(uri, host);
});
