//! A list of endpoints that shares what it has in common with the one before it.
//!
//! Control planes send the endpoints of a cluster whole. A list is kept in chunks: one that follows from
//! another by a few changes has all other chunks in common with it, and is compared with it by these.

use std::{
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher},
    net::SocketAddr,
    ops::{Deref, Range},
    sync::Arc,
};

use twox_hash::XxHash64;

use super::sample::are_others;
use crate::config::{Address, Endpoint};

/// What a change of one endpoint copies at most.
const CHUNK: usize = 64;

/// Endpoints in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    /// None is empty.
    chunks: Vec<Arc<Chunk>>,
    /// The place of the first endpoint of each chunk: one is found without a look at those before it.
    starts: Vec<usize>,
    len: usize,
}

#[derive(Debug)]
struct Chunk {
    endpoints: Vec<Endpoint>,
    /// A number for each address: an address is looked for among these, which lie side by side.
    keys: Box<[u64]>,
}

/// How a list differs from an earlier one. No address is in a list twice.
#[derive(Debug, PartialEq)]
pub(crate) struct Changes<'a> {
    /// Those that are new, or of which something else is said; in the order of the list.
    pub(crate) put: Vec<&'a Endpoint>,
    /// Those that are not there any more, or were otherwise.
    pub(crate) gone: Vec<&'a Endpoint>,
}

/// Puts a list together.
#[derive(Debug, Default)]
pub(super) struct Builder {
    list: List,
    /// What the next chunk has so far.
    open: Vec<Endpoint>,
}

// === impl List ===

impl List {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    pub(crate) fn to_vec(&self) -> Vec<Endpoint> {
        self.iter().cloned().collect()
    }

    /// Those at these places.
    pub(super) fn range(&self, range: Range<usize>) -> impl Iterator<Item = &Endpoint> {
        self.parts(range).flat_map(|(chunk, own)| &chunk[own])
    }

    /// The chunks that have these places, each with those of its own that are among them.
    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (&Arc<Chunk>, Range<usize>)> {
        let Range { start, end } = range;
        // The last chunk that begins at the first place or before it.
        let first = self.starts.partition_point(|at| *at <= start).saturating_sub(1);
        let chunks = self.chunks.iter().zip(&self.starts).skip(first);
        chunks.take_while(move |(_, at)| **at < end).filter_map(move |(chunk, at)| {
            let own = start.max(*at)..end.min(at + chunk.len());
            (own.start < own.end).then(|| (chunk, own.start - at..own.end - at))
        })
    }

    fn push(&mut self, chunk: Arc<Chunk>) {
        self.starts.push(self.len);
        self.len += chunk.len();
        self.chunks.push(chunk);
    }

    /// Whether an endpoint at these places, which are in order, has one of these addresses.
    pub(super) fn has_any(&self, places: &[&Range<usize>], sought: &HashSet<&Address>) -> bool {
        let mut keys: Vec<u64> = sought.iter().map(|address| key_of(address)).collect();
        keys.sort_unstable();
        for (chunk, first) in self.chunks.iter().zip(&self.starts) {
            if !chunk.may_have(&keys) {
                continue;
            }
            // Another may have the same number.
            let all = *first..first + chunk.len();
            let from = places.partition_point(|it| it.end <= all.start);
            let own = places[from..].iter().take_while(|it| it.start < all.end);
            let own = own.map(|it| it.start.max(all.start)..it.end.min(all.end));
            let own = own.filter(|own| own.start < own.end);
            let mut found = own.flat_map(|own| &chunk[own.start - all.start..own.end - all.start]);
            if found.any(|endpoint| addresses(endpoint).any(|it| sought.contains(it))) {
                return true;
            }
        }
        false
    }

    /// How `after` differs from this one, where that is by no more than `most`. What both have in common
    /// costs nothing but its number of chunks.
    pub(crate) fn changes<'a>(&'a self, after: &'a Self, most: usize) -> Option<Changes<'a>> {
        let of = |list: &'a Self| list.chunks.iter().map(Arc::as_ptr).collect::<HashSet<_>>();
        let other = |chunks: &'a [Arc<Chunk>], shared: &HashSet<*const Chunk>| {
            let own = chunks.iter().filter(|chunk| !shared.contains(&Arc::as_ptr(chunk)));
            own.flat_map(|chunk| chunk.iter()).collect::<Vec<_>>()
        };
        let (were, are) = (other(&self.chunks, &of(after)), other(&after.chunks, &of(self)));
        // So many of them must be the same, for each that is counts neither here nor there.
        let least = (were.len() + are.len()).saturating_sub(most).div_ceil(2);
        let (ours, theirs) = (|at: usize| &were[at].address, |at: usize| &are[at].address);
        if are_others(least, (were.len(), ours), (are.len(), theirs)) {
            return None;
        }
        let mut spare = are.len() - least;
        let mut left: HashMap<&Address, &Endpoint> =
            were.iter().map(|endpoint| (&endpoint.address, *endpoint)).collect();
        let mut put = Vec::new();
        for endpoint in are {
            if left.get(&endpoint.address).is_some_and(|before| *before == endpoint) {
                left.remove(&endpoint.address);
            } else {
                spare = spare.checked_sub(1)?;
                put.push(endpoint);
            }
        }
        let is_left = |endpoint: &&Endpoint| left.contains_key(&endpoint.address);
        Some(Changes { put, gone: were.into_iter().filter(is_left).collect() })
    }
}

/// Whatever their chunks.
impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        if self.len != other.len {
            return false;
        }
        let (mut left, mut right) = (self.chunks.iter(), other.chunks.iter());
        let (mut ours, mut theirs): (&[Endpoint], &[Endpoint]) = (&[], &[]);
        loop {
            if ours.is_empty() && theirs.is_empty() {
                match (left.next(), right.next()) {
                    (None, None) => return true,
                    (Some(one), Some(same)) if Arc::ptr_eq(one, same) => continue,
                    (one, another) => {
                        ours = one.map_or(&[], |chunk| chunk);
                        theirs = another.map_or(&[], |chunk| chunk);
                    }
                }
            }
            if ours.is_empty() {
                ours = left.next().map_or(&[], |chunk| chunk);
            }
            if theirs.is_empty() {
                theirs = right.next().map_or(&[], |chunk| chunk);
            }
            let both = ours.len().min(theirs.len());
            if both == 0 || ours[..both] != theirs[..both] {
                return false;
            }
            (ours, theirs) = (&ours[both..], &theirs[both..]);
        }
    }
}

impl FromIterator<Endpoint> for List {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        let mut builder = Builder::default();
        endpoints.into_iter().for_each(|endpoint| builder.push(endpoint));
        builder.done()
    }
}

// === impl Builder ===

impl Builder {
    pub(super) fn push(&mut self, endpoint: Endpoint) {
        self.open.push(endpoint);
        if self.open.len() >= CHUNK {
            self.close();
        }
    }

    /// Those of `list` at these places come next: whole chunks are shared.
    pub(super) fn keep(&mut self, list: &List, range: &Range<usize>) {
        for (chunk, own) in list.parts(range.clone()) {
            if own.len() == chunk.len() {
                self.close();
                self.list.push(Arc::clone(chunk));
            } else {
                for endpoint in &chunk[own] {
                    self.push(endpoint.clone());
                }
            }
        }
    }

    pub(super) fn done(mut self) -> List {
        self.close();
        let list = self.list;
        // Many small ones, left over by many changes, are worth no sharing.
        if list.chunks.len() > 8 + 4 * list.len.div_ceil(CHUNK) {
            let all = list.to_vec();
            return all.into_iter().collect();
        }
        list
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let mut chunk = std::mem::take(&mut self.open);
            // Most lists are one, and small.
            chunk.shrink_to_fit();
            self.list.push(Arc::new(Chunk::of(chunk)));
        }
    }
}

// === impl Chunk ===

impl Chunk {
    fn of(endpoints: Vec<Endpoint>) -> Self {
        let keys = endpoints.iter().flat_map(addresses).map(key_of).collect();
        Self { endpoints, keys }
    }

    /// Whether one of these numbers, which are in order, is that of an address.
    fn may_have(&self, keys: &[u64]) -> bool {
        if keys.len() <= FEW {
            return keys.iter().any(|key| self.keys.contains(key));
        }
        self.keys.iter().any(|key| keys.binary_search(key).is_ok())
    }
}

impl Deref for Chunk {
    type Target = [Endpoint];

    fn deref(&self) -> &[Endpoint] {
        &self.endpoints
    }
}

/// All addresses of an endpoint.
pub(super) fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = &Address> {
    std::iter::once(&endpoint.address).chain(&endpoint.more_addresses)
}

/// The same number for the same address; of sockets of IPv4, each has one of its own.
fn key_of(address: &Address) -> u64 {
    if let Address::Socket(SocketAddr::V4(address)) = address {
        return u64::from(address.ip().to_bits()) << 16 | u64::from(address.port());
    }
    let mut hasher = XxHash64::with_seed(0);
    address.hash(&mut hasher);
    hasher.finish()
}

/// So many numbers are looked for one by one.
const FEW: usize = 8;

#[cfg(test)]
impl std::ops::Index<usize> for List {
    type Output = Endpoint;

    fn index(&self, place: usize) -> &Endpoint {
        self.range(place..place + 1).next().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An endpoint by its number; what else is said of it is the weight.
    fn endpoint((port, weight): (u16, u32)) -> Endpoint {
        Endpoint::new(Address::Socket(([10, 0, 0, 1], port).into())).weight(weight)
    }

    fn numbered(ports: impl Iterator<Item = u16>) -> List {
        ports.map(|port| endpoint((port, 1))).collect()
    }

    /// No address twice.
    fn some() -> impl Strategy<Value = Vec<(u16, u32)>> {
        prop::collection::btree_map(1..400_u16, 1..3_u32, 0..300)
            .prop_map(|map| map.into_iter().collect::<Vec<_>>())
            .prop_shuffle()
    }

    /// Which parts of a list come next, and what comes between them.
    fn script() -> impl Strategy<Value = Vec<(usize, usize, Vec<u32>)>> {
        prop::collection::vec(
            (0..320_usize, 0..320_usize, prop::collection::vec(1..5_u32, 0..3)),
            0..6,
        )
    }

    proptest! {
        #[test]
        fn a_list_is_what_was_put_into_it(before in some(), script in script()) {
            let list: List = before.iter().copied().map(endpoint).collect();
            let all = list.to_vec();
            prop_assert_eq!(&all, &before.iter().copied().map(endpoint).collect::<Vec<_>>());
            let (mut builder, mut wanted) = (Builder::default(), Vec::new());
            for (from, to, new) in script {
                let (from, to) = (from.min(all.len()), to.min(all.len()));
                let range = from.min(to)..from.max(to);
                prop_assert_eq!(list.range(range.clone()).cloned().collect::<Vec<_>>(), &all[range.clone()]);
                builder.keep(&list, &range);
                wanted.extend_from_slice(&all[range]);
                for weight in new {
                    let new = endpoint((1, weight));
                    builder.push(new.clone());
                    wanted.push(new);
                }
            }
            let made = builder.done();
            prop_assert_eq!(made.len(), wanted.len());
            prop_assert_eq!(made.to_vec(), wanted.clone());
            prop_assert_eq!(made == list, wanted == all);
            prop_assert!(made == wanted.into_iter().collect::<List>());
        }

        #[test]
        fn an_address_is_found_at_the_places_that_are_looked_at(
            all in some(),
            cuts in prop::collection::btree_set(0..320_usize, 0..8),
            sought in prop::collection::hash_set(1..420_u16, 0..20),
            more in any::<prop::sample::Index>(),
        ) {
            let mut all: Vec<Endpoint> = all.into_iter().map(endpoint).collect();
            // One that has further addresses, of other kinds.
            let others: [Address; 2] =
                ["[2001:db8::1]:80", "unix:/a"].map(|text| text.parse().unwrap());
            if !all.is_empty() {
                let at = more.index(all.len());
                all[at].more_addresses = others.to_vec();
            }
            let list: List = all.iter().cloned().collect();
            let cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            let places: Vec<Range<usize>> =
                cuts.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
            let mut addresses_sought: Vec<Address> =
                sought.into_iter().map(|port| endpoint((port, 1)).address).collect();
            for another in [None, Some(&others[0]), Some(&others[1])] {
                addresses_sought.extend(another.cloned());
                let sought: HashSet<&Address> = addresses_sought.iter().collect();
                let looked_at = places.iter().flat_map(|range| &all[range.clone()]);
                let wanted = looked_at.flat_map(addresses).any(|it| sought.contains(it));
                let places: Vec<&Range<usize>> = places.iter().collect();
                prop_assert_eq!(list.has_any(&places, &sought), wanted);
            }
        }

        #[test]
        fn changes_lead_from_one_list_to_the_other(before in some(), after in some(), shared in any::<bool>()) {
            let list: List = before.into_iter().map(endpoint).collect();
            let after = if shared {
                // The first half stays; of the others, those that it does not have.
                let mut builder = Builder::default();
                let half = list.len() / 2;
                builder.keep(&list, &(0..half));
                let known: HashSet<Address> = list.range(0..half).map(|it| it.address.clone()).collect();
                let new = after.into_iter().map(endpoint).filter(|it| !known.contains(&it.address));
                new.for_each(|it| builder.push(it));
                builder.done()
            } else {
                after.into_iter().map(endpoint).collect()
            };
            let Changes { put, gone } = list.changes(&after, usize::MAX).unwrap();
            // No more than there are is told, and no less.
            let all = put.len() + gone.len();
            prop_assert!(list.changes(&after, all).is_some());
            prop_assert!(all == 0 || list.changes(&after, all - 1).is_none());
            let mut state: HashMap<Address, Endpoint> =
                list.iter().map(|it| (it.address.clone(), it.clone())).collect();
            for it in &gone {
                prop_assert_eq!(state.remove(&it.address), Some((*it).clone()));
            }
            for it in &put {
                prop_assert!(state.insert(it.address.clone(), (*it).clone()).is_none());
                prop_assert!(!list.iter().any(|before| before == *it));
            }
            let wanted: HashMap<Address, Endpoint> =
                after.iter().map(|it| (it.address.clone(), it.clone())).collect();
            prop_assert_eq!(state, wanted);
        }
    }

    #[test]
    fn a_list_of_which_too_much_is_otherwise_has_no_changes_whatever_its_order() {
        let list = numbered(1..=10_000);
        assert_eq!(list.changes(&numbered(10_001..=20_000), 5_000), None);
        assert_eq!(list.changes(&numbered(1..=20_000), 5_000), None);
        // A quarter comes in place of another, and all stand elsewhere.
        let after = numbered((2_501..=12_500).rev());
        assert_eq!(list.changes(&after, 4_999), None);
        let Changes { put, gone } = list.changes(&after, 5_000).unwrap();
        assert_eq!((put.len(), gone.len()), (2_500, 2_500));
    }

    #[test]
    fn small_chunks_are_put_together_again() {
        let list: List = (1..=1000).map(|port| endpoint((port, 1))).collect();
        let mut builder = Builder::default();
        // Each is a chunk of its own.
        for place in (0..1000).rev() {
            builder.keep(&list, &(place..place + 1));
            builder.close();
        }
        let made = builder.done();
        assert_eq!(made.chunks.len(), 1000_usize.div_ceil(CHUNK));
        assert!(made.iter().eq(list.to_vec().iter().rev()));
    }

    #[test]
    fn a_long_list_in_another_order_is_put_together_in_a_moment() {
        const ALL: u32 = 300_000;
        let endpoint = |n: u32| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
            Endpoint::new(Address::Socket((address, 80).into()))
        };
        let list: List = (0..ALL).map(endpoint).collect();
        let began = std::time::SystemTime::now();
        let mut builder = Builder::default();
        // Each stands far from the one before it.
        for n in 0..ALL as usize {
            let place = n * 7919 % ALL as usize;
            builder.keep(&list, &(place..place + 1));
        }
        let made = builder.done();
        // With a look at all chunks for each, that is some hundred million looks.
        let took = began.elapsed().unwrap();
        assert!(took < std::time::Duration::from_secs(8), "{took:?}");
        assert_eq!((made.len(), made[1].clone()), (ALL as usize, list[7919].clone()));
    }

    #[test]
    fn a_change_of_one_shares_all_other_chunks() {
        let list: List = (1..=10_000).map(|port| endpoint((port, 1))).collect();
        let mut builder = Builder::default();
        builder.keep(&list, &(0..5_000));
        builder.push(endpoint((20_000, 1)));
        builder.keep(&list, &(5_001..10_000));
        let made = builder.done();
        let shared =
            made.chunks.iter().filter(|one| list.chunks.iter().any(|it| Arc::ptr_eq(it, one)));
        assert_eq!((shared.count(), made.chunks.len()), (156, 157));
        assert_eq!(list.changes(&made, 1), None);
        let Changes { put, gone } = list.changes(&made, 2).unwrap();
        let ports = |all: Vec<&Endpoint>| {
            all.into_iter().map(|it| it.address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            (ports(put), ports(gone)),
            (vec!["10.0.0.1:20000".into()], vec!["10.0.0.1:5001".into()])
        );
    }
}
