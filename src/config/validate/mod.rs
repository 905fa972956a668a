//! Validation: field, value, allowed range. What the model can say and the stack cannot run yet
//! is refused by name.
//!
//! Every check takes its struct apart without `..`: a new field does not compile before it is
//! checked or refused here.

mod authorization;
mod balancer;
mod bounds;
mod breakers;
mod budget;
mod cluster;
mod dns;
mod endpoint;
mod fault;
mod filter;
mod hash;
mod health;
mod hedge;
mod matching;
mod named;
mod place;
mod policy;
mod protection;
mod rate_limit;
mod reports;
mod retry;
mod route;
mod security;
mod service;
mod shard;
mod transport;

use std::{
    collections::BTreeMap,
    fmt::{Debug, Display, Write as _},
    time::Duration,
};

#[cfg(not(feature = "file"))]
use std::fmt::Debug as Spelled;

#[cfg(feature = "file")]
use serde::Serialize as Spelled;

use super::{ConfigError, ConfigErrors, bound};

pub(crate) const NOT_YET: &str = "not supported yet";
/// What a time may be.
pub(crate) const NO_TIME: &str = "must be over 0 and at most 365 days";
/// What a bound that may be taken away may be.
const NO_BOUND: &str = "must be at most 365 days, or 0 for none";
/// The longest value that a report repeats. Unit: characters.
const SHOWN: usize = 120;

/// Collects what is wrong, so that one report names everything.
struct Checker {
    path: String,
    errors: Vec<ConfigError>,
}

/// A field of which can be told whether the configuration says it.
trait Said {
    fn said(&self) -> bool;

    /// The value for a report.
    fn shown(&self) -> String;
}

/// Refuses the fields that are said, by their names.
macro_rules! not_yet {
    ($checker:expr, $($field:ident),+ $(,)?) => {
        $($checker.not_yet(stringify!($field), $field);)+
    };
}

use not_yet;

// === impl Checker ===

impl Checker {
    fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), errors: Vec::new() }
    }

    fn done(self) -> Result<(), ConfigErrors> {
        if self.errors.is_empty() { Ok(()) } else { Err(ConfigErrors(self.errors)) }
    }

    fn refuse(&mut self, field: &str, value: impl Display, reason: impl Into<String>) {
        let path = match (self.path.as_str(), field) {
            (path, "") => path.to_owned(),
            ("", field) => field.to_owned(),
            (path, field) => format!("{path}.{field}"),
        };
        self.errors.push(ConfigError::new(path, value, reason));
    }

    fn not_yet(&mut self, field: &str, value: &impl Said) {
        if value.said() {
            self.refuse(field, value.shown(), NOT_YET);
        }
    }

    /// Refuses every choice but the default one.
    fn only_default<T: Debug + Default + PartialEq + Spelled>(&mut self, field: &str, value: &T) {
        if *value != T::default() {
            self.refuse(field, spelled(value), NOT_YET);
        }
    }

    fn within(&mut self, field: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(field);
        check(self);
        self.path.truncate(length);
    }

    fn each<T>(&mut self, field: &str, list: &[T], check: impl Fn(&mut Self, &T)) {
        let length = self.path.len();
        for (index, item) in list.iter().enumerate() {
            // No text for each: there may be many, and all of them well.
            let dot = if length > 0 { "." } else { "" };
            let _written = write!(self.path, "{dot}{field}[{index}]");
            check(self, item);
            self.path.truncate(length);
        }
    }

    fn time(&mut self, field: &str, value: Option<Duration>) {
        if let Some(value) = value.filter(|value| !is_time(*value)) {
            self.refuse(field, format!("{value:?}"), NO_TIME);
        }
    }

    /// A time that may be taken away.
    fn bound(&mut self, field: &str, value: Option<Duration>) {
        if let Some(value) = bound(value).filter(|value| !is_time(*value)) {
            self.refuse(field, format!("{value:?}"), NO_BOUND);
        }
    }

    fn at_least_one(&mut self, field: &str, value: Option<u32>) {
        if value == Some(0) {
            self.refuse(field, 0, "must be at least 1");
        }
    }
}

// === impl Said ===

impl<T: Debug + Spelled> Said for Option<T> {
    fn said(&self) -> bool {
        self.is_some()
    }

    fn shown(&self) -> String {
        self.as_ref().map_or_else(String::new, spelled)
    }
}

impl<T: Debug + Spelled> Said for Vec<T> {
    fn said(&self) -> bool {
        !self.is_empty()
    }

    fn shown(&self) -> String {
        spelled(self)
    }
}

impl<K: Debug + Ord + Spelled, V: Debug + Spelled> Said for BTreeMap<K, V> {
    fn said(&self) -> bool {
        !self.is_empty()
    }

    fn shown(&self) -> String {
        spelled(self)
    }
}

impl Said for bool {
    fn said(&self) -> bool {
        *self
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// Whether something may last so long.
pub(crate) fn is_time(value: Duration) -> bool {
    const YEAR: Duration = Duration::from_secs(86_400 * 365);
    !value.is_zero() && value <= YEAR
}

/// The value as the mesh file has it; without a file, as the code has it.
fn spelled<T: Debug + Spelled>(value: &T) -> String {
    #[cfg(feature = "file")]
    if let Some(text) = in_the_file(value) {
        return shorten(text);
    }
    shorten(format!("{value:?}"))
}

/// Nothing of what JSON has no word for, or another one than the file.
#[cfg(feature = "file")]
fn in_the_file(value: &impl Spelled) -> Option<String> {
    use serde_json::Value;

    fn said(value: Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(name, value)| (name, said(value)))
                    .collect(),
            ),
            Value::Array(list) => Value::Array(list.into_iter().map(said).collect()),
            other => other,
        }
    }

    match serde_json::to_value(value).ok()? {
        Value::Null => None,
        // A time by itself.
        Value::Object(fields) if fields.len() == 2 && fields.contains_key("nanos") => None,
        value => Some(said(value).to_string()),
    }
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text,
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
