//! A pick where other clusters take over from the call's own: the first of them, in order, in which
//! an endpoint works that the call has not tried; when there is none, the first that has one that it
//! has not tried; and then the first that has any.

use std::sync::Arc;

use http::Request;

use super::{
    Caller, Pinned,
    attempt::Failed,
    refusals::{in_clear_behind, no_endpoint, overloaded},
    sticky,
};
use crate::{
    balance::{Ask, Endpoint, InFlight, Outcome, PickError},
    config::CallPriority,
    core::{Held, Outgoing},
    mesh::cluster::{Cluster, Core, Node},
    resilience::limit::Limiter,
};

/// An endpoint, the place under its cluster's limit, and that cluster.
pub(super) type Picked = (InFlight<Node>, Held, Arc<Cluster>);
/// A cluster that has an endpoint for the call: it takes it, or its limit refuses it.
type Taken = Result<Picked, Box<Failed>>;

/// What a look at a cluster will do with.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Look {
    /// An endpoint that works, or is to be probed, and that the call has not tried.
    Well,
    /// One that it has not tried.
    Untried,
    /// Any.
    Any,
}

/// Who asks, and what of.
struct Question<'a> {
    caller: &'a Caller,
    pinned: &'a Pinned,
    request: Option<&'a Request<Outgoing>>,
    tried: &'a [Arc<Endpoint<Node>>],
    at: u64,
}

/// Picks among the endpoints of a cluster, and where others take over from it, among those of the line.
#[cold]
pub(super) fn pick(
    caller: &Caller,
    pinned: &Pinned,
    request: Option<&Request<Outgoing>>,
    tried: &[Arc<Endpoint<Node>>],
    at: u64,
) -> Result<Picked, Box<Failed>> {
    let question = Question { caller, pinned, request, tried, at };
    let own = &pinned.cluster;
    if own.core.load().failover.is_none() {
        return question.alone();
    }
    if let Ok(taken) = question.take(own, Look::Well) {
        return taken;
    }
    let (others, open): (Vec<_>, Vec<_>) =
        own.stand_ins().partition(|other| own.may_be_followed_by(other));
    let mut reason = None;
    for look in [Look::Well, Look::Untried, Look::Any] {
        for cluster in std::iter::once(own).chain(&others) {
            if look == Look::Well && Arc::ptr_eq(cluster, own) {
                continue;
            }
            match question.take(cluster, look) {
                Ok(taken) => return taken,
                // What its own cluster says of it; that nothing of it works says little.
                Err(error) if look == Look::Any => reason = reason.or(Some(error)),
                Err(_) => {}
            }
        }
    }
    let error = no_endpoint(own, reason.unwrap_or(PickError::Empty));
    Err(Failed::fatal(match open.first() {
        Some(open) => in_clear_behind(error, own, open),
        None => error,
    }))
}

/// Whether a further attempt would find an endpoint that the call has not `tried`.
#[cold]
pub(super) fn has_other(
    caller: &Caller,
    pinned: &Pinned,
    request: Option<&Request<Outgoing>>,
    tried: &[Arc<Endpoint<Node>>],
) -> bool {
    let question = Question { caller, pinned, request, tried, at: 0 };
    let own = &pinned.cluster;
    question.has_untried(own)
        || own
            .stand_ins()
            .any(|other| question.has_untried(&other) && own.may_be_followed_by(&other))
}

impl Question<'_> {
    /// Whether it has an endpoint that the call has not tried, well or not.
    fn has_untried(&self, cluster: &Arc<Cluster>) -> bool {
        let tried: Vec<_> = self.tried.iter().map(|met| &**met).collect();
        let (hash, wanted) = (self.hash(cluster), self.pinned.wanted.as_deref());
        cluster.core.load().balancer.has_other(&tried, hash, wanted)
    }

    fn ask(&self, cluster: &Arc<Cluster>, look: Look) -> Result<InFlight<Node>, PickError> {
        if look == Look::Untried && !self.has_untried(cluster) {
            return Err(PickError::Unavailable);
        }
        let pinned = self.pinned;
        let mut core = cluster.core.load();
        let mut ask = Ask::any(self.at, &self.caller.inner.random, self.tried);
        ask.over = pinned.over();
        ask.apart = pinned.leaves_localities(self.tried);
        ask.avoid = pinned.avoid(self.tried);
        let ask = ask.hashed(self.hash(cluster)).wanting(pinned.wanted.as_deref());
        loop {
            let balancer = &core.balancer;
            let is_well = look == Look::Well;
            match if is_well { balancer.pick_well(ask) } else { balancer.pick(ask) } {
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
        let (inner, route) = (&self.caller.inner, pinned.route()?);
        match pinned.rare.as_ref().and_then(|rare| rare.sent.as_deref()) {
            Some(sent) => sticky::hash(inner, cluster, route, sent),
            None => sticky::hash(inner, cluster, route, self.request?),
        }
    }

    /// Of the one cluster: a place first, and then a pick.
    fn alone(&self) -> Result<Picked, Box<Failed>> {
        let own = &self.pinned.cluster;
        let held = place(own, &own.core.load(), self.pinned.priority())?;
        match self.ask(own, Look::Any) {
            Ok(flight) => Ok((flight, held, Arc::clone(own))),
            Err(reason) => Err(Failed::fatal(no_endpoint(own, reason))),
        }
    }

    /// The same of one of a line. A cluster that is full refuses a call only if it has an endpoint for
    /// it: else the call is another's.
    fn take(&self, cluster: &Arc<Cluster>, look: Look) -> Result<Taken, PickError> {
        let priority = self.pinned.priority();
        let place = hold(&cluster.core.load(), priority);
        let flight = self.ask(cluster, look)?;
        Ok(match place {
            Ok(held) => self.admitted(flight, held, cluster),
            Err(limit) => {
                flight.finish(self.at, Outcome::Ignored);
                Err(overloaded(cluster, limit, priority))
            }
        })
    }

    /// Unless the call would go in clear there.
    fn admitted(&self, flight: InFlight<Node>, held: Held, cluster: &Arc<Cluster>) -> Taken {
        let own = &self.pinned.cluster;
        if !Arc::ptr_eq(cluster, own)
            && flight.endpoint().extra().is_some_and(|node| node.is_open)
            && own.is_secured()
        {
            // It has come since its cluster was looked at.
            flight.finish(self.at, Outcome::Ignored);
            let error = no_endpoint(own, PickError::Unavailable);
            return Err(Failed::fatal(in_clear_behind(error, own, cluster)));
        }
        Ok((flight, held, Arc::clone(cluster)))
    }
}

/// A place under the limit of attempts in flight of this priority: before the pick, which an attempt
/// that has none needs not.
pub(super) fn place(
    cluster: &Cluster,
    core: &Core,
    priority: CallPriority,
) -> Result<Held, Box<Failed>> {
    hold(core, priority).map_err(|limit| overloaded(cluster, limit, priority))
}

fn hold(core: &Core, priority: CallPriority) -> Result<Held, u32> {
    match core.limiter(priority) {
        None => Ok(Held::Nothing),
        Some(limiter) => Limiter::hold(limiter).ok_or_else(|| limiter.limit()),
    }
}
