//! Bring your own leaf: a closure that makes a client per endpoint, in place of our transport.

use std::{fmt, sync::Arc};

use http::Request;
use tower_service::Service;

use super::stage::{Erased, erase};
use crate::{
    balance::Spec,
    config::Address,
    core::{Body, BoxError},
};

/// The endpoint that a leaf is made for.
#[derive(Clone, Debug)]
pub struct LeafEndpoint {
    address: Address,
}

impl LeafEndpoint {
    /// Where the endpoint listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

/// Makes the erased leaf of an endpoint, at its first pick.
#[derive(Clone)]
pub(crate) struct Leaf(Arc<dyn Fn(&LeafEndpoint) -> Arc<dyn Erased> + Send + Sync>);

impl Leaf {
    pub(crate) fn new<F, S, B>(make: F) -> Self
    where
        F: Fn(&LeafEndpoint) -> S + Send + Sync + 'static,
        S: Service<Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(move |endpoint| erase(make(endpoint))))
    }

    pub(crate) fn build(&self, spec: &Spec) -> Arc<dyn Erased> {
        (self.0)(&LeafEndpoint { address: spec.address().clone() })
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").finish_non_exhaustive()
    }
}
