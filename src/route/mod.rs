//! Request to route to cluster: the compiled form of a service's routes.
//!
//! The first route in list order that matches wins; a weighted split chooses its cluster. The
//! compiled table is immutable: a call pins it from start to end.

pub(crate) mod hash;
mod matching;
mod session;
mod split;

pub(crate) use self::{
    hash::Hashing,
    matching::Matcher,
    session::{Named, Session},
    split::Split,
};

use http::Request;

/// The routes of one service, in order.
#[derive(Debug)]
pub(crate) struct Table<R> {
    routes: Vec<(Vec<Matcher>, R)>,
}

impl<R> Table<R> {
    pub(crate) fn new(routes: Vec<(Vec<Matcher>, R)>) -> Self {
        Self { routes }
    }

    /// The first route that matches, and its index.
    pub(crate) fn find<B>(&self, request: &Request<B>) -> Option<(usize, &R)> {
        self.routes.iter().map(|(matchers, route)| (matchers, route)).enumerate().find_map(
            |(index, (matchers, route))| {
                let matches =
                    matchers.is_empty() || matchers.iter().any(|matcher| matcher.matches(request));
                matches.then_some((index, route))
            },
        )
    }

    pub(crate) fn get(&self, index: usize) -> Option<&R> {
        self.routes.get(index).map(|(_, route)| route)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[Matcher], &R)> {
        self.routes.iter().map(|(matchers, route)| (matchers.as_slice(), route))
    }
}
