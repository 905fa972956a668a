//! The best of those that a pick has looked at, while none of them is good.

use std::sync::Arc;

use super::Rank;
use crate::balance::endpoint::Endpoint;

/// Who was met first of the best rank.
pub(super) struct Best<'a, X>(Option<(Rank, &'a Arc<Endpoint<X>>)>);

impl<X> Default for Best<'_, X> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'a, X> Best<'a, X> {
    pub(super) fn note(&mut self, rank: Rank, endpoint: &'a Arc<Endpoint<X>>) {
        if self.0.is_none_or(|(best, _)| rank < best) {
            self.0 = Some((rank, endpoint));
        }
    }

    /// Whether there is one of this rank at least.
    pub(super) fn reaches(&self, worst: Rank) -> bool {
        self.0.is_some_and(|(rank, _)| rank <= worst)
    }

    /// It, if it is of this rank at least.
    pub(super) fn of(self, worst: Rank) -> Option<&'a Arc<Endpoint<X>>> {
        self.0.filter(|(rank, _)| *rank <= worst).map(|(_, endpoint)| endpoint)
    }
}
