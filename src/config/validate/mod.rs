//! Validation: field, value, allowed range. What the model can say and the stack cannot run yet
//! is refused by name.
//!
//! Every check takes its struct apart without `..`: a new field does not compile before it is
//! checked or refused here.

mod cluster;
mod dns;
mod endpoint;
mod hash;
mod matching;
mod policy;
mod reports;
mod retry;
mod route;
mod security;
mod service;
mod transport;

use std::{
    collections::BTreeMap,
    fmt::{Debug, Display},
    time::Duration,
};

use super::{ConfigError, ConfigErrors};

const NOT_YET: &str = "not supported yet";
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
    fn only_default<T: Debug + Default + PartialEq>(&mut self, field: &str, value: &T) {
        if *value != T::default() {
            self.refuse(field, shorten(format!("{value:?}")), NOT_YET);
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
        for (index, item) in list.iter().enumerate() {
            self.within(&format!("{field}[{index}]"), |checker| check(checker, item));
        }
    }

    fn time(&mut self, field: &str, value: Option<Duration>) {
        const YEAR: Duration = Duration::from_secs(86_400 * 365);
        if let Some(value) = value
            && (value.is_zero() || value > YEAR)
        {
            self.refuse(field, format!("{value:?}"), "must be over 0 and at most 365 days");
        }
    }

    fn at_least_one(&mut self, field: &str, value: Option<u32>) {
        if value == Some(0) {
            self.refuse(field, 0, "must be at least 1");
        }
    }
}

// === impl Said ===

impl<T: Debug> Said for Option<T> {
    fn said(&self) -> bool {
        self.is_some()
    }

    fn shown(&self) -> String {
        self.as_ref().map_or_else(String::new, |value| shorten(format!("{value:?}")))
    }
}

impl<T: Debug> Said for Vec<T> {
    fn said(&self) -> bool {
        !self.is_empty()
    }

    fn shown(&self) -> String {
        shorten(format!("{self:?}"))
    }
}

impl<K: Debug, V: Debug> Said for BTreeMap<K, V> {
    fn said(&self) -> bool {
        !self.is_empty()
    }

    fn shown(&self) -> String {
        shorten(format!("{self:?}"))
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

fn shorten(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text,
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
