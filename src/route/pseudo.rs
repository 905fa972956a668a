//! What HTTP/2 has as headers of a request, and `http` as parts of its own.

use http::{Request, uri::PathAndQuery};

use super::matching::authority_of;
use crate::config::{HeaderMatch, text::Text};

/// A pseudo-header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pseudo {
    /// With the query.
    Path,
    Authority,
    Method,
    Scheme,
}

/// A compiled match on a pseudo-header.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    /// Its place in the configuration's list of headers.
    pub(super) place: usize,
    pseudo: Pseudo,
    text: Text,
    invert: bool,
    missing_as_empty: bool,
}

// === impl Pseudo ===

impl Pseudo {
    pub(crate) fn of(name: &str) -> Option<Self> {
        let all = [Self::Path, Self::Authority, Self::Method, Self::Scheme];
        all.into_iter().find(|it| name.eq_ignore_ascii_case(it.name()))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Path => ":path",
            Self::Authority => ":authority",
            Self::Method => ":method",
            Self::Scheme => ":scheme",
        }
    }

    pub(super) fn value<B>(self, request: &Request<B>) -> Option<&str> {
        let uri = request.uri();
        match self {
            Self::Path => uri.path_and_query().map(PathAndQuery::as_str),
            Self::Authority => authority_of(request),
            Self::Method => Some(request.method().as_str()),
            Self::Scheme => Some(uri.scheme_str().unwrap_or("http")),
        }
    }
}

// === impl Matched ===

impl Matched {
    pub(super) fn new(place: usize, pseudo: Pseudo, rule: &HeaderMatch) -> Result<Self, String> {
        let HeaderMatch { name: _, matcher, invert, ignore_case, missing_as_empty } = rule;
        let text = Text::new(matcher, *ignore_case)?;
        let (invert, missing_as_empty) = (*invert, *missing_as_empty);
        Ok(Self { place, pseudo, text, invert, missing_as_empty })
    }

    /// Whether a request meets it that, if it names no host, is for this one.
    pub(super) fn matches<B>(&self, request: &Request<B>, host: Option<&str>) -> bool {
        let value = match self.pseudo {
            Pseudo::Authority => host,
            pseudo => pseudo.value(request),
        };
        //= Envoy HeaderUtility::matchHeaders: as any header
        match (value, &self.text) {
            (Some(value), text) => text.matches(value) != self.invert,
            (None, Text::Present) => self.invert,
            (None, text) => self.missing_as_empty && text.matches("") != self.invert,
        }
    }
}

/// Which of these matches are on pseudo-headers.
pub(super) fn matched(rules: &[HeaderMatch]) -> Result<Box<[Matched]>, String> {
    let of = |(place, rule): (usize, &HeaderMatch)| {
        Pseudo::of(&rule.name).map(|pseudo| Matched::new(place, pseudo, rule))
    };
    rules.iter().enumerate().filter_map(of).collect()
}
