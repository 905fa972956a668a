//! How a route chooses one of its clusters, where that is not by weight at random.

use std::sync::Arc;

use http::{HeaderName, Request, StatusCode};

use super::{
    cluster::Cluster,
    directory::Known,
    inner::Inner,
    service::{Mirror, Route, Target},
};
use crate::{
    balance::Wanted,
    core::{Call, Error, ErrorKind, Phase},
    route::{
        Hashing, Steps,
        hash::{Beside, Hashed},
    },
};

/// The choice of a route that has no cluster of its own, or several.
pub(crate) enum Choosing {
    /// The first that has an endpoint which works; where none has, the first.
    FirstAvailable,
    /// By the hash of the request.
    Hashed,
    /// By the number that a header has.
    Number(HeaderName),
    /// The one that a header names.
    Header(Box<ByHeader>),
}

/// A cluster that a header names, and what is done on the way there.
pub(crate) struct ByHeader {
    pub(crate) name: HeaderName,
    /// What calls meet whose cluster does not exist.
    pub(crate) missing: StatusCode,
    pub(crate) wanted: Option<Arc<Wanted>>,
    pub(crate) steps: Option<Arc<Steps>>,
    pub(crate) mirrors: Arc<[Mirror]>,
}

// === impl Choosing ===

impl Choosing {
    /// In words.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::FirstAvailable => "the first that is available".to_owned(),
            Self::Hashed => "by the hash of the request".to_owned(),
            Self::Number(name) => format!("by the number in the header `{name}`"),
            Self::Header(by) => {
                format!("the one that the header `{}` names, else {}", by.name, by.missing.as_u16())
            }
        }
    }
}

// === impl ByHeader ===

impl ByHeader {
    /// The target that a request names.
    //= Envoy RouteEntryImplBase: `cluster_header` is read of the request as the caller has made it
    pub(crate) fn target<B>(&self, inner: &Inner, request: &Request<B>) -> Option<(Target, Known)> {
        let named = request.headers().get(&self.name)?.to_str().ok()?;
        let known = inner.directory.get(named)?;
        Some((Target::like(self, Arc::clone(&known.cluster)), known))
    }

    /// There is none.
    #[cold]
    pub(crate) fn error<B>(&self, request: &Request<B>) -> Error {
        let name = &self.name;
        let detail = match request.headers().get(name).map(|value| value.to_str()) {
            None => format!("the header `{name}`, which names the cluster, is not there"),
            Some(Ok(cluster)) => {
                format!("the header `{name}` names cluster `{cluster}`, which no source defines")
            }
            Some(Err(_)) => format!("the header `{name}`, which names the cluster, is no text"),
        };
        Error::new(ErrorKind::Config, Phase::Route).with_status(self.missing).detail(detail)
    }
}

/// The first target with an endpoint that works, by its place; the first, where there is none.
pub(crate) fn first_available(route: &Route, now: u64) -> usize {
    let works = |target: &Target| {
        let cluster: &Arc<Cluster> = target;
        let wanted = target.wanted.as_deref();
        cluster.refused.is_none()
            && cluster.line().any(|it| it.core.load().balancer.has_well(wanted, now))
    };
    route.clusters.iter().position(|(_, target)| works(target)).unwrap_or(0)
}

/// The number that stands in for chance, if the request has it.
//= Envoy WeightedClusterEntry: one value, an unsigned number of 64 bits; what is none is passed over
pub(crate) fn number<B>(name: &HeaderName, request: &Request<B>) -> Option<u64> {
    let mut values = request.headers().get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    value.to_str().ok()?.trim().parse().ok()
}

/// What the choice of a cluster is hashed by.
//= Envoy WeightedClustersConfigEntry: `use_hash_policy` is the route's hash policy
pub(crate) fn hashed<B>(
    route: &Route,
    request: &Request<B>,
    channel: u64,
    random: impl Fn() -> u64,
) -> Hashed {
    let key = request.extensions().get::<Call>().and_then(|call| call.hash_key);
    let beside = Beside { key, channel };
    match &route.policy.hash {
        Some(hashing) => hashing.hash(request, beside, random),
        None => Hashing::default().hash(request, beside, random),
    }
}
