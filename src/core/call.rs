//! Per-call overrides: one request extension.

use std::time::Duration;

use http::HeaderMap;

use super::{Criticality, Instant, error::grpc};

/// What one call asks for beyond its service's policy.
///
/// Put it into the request's extensions; it works through tonic too, which carries extensions
/// from `tonic::Request` to the HTTP request.
///
/// ```
/// use std::time::Duration;
/// use tower_mesh::Call;
///
/// let mut request = http::Request::get("http://users.prod/1").body(()).unwrap();
/// request
///     .extensions_mut()
///     .insert(Call::new().timeout(Duration::from_millis(250)).no_retry());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Call {
    pub(crate) timeout: Option<Duration>,
    /// Until the end of the trailers.
    pub(crate) deadline: Option<Instant>,
    /// The same until the response head.
    pub(crate) head: Option<Instant>,
    pub(crate) hash_key: Option<u64>,
    pub(crate) no_retry: bool,
    pub(crate) idempotent: Option<bool>,
    pub(crate) is_retry: bool,
    pub(crate) criticality: Option<Criticality>,
}

impl Call {
    /// A call that overrides nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds the whole call, to the end of the trailers, by a duration from its start.
    ///
    /// It shortens the service's timeout and never lengthens it. Unit: time. Default: the service's
    /// timeout. The earlier of this, the request's own `grpc-timeout` and an inherited deadline wins.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Chooses the endpoint for policies that hash: equal keys meet the same endpoint.
    ///
    /// It is hashed as its decimal text, as a header of that value would be. Where the hash
    /// policies of the route or cluster do not name it (`call_key`), it stands for all of them.
    /// Policies that do not hash do not read it.
    #[must_use]
    pub fn hash_key(mut self, key: u64) -> Self {
        self.hash_key = Some(key);
        self
    }

    /// Allows one attempt only, but for failures known never to have reached an endpoint.
    #[must_use]
    pub fn no_retry(mut self) -> Self {
        self.no_retry = true;
        self
    }

    /// Declares whether repeating this call is harmless, over the service's setting and what its
    /// method says (RFC 9110 §9.2.2).
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = Some(idempotent);
        self
    }

    /// How much the call matters when load is shed: the lowest are refused first.
    ///
    /// Default: as the route says, else critical. It is told to the service that is called
    /// (`x-mesh-criticality`), so that the calls that this one leads to can
    /// [inherit](Self::inherit) it.
    #[must_use]
    pub fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = Some(criticality);
        self
    }

    /// Inherits from the request that this application is answering: its remaining time, how much it
    /// matters, and whether it is a retry, which stops this call from multiplying it downstream.
    ///
    /// Reads `grpc-timeout`, `x-envoy-expected-rq-timeout-ms`, `x-mesh-criticality`,
    /// `grpc-previous-rpc-attempts` and `x-mesh-attempt`. A `grpc-timeout` bounds this call to the end
    /// of the trailers, for that is what a gRPC caller means by it. What a plain HTTP caller has left
    /// bounds it to the response head: the header may tell of a timeout that ends there, behind which
    /// a stream lives on. A caller whose time is over leaves, and with it whoever streams to it.
    /// Who answers requests of strangers should say the [criticality](Self::criticality) itself,
    /// after it.
    #[must_use]
    pub fn inherit(mut self, inbound: &HeaderMap) -> Self {
        let at = |left| Instant::now().checked_add(left);
        if inbound.contains_key(grpc::GRPC_TIMEOUT) {
            if let Some(left) = grpc::timeout_of(inbound) {
                self.deadline = at(left);
            }
        } else if let Some(left) = inbound.get(grpc::HTTP_TIMEOUT).and_then(grpc::millis_of) {
            self.head = at(left);
        }
        self.is_retry = grpc::is_retry(inbound);
        self.criticality = Criticality::read(inbound).or(self.criticality);
        self
    }
}
