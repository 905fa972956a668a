//! Shares of the calls of a cluster that are dropped, by category (xDS `drop_overloads`).
//!
//! Each category is asked in its order, and draws for itself, as in gRPC: of two that drop a half, one
//! call in four gets through.
//!
//! [`DropLayer`] does it around any client. What is dropped fails at once, as
//! [`Overloaded`](crate::ErrorKind::Overloaded) with [`Refusal::Dropped`](crate::Refusal), and the service
//! below is not called.
//!
//! **Order.** Outside of retries: a call is asked once.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::{config::DropOverload, resilience::DropLayer};
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     Ok(http::Response::new(()))
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let all = DropOverload::new("over capacity", 100.0);
//! let mut service =
//!     ServiceBuilder::new().layer(DropLayer::new(&[all]).unwrap()).service_fn(answer);
//! let error = service.ready().await.unwrap().call(http::Request::new(())).await.unwrap_err();
//! let error: &tower_mesh::Error = error.downcast_ref().unwrap();
//! assert!(error.is_overload() && error.to_string().contains("over capacity"));
//! # });
//! ```

mod layer;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

pub use self::layer::{DropFuture, DropLayer, Dropping};
use crate::{config::DropOverload, core::Random};

/// The categories of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Drops(Box<[Drop]>);

#[derive(Debug)]
struct Drop {
    category: Arc<str>,
    percent: f64,
    dropped: Arc<AtomicU64>,
}

// === impl Drops ===

impl Drops {
    /// Those that are said; what each drops is added to its `count`.
    pub(crate) fn new(
        said: &[DropOverload],
        mut count: impl FnMut(&Arc<str>) -> Arc<AtomicU64>,
    ) -> Self {
        let drops = said.iter().map(|said| {
            let category: Arc<str> = said.category.as_str().into();
            let dropped = count(&category);
            Drop { category, percent: said.percent, dropped }
        });
        Self(drops.collect())
    }

    /// The same categories, counted anew.
    fn alike(&self) -> Self {
        let drops = self.0.iter().map(|Drop { category, percent, .. }| {
            let category = Arc::clone(category);
            Drop { category, percent: *percent, dropped: Arc::default() }
        });
        Self(drops.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The category that drops the call, if one does. It is counted there.
    pub(crate) fn take(&self, random: &Random) -> Option<&Arc<str>> {
        let takes = |it: &&Drop| random.ratio() * 100.0 < it.percent;
        let drop = self.0.iter().find(takes)?;
        drop.dropped.fetch_add(1, Relaxed);
        Some(&drop.category)
    }

    /// How many calls each has dropped.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.0.iter().map(|it| (&it.category, it.dropped.load(Relaxed)))
    }

    /// The part of the calls that is dropped, in 0..=1.
    pub(crate) fn share(&self) -> f64 {
        1.0 - self.0.iter().map(|it| 1.0 - it.percent / 100.0).product::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(category: &str, percent: f64) -> DropOverload {
        DropOverload { category: category.into(), percent }
    }

    #[test]
    fn each_category_drops_its_share_of_what_those_before_it_let_through() {
        let all = [said("lb", 50.0), said("throttle", 20.0), said("none", 0.0)];
        let drops = Drops::new(&all, |_| Arc::default());
        let random = Random::seeded(3);
        let through = (0..20_000).filter(|_| drops.take(&random).is_none()).count();
        assert!((through as f64 / 20_000.0 - 0.4).abs() < 0.02, "{through}");
        assert!((drops.share() - 0.6).abs() < 1e-9);
        let counts: Vec<_> = drops.counts().map(|(_, count)| count).collect();
        assert!((counts[0] as f64 / 10_000.0 - 1.0).abs() < 0.05, "{counts:?}");
        assert!((counts[1] as f64 / 2_000.0 - 1.0).abs() < 0.1 && counts[2] == 0, "{counts:?}");
    }

    #[test]
    fn all_or_nothing() {
        let random = Random::seeded(1);
        let count: Arc<AtomicU64> = Arc::default();
        let all = Drops::new(&[said("all", 100.0)], |_| Arc::clone(&count));
        let none = Drops::new(&[said("all", 0.0)], |_| Arc::clone(&count));
        assert!((0..1_000).all(|_| all.take(&random).is_some() && none.take(&random).is_none()));
        // Its count went on.
        assert_eq!(none.counts().next().unwrap().1, 1_000);
    }
}
