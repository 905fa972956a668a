//! The table of a set of endpoints: what a policy that hashes derives from it.

use std::{
    collections::HashMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use twox_hash::XxHash64;

use super::{Function, Maglev, Member, Ring, Shuffle, Sizes, is_full, overload, share_of};
use crate::{
    balance::{endpoint::Spec, place::LocalityWeights, set::Set},
    config::{self, Address, HashFunction, Health, Locality},
};

/// How hashes are shared out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::balance) struct Kind {
    table: TableKind,
    by_hostname: bool,
    /// The most calls in flight to one endpoint. Percent of the mean; 0: no bound.
    bound: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TableKind {
    Ring(Sizes, Function),
    Maglev(u32),
}

/// A table over the endpoints of a set.
#[derive(Debug)]
pub(in crate::balance) struct Spread {
    kind: Kind,
    table: Table,
    /// In the order of their keys, which is the order of the table's positions.
    places: Box<[u32]>,
    shares: Box<[f64]>,
    /// What it was made from.
    made_from: u64,
}

#[derive(Debug)]
enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

/// The calls in flight to a whole cluster, as far as a bounded load counts them.
#[derive(Debug, Default)]
pub(in crate::balance) struct Crowd(AtomicU32);

// === impl Kind ===

impl Kind {
    pub(in crate::balance) fn of_ring(ring: &config::RingHash) -> Self {
        let function = match ring.function {
            HashFunction::XxHash => Function::XxHash,
            HashFunction::MurmurHash2 => Function::Murmur2,
        };
        Self {
            table: TableKind::Ring(Sizes { least: ring.least(), most: ring.most() }, function),
            by_hostname: ring.use_hostname == Some(true),
            bound: ring.balance_percent.unwrap_or(0),
        }
    }

    pub(in crate::balance) fn of_maglev(maglev: &config::Maglev) -> Self {
        Self {
            table: TableKind::Maglev(maglev.entries()),
            by_hostname: maglev.use_hostname == Some(true),
            bound: maglev.balance_percent.unwrap_or(0),
        }
    }

    #[inline]
    pub(in crate::balance) fn is_bounded(self) -> bool {
        self.bound > 0
    }

    //= Envoy hashKey: the endpoint's own key, else its host name where these are hashed, else its
    //= address; of a Unix socket, its path
    fn write_key(self, spec: &Spec, to: &mut Vec<u8>) {
        let named = if self.by_hostname { spec.hostname() } else { None };
        match (spec.hash_key().or(named), spec.address()) {
            (Some(key), _) => to.extend_from_slice(key.as_bytes()),
            // Writing to memory does not fail.
            (None, Address::Socket(address)) => drop(write!(to, "{address}")),
            (None, Address::Unix(path)) => {
                to.extend_from_slice(path.as_os_str().as_encoded_bytes());
            }
        }
    }
}

// === impl Spread ===

impl Spread {
    /// The table of this set; the one before it, if that is the same.
    ///
    /// Endpoints that their source calls unhealthy have no part in it, unless most are (Envoy's
    /// panic; without one, a pick passes them over); draining ones never. The keys are in order: whatever the order in which a source lists its endpoints,
    /// every client has the same table. Localities with weights have those as their shares of the one table.
    pub(in crate::balance) fn of<X>(
        kind: Kind,
        set: &Set<X>,
        weights: Option<&LocalityWeights>,
        before: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let mut keys = Keys::of(kind, set, |spec| spec.is_callable());
        if keys.found.len() < set.len() {
            let all = Keys::of(kind, set, |spec| spec.health() != Health::Draining);
            if keys.found.len() * 2 < all.found.len() {
                keys = all;
            }
        }
        keys.sort();
        let shares = keys.shares(set, weights);
        let made_from = keys.digest(&shares);
        if let Some(before) = before
            && before.kind == kind
            && before.made_from == made_from
        {
            return Arc::clone(before);
        }
        let members: Vec<_> = keys
            .found
            .iter()
            .zip(&shares)
            .map(|(found, share)| Member { key: keys.text(found), share: *share })
            .collect();
        let table = match kind.table {
            TableKind::Ring(sizes, function) => Table::Ring(Ring::build(&members, sizes, function)),
            TableKind::Maglev(size) => Table::Maglev(Maglev::build(&members, size)),
        };
        let places = keys.found.iter().map(|found| found.place).collect();
        Arc::new(Self { kind, table, places, shares: shares.into(), made_from })
    }

    /// The place of the endpoint that a hash belongs to, or at a later attempt, of the next one,
    /// and its share.
    #[inline]
    pub(in crate::balance) fn at(&self, hash: u64, attempt: u32) -> Option<(usize, f64)> {
        let position = match &self.table {
            Table::Ring(ring) => ring.at(hash, attempt),
            Table::Maglev(maglev) => maglev.at(hash, attempt),
        };
        self.member(position? as usize)
    }

    #[inline]
    fn member(&self, position: usize) -> Option<(usize, f64)> {
        Some((*self.places.get(position)? as usize, *self.shares.get(position)?))
    }

    /// The endpoints in an order of this hash's own: where to look when its own have no room.
    pub(in crate::balance) fn others(&self, hash: u64) -> impl Iterator<Item = (usize, f64)> {
        // Whoever has no share is in no table either.
        let members = Shuffle::new(hash, self.places.len());
        members.filter_map(|position| self.member(position)).filter(|(_, share)| *share > 0.0)
    }

    #[inline]
    pub(in crate::balance) fn is_bounded(&self) -> bool {
        self.kind.is_bounded()
    }

    /// How full an endpoint is: over 1, it takes no more.
    pub(in crate::balance) fn overload(&self, active: u32, crowd: &Crowd, share: f64) -> f64 {
        overload(active, crowd.count(), self.kind.bound, share)
    }

    /// Whether it takes no more.
    #[inline]
    pub(in crate::balance) fn is_full(&self, active: u32, crowd: &Crowd, share: f64) -> bool {
        is_full(active, crowd.count(), self.kind.bound, share)
    }

    /// How many endpoints are in it.
    pub(in crate::balance) fn members(&self) -> usize {
        self.places.len()
    }

    #[cfg(test)]
    pub(in crate::balance) fn len(&self) -> usize {
        match &self.table {
            Table::Ring(ring) => ring.len(),
            Table::Maglev(maglev) => maglev.len(),
        }
    }
}

// === impl Crowd ===

impl Crowd {
    #[inline]
    pub(in crate::balance) fn enter(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(in crate::balance) fn leave(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    #[inline]
    pub(in crate::balance) fn count(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// The keys of endpoints, one after the other.
struct Keys<'a> {
    text: Vec<u8>,
    found: Vec<Found<'a>>,
}

struct Found<'a> {
    from: usize,
    to: usize,
    place: u32,
    weight: u16,
    address: &'a Address,
}

impl<'a> Keys<'a> {
    fn of<X>(kind: Kind, set: &'a Set<X>, takes: impl Fn(&Spec) -> bool) -> Self {
        let mut keys = Self { text: Vec::with_capacity(set.len() * 16), found: Vec::new() };
        for (place, endpoint) in (0_u32..).zip(set.iter()) {
            let spec = endpoint.spec();
            if takes(spec) {
                let from = keys.text.len();
                kind.write_key(spec, &mut keys.text);
                let (to, weight, address) = (keys.text.len(), spec.weight(), spec.address());
                keys.found.push(Found { from, to, place, weight, address });
            }
        }
        keys
    }

    fn text(&self, of: &Found<'_>) -> &[u8] {
        self.text.get(of.from..of.to).unwrap_or_default()
    }

    /// By key, and where keys are equal, by address.
    fn sort(&mut self) {
        let Self { text, found } = self;
        let key = |of: &Found<'_>| text.get(of.from..of.to).unwrap_or_default();
        found.sort_unstable_by(|one, other| {
            key(one).cmp(key(other)).then_with(|| one.address.cmp(other.address))
        });
    }

    /// What each gets; all of it sums to 1.
    //= Envoy normalizeLocalityWeights: a locality gets its weight's part, its endpoints theirs of that
    fn shares<X>(&self, set: &Set<X>, weights: Option<&LocalityWeights>) -> Vec<f64> {
        let sum = self.found.iter().map(|found| u64::from(found.weight)).sum();
        let alike = || self.found.iter().map(|it| share_of(it.weight.into(), 1.0, sum)).collect();
        let Some(weights) = weights else { return alike() };
        let nowhere = Locality::default();
        let locality_of = |found: &Found<'_>| {
            let endpoint = set.get(found.place as usize)?;
            let priority = endpoint.spec().said().map_or(0, |said| said.priority);
            Some((priority, endpoint.locality().unwrap_or(&nowhere)))
        };
        // Its weight, and that of its endpoints together.
        let mut of = HashMap::<_, (u32, u64)>::new();
        for found in &self.found {
            let Some((priority, locality)) = locality_of(found) else { continue };
            let weight = || weights.get(&(priority, locality.clone())).copied().unwrap_or(0);
            of.entry((priority, locality)).or_insert_with(|| (weight(), 0)).1 +=
                u64::from(found.weight);
        }
        let total: u64 = of.values().map(|(weight, _)| u64::from(*weight)).sum();
        if total == 0 {
            return alike();
        }
        let share = |found: &Found<'_>| {
            let (weight, sum) = *of.get(&locality_of(found)?)?;
            Some(share_of(found.weight.into(), share_of(weight, 1.0, total), sum))
        };
        self.found.iter().map(|found| share(found).unwrap_or(0.0)).collect()
    }

    /// Of all that a table is made from.
    fn digest(&self, shares: &[f64]) -> u64 {
        self.found.iter().zip(shares).fold(self.found.len() as u64, |seed, (found, share)| {
            let key = XxHash64::oneshot(seed, self.text(found));
            let of_place = XxHash64::oneshot(key, &found.place.to_le_bytes());
            XxHash64::oneshot(of_place, &share.to_bits().to_le_bytes())
        })
    }
}
