//! What a pick writes lies on lines of its endpoint's own.

use std::mem::{align_of, offset_of, size_of};

use super::super::{
    endpoint::{Endpoint, Live},
    load::Load,
};

const LINE: usize = 64;

#[test]
fn calls_to_two_endpoints_write_no_line_in_common() {
    // What is counted of a call: one line, whoever's memory lies beside it.
    assert_eq!((size_of::<Load>(), align_of::<Load>()), (LINE, LINE));
    assert_eq!(offset_of!(Live<u8>, load) % LINE, 0);
    // The reference that a call holds: counts of two endpoints are further apart than a line.
    let counts = 2 * size_of::<usize>();
    assert!(counts + size_of::<Endpoint<u8>>() >= LINE, "{}", size_of::<Endpoint<u8>>());
}
