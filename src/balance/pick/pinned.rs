//! The endpoint that a call names: an override host, or the one that its session stays with.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{Picker, Rank};
use crate::{
    balance::{
        endpoint::{Endpoint, Upstream},
        set::Set,
    },
    config::{Address, Health},
};

/// The endpoint that a call names, and when it is used.
#[derive(Clone, Debug)]
pub(crate) struct Over {
    pub(crate) address: Address,
    /// No other will do.
    pub(crate) strict: bool,
    pub(crate) health: HealthSet,
}

/// Some kinds of health.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HealthSet(u8);

/// What becomes of a call that names an endpoint.
pub(in crate::balance) enum Pinned<'a, X> {
    To(&'a Arc<Endpoint<X>>),
    /// It goes the way of those that name none.
    Free,
    /// It must not go elsewhere.
    Nowhere,
}

/// Where each address is. Made at the first call that names one, and from then on with each set.
#[derive(Debug, Default)]
pub(in crate::balance) struct Pins {
    places: OnceLock<HashMap<Address, u32>>,
    /// A call has named an endpoint; it survives updates.
    asked: Arc<AtomicBool>,
}

// === impl HealthSet ===

impl HealthSet {
    pub(crate) fn of(kinds: &[Health]) -> Self {
        Self(kinds.iter().fold(0, |set, kind| set | Self::bit(*kind)))
    }

    fn bit(health: Health) -> u8 {
        1 << match health {
            Health::Unknown => 0,
            Health::Healthy => 1,
            Health::Unhealthy => 2,
            Health::Degraded => 3,
            Health::Draining => 4,
        }
    }

    pub(in crate::balance) fn has(self, health: Health) -> bool {
        self.0 & Self::bit(health) != 0
    }
}

/// That of xDS's `override_host_status`, and one that drains: it takes no new sessions, and keeps those
/// that it has, which is an own choice.
impl Default for HealthSet {
    fn default() -> Self {
        Self::of(&[Health::Unknown, Health::Healthy, Health::Degraded, Health::Draining])
    }
}

// === impl Pins ===

impl Pins {
    /// Those of another set.
    pub(in crate::balance) fn of<X>(&self, set: &Set<X>) -> Self {
        let pins = Self { places: OnceLock::new(), asked: Arc::clone(&self.asked) };
        if self.asked.load(Relaxed) {
            pins.places(set);
        }
        pins
    }

    /// Whether the set has this address. Nothing is made for that: whoever looks for a cluster passes many. It is
    /// looked at one by one where no call has named an endpoint yet: who updates the set knows the places, too, but
    /// behind a lock that no call takes.
    pub(in crate::balance) fn has<X>(&self, set: &Set<X>, address: &Address) -> bool {
        match self.places.get() {
            Some(places) => places.contains_key(address),
            None => set.iter().any(|endpoint| endpoint.spec().address() == address),
        }
    }

    fn places<X>(&self, set: &Set<X>) -> &HashMap<Address, u32> {
        self.places.get_or_init(|| {
            self.asked.store(true, Relaxed);
            let addresses = set.iter().map(|endpoint| endpoint.spec().address().clone());
            addresses.zip(0..).collect()
        })
    }
}

impl<'a, X: Upstream> Picker<'a, X> {
    /// The endpoint that a call names, if it may be used.
    ///
    /// In strict mode no other will do: it is used even where it is ejected or fails its checks, which
    /// makes it unhealthy to Envoy, where such a call fails.
    //= gRFC A55: an endpoint in a health that is not listed, or that cannot be connected to, is not used
    pub(in crate::balance) fn pinned(self, pins: &Pins, over: &Over) -> Pinned<'a, X> {
        let place = pins.places(self.set).get(&over.address);
        let endpoint = place.and_then(|place| self.set.get(*place as usize));
        let endpoint = endpoint.filter(|found| over.health.has(found.spec().health()));
        let usable = |endpoint: &&Arc<Endpoint<X>>| match self.rank(endpoint) {
            Rank::Good | Rank::Degraded => true,
            // It drains, and its sessions stay.
            Rank::Never => {
                let tried = self.tried.iter().any(|tried| tried.is(endpoint));
                let well = endpoint.live().map_or_else(
                    || !endpoint.is_unchecked(),
                    |live| {
                        let state = &live.load.state;
                        let is_bad = state.is_ejected()
                            || state.is_unfit()
                            || state.is_suspect()
                            || state.is_doubted();
                        live.extra.available(self.now) && !is_bad
                    },
                );
                well && !tried
            }
            _ => false,
        };
        match endpoint {
            Some(endpoint) if over.strict || usable(&endpoint) => Pinned::To(endpoint),
            _ if over.strict => Pinned::Nowhere,
            _ => Pinned::Free,
        }
    }
}
