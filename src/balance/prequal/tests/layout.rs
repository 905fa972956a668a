//! A pick writes the line of the report that it takes, and no other.

use super::super::pool::SLOT_LINE;

#[test]
fn each_report_has_a_cache_line_of_its_own() {
    assert_eq!(SLOT_LINE, (64, 64));
}
