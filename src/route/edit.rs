//! Compiled edits of headers.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::about::About;
use crate::config::{
    HeaderEdit,
    format::{Fact, Format, Parsed, Side},
    headers,
    text::Text,
};

/// Edits of headers, in this order: remove, set, add.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    remove: Vec<HeaderName>,
    remove_matching: Vec<Text>,
    set: Vec<(HeaderName, Value)>,
    set_if_present: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
    add_if_absent: Vec<(HeaderName, Value)>,
    /// One of the values is made for each message.
    is_made: bool,
}

#[derive(Debug)]
enum Value {
    Plain(HeaderValue),
    Made(Format),
}

impl Edit {
    /// Compiles a validated edit of messages of this side; what cannot be compiled is left out.
    pub(crate) fn new(edit: &HeaderEdit, side: Side) -> Self {
        let pair = |(name, value): (&String, &String)| {
            Some((HeaderName::try_from(name).ok()?, Value::new(value, side)?))
        };
        let remove = edit.remove.iter().filter_map(|name| HeaderName::try_from(name).ok());
        let matching = edit.remove_matching.iter().filter_map(|text| Text::new(text, true).ok());
        let edit = Self {
            remove: remove.collect(),
            remove_matching: matching.collect(),
            set: edit.set.iter().filter_map(pair).collect(),
            set_if_present: edit.set_if_present.iter().filter_map(pair).collect(),
            add: edit.add.iter().map(|it| (&it.name, &it.value)).filter_map(pair).collect(),
            add_if_absent: edit.add_if_absent.iter().filter_map(pair).collect(),
            is_made: false,
        };
        let is_made = edit.formats().next().is_some();
        Self { is_made, ..edit }
    }

    /// Whether one of its values is made for each message.
    pub(super) fn is_made(&self) -> bool {
        self.is_made
    }

    /// Whether one of its values asks for such a fact.
    pub(super) fn names(&self, is_meant: impl Fn(&Fact) -> bool) -> bool {
        self.formats().any(|format| format.names(&is_meant))
    }

    fn formats(&self) -> impl Iterator<Item = &Format> {
        let lists = [&self.set, &self.set_if_present, &self.add, &self.add_if_absent];
        lists.into_iter().flatten().filter_map(|(_, value)| match value {
            Value::Plain(_) => None,
            Value::Made(format) => Some(format),
        })
    }

    /// Edits headers of a message of which nothing more is known, which none of its values ask for.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        self.apply_to(headers, None);
    }

    /// Edits headers of a message of which this is known.
    pub(crate) fn apply_to(&self, headers: &mut HeaderMap, about: Option<&About<'_>>) {
        for name in &self.remove {
            headers.remove(name);
        }
        if !self.remove_matching.is_empty() {
            let is_meant = |name: &&HeaderName| {
                self.remove_matching.iter().any(|text| text.matches(name.as_str()))
                    && headers::is_editable(name)
            };
            let meant: Vec<_> = headers.keys().filter(is_meant).cloned().collect();
            for name in &meant {
                headers.remove(name);
            }
        }
        for (name, value) in &self.set {
            if let Some(value) = value.of(headers, about) {
                headers.insert(name, value);
            }
        }
        for (name, value) in &self.set_if_present {
            if headers.contains_key(name)
                && let Some(value) = value.of(headers, about)
            {
                headers.insert(name, value);
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = value.of(headers, about) {
                headers.append(name, value);
            }
        }
        for (name, value) in &self.add_if_absent {
            if !headers.contains_key(name)
                && let Some(value) = value.of(headers, about)
            {
                headers.insert(name, value);
            }
        }
    }
}

// === impl Value ===

impl Value {
    fn new(value: &str, side: Side) -> Option<Self> {
        Some(match Parsed::new(value, side).ok()? {
            Parsed::Plain(value) => Self::Plain(HeaderValue::try_from(value).ok()?),
            Parsed::Made(format) => Self::Made(format),
        })
    }

    /// None: it comes to nothing.
    fn of(&self, edited: &HeaderMap, about: Option<&About<'_>>) -> Option<HeaderValue> {
        match self {
            Self::Plain(value) => Some(value.clone()),
            Self::Made(format) => about?.value(format, edited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HeaderPair, StringMatch};

    #[test]
    fn remove_then_set_then_add() {
        let mut edit = HeaderEdit::default();
        edit.remove = vec!["gone".into()];
        edit.remove_matching = vec![StringMatch::Prefix("X-Old-".into())];
        edit.set = [("set".into(), "new".into()), ("gone".into(), "back".into())].into();
        edit.set_if_present =
            [("there".into(), "over".into()), ("nowhere".into(), "x".into())].into();
        let mut pair = HeaderPair::default();
        (pair.name, pair.value) = ("added".into(), "2".into());
        edit.add = vec![pair];
        edit.add_if_absent = [("added".into(), "3".into()), ("absent".into(), "4".into())].into();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("gone", "1"),
            ("x-old-a", "1"),
            ("set", "1"),
            ("set", "2"),
            ("there", "1"),
            ("added", "1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        Edit::new(&edit, Side::Request).apply(&mut headers);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        let expected = [
            ("absent", "4"),
            ("added", "1"),
            ("added", "2"),
            ("gone", "back"),
            ("set", "new"),
            ("there", "over"),
        ];
        assert_eq!(left, expected);
    }
}
