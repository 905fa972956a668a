//! Why an attempt does not begin, in words.

use std::{sync::Arc, time::Duration};

use super::attempt::Failed;
use crate::{
    balance::PickError,
    config::CallPriority,
    core::{Error, ErrorKind, Origin, Phase, Refusal},
    mesh::{cluster::Cluster, service::Route},
};

/// The cluster has its maximum of attempts in flight of this priority.
#[cold]
pub(super) fn overloaded(cluster: &Cluster, limit: u32, priority: CallPriority) -> Box<Failed> {
    cluster.meter.refused(Refusal::MaxRequests);
    let (name, setting) = (&cluster.name, max_requests(priority));
    let error = Error::new(ErrorKind::Overloaded, Phase::Admission).refused(Refusal::MaxRequests);
    Failed::fatal(error.detail(format!(
        "cluster {name} has its maximum of {limit} requests in flight (`{setting}`)"
    )))
}

/// A limit of calls in flight, of a route or of the service around it, refuses a call of this route.
#[cold]
pub(super) fn of_route(error: Error, route: &Route) -> Error {
    match &route.name {
        Some(name) => error.noted(&format!("its route is {name}")),
        None => error,
    }
}

/// The cluster has its maximum of attempts that wait for a connection.
#[cold]
pub(super) fn pending(error: Error, cluster: &str) -> Error {
    error.noted(&format!("its cluster is {cluster}"))
}

/// What sets the limit of attempts in flight.
pub(crate) fn max_requests(priority: CallPriority) -> &'static str {
    match priority {
        CallPriority::Default => "breakers.max_requests",
        CallPriority::High => "breakers.high.max_requests",
    }
}

/// The control plane drops a share of the calls, of which this is one.
#[cold]
pub(super) fn dropped(cluster: &str, category: &str) -> Box<Failed> {
    let error = Error::new(ErrorKind::Overloaded, Phase::Admission).refused(Refusal::Dropped);
    Failed::fatal(error.with_origin(Origin::Control).detail(format!(
        "cluster {cluster} drops a share of its calls, of the category {category} (`drops`)"
    )))
}

/// As many attempts wait for an endpoint as may.
#[cold]
pub(super) fn queue_full(cluster: &str, capacity: u32) -> Box<Failed> {
    let error = Error::new(ErrorKind::Overloaded, Phase::Pick).refused(Refusal::Queue);
    Failed::fatal(error.detail(format!(
        "no endpoint of cluster {cluster} is available, and {capacity} attempts wait for one \
         (`queue.capacity`)"
    )))
}

/// No endpoint has been available for so long that nobody waits any more.
#[cold]
pub(super) fn failing_fast(cluster: &str, timeout: Duration) -> Box<Failed> {
    let error = Error::new(ErrorKind::NoEndpoints, Phase::Pick).refused(Refusal::Queue);
    Failed::fatal(error.detail(format!(
        "no endpoint of cluster {cluster} has been available for {timeout:?}, and attempts fail \
         at once until one is (`queue.failfast_timeout`)"
    )))
}

/// Why nothing was picked.
#[cold]
pub(crate) fn no_endpoint(of: &Cluster, reason: PickError) -> Error {
    let cluster = &of.name;
    if let Some(refused) = &of.refused {
        return Error::new(ErrorKind::Config, Phase::Pick)
            .with_origin(Origin::Control)
            .detail(format!("cluster {cluster} was refused: {refused}"));
    }
    let what = match reason {
        PickError::Empty => format!("cluster {cluster} has no endpoints"),
        PickError::Unavailable => format!("no endpoint of cluster {cluster} may be called"),
        PickError::NoPart => {
            format!("no endpoint of cluster {cluster} has the labels that the route asks for")
        }
        PickError::Panic => format!(
            "the endpoints of cluster {cluster} are not healthy, and `fail_on_panic` forbids to \
             call them"
        ),
    };
    let others: Vec<_> = of.stand_ins().map(|it| Arc::clone(&it.name)).collect();
    let what = match &*others {
        [] => what,
        others => format!("{what}, nor any of those that take over from it: {}", others.join(", ")),
    };
    let error = Error::new(ErrorKind::NoEndpoints, Phase::Pick);
    if reason == PickError::Empty && !of.is_defined() {
        return error
            .detail(format!("no source defines cluster {cluster}"))
            .check("the cluster's name in the routes of the service, and in the sources");
    }
    match of.discovered.trouble() {
        Some(trouble) => error
            .detail(format!("{what}; {trouble}"))
            .check("the name that DNS is asked for, and what its servers say of it"),
        None => match advice(reason) {
            Some(check) => error.detail(what).check(check),
            None => error.detail(what),
        },
    }
}

/// What to check, where the source lists endpoints and none of them is called.
fn advice(reason: PickError) -> Option<&'static str> {
    match reason {
        PickError::Empty => None,
        PickError::Unavailable => {
            Some("how its endpoints stand in mesh.describe(), and mesh.explain(&request)")
        }
        PickError::NoPart => {
            Some("`subset` of the route against the labels of the endpoints in mesh.describe()")
        }
        PickError::Panic => Some(
            "the health of its endpoints in mesh.describe(), and whether `fail_on_panic` is meant",
        ),
    }
}

/// The same where a cluster that takes over would send in clear what is to be secured.
#[cold]
pub(super) fn in_clear_behind(error: Error, own: &Cluster, other: &Cluster) -> Error {
    error
        .noted(&does_not_follow(own, other))
        .check("`security.mode` of the cluster that takes over: `off` allows plaintext")
}

/// Why a cluster does not take over from one that is secured.
#[cold]
pub(crate) fn does_not_follow(own: &Cluster, other: &Cluster) -> String {
    format!(
        "cluster {} does not take over: its connections are plaintext by default, and those of \
         cluster {} are secured",
        other.name, own.name
    )
}

/// The call asks for TLS, and nobody has said how the cluster is secured.
#[cold]
pub(crate) fn in_clear(cluster: &Cluster) -> Error {
    Error::new(ErrorKind::InvalidRequest, Phase::Tls)
        .detail(format!(
            "it asks for https, and the connections of cluster {} are plaintext by default",
            cluster.name
        ))
        .check("`security.mode` of the cluster: `tls` or `mutual`; `off` allows plaintext")
}
