//! The layer and its service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{future::ResponseFuture, limiter::Keyed, refusal, write_limit};
use crate::{
    config::{ConfigErrors, TokenBucket},
    core::{BoxError, Epoch, Instant},
};

/// Limits the rate of calls: see the [module](super).
///
/// The services that one layer makes, and their clones, share its buckets: use one layer per
/// destination.
#[derive(Clone)]
pub struct RateLimitLayer<K = ByNothing> {
    shared: Arc<Shared>,
    key: K,
}

/// A service whose calls are limited in their rate, by [`RateLimitLayer`].
#[derive(Clone)]
pub struct RateLimit<S, K = ByNothing> {
    inner: S,
    shared: Arc<Shared>,
    key: K,
}

struct Shared {
    bucket: TokenBucket,
    buckets: Keyed,
    epoch: Epoch,
}

/// All calls share one bucket.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ByNothing;

/// Calls have the bucket of their key.
#[derive(Clone, Copy, Debug)]
pub struct By<F>(F);

/// What finds the key of a call. Sealed.
pub trait KeyOf<R>: sealed::KeyOf<R> {}

impl<R, K: sealed::KeyOf<R>> KeyOf<R> for K {}

mod sealed {
    #[expect(unnameable_types, reason = "seals `KeyOf`")]
    pub trait KeyOf<R> {
        fn key_of(&self, request: &R) -> Option<String>;
    }
}

impl<R> sealed::KeyOf<R> for ByNothing {
    fn key_of(&self, _: &R) -> Option<String> {
        None
    }
}

impl<R, F: Fn(&R) -> Option<String>> sealed::KeyOf<R> for By<F> {
    fn key_of(&self, request: &R) -> Option<String> {
        (self.0)(request)
    }
}

// === impl RateLimitLayer ===

impl RateLimitLayer {
    /// Lets calls in by this bucket, which all of them share.
    ///
    /// # Errors
    ///
    /// Every field that is out of its range, with its value.
    pub fn new(bucket: &TokenBucket) -> Result<Self, ConfigErrors> {
        bucket.validate("bucket")?;
        Ok(Self { shared: Shared::new(bucket.clone(), None), key: ByNothing })
    }

    /// Gives each key a bucket of its own, and at most `max_keys` of them: what is not in 1..=1000000
    /// is the nearest that is. Room for all of them, 16 bytes each, is made at once. Calls without a key share one more, and so do those whose key finds no place: a key leaves its
    /// place when its bucket is full again, so that no number of keys gets more than the limit.
    #[must_use]
    pub fn key<R, F>(self, max_keys: u32, key: F) -> RateLimitLayer<By<F>>
    where
        F: Fn(&R) -> Option<String>,
    {
        let shared = Shared::new(self.shared.bucket.clone(), Some(max_keys));
        RateLimitLayer { shared, key: By(key) }
    }
}

impl<S, K: Clone> Layer<S> for RateLimitLayer<K> {
    type Service = RateLimit<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, shared: Arc::clone(&self.shared), key: self.key.clone() }
    }
}

impl<K> fmt::Debug for RateLimitLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("bucket", &self.shared.bucket)
            .finish_non_exhaustive()
    }
}

// === impl RateLimit ===

impl<S, R, K> Service<R> for RateLimit<S, K>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
    K: KeyOf<R>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let now = self.shared.epoch.nanos(Instant::now());
        let key = self.key.key_of(&request);
        match self.shared.buckets.over(key.as_deref(), now) {
            None => ResponseFuture::admitted(self.inner.call(request)),
            Some(over) => {
                let what = if key.is_some() { "the bucket of its key" } else { "the bucket" };
                let headers = |headers: &mut _| write_limit(&over, headers);
                ResponseFuture::refused(refusal(&over, 429, what, headers))
            }
        }
    }
}

impl<S: fmt::Debug, K> fmt::Debug for RateLimit<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = &self.shared.bucket;
        f.debug_struct("RateLimit")
            .field("inner", &self.inner)
            .field("bucket", bucket)
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn new(bucket: TokenBucket, max_keys: Option<u32>) -> Arc<Self> {
        let buckets = Keyed::new(&bucket, max_keys);
        Arc::new(Self { bucket, buckets, epoch: Epoch::now() })
    }
}
