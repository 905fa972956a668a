//! The layer and its service.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::Drops;
use crate::{
    config::{ConfigErrors, DropOverload},
    core::{BoxError, Error, ErrorKind, Phase, Random, Refusal},
    resilience::admitting::Admission,
};

/// Drops a share of the calls, by category: see the [module](super).
///
/// The services that one layer makes, and their clones, draw from one sequence.
#[derive(Clone, Debug)]
pub struct DropLayer {
    shared: Arc<Shared>,
}

/// A service of whose calls a share is dropped, by [`DropLayer`].
#[derive(Clone, Debug)]
pub struct Dropping<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// The response of [`Dropping`]. Dropping it drops the call below.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct DropFuture<F> {
    #[pin]
    state: Admission<F>,
}

#[derive(Debug)]
struct Shared {
    drops: Drops,
    random: Random,
}

// === impl DropLayer ===

impl DropLayer {
    /// Drops what these categories say, each its share of what those before it have let through.
    ///
    /// # Errors
    ///
    /// A category without a name or with that of another, and a share that is out of its range.
    pub fn new(drops: &[DropOverload]) -> Result<Self, ConfigErrors> {
        DropOverload::validate(drops)?;
        let (drops, random) = (Drops::new(drops, |_| Arc::default()), Random::default());
        Ok(Self { shared: Arc::new(Shared { drops, random }) })
    }

    /// Draws from this seed, so that a test meets the same drops each time. Default: at random.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        let drops = self.shared.drops.alike();
        Self { shared: Arc::new(Shared { drops, random: Random::seeded(seed) }) }
    }

    /// How many calls each category has dropped.
    #[must_use]
    pub fn dropped(&self) -> Vec<(String, u64)> {
        self.shared.drops.counts().map(|(category, count)| (category.to_string(), count)).collect()
    }
}

impl<S> Layer<S> for DropLayer {
    type Service = Dropping<S>;

    fn layer(&self, inner: S) -> Dropping<S> {
        Dropping { inner, shared: Arc::clone(&self.shared) }
    }
}

impl<S, R> Service<R> for Dropping<S>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = DropFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let Shared { drops, random } = &*self.shared;
        let state = match drops.take(random) {
            None => Admission::Admitted { inner: self.inner.call(request), pass: () },
            Some(category) => Admission::Refused {
                error: Error::new(ErrorKind::Overloaded, Phase::Admission)
                    .refused(Refusal::Dropped)
                    .detail(format!("a share of the calls is dropped, of the category {category}")),
            },
        };
        DropFuture { state }
    }
}

impl<F, T, E> Future for DropFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx).map(|(result, ())| result)
    }
}

impl<F> fmt::Debug for DropFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = self.state.is_refused();
        f.debug_struct("DropFuture").field("dropped", &dropped).finish_non_exhaustive()
    }
}
