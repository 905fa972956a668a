//! What a text must be: a header's value, a parameter, a cookie.

use std::sync::Arc;

use super::{StringMatch, pattern::Whole};

/// A compiled match on text.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// The same four without case. What is looked for is in lower case.
    ExactNoCase(String),
    PrefixNoCase(String),
    SuffixNoCase(String),
    ContainsNoCase(String),
    Regex(Arc<Whole>),
    /// From the first up to, not including, the second.
    Range(i64, i64),
    Present,
}

impl Text {
    pub(crate) fn new(matcher: &StringMatch, ignore_case: bool) -> Result<Self, String> {
        let lower = |text: &String| text.to_ascii_lowercase();
        Ok(match (matcher, ignore_case) {
            (StringMatch::Exact(text), false) => Self::Exact(text.clone()),
            (StringMatch::Prefix(text), false) => Self::Prefix(text.clone()),
            (StringMatch::Suffix(text), false) => Self::Suffix(text.clone()),
            (StringMatch::Contains(text), false) => Self::Contains(text.clone()),
            (StringMatch::Exact(text), true) => Self::ExactNoCase(lower(text)),
            (StringMatch::Prefix(text), true) => Self::PrefixNoCase(lower(text)),
            (StringMatch::Suffix(text), true) => Self::SuffixNoCase(lower(text)),
            (StringMatch::Contains(text), true) => Self::ContainsNoCase(lower(text)),
            (StringMatch::Regex(text), _) => Self::Regex(Whole::shared(text, ignore_case)?),
            (StringMatch::Range(range), _) => Self::Range(range.start, range.end),
            (StringMatch::Present, _) => Self::Present,
        })
    }

    pub(crate) fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == text,
            Self::Prefix(text) => value.starts_with(text.as_str()),
            Self::Suffix(text) => value.ends_with(text.as_str()),
            Self::Contains(text) => value.contains(text.as_str()),
            Self::ExactNoCase(text) => value.eq_ignore_ascii_case(text),
            Self::PrefixNoCase(text) => {
                value.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
            }
            Self::SuffixNoCase(text) => {
                let at = value.len().checked_sub(text.len());
                at.and_then(|at| value.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(text))
            }
            // The search of a text is linear; comparing at every place would not be.
            Self::ContainsNoCase(text) => value.to_ascii_lowercase().contains(text.as_str()),
            Self::Regex(regex) => regex.matches(value),
            Self::Range(start, end) => {
                value.parse::<i64>().is_ok_and(|number| (*start..*end).contains(&number))
            }
            Self::Present => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IntegerRange;

    #[test]
    fn each_kind_of_text() {
        let mut range = IntegerRange::default();
        (range.start, range.end) = (-3, 10);
        let range = StringMatch::Range(range);
        for (matcher, ignore_case, value, expected) in [
            (StringMatch::Exact("Ab".into()), false, "ab", false),
            (StringMatch::Exact("Ab".into()), true, "aB", true),
            (StringMatch::Prefix("Ab".into()), true, "aBc", true),
            (StringMatch::Prefix("Ab".into()), true, "a", false),
            (StringMatch::Suffix("Bc".into()), true, "abC", true),
            (StringMatch::Suffix("bc".into()), false, "abC", false),
            (StringMatch::Contains("B".into()), true, "abc", true),
            (StringMatch::Contains("é".into()), true, "caf\u{e9}s", true),
            (StringMatch::Prefix("é".into()), true, "e", false),
            (range.clone(), false, "-3", true),
            (range.clone(), false, "9", true),
            (range.clone(), false, "10", false),
            (range.clone(), false, "9.0", false),
            (range.clone(), false, "99999999999999999999", false),
            (range, false, "", false),
            (StringMatch::Present, false, "", true),
        ] {
            let text = Text::new(&matcher, ignore_case).unwrap();
            assert_eq!(text.matches(value), expected, "{matcher:?} {value}");
        }
    }
}
