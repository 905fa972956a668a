//! Why an attempt does not begin, in words.

use std::sync::Arc;

use super::attempt::Failed;
use crate::{
    balance::PickError,
    core::{Error, ErrorKind, Origin, Phase},
    mesh::{cluster::Cluster, inner::Inner},
};

/// The cluster has its maximum of attempts in flight.
#[cold]
pub(super) fn overloaded(cluster: &str, limit: u32) -> Box<Failed> {
    Failed::fatal(Error::new(ErrorKind::Overloaded, Phase::Admission).detail(format!(
        "cluster {cluster} has its maximum of {limit} requests in flight \
         (`breakers.max_requests`)"
    )))
}

/// Why nothing was picked.
#[cold]
pub(crate) fn no_endpoint(inner: &Inner, of: &Cluster, reason: PickError) -> Error {
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
    if reason == PickError::Empty && !inner.state().is_cluster(cluster) {
        return error
            .detail(format!("no source defines cluster {cluster}"))
            .check("the cluster's name in the routes of the service, and in the sources");
    }
    match of.discovered.trouble() {
        Some(trouble) => error
            .detail(format!("{what}; {trouble}"))
            .check("the name that DNS is asked for, and what its servers say of it"),
        None => error.detail(what),
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
