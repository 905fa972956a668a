//! Bring your own leaf: a closure that makes a client per endpoint, in place of our transport.

use std::{collections::BTreeMap, fmt, sync::Arc};

use http::Request;
use tower_service::Service;

use super::stage::{Erased, erase};
use crate::{
    config::{self, Address, IdentityMatch, Protocol, SecurityMode},
    core::{Body, BoxError, BoxFuture, Error, ErrorKind, Phase},
};

/// The endpoint that a leaf is made for.
#[derive(Clone, Debug)]
pub struct LeafEndpoint {
    cluster: Arc<str>,
    endpoint: config::Endpoint,
    mode: SecurityMode,
    identities: Vec<IdentityMatch>,
    server_name: String,
}

/// Makes the erased leaf of an endpoint, at its first pick.
#[derive(Clone)]
pub(crate) struct Leaf {
    make: Arc<dyn Fn(&LeafEndpoint) -> Arc<dyn Erased> + Send + Sync>,
    /// It secures its connections itself.
    secures: bool,
}

// === impl LeafEndpoint ===

impl LeafEndpoint {
    pub(crate) fn new(
        cluster: &Arc<str>,
        endpoint: config::Endpoint,
        mode: SecurityMode,
        identities: Vec<IdentityMatch>,
        server_name: String,
    ) -> Self {
        Self { cluster: Arc::clone(cluster), endpoint, mode, identities, server_name }
    }

    /// The cluster that it belongs to.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Where the endpoint listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }

    /// What its source says about it.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.endpoint.labels
    }

    /// The authority that it is called by, if it has one of its own; the request has it already.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.endpoint.authority.as_deref()
    }

    /// What it speaks, if its source says so.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        self.endpoint.protocol
    }

    /// How far its connections must be secured. Another than [`SecurityMode::Off`] is only told to
    /// the leaf of [`MeshBuilder::tls_leaf`](super::MeshBuilder::tls_leaf).
    #[must_use]
    pub fn mode(&self) -> SecurityMode {
        self.mode
    }

    /// The name to ask for in the handshake.
    #[must_use]
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Identities, one of which it must prove; the server name, if there are none.
    #[must_use]
    pub fn identities(&self) -> &[IdentityMatch] {
        &self.identities
    }
}

// === impl Leaf ===

impl Leaf {
    pub(crate) fn new<F, S, B>(make: F, secures: bool) -> Self
    where
        F: Fn(&LeafEndpoint) -> S + Send + Sync + 'static,
        S: Service<Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { make: Arc::new(move |endpoint| erase(make(endpoint))), secures }
    }

    /// Whether it secures its connections itself.
    pub(crate) fn secures(&self) -> bool {
        self.secures
    }

    /// The leaf of an endpoint; one that would speak in clear where it must not is not even made.
    pub(crate) fn build(&self, endpoint: &LeafEndpoint) -> Arc<dyn Erased> {
        if endpoint.mode != SecurityMode::Off && !self.secures {
            return Arc::new(Unsecured);
        }
        (self.make)(endpoint)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").finish_non_exhaustive()
    }
}

/// In place of a leaf that would speak in clear.
struct Unsecured;

impl Erased for Unsecured {
    fn call(&self, _request: Request<Body>) -> BoxFuture<Result<http::Response<Body>, BoxError>> {
        Box::pin(async {
            Err(Error::new(ErrorKind::Config, Phase::Tls)
                .detail(
                    "the endpoint must be secured, and the own leaf does not say that it does so",
                )
                .check("`security` of the cluster; a leaf that secures is given by `tls_leaf`")
                .into())
        })
    }
}
