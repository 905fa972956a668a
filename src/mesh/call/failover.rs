//! A pick where other clusters take over from the call's own: the first of them, in order, in which
//! an endpoint works that the call has not tried; when there is none, the first that has any.

use std::sync::Arc;

use http::Request;

use super::{
    Caller, Pinned,
    attempt::Failed,
    refusals::{no_endpoint, overloaded},
    sticky,
};
use crate::{
    balance::{Ask, Endpoint, InFlight, Outcome, PickError},
    core::{Held, Outgoing},
    mesh::cluster::{Cluster, Node},
    resilience::limit::Limiter,
};

/// An endpoint, the place under its cluster's limit, and that cluster.
type Picked = (InFlight<Node>, Held, Arc<Cluster>);

/// Who asks, and what of.
struct Question<'a> {
    caller: &'a Caller,
    pinned: &'a Pinned,
    request: Option<&'a Request<Outgoing>>,
    tried: &'a [Arc<Endpoint<Node>>],
    at: u64,
}

/// Picks among the clusters of a line.
#[cold]
pub(super) fn pick(
    caller: &Caller,
    pinned: &Pinned,
    request: Option<&Request<Outgoing>>,
    tried: &[Arc<Endpoint<Node>>],
    at: u64,
) -> Result<Picked, Box<Failed>> {
    let question = Question { caller, pinned, request, tried, at };
    let line: Vec<_> = pinned.cluster.line().collect();
    let mut reason = None;
    for well in [true, false] {
        for cluster in &line {
            match question.ask(cluster, well) {
                Ok(flight) => return question.admitted(flight, cluster),
                // What its own cluster says of it; that nothing of it works says little.
                Err(error) if !well => reason = reason.or(Some(error)),
                Err(_) => {}
            }
        }
    }
    Err(Failed::fatal(no_endpoint(
        &caller.inner,
        &pinned.cluster,
        reason.unwrap_or(PickError::Empty),
    )))
}

impl Question<'_> {
    fn ask(&self, cluster: &Arc<Cluster>, well: bool) -> Result<InFlight<Node>, PickError> {
        let pinned = self.pinned;
        let mut core = cluster.core.load();
        let mut ask = Ask::any(self.at, &self.caller.inner.random, self.tried);
        ask.over = pinned.over();
        ask.apart = pinned.leaves_localities(self.tried);
        let ask = ask.hashed(self.hash(cluster)).wanting(pinned.wanted.as_deref());
        loop {
            let balancer = &core.balancer;
            match if well { balancer.pick_well(ask) } else { balancer.pick(ask) } {
                Ok(flight) => return Ok(flight),
                Err(reason) => {
                    // The way to the endpoints has been swapped meanwhile, and with it their set.
                    let newest = cluster.core.load();
                    if Arc::ptr_eq(&core, &newest) {
                        return Err(reason);
                    }
                    core = newest;
                }
            }
        }
    }

    /// What the call is hashed to there, by that cluster's own word where the call's has none.
    fn hash(&self, cluster: &Arc<Cluster>) -> Option<u64> {
        let pinned = self.pinned;
        if pinned.hash.is_some() || !cluster.reads() || Arc::ptr_eq(cluster, &pinned.cluster) {
            return pinned.hash;
        }
        sticky::stick(&self.caller.inner, cluster, pinned.route()?, self.request?).0
    }

    /// With its place under the limit of the cluster that it goes to.
    fn admitted(
        &self,
        flight: InFlight<Node>,
        cluster: &Arc<Cluster>,
    ) -> Result<Picked, Box<Failed>> {
        let held = match &cluster.core.load().breaker {
            None => Ok(Held::Nothing),
            Some(limiter) => Limiter::hold(limiter).ok_or_else(|| limiter.limit()),
        };
        match held {
            Ok(held) => Ok((flight, held, Arc::clone(cluster))),
            Err(limit) => {
                flight.finish(self.at, Outcome::Ignored);
                Err(overloaded(&cluster.name, limit))
            }
        }
    }
}
