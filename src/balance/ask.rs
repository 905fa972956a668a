//! What a pick is asked for.

use std::sync::Arc;

use super::{
    endpoint::Endpoint,
    pick::{Avoid, Over},
    subset::labels::Wanted,
};
use crate::core::Random;

/// One question to a balancer.
pub(crate) struct Ask<'a, X> {
    /// Nanoseconds since the mesh's epoch.
    pub(crate) now: u64,
    pub(crate) random: &'a Random,
    /// What the call has met already: picked only when there is no other.
    pub(crate) tried: &'a [Arc<Endpoint<X>>],
    /// The endpoint that it names.
    pub(crate) over: Option<&'a Over>,
    /// The labels that its endpoint must carry.
    pub(crate) wanted: Option<&'a Wanted>,
    /// What it is hashed to, for policies that hash. None: any endpoint will do.
    pub(crate) hash: Option<u64>,
    /// Other localities than those of what it has met come first.
    pub(crate) apart: bool,
    /// What else than what it has met comes last, if it has met anything.
    pub(crate) avoid: Option<&'a Avoid>,
    /// What does not work will not do, nor what it has met.
    pub(super) well: bool,
}

impl<X> Clone for Ask<'_, X> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<X> Copy for Ask<'_, X> {}

impl<'a, X> Ask<'a, X> {
    /// Any endpoint that this call has not tried.
    #[inline]
    pub(crate) fn any(now: u64, random: &'a Random, tried: &'a [Arc<Endpoint<X>>]) -> Self {
        Self {
            now,
            random,
            tried,
            hash: None,
            over: None,
            wanted: None,
            apart: false,
            avoid: None,
            well: false,
        }
    }

    /// The endpoint of this hash.
    #[inline]
    pub(crate) fn hashed(mut self, hash: Option<u64>) -> Self {
        self.hash = hash;
        self
    }

    /// One that carries these labels.
    #[inline]
    pub(crate) fn wanting(mut self, wanted: Option<&'a Wanted>) -> Self {
        self.wanted = wanted;
        self
    }
}
