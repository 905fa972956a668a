//! Values in the words of the mesh file.

use std::{fmt::Debug, time::Duration};

pub(super) fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

pub(super) fn debug(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// A bound, where zero takes away what another layer says.
pub(super) fn limit(bound: Duration) -> String {
    if bound.is_zero() { "none".to_owned() } else { time(bound) }
}

/// A duration in the largest unit that tells it exactly.
pub(super) fn time(time: Duration) -> String {
    let nanos = time.as_nanos();
    for (unit, name) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
        if nanos.is_multiple_of(unit) {
            return format!("{}{name}", nanos / unit);
        }
    }
    format!("{nanos}ns")
}

/// The file's name of a variant: `RoundRobin` is `round_robin`.
pub(in crate::mesh) fn name_of(variant: &impl Debug) -> String {
    let mut name = String::new();
    for letter in debug(variant).chars().take_while(|letter| letter.is_alphanumeric()) {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The name of a choice that is not the default one.
pub(super) fn chosen<T: Debug + Default + PartialEq>(choice: &T) -> Option<String> {
    (*choice != T::default()).then(|| name_of(choice))
}
