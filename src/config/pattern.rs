//! Regular expressions, compiled once: by validation to refuse them, and then kept to match.
//!
//! They are those of the crate `regex`, which is linear in time whatever the pattern, over bytes,
//! with ASCII classes as in RE2.

use std::sync::Arc;

#[cfg(feature = "regex")]
use super::patterns;

/// The largest compiled form of a pattern. Unit: bytes. It bounds the time per byte of a request,
/// too: each of its states is looked at once, at worst.
#[cfg(feature = "regex")]
const MAX_COMPILED: usize = 64 * 1024;
/// What a matcher may keep to be fast. Unit: bytes.
#[cfg(feature = "regex")]
const MAX_CACHE: usize = 256 * 1024;
#[cfg(not(feature = "regex"))]
const NO_FEATURE: &str = "not supported yet without the crate feature `regex`";

/// A pattern that the whole of a text must match.
#[derive(Debug)]
pub(crate) struct Whole {
    #[cfg(feature = "regex")]
    regex: regex::bytes::Regex,
    #[cfg(not(feature = "regex"))]
    never: std::convert::Infallible,
}

/// A pattern whose every match in a text is replaced.
#[derive(Debug)]
pub(crate) struct Replace {
    #[cfg(feature = "regex")]
    rewriter: super::Rewriter,
    #[cfg(not(feature = "regex"))]
    never: std::convert::Infallible,
}

// === impl Whole ===

#[cfg(feature = "regex")]
impl Whole {
    /// # Errors
    ///
    /// What is wrong with the pattern.
    pub(crate) fn new(pattern: &str, ignore_case: bool) -> Result<Self, String> {
        let regex = compile(&format!("^(?:{pattern})$"), ignore_case)?;
        if pattern.contains(')') {
            // By itself, too: a bracket that it closes too often must not close ours.
            compile(pattern, ignore_case)?;
        }
        Ok(Self { regex })
    }

    /// The same, compiled once for whoever has this text: validation, routes, their hosts.
    ///
    /// # Errors
    ///
    /// What is wrong with the pattern.
    pub(crate) fn shared(pattern: &str, ignore_case: bool) -> Result<Arc<Self>, String> {
        patterns::shared(pattern, ignore_case)
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text.as_bytes())
    }
}

#[cfg(not(feature = "regex"))]
impl Whole {
    pub(crate) fn shared(_pattern: &str, _ignore_case: bool) -> Result<Arc<Self>, String> {
        Err(NO_FEATURE.to_owned())
    }

    pub(crate) fn matches(&self, _text: &str) -> bool {
        match self.never {}
    }
}

// === impl Replace ===

#[cfg(feature = "regex")]
impl Replace {
    /// # Errors
    ///
    /// What is wrong with the pattern or with what replaces it.
    pub(crate) fn new(rewrite: &super::RegexRewrite) -> Result<Self, (&'static str, String)> {
        Ok(Self { rewriter: super::Rewriter::new(rewrite)? })
    }

    /// Nothing, if it has too many matches.
    pub(crate) fn replace(&self, text: &str) -> Option<String> {
        let new = self.rewriter.rewrite(text.as_bytes())?;
        Some(String::from_utf8_lossy(&new).into_owned())
    }
}

#[cfg(not(feature = "regex"))]
impl Replace {
    pub(crate) fn new(_rewrite: &super::RegexRewrite) -> Result<Self, (&'static str, String)> {
        Err(("pattern", NO_FEATURE.to_owned()))
    }

    pub(crate) fn replace(&self, _text: &str) -> Option<String> {
        match self.never {}
    }
}

#[cfg(feature = "regex")]
pub(super) fn compile(pattern: &str, ignore_case: bool) -> Result<regex::bytes::Regex, String> {
    regex::bytes::RegexBuilder::new(pattern)
        .unicode(false)
        .case_insensitive(ignore_case)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_CACHE)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("is too large: compiled, it must be at most {MAX_COMPILED} bytes")
            }
            other => {
                // Its last line says what, those before it show where.
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                let last = last.strip_prefix("error: ").unwrap_or(last);
                format!("is not a regular expression: {last}")
            }
        })
}

#[cfg(all(test, feature = "regex"))]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_the_whole_text() {
        let pattern = Whole::new("a|bc", false).unwrap();
        for (text, expected) in [("a", true), ("bc", true), ("abc", false), ("a\n", false)] {
            assert_eq!(pattern.matches(text), expected, "{text:?}");
        }
        assert!(Whole::new("/[A-Z]+", true).unwrap().matches("/abc"));
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for (pattern, expected) in [
            ("(", "is not a regular expression: unclosed group"),
            ("a)(b", "is not a regular expression: unopened group"),
            ("(?=a)", "look-around"),
            (r"(a)\1", "backreferences are not supported"),
            ("((a{100}){100}){100}", "is too large"),
        ] {
            let error = Whole::new(pattern, false).unwrap_err();
            assert!(error.contains(expected), "{pattern}: {error}");
        }
    }

    #[test]
    fn what_explodes_elsewhere_takes_its_turn_here() {
        let text = format!("{}!", "a".repeat(60_000));
        for pattern in ["(a+)+b", "(a|a)*b", "(a|aa)+b", "a*a*a*a*a*a*a*b", "(.*)(.*)(.*)(.*)[^x]b"]
        {
            let pattern = Whole::new(pattern, false).unwrap();
            assert!(!pattern.matches(&text));
        }
    }
}
