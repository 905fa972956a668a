//! Vectors of Envoy's `maglev_lb_test.cc`.

use super::{super::Maglev, local, members, names, ports, weighted};

fn is_of(table: &Maglev, expected: &[u32]) {
    assert_eq!(table.len(), expected.len());
    for hash in 0..3 * expected.len() {
        let position = expected[hash % expected.len()];
        assert_eq!(table.at(hash as u64, 0), Some(position), "{hash}");
    }
}

#[test]
fn basic() {
    let keys = ports(90..96);
    is_of(&Maglev::build(&members(&keys), 7), &[2, 4, 0, 1, 5, 0, 3]);
}

#[test]
fn basic_with_host_name() {
    let keys = names(&["90", "91", "92", "93", "94", "95"]);
    is_of(&Maglev::build(&members(&keys), 7), &[2, 5, 0, 3, 4, 1, 0]);
}

#[test]
fn basic_in_another_order() {
    let keys = ports([95, 92, 90, 94, 91, 93]);
    is_of(&Maglev::build(&members(&keys), 7), &[1, 3, 2, 4, 0, 2, 5]);
}

#[test]
fn attempts_change_the_hash() {
    let keys = ports(90..96);
    let table = Maglev::build(&members(&keys), 7);
    for (attempt, position) in [(0, 1), (1, 0), (2, 5)] {
        assert_eq!(table.at(10, attempt), Some(position), "{attempt}");
    }
}

#[test]
fn weighted_members() {
    let keys = weighted(&[(90, 1), (91, 2)]);
    is_of(
        &Maglev::build(&members(&keys), 17),
        &[1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1],
    );
}

#[test]
fn a_single_member_has_it_all() {
    is_of(&Maglev::build(&members(&weighted(&[(90, 7)])), 17), &[0; 17]);
    is_of(&Maglev::build(&members(&ports([90])), 7), &[0; 7]);
}

#[test]
fn locality_weighted_with_the_same_weights() {
    let keys = [(1, weighted(&[(90, 1)])), (1, weighted(&[(91, 2)]))];
    is_of(&Maglev::build(&local(&keys), 17), &[1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1]);
}

#[test]
fn locality_weighted_with_different_weights() {
    let keys = [(8, weighted(&[(90, 1)])), (2, weighted(&[(91, 2)])), (0, weighted(&[(92, 3)]))];
    is_of(&Maglev::build(&local(&keys), 17), &[1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn nobody_is_nobody() {
    assert_eq!(Maglev::build(&[], 7).at(1, 0), None);
    let keys = [(0, ports([90]))];
    assert_eq!(Maglev::build(&local(&keys), 17).at(0, 1), None);
}
