//! What a path must be, and what the route table can look it up by.

use std::sync::Arc;

use super::{PathMatch, pattern::Whole, template::Template};

/// A compiled match on the path.
#[derive(Clone, Debug)]
pub(crate) enum Path {
    Exact(String),
    /// Whole elements, without a trailing slash.
    Prefix(String),
    StringPrefix(String),
    /// The same three without case.
    ExactNoCase(String),
    PrefixNoCase(String),
    StringPrefixNoCase(String),
    Regex(Arc<Whole>),
    Template(Arc<Template>),
}

/// What every path that matches begins with.
#[derive(Debug)]
pub(crate) enum Anchor<'a> {
    /// The whole path.
    Exact(&'a str),
    /// Whole elements of this path.
    Under(&'a str),
    /// These elements.
    Elements(Vec<&'a str>),
    /// This gRPC service.
    Service(&'a str),
    Anything,
}

impl Path {
    pub(crate) fn new(path: &PathMatch, ignore_case: bool) -> Result<Self, String> {
        let bare = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
        Ok(match (path, ignore_case) {
            (PathMatch::Exact(path), false) => Self::Exact(path.clone()),
            (PathMatch::Prefix(path), false) => Self::Prefix(bare(path)),
            (PathMatch::StringPrefix(path), false) => Self::StringPrefix(path.clone()),
            (PathMatch::Exact(path), true) => Self::ExactNoCase(path.clone()),
            (PathMatch::Prefix(path), true) => Self::PrefixNoCase(bare(path)),
            (PathMatch::StringPrefix(path), true) => Self::StringPrefixNoCase(path.clone()),
            (PathMatch::Regex(regex), _) => Self::Regex(Whole::shared(regex, ignore_case)?),
            (PathMatch::Template(text), false) => Self::Template(Arc::new(Template::new(text)?)),
            (other, _) => return Err(format!("path match {other:?} is not supported yet")),
        })
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        let start = |text: &str| {
            let start = path.get(..text.len())?;
            if start.eq_ignore_ascii_case(text) { path.get(text.len()..) } else { None }
        };
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) | Self::PrefixNoCase(prefix) if prefix.is_empty() => true,
            //= Gateway API HTTPPathMatch: a prefix matches whole path elements
            Self::Prefix(prefix) => path.strip_prefix(prefix.as_str()).is_some_and(ends_element),
            Self::StringPrefix(prefix) => path.starts_with(prefix.as_str()),
            Self::ExactNoCase(exact) => path.eq_ignore_ascii_case(exact),
            Self::PrefixNoCase(prefix) => start(prefix).is_some_and(ends_element),
            Self::StringPrefixNoCase(prefix) => start(prefix).is_some(),
            Self::Regex(regex) => regex.matches(path),
            Self::Template(template) => template.matches(path),
        }
    }

    /// How much of a path that matches is the prefix, and whether by whole elements.
    pub(crate) fn prefix(&self) -> (usize, bool) {
        match self {
            Self::Prefix(prefix) | Self::PrefixNoCase(prefix) => (prefix.len(), true),
            Self::StringPrefix(prefix) | Self::StringPrefixNoCase(prefix) => (prefix.len(), false),
            // All of it (Envoy).
            Self::Exact(path) | Self::ExactNoCase(path) => (path.len(), true),
            Self::Regex(_) | Self::Template(_) => (0, true),
        }
    }

    pub(crate) fn takes_all(&self) -> bool {
        matches!(self, Self::Prefix(prefix) | Self::PrefixNoCase(prefix) if prefix.is_empty())
    }

    pub(crate) fn anchor(&self) -> Anchor<'_> {
        match self {
            Self::Exact(path) => Anchor::Exact(path),
            Self::Prefix(prefix) => Anchor::Under(prefix),
            // Its last element may be a part of one.
            Self::StringPrefix(prefix) => {
                Anchor::Under(prefix.rsplit_once('/').map_or("", |(whole, _)| whole))
            }
            Self::Template(template) => Anchor::Elements(template.literal().collect()),
            Self::ExactNoCase(_)
            | Self::PrefixNoCase(_)
            | Self::StringPrefixNoCase(_)
            | Self::Regex(_) => Anchor::Anything,
        }
    }
}

fn ends_element(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}
