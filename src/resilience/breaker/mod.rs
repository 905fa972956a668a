//! Circuit breakers of a cluster: how many connections it has, and how many attempts wait for one, each
//! for calls of either priority.
//!
//! Attempts in flight are counted by a limiter that an attempt passes before its pick; what is
//! counted here is of the way to the endpoints, and off the path of a call that finds
//! a connection.
//!
//! A connection is counted with the calls of the priority that asked for it, from when it is begun to
//! its end. Whoever has no connection to an endpoint gets one, over the limit if need be: else the calls
//! that were given to it would wait for nothing (Envoy).
//!
//! [`BreakerLayer`] counts the attempts in flight around any client, each priority for itself; connections,
//! and those who wait for one, are the client's own. Over the limit an attempt fails at once, as
//! [`Overloaded`](crate::ErrorKind::Overloaded) with [`Refusal::MaxRequests`](crate::Refusal) (`UO`). A
//! place is given back when the response's body has ended.
//!
//! **Order.** Inside of retries, where it counts attempts.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::{config::{Breakers, CallPriority, Thresholds}, resilience::BreakerLayer};
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     Ok(http::Response::new(()))
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut limits = Breakers::default();
//! limits.max_requests = Some(1);
//! let mut high = Thresholds::default();
//! high.max_requests = Some(1);
//! limits.high = Some(Box::new(high));
//! let layer = BreakerLayer::new(&limits).unwrap();
//! let mut usual = ServiceBuilder::new().layer(layer.clone()).service_fn(answer);
//! let mut urgent =
//!     ServiceBuilder::new().layer(layer.priority(CallPriority::High)).service_fn(answer);
//! let first = usual.ready().await.unwrap().call(http::Request::new(())).await.unwrap();
//! // The first response is not read yet; those of high priority have places of their own.
//! let error = usual.ready().await.unwrap().call(http::Request::new(())).await.unwrap_err();
//! assert_eq!(error.downcast_ref::<tower_mesh::Error>().unwrap().response_flag(), "UO");
//! assert!(urgent.ready().await.unwrap().call(http::Request::new(())).await.is_ok());
//! drop(first);
//! # });
//! ```

mod layer;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::{Notify, futures::Notified};

pub use self::layer::{Breaker, BreakerLayer};
use super::limit::Limiter;
use crate::{
    config::{self, CallPriority},
    core::Held,
};

/// The counts of one cluster. They are the cluster's: an update of its settings changes limits alone.
#[derive(Debug)]
pub(crate) struct Breakers {
    usual: Counters,
    high: Counters,
    /// Connections to one endpoint; [`u32::MAX`]: no limit.
    per_endpoint: AtomicU32,
    /// Notified when a connection has given its places back.
    freed: Arc<Notify>,
}

#[derive(Debug)]
struct Counters {
    connections: Arc<Limiter>,
    pending: Arc<Limiter>,
}

/// A connection's places: among its endpoint's, and among its cluster's.
#[derive(Debug)]
pub(crate) struct Room {
    of_cluster: Held,
    of_endpoint: Arc<AtomicU32>,
    freed: Arc<Notify>,
}

/// A limit, and how much of it is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Level {
    pub(crate) what: &'static str,
    pub(crate) priority: CallPriority,
    pub(crate) taken: u32,
    pub(crate) most: u32,
}

// === impl Breakers ===

impl Default for Breakers {
    fn default() -> Self {
        let counters = || Counters {
            connections: Arc::new(Limiter::new(u32::MAX)),
            pending: Arc::new(Limiter::new(u32::MAX)),
        };
        let per_endpoint = AtomicU32::new(u32::MAX);
        Self { usual: counters(), high: counters(), per_endpoint, freed: Arc::default() }
    }
}

impl Breakers {
    /// The limits from now on; what is counted stays.
    pub(crate) fn set(&self, breakers: Option<&config::Breakers>) {
        let set = |limiter: &Limiter, most: Option<u32>| limiter.resize(most.unwrap_or(u32::MAX));
        set(&self.usual.connections, breakers.and_then(|it| it.max_connections));
        set(&self.usual.pending, breakers.and_then(|it| it.max_pending));
        let high = breakers.and_then(|it| it.high.as_deref());
        set(&self.high.connections, high.and_then(|it| it.max_connections));
        set(&self.high.pending, high.and_then(|it| it.max_pending));
        let most = breakers.and_then(|it| it.max_connections_per_endpoint).unwrap_or(u32::MAX);
        self.per_endpoint.store(most, Ordering::Relaxed);
    }

    fn of(&self, priority: CallPriority) -> &Counters {
        match priority {
            CallPriority::Default => &self.usual,
            CallPriority::High => &self.high,
        }
    }

    /// A place among the attempts that wait for a connection; none is needed where there is no limit.
    ///
    /// # Errors
    ///
    /// The limit, if it is reached.
    pub(crate) fn wait(&self, priority: CallPriority) -> Result<Option<Held>, u32> {
        let pending = &self.of(priority).pending;
        let Some(most) = most(pending) else { return Ok(None) };
        Limiter::hold(pending).map(Some).ok_or(most)
    }

    /// Room for one more connection to an endpoint that has so many; for one that has none of use in any
    /// case.
    pub(crate) fn connect(
        &self,
        priority: CallPriority,
        endpoint: &Arc<AtomicU32>,
        has_none: bool,
    ) -> Option<Room> {
        let most = self.per_endpoint.load(Ordering::Relaxed);
        let entered = endpoint.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            (open < most || has_none).then(|| open + 1)
        });
        entered.ok()?;
        let connections = &self.of(priority).connections;
        let of_cluster = match Limiter::hold(connections) {
            Some(held) => held,
            None if has_none => Limiter::hold_over(connections),
            None => {
                endpoint.fetch_sub(1, Ordering::AcqRel);
                return None;
            }
        };
        let (of_endpoint, freed) = (Arc::clone(endpoint), Arc::clone(&self.freed));
        Some(Room { of_cluster, of_endpoint, freed })
    }

    /// Notified when a connection of any endpoint has given its places back: who waits for some looks
    /// again.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Whether [`connect`](Self::connect) seems to have room, of which nothing is taken.
    pub(crate) fn may_connect(&self, priority: CallPriority, endpoint: &AtomicU32) -> bool {
        endpoint.load(Ordering::Relaxed) < self.per_endpoint.load(Ordering::Relaxed)
            && !self.of(priority).connections.is_full()
    }

    /// Whether connections are limited.
    pub(crate) fn limits_connections(&self) -> bool {
        let counted = [&self.usual, &self.high].iter().any(|it| most(&it.connections).is_some());
        counted || self.per_endpoint.load(Ordering::Relaxed) < u32::MAX
    }

    /// The limits that there are.
    pub(crate) fn levels(&self) -> impl Iterator<Item = Level> {
        let of = |priority: CallPriority| {
            let counters = self.of(priority);
            let named = [("connections", &counters.connections), ("pending", &counters.pending)];
            named.into_iter().filter_map(move |(what, counter)| {
                Some(Level { what, priority, taken: counter.taken(), most: most(counter)? })
            })
        };
        of(CallPriority::Default).chain(of(CallPriority::High))
    }
}

/// The limit, if there is one.
fn most(limiter: &Limiter) -> Option<u32> {
    Some(limiter.limit()).filter(|most| *most < u32::MAX)
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of_endpoint.fetch_sub(1, Ordering::AcqRel);
        drop(std::mem::replace(&mut self.of_cluster, Held::Nothing));
        self.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breakers(connections: u32, pending: u32, per_endpoint: u32) -> Breakers {
        let said = config::Breakers {
            max_connections: Some(connections),
            max_pending: Some(pending),
            max_connections_per_endpoint: Some(per_endpoint),
            ..config::Breakers::default()
        };
        let breakers = Breakers::default();
        breakers.set(Some(&said));
        breakers
    }

    #[test]
    fn a_limit_of_one_priority_is_not_the_others() {
        let breakers = breakers(1, 1, 9);
        let _waits = breakers.wait(CallPriority::Default).unwrap();
        assert_eq!(breakers.wait(CallPriority::Default).unwrap_err(), 1);
        assert!(breakers.wait(CallPriority::High).unwrap().is_none());
        let endpoint = Arc::default();
        let _room = breakers.connect(CallPriority::Default, &endpoint, true).unwrap();
        assert!(breakers.connect(CallPriority::Default, &endpoint, false).is_none());
        assert!(breakers.connect(CallPriority::High, &endpoint, false).is_some());
    }

    #[test]
    fn an_endpoint_without_a_connection_gets_one_over_every_limit() {
        let breakers = breakers(1, 1, 1);
        let (one, other) = (Arc::default(), Arc::default());
        let first = breakers.connect(CallPriority::Default, &one, true).unwrap();
        let second = breakers.connect(CallPriority::Default, &other, true).unwrap();
        assert!(breakers.connect(CallPriority::Default, &other, false).is_none());
        assert_eq!(breakers.levels().next().unwrap().taken, 2);
        drop((first, second));
        assert_eq!(breakers.levels().map(|it| it.taken).sum::<u32>(), 0);
        assert_eq!((one.load(Ordering::Relaxed), other.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_limit_that_is_reached_is_seen_without_asking_for_room() {
        let breakers = breakers(2, 1, 1);
        assert!(breakers.limits_connections() && !Breakers::default().limits_connections());
        let (one, other, third) = (Arc::default(), Arc::default(), Arc::default());
        assert!(breakers.may_connect(CallPriority::Default, &one));
        let first = breakers.connect(CallPriority::Default, &one, false).unwrap();
        assert!(!breakers.may_connect(CallPriority::Default, &one));
        assert!(breakers.may_connect(CallPriority::Default, &other));
        let _second = breakers.connect(CallPriority::Default, &other, false).unwrap();
        assert!(!breakers.may_connect(CallPriority::Default, &third));
        assert!(breakers.may_connect(CallPriority::High, &third));
        drop(first);
        assert!(breakers.may_connect(CallPriority::Default, &third));
    }

    #[test]
    fn a_changed_limit_holds_for_what_comes_next() {
        let breakers = breakers(9, 1, 9);
        let waits = breakers.wait(CallPriority::Default).unwrap();
        breakers.set(None);
        assert!(breakers.wait(CallPriority::Default).unwrap().is_none());
        breakers.set(Some(&config::Breakers { max_pending: Some(1), ..Default::default() }));
        assert!(breakers.wait(CallPriority::Default).is_err(), "one waits still");
        drop(waits);
        assert!(breakers.wait(CallPriority::Default).is_ok());
    }
}
