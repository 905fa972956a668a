//! Guards that live on where an update changes nothing of them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Guard;
use crate::config::Filter;

/// The guards of a service that are in use, by where and what is said of them. Locked by updates only.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Kept(Mutex<HashMap<Place, Said>>);

/// What is said in one place, in few words.
type Said = Vec<(Filter, Arc<dyn Guard>)>;

/// Where a filter is said: at the service, or at one of its routes, by name or by number.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(in crate::mesh) enum Place {
    Mesh,
    Service,
    Route(String),
    Numbered(usize),
    /// At a cluster of a route, by its number.
    Cluster(Box<Self>, usize),
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("all services"),
            Self::Service => f.write_str("the service"),
            Self::Route(name) => write!(f, "route {name}"),
            Self::Numbered(place) => write!(f, "route {} (no name)", place + 1),
            Self::Cluster(route, place) => write!(f, "cluster {} of {route}", place + 1),
        }
    }
}

// === impl Kept ===

impl Kept {
    /// The guard that is said so in this place.
    pub(super) fn guard(
        &self,
        place: &Place,
        filter: &Filter,
        make: impl FnOnce() -> Option<Arc<dyn Guard>>,
    ) -> Option<Arc<dyn Guard>> {
        let mut kept = self.lock();
        let known = kept.get(place).into_iter().flatten().find(|(said, _)| said == filter);
        if let Some((_, guard)) = known {
            return Some(Arc::clone(guard));
        }
        let guard = make()?;
        kept.entry(place.clone()).or_default().push((filter.clone(), Arc::clone(&guard)));
        Some(guard)
    }

    /// Forgets those that no call can meet any more.
    pub(in crate::mesh) fn tidy(&self) {
        self.lock().retain(|_, said| {
            said.retain(|(_, guard)| Arc::strong_count(guard) > 1);
            !said.is_empty()
        });
    }

    pub(in crate::mesh) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
