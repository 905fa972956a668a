//! What a request must look like for a route to take it.

use std::{cell::Cell, collections::BTreeMap};

use http::{Method, Request, header::HOST};

use super::{
    hash::cookie_of,
    pseudo::{self, Pseudo},
};
use crate::{
    config::{
        GrpcMatch, Match, Noted, StringMatch,
        header::Header,
        path::{Anchor, Path},
        share::below,
        text::Text,
    },
    core::{
        Random, grpc,
        uri::{bare, parameter},
    },
};

/// A request as the table looks at it.
pub(crate) struct Asked<'a, B> {
    request: &'a Request<B>,
    random: &'a Random,
    /// Whom the call is for, where the request does not say.
    named: Option<&'a str>,
    /// The request's place in every share: drawn once, when it is first asked for.
    roll: Cell<Option<u64>>,
}

/// The place in every share that a request was given before: who asks again gets the same answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roll(pub(crate) u64);

impl Roll {
    /// In the middle: of each share, it is where most calls are.
    pub(crate) const MIDDLE: Self = Self(u64::MAX / 2);
}

/// One compiled match: all of its parts must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    path: Option<Path>,
    method: Option<Method>,
    scheme: Option<String>,
    headers: Vec<Header>,
    /// In order of their places.
    pseudo: Box<[pseudo::Matched]>,
    query: Vec<Named>,
    cookies: Vec<Named>,
    grpc: Option<Box<Grpc>>,
    metadata: Vec<Noted>,
    /// A request matches whose place is below this one.
    below: Option<u64>,
    /// This process has not the labels that its callers must have.
    other_caller: bool,
}

/// The first part of a match that a request does not meet. Numbers are places in the
/// configuration's lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mismatch {
    Host,
    Caller,
    Path,
    Method,
    Scheme,
    Grpc,
    Header(usize),
    Query(usize),
    Cookie(usize),
    Metadata(usize),
    /// It is not of the share.
    Fraction,
}

/// A query parameter or a cookie.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    text: Text,
    invert: bool,
}

#[derive(Clone, Debug)]
struct Grpc {
    service: Option<Text>,
    method: Option<Text>,
}

// === impl Asked ===

impl<'a, B> Asked<'a, B> {
    pub(crate) fn new(request: &'a Request<B>, random: &'a Random) -> Self {
        Self { request, random, named: None, roll: Cell::new(None) }
    }

    /// The same for who gives the request this authority, if it has none, before it is sent.
    pub(crate) fn named(self, authority: Option<&'a str>) -> Self {
        Self { named: authority, ..self }
    }

    pub(super) fn path(&self) -> &'a str {
        self.request.uri().path()
    }

    pub(super) fn host(&self) -> Option<&'a str> {
        authority_of(self.request).or(self.named)
    }

    fn roll(&self) -> u64 {
        let given = || self.request.extensions().get().map(|Roll(roll)| *roll);
        let roll = self.roll.get().or_else(given).unwrap_or_else(|| self.random.next());
        self.roll.set(Some(roll));
        roll
    }
}

// === impl Matcher ===

impl Matcher {
    /// Compiles a validated match for a process with these labels; what cannot be compiled is
    /// named.
    pub(crate) fn new(rule: &Match, labels: &BTreeMap<String, String>) -> Result<Self, String> {
        let path = rule.path.as_ref().map(|path| Path::new(path, rule.path_ignore_case));
        let method = rule.method.as_ref().map(|method| {
            Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is not a method"))
        });
        let headers = rule.headers.iter().filter(|it| Pseudo::of(&it.name).is_none());
        let headers = headers.map(Header::new);
        let query = rule.query.iter();
        let query = query.map(|it| Named::new(&it.name, &it.matcher, it.ignore_case, it.invert));
        let cookies = rule.cookies.iter();
        let cookies =
            cookies.map(|it| Named::new(&it.name, &it.matcher, it.ignore_case, it.invert));
        let is_ours = |(name, value): (&String, &String)| labels.get(name) == Some(value);
        Ok(Self {
            path: path.transpose()?,
            method: method.transpose()?,
            scheme: rule.scheme.as_ref().map(|scheme| scheme.to_ascii_lowercase()),
            headers: headers.collect::<Result<_, _>>()?,
            pseudo: pseudo::matched(&rule.headers)?,
            query: query.collect::<Result<_, _>>()?,
            cookies: cookies.collect::<Result<_, _>>()?,
            grpc: rule.grpc.as_ref().map(Grpc::new).transpose()?.map(Box::new),
            metadata: rule.metadata.iter().map(Noted::new).collect::<Result<_, _>>()?,
            below: rule.fraction.as_ref().and_then(|share| below(share.percent)),
            other_caller: !rule.caller.iter().all(is_ours),
        })
    }

    /// Whether every request matches.
    pub(super) fn takes_all(&self) -> bool {
        let Self {
            path,
            method,
            scheme,
            headers,
            pseudo,
            query,
            cookies,
            grpc,
            metadata,
            below,
            other_caller,
        } = self;
        path.as_ref().is_none_or(Path::takes_all)
            && method.is_none()
            && scheme.is_none()
            && headers.is_empty()
            && pseudo.is_empty()
            && query.is_empty()
            && cookies.is_empty()
            && grpc.is_none()
            && metadata.is_empty()
            && below.is_none()
            && !other_caller
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_ref()
    }

    /// What the path of every request that matches begins with.
    pub(super) fn anchor(&self) -> Anchor<'_> {
        match (&self.path, &self.grpc) {
            (Some(path), _) => path.anchor(),
            (None, Some(grpc)) => grpc.anchor(),
            (None, None) => Anchor::Anything,
        }
    }

    /// The part that a request does not meet; none: it matches.
    //= the cheapest first, what may cost most (headers with regular expressions) last
    pub(crate) fn mismatch<B>(&self, asked: &Asked<'_, B>) -> Option<Mismatch> {
        let request = asked.request;
        if self.other_caller {
            return Some(Mismatch::Caller);
        }
        if self.path.as_ref().is_some_and(|path| !path.matches(request.uri().path())) {
            return Some(Mismatch::Path);
        }
        if self.method.as_ref().is_some_and(|method| method != request.method()) {
            return Some(Mismatch::Method);
        }
        if let Some(scheme) = &self.scheme
            && !request.uri().scheme_str().unwrap_or("http").eq_ignore_ascii_case(scheme)
        {
            return Some(Mismatch::Scheme);
        }
        if self.grpc.as_ref().is_some_and(|grpc| !grpc.matches(request)) {
            return Some(Mismatch::Grpc);
        }
        let failed = |header: &Header| !header.matches(request.headers());
        if let Some(index) = self.headers.iter().position(failed) {
            return Some(Mismatch::Header(self.place(index)));
        }
        let failed = |it: &&pseudo::Matched| !it.matches(request, asked.host());
        if let Some(it) = self.pseudo.iter().find(failed) {
            return Some(Mismatch::Header(it.place));
        }
        let failed = |it: &Named| !it.meets(parameter(request, &it.name));
        if let Some(index) = self.query.iter().position(failed) {
            return Some(Mismatch::Query(index));
        }
        let failed = |it: &Named| !it.met_by(cookie_of(request.headers(), &it.name));
        if let Some(index) = self.cookies.iter().position(failed) {
            return Some(Mismatch::Cookie(index));
        }
        if !self.metadata.is_empty() {
            let noted = request.extensions().get();
            if let Some(index) = self.metadata.iter().position(|it| !it.matches(noted)) {
                return Some(Mismatch::Metadata(index));
            }
        }
        self.below.is_some_and(|below| asked.roll() >= below).then_some(Mismatch::Fraction)
    }

    /// The place in the configuration of one of the headers.
    fn place(&self, index: usize) -> usize {
        self.pseudo.iter().fold(index, |place, it| place + usize::from(it.place <= place))
    }
}

/// The host that a request is for, without a user before it: a `host` header wins, as on the wire.
pub(crate) fn authority_of<B>(request: &Request<B>) -> Option<&str> {
    let host = match request.headers().get(HOST) {
        Some(host) => host.to_str().ok(),
        None => request.uri().authority().map(http::uri::Authority::as_str),
    };
    host.map(bare)
}

// === impl Named ===

impl Named {
    fn new(
        name: &str,
        matcher: &StringMatch,
        ignore_case: bool,
        invert: bool,
    ) -> Result<Self, String> {
        Ok(Self { name: name.to_owned(), text: Text::new(matcher, ignore_case)?, invert })
    }

    fn meets(&self, value: Option<&str>) -> bool {
        value.is_some_and(|value| self.text.matches(value)) != self.invert
    }

    /// The same of bytes: what is no text is there, and nothing else.
    fn met_by(&self, value: Option<&[u8]>) -> bool {
        let is_met = |value| {
            matches!(self.text, Text::Present)
                || std::str::from_utf8(value).is_ok_and(|value| self.text.matches(value))
        };
        value.is_some_and(is_met) != self.invert
    }
}

// === impl Grpc ===

impl Grpc {
    fn new(rule: &GrpcMatch) -> Result<Self, String> {
        let text = |text: &Option<StringMatch>| {
            text.as_ref().map(|text| Text::new(text, false)).transpose()
        };
        Ok(Self { service: text(&rule.service)?, method: text(&rule.method)? })
    }

    fn matches<B>(&self, request: &Request<B>) -> bool {
        if !grpc::is_grpc(request.headers()) {
            return false;
        }
        let path = request.uri().path();
        let called = path.strip_prefix('/').and_then(|path| path.rsplit_once('/'));
        let Some((service, method)) = called else {
            return self.service.is_none() && self.method.is_none();
        };
        self.service.as_ref().is_none_or(|text| text.matches(service))
            && self.method.as_ref().is_none_or(|text| text.matches(method))
    }

    fn anchor(&self) -> Anchor<'_> {
        match &self.service {
            Some(Text::Exact(service)) => Anchor::Service(service),
            _ => Anchor::Anything,
        }
    }
}

#[cfg(test)]
#[path = "matching/tests.rs"]
mod tests;
