//! Compiled edits of headers.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{HeaderEdit, headers, text::Text};

/// Edits of headers, in this order: remove, set, add.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    remove: Vec<HeaderName>,
    remove_matching: Vec<Text>,
    set: Vec<(HeaderName, HeaderValue)>,
    set_if_present: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    add_if_absent: Vec<(HeaderName, HeaderValue)>,
}

impl Edit {
    /// Compiles a validated edit; what cannot be compiled is left out.
    pub(crate) fn new(edit: &HeaderEdit) -> Self {
        let pair = |(name, value): (&String, &String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        let remove = edit.remove.iter().filter_map(|name| HeaderName::try_from(name).ok());
        let matching = edit.remove_matching.iter().filter_map(|text| Text::new(text, true).ok());
        Self {
            remove: remove.collect(),
            remove_matching: matching.collect(),
            set: edit.set.iter().filter_map(pair).collect(),
            set_if_present: edit.set_if_present.iter().filter_map(pair).collect(),
            add: edit.add.iter().map(|it| (&it.name, &it.value)).filter_map(pair).collect(),
            add_if_absent: edit.add_if_absent.iter().filter_map(pair).collect(),
        }
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
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
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.set_if_present {
            if headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for (name, value) in &self.add_if_absent {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
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
        Edit::new(&edit).apply(&mut headers);
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
