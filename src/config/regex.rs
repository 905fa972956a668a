//! Rewrites by regular expressions, compiled.
//!
//! One search of the crate `regex` takes time in proportion to the text, whatever the expression; its
//! syntax is RE2's. Every match is another search, which may look at all that is left: so many are
//! replaced, and no more.

use std::borrow::Cow;

use regex::bytes::Regex;

use super::{RegexRewrite, pattern};

/// So many matches are replaced; a text with more is not rewritten.
const MOST: usize = 64;

/// What matches an expression becomes something else.
#[derive(Clone, Debug)]
pub(crate) struct Rewriter {
    pattern: Regex,
    /// As the crate has it: `${1}`.
    replacement: Vec<u8>,
}

/// What is wrong with a rewrite: the field, and why.
pub(crate) type Flaw = (&'static str, String);

impl Rewriter {
    pub(crate) fn new(rewrite: &RegexRewrite) -> Result<Self, Flaw> {
        let RegexRewrite { pattern, substitution } = rewrite;
        if pattern.is_empty() {
            return Err(("pattern", "must not be empty".to_owned()));
        }
        let pattern = pattern::compile(pattern, false).map_err(|reason| ("pattern", reason))?;
        let groups = pattern.captures_len();
        let replacement =
            replacement(substitution, groups).map_err(|reason| ("substitution", reason))?;
        Ok(Self { pattern, replacement })
    }

    /// Every match becomes what is said; nothing comes of a text with too many.
    pub(crate) fn rewrite<'a>(&self, text: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let (mut new, mut from) = (Vec::new(), 0);
        let mut all = self.pattern.captures_iter(text).enumerate().peekable();
        if all.peek().is_none() {
            return Some(Cow::Borrowed(text));
        }
        for (number, captures) in all {
            if number == MOST {
                return None;
            }
            let found = captures.get(0)?;
            new.extend_from_slice(text.get(from..found.start())?);
            captures.expand(&self.replacement, &mut new);
            from = found.end();
        }
        new.extend_from_slice(text.get(from..)?);
        Some(Cow::Owned(new))
    }
}

/// RE2's `\1` in the crate's words.
fn replacement(substitution: &str, groups: usize) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    let mut chars = substitution.chars();
    while let Some(next) = chars.next() {
        match next {
            '$' => text += "$$",
            '\\' => match chars.next() {
                Some('\\') => text.push('\\'),
                Some(digit @ '0'..='9') => {
                    let group = digit.to_digit(10).unwrap_or(0);
                    if usize::try_from(group).is_ok_and(|group| group >= groups) {
                        return Err(format!("the expression has no group {group}"));
                    }
                    text += &format!("${{{group}}}");
                }
                _ => return Err("a `\\` must be followed by a digit or by another one".to_owned()),
            },
            other => text.push(other),
        }
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(pattern: &str, substitution: &str) -> Result<Rewriter, Flaw> {
        let (pattern, substitution) = (pattern.to_owned(), substitution.to_owned());
        Rewriter::new(&RegexRewrite { pattern, substitution })
    }

    fn rewritten(pattern: &str, substitution: &str, text: &str) -> String {
        let rewriter = new(pattern, substitution).unwrap();
        String::from_utf8(rewriter.rewrite(text.as_bytes()).unwrap().into_owned()).unwrap()
    }

    #[test]
    fn every_match_becomes_its_substitution_as_in_re2() {
        assert_eq!(rewritten(r"^user-(\d+)@.*$", r"\1", "user-17@example.com"), "17");
        assert_eq!(rewritten("[aeiou]", "", "a header value"), " hdr vl");
        assert_eq!(rewritten("(a)(b)", r"\2\1\0\\", "abab"), r"baab\baab\");
        assert_eq!(rewritten("a", "$1${1}", "a"), "$1${1}");
        assert_eq!(rewritten("b", "x", "a"), "a");
        // RE2's classes are ASCII.
        assert_eq!(rewritten(r"\d", "#", "1٣"), "#٣");
    }

    #[test]
    fn what_is_no_rewrite_is_refused_with_its_field() {
        let flaw = |pattern, substitution| new(pattern, substitution).unwrap_err();
        assert_eq!(flaw("", "a").0, "pattern");
        for pattern in ["(", "a{2,1}", r"(?=a)", r"\1", "(a){1000}{1000}{1000}"] {
            assert_eq!(flaw(pattern, "").0, "pattern", "{pattern}");
        }
        for substitution in [r"\2", r"\", r"\a", r"\9"] {
            assert_eq!(flaw("(a)", substitution).0, "substitution", "{substitution}");
        }
        assert!(
            flaw("(", "").1.starts_with("is not a regular expression: "),
            "{:?}",
            flaw("(", "")
        );
    }

    #[test]
    fn a_long_text_takes_no_longer_than_it_is_long() {
        // Exponential for who goes back.
        let rewriter = new("(a+)+$", "").unwrap();
        let text = "a".repeat(50_000) + "b";
        assert_eq!(rewriter.rewrite(text.as_bytes()).unwrap().len(), text.len());
    }

    #[test]
    fn a_text_of_many_matches_is_not_rewritten_at_their_price() {
        // Each search looks at all that is left, and finds one byte.
        let rewriter = new(".*[^A-Z]|[A-Z]", "x").unwrap();
        assert!(rewriter.rewrite("A".repeat(60_000).as_bytes()).is_none());
        assert_eq!(rewriter.rewrite("A".repeat(64).as_bytes()).unwrap(), "x".repeat(64).as_bytes());
    }

    #[test]
    fn a_rewrite_may_be_no_larger_than_a_match() {
        let flaw = new("(abcdefgh){5000}", "").unwrap_err();
        assert!(flaw.0 == "pattern" && flaw.1.contains("is too large"), "{flaw:?}");
    }
}
