//! Endpoints without sockets: each address is answered by a closure, under paused time.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response};
use tower_mesh::{Body, LeafEndpoint, Mesh, MeshBuilder, config::Address};

use super::BoxError;

/// The one service of these meshes.
pub(crate) const SERVICE: &str = "users.prod";

/// The scripted endpoints `10.0.0.1:80`, `10.0.0.2:80`, … and how often each was called.
#[derive(Clone, Debug)]
pub(crate) struct Leaves {
    hits: Arc<Vec<AtomicUsize>>,
}

impl Leaves {
    /// So many endpoints, numbered from 0.
    pub(crate) fn new(count: usize) -> Self {
        Self { hits: Arc::new((0..count).map(|_| AtomicUsize::new(0)).collect()) }
    }

    /// The address of an endpoint.
    pub(crate) fn address(number: usize) -> Address {
        let last = u8::try_from(number + 1).unwrap();
        SocketAddr::from(([10, 0, 0, last], 80)).into()
    }

    /// All addresses.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        (0..self.hits.len()).map(Self::address).collect()
    }

    /// A mesh of one service whose endpoints answer by `answer(number, request)`.
    pub(crate) fn mesh<F, Fut>(&self, answer: F) -> MeshBuilder
    where
        F: Fn(usize, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
    {
        self.leaves(Mesh::builder(), answer).endpoints(SERVICE, self.addresses()).seed(7)
    }

    /// The same leaves for a mesh that gets its endpoints elsewhere.
    pub(crate) fn leaves<F, Fut>(&self, builder: MeshBuilder, answer: F) -> MeshBuilder
    where
        F: Fn(usize, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
    {
        let hits = Arc::clone(&self.hits);
        builder.leaf(move |endpoint: &LeafEndpoint| {
            let number = number(endpoint);
            let hits = Arc::clone(&hits);
            let answer = answer.clone();
            tower::service_fn(move |request| {
                hits[number].fetch_add(1, Ordering::SeqCst);
                answer(number, request)
            })
        })
    }

    /// How often this endpoint was called.
    pub(crate) fn hits(&self, number: usize) -> usize {
        self.hits[number].load(Ordering::SeqCst)
    }

    /// How often each was called.
    pub(crate) fn all_hits(&self) -> Vec<usize> {
        (0..self.hits.len()).map(|number| self.hits(number)).collect()
    }

    /// How often all were called.
    pub(crate) fn total(&self) -> usize {
        self.all_hits().iter().sum()
    }

    /// Forgets the calls so far.
    pub(crate) fn reset(&self) {
        for hits in &*self.hits {
            hits.store(0, Ordering::SeqCst);
        }
    }
}

fn number(endpoint: &LeafEndpoint) -> usize {
    let address = endpoint.address().to_string();
    let host = address.split(':').next().unwrap();
    host.rsplit('.').next().unwrap().parse::<usize>().unwrap() - 1
}

/// A response with this text.
pub(crate) fn ok(text: impl Into<bytes::Bytes>) -> Response<Body> {
    Response::new(Body::from(text.into()))
}

/// An empty response with this status.
pub(crate) fn answer(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

/// A gRPC failure in a response head, without a body.
pub(crate) fn grpc(code: i32) -> Response<Body> {
    Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", code)
        .body(Body::empty())
        .unwrap()
}
