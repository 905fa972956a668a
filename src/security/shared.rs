//! What policies have in common: endpoints of the same settings share one, and everybody who trusts
//! the same sources shares their roots.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{TlsError, policy::Compiled, pools::Pools};
use crate::config::ConfigErrors;

/// What has been compiled, for as long as somebody uses it. Clones are the same. Locked by updates
/// and by the first handshake after a rotation.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    policies: HashMap<Arc<str>, Weak<Compiled>>,
    pools: HashMap<Said, Weak<Pools>>,
}

/// Sources, and the generation of each.
pub(super) type Said = Vec<(u64, u64)>;

impl Shared {
    /// The policy of this key.
    pub(super) fn policy(
        &self,
        key: Arc<str>,
        compile: impl FnOnce() -> Result<Compiled, ConfigErrors>,
    ) -> Result<Arc<Compiled>, ConfigErrors> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        get_or_make(&mut held.policies, key, compile)
    }

    /// The roots that these sources give together.
    pub(super) fn pools(
        &self,
        said: Said,
        make: impl FnOnce() -> Result<Pools, TlsError>,
    ) -> Result<Arc<Pools>, TlsError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        get_or_make(&mut held.pools, said, make)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn get_or_make<K: Eq + Hash, V, E>(
    held: &mut HashMap<K, Weak<V>>,
    key: K,
    make: impl FnOnce() -> Result<V, E>,
) -> Result<Arc<V>, E> {
    if let Some(known) = held.get(&key).and_then(Weak::upgrade) {
        return Ok(known);
    }
    let made = Arc::new(make()?);
    // What nobody uses any more goes before room is made for more.
    if held.len() == held.capacity() {
        held.retain(|_, value| value.strong_count() > 0);
    }
    held.insert(key, Arc::downgrade(&made));
    Ok(made)
}
