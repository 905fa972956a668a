//! Resources of xDS, decoded into the model.
//!
//! A resource is the model's values for what runs, and notes for what it says and nothing here
//! does. What it says and safety depends on, or gRPC refuses too, refuses the resource, with the
//! place of the field and its value. `docs/XDS-RESOURCES.md` has the table.
//!
//! Listener and routes, and cluster and endpoints, are decoded each by itself and put together where
//! both are known: [`Listener::service`] and [`Cluster::with`].

#![allow(deprecated, reason = "control planes say it all the same")]
#![allow(clippy::needless_pass_by_ref_mut, reason = "the steps of the walk look alike")]
#![allow(clippy::field_reassign_with_default, reason = "the model's structs may grow")]

mod address;
mod cluster;
mod endpoints;
mod hash;
mod inbound;
mod listener;
mod metadata;
mod read;
mod routes;
#[cfg(any(test, fuzzing))]
mod sound;
mod text;
mod types;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use envoy_types::pb::envoy::config::{
    cluster::v3::Cluster as PbCluster, endpoint::v3::ClusterLoadAssignment,
    listener::v3::Listener as PbListener, route::v3::RouteConfiguration,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret as PbSecret;
use prost::Message;

pub(crate) use self::endpoints::Changes;
pub use self::inbound::{
    Inbound, InboundChain, InboundFilter, InboundHost, InboundHttp, InboundMatch, InboundPort,
    InboundRoute, InboundRoutes, InboundSecurity, InboundSlashes, InboundSource,
    InboundUnderscores,
};
pub(crate) use self::inbound::{decode as inbound, with_routes};
#[cfg(any(test, fuzzing))]
pub(crate) use self::sound::runs;
#[cfg(fuzzing)]
pub(crate) use self::sound::{beside, comes_in, reads, secret};
pub(crate) use self::types::{
    Cluster, Context, Dialect, Endpoints, EndpointsFrom, HttpFilter, Listener, Override, Resource,
    Route, Routes, RoutesFrom, Step, VirtualHost,
};
use self::walk::{Bad, Walk};
use super::{bulk, kind::Kind};

/// Decodes resources of one control plane.
#[derive(Debug)]
pub(crate) struct Decoder {
    context: Context,
}

/// Why a resource cannot be used, and its name, as far as it could be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refused {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) reason: String,
}

// === impl Decoder ===

impl Decoder {
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }

    /// The same, beside the last good one: of endpoints, only those are read that differ. What comes of it
    /// is the same.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    pub(crate) fn decode_beside(
        &self,
        kind: Kind,
        value: &[u8],
        before: Option<Before<'_>>,
    ) -> Result<(Arc<str>, Resource), Refused> {
        if let Some((bytes, Resource::Endpoints(before))) = before
            && kind == Kind::Endpoints
            && let Some(read) = endpoints::again(self.context.dialect, (bytes, before), value)
        {
            return Ok((Arc::clone(&read.name), Resource::Endpoints(Arc::new(read))));
        }
        self.decode(kind, value)
    }

    /// Decodes a resource: `value` is what stands inside of its `Any`.
    ///
    /// # Errors
    ///
    /// What of it cannot be used: the field's place, its value and why.
    pub(crate) fn decode(&self, kind: Kind, value: &[u8]) -> Result<(Arc<str>, Resource), Refused> {
        bounded(kind, value)?;
        let mut walk = Walk::new();
        match kind {
            Kind::Cluster => {
                let pb: PbCluster = message(value)?;
                let read = cluster::cluster(&mut walk, &self.context, &pb);
                let mut read = read.map_err(|bad| refused(&pb.name, bad))?;
                read.notes = walk.notes();
                Ok((read.name.clone(), Resource::Cluster(Arc::new(read))))
            }
            Kind::Endpoints => {
                let pb: ClusterLoadAssignment = message(value)?;
                let read = endpoints::endpoints(&mut walk, self.context.dialect, &pb);
                let mut read = read.map_err(|bad| refused(&pb.cluster_name, bad))?;
                read.notes = walk.notes();
                Ok((read.name.clone(), Resource::Endpoints(Arc::new(read))))
            }
            Kind::Listener => {
                let pb: PbListener = message(value)?;
                let read = listener::listener(&mut walk, &self.context, &pb);
                let mut read = read.map_err(|bad| refused(&pb.name, bad))?;
                read.notes = walk.notes();
                Ok((read.name.clone(), Resource::Listener(Arc::new(read))))
            }
            Kind::Routes => {
                let pb: RouteConfiguration = message(value)?;
                let read = routes::routes(&mut walk, &self.context, &pb);
                let mut read = read.map_err(|bad| refused(&pb.name, bad))?;
                read.notes = walk.notes();
                Ok((read.name.clone(), Resource::Routes(Arc::new(read))))
            }
            Kind::Secret => {
                let pb: PbSecret = message(value)?;
                let read = cluster::secret(&mut walk, &self.context, &pb);
                let mut read = read.map_err(|bad| refused(&pb.name, bad))?;
                read.notes = walk.notes();
                Ok((read.name.clone(), Resource::Secret(Arc::new(read))))
            }
        }
    }
}

/// What a resource was read from, and what that came to.
pub(crate) type Before<'a> = (&'a [u8], &'a Resource);

/// Refuses what is made of too much to be read.
fn bounded(kind: Kind, value: &[u8]) -> Result<(), Refused> {
    bulk::check(value, kind == Kind::Endpoints)
        .map_err(|reason| Refused { name: bulk::first_text(value).map(Arc::from), reason })
}

fn message<M: Message + Default>(value: &[u8]) -> Result<M, Refused> {
    M::decode(value)
        .map_err(|error| Refused { name: None, reason: format!("cannot be read: {error}") })
}

fn refused(name: &str, bad: Bad) -> Refused {
    let (Bad::Wrong(reason) | Bad::Lacking(reason)) = bad;
    Refused { name: (!name.is_empty()).then(|| name.into()), reason }
}
