//! What a pick writes lies on lines of its endpoint's own.

use std::mem::{align_of, offset_of, size_of};

use super::super::{
    endpoint::{Endpoint, Live},
    load::Load,
};

const LINE: usize = 64;

#[test]
fn calls_to_two_endpoints_write_no_line_in_common() {
    let counts = 2 * size_of::<usize>();
    // What is counted of a call: a line from whatever memory lies beside it.
    let before = offset_of!(Live<()>, load);
    assert!(counts + before >= LINE, "{before}");
    let after = size_of::<Live<()>>() - before - size_of::<Load>();
    assert!(after >= LINE, "{after}");
    // Not by alignment: an allocation that is aligned may keep a pick waiting (ADR 0052).
    assert!(align_of::<Live<()>>() <= 16);
    // The reference that a call holds: counts of two endpoints are further apart than a line.
    assert!(counts + size_of::<Endpoint<u8>>() >= LINE, "{}", size_of::<Endpoint<u8>>());
}
