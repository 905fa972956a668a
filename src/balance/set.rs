//! The endpoints of a cluster as an immutable snapshot in chunks.
//!
//! A change copies the chunks that it touches and the list of chunks, never the whole: one of
//! 100,000 endpoints costs two chunks of 256 pointers. Removal moves the last endpoint into the
//! hole, so that an index is uniform over all of them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{
    endpoint::{Endpoint, Spec, Upstream},
    pick::step_of,
};
use crate::{config::Address, core::SourceHealth};

const BITS: usize = 8;
const CHUNK: usize = 1 << BITS;

type Chunk<X> = Arc<Vec<Arc<Endpoint<X>>>>;

/// What a pick reads.
pub(super) struct Set<X> {
    chunks: Vec<Chunk<X>>,
    /// The sum of the weights of each chunk.
    sums: Vec<u64>,
    len: usize,
    /// The largest weight.
    pub(super) max_weight: u16,
    /// The step of weight 1 where the largest weight goes round a circle of 2^64.
    pub(super) stride: u64,
    /// Every weight is the largest.
    pub(super) uniform: bool,
    /// Endpoints that make a plan of the pick necessary.
    pub(super) placed: usize,
    /// Of a part of a cluster: the places of its endpoints in the whole, in order, each with that in
    /// the part.
    parts: Option<Arc<[(u32, u32)]>>,
}

/// What only the updater touches: where each address is, and how often each weight occurs.
#[derive(Default)]
pub(super) struct Index {
    places: HashMap<Address, u32>,
    weights: HashMap<u16, usize>,
    /// Endpoints of a further priority, or of a health that is a matter of degree.
    placed: usize,
    /// The number of the next endpoint in the order of the lists.
    next: u32,
    /// A whole list comes, which numbers all of them anew.
    anew: bool,
    /// It has said another number of an endpoint.
    moved: bool,
    /// The places of endpoints of whose health something else is said than before.
    marked: Vec<usize>,
    /// The places of endpoints that are new or of which something else is said.
    new: Vec<usize>,
}

/// How an update changed the set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Diff {
    pub(crate) added: usize,
    pub(crate) removed: usize,
    pub(crate) changed: usize,
}

impl<X> Set<X> {
    pub(super) fn empty() -> Self {
        Self {
            chunks: Vec::new(),
            sums: Vec::new(),
            len: 0,
            max_weight: 1,
            stride: 0,
            uniform: true,
            placed: 0,
            parts: None,
        }
    }

    /// These endpoints, a part of a cluster in which each has its place; `finds` says that they are
    /// looked for by that.
    pub(super) fn of(endpoints: impl IntoIterator<Item = Arc<Endpoint<X>>>, finds: bool) -> Self {
        let (mut set, mut weights) = (Self::empty(), (u16::MAX, 1));
        for endpoint in endpoints {
            let weight = endpoint.spec().weight();
            weights = (weights.0.min(weight), weights.1.max(weight));
            set.append(endpoint);
        }
        if finds {
            let places = set.iter().map(|endpoint| endpoint.place()).zip(0..);
            let mut parts: Vec<(u32, u32)> = places.collect();
            parts.sort_unstable();
            set.parts = Some(parts.into());
        }
        set.set_weights(weights.1, weights.0 >= weights.1);
        set
    }

    fn set_weights(&mut self, max: u16, uniform: bool) {
        self.max_weight = max;
        self.stride = step_of(max);
        self.uniform = uniform;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, index: usize) -> Option<&Arc<Endpoint<X>>> {
        self.chunks.get(index >> BITS)?.get(index & (CHUNK - 1))
    }

    /// The sum of all weights.
    pub(super) fn weight(&self) -> u64 {
        self.sums.iter().sum()
    }

    /// The endpoint at that point of all weights, laid end to end.
    pub(super) fn at_weight(&self, mut point: u64) -> Option<&Arc<Endpoint<X>>> {
        let is_past = |point: &mut u64, weight: u64| {
            let is_past = *point >= weight;
            *point -= if is_past { weight } else { 0 };
            is_past
        };
        let chunk = self.sums.iter().position(|sum| !is_past(&mut point, *sum))?;
        let mut endpoints = self.chunks.get(chunk)?.iter();
        endpoints.find(|endpoint| !is_past(&mut point, weight_of(endpoint)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint<X>>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// A copy that shares every chunk.
    pub(super) fn share(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            sums: self.sums.clone(),
            len: self.len,
            max_weight: self.max_weight,
            stride: self.stride,
            uniform: self.uniform,
            placed: self.placed,
            parts: self.parts.clone(),
        }
    }

    /// Whose place this is in the whole cluster, if this is a part of it.
    #[cfg(feature = "orca")]
    #[cold]
    pub(super) fn of_whole(&self, place: u32) -> Option<&Arc<Endpoint<X>>> {
        let parts = self.parts.as_ref()?;
        let at = parts.binary_search_by_key(&place, |(whole, _)| *whole).ok()?;
        self.get(parts.get(at)?.1 as usize)
    }

    /// Puts another endpoint in the place of one.
    fn replace(&mut self, index: usize, by: Arc<Endpoint<X>>) -> Option<Arc<Endpoint<X>>> {
        let chunk = self.chunks.get_mut(index >> BITS)?;
        let slot = unshared(chunk).get_mut(index & (CHUNK - 1))?;
        let sum = self.sums.get_mut(index >> BITS)?;
        *sum = *sum + weight_of(&by) - weight_of(slot);
        Some(std::mem::replace(slot, by))
    }

    fn push(&mut self, endpoint: Arc<Endpoint<X>>) {
        endpoint.placed(self.len);
        self.append(endpoint);
    }

    fn append(&mut self, endpoint: Arc<Endpoint<X>>) {
        if self.len & (CHUNK - 1) == 0 {
            self.chunks.push(Arc::new(Vec::with_capacity(CHUNK.min(self.len.max(8)))));
            self.sums.push(0);
        }
        if let (Some(chunk), Some(sum)) = (self.chunks.last_mut(), self.sums.last_mut()) {
            *sum += weight_of(&endpoint);
            unshared(chunk).push(endpoint);
            self.len += 1;
        }
    }

    fn pop(&mut self) -> Option<Arc<Endpoint<X>>> {
        let (chunk, sum) = (self.chunks.last_mut()?, self.sums.last_mut()?);
        let last = unshared(chunk).pop()?;
        *sum -= weight_of(&last);
        if chunk.is_empty() {
            self.chunks.pop();
            self.sums.pop();
        }
        self.len -= 1;
        Some(last)
    }

    pub(super) fn remove(
        &mut self,
        index: &mut Index,
        address: &Address,
        diff: &mut Diff,
    ) -> Option<Arc<Endpoint<X>>> {
        let place = index.places.remove(address)? as usize;
        let last = self.pop()?;
        diff.removed += 1;
        let removed = if place == self.len {
            last
        } else {
            index.places.insert(last.spec().address().clone(), u32::try_from(place).ok()?);
            last.placed(place);
            self.replace(place, last)?
        };
        index.uncount(removed.spec());
        Some(removed)
    }

    /// Keeps the endpoints that are marked, and makes the set and its index anew; gives the others.
    pub(super) fn retain(
        &mut self,
        index: &mut Index,
        marked: &[bool],
        diff: &mut Diff,
    ) -> Vec<Arc<Endpoint<X>>> {
        let before = std::mem::replace(self, Self::empty());
        index.places.clear();
        let mut gone = Vec::with_capacity(before.len);
        for (endpoint, kept) in before.iter().zip(marked) {
            let (endpoint, spec) = (Arc::clone(endpoint), endpoint.spec());
            if *kept {
                let place = u32::try_from(self.len).unwrap_or(u32::MAX);
                index.places.insert(spec.address().clone(), place);
                self.push(endpoint);
            } else {
                index.uncount(spec);
                gone.push(endpoint);
            }
        }
        diff.removed += gone.len();
        gone
    }

    /// Notes what the weights are by now.
    pub(super) fn weigh(&mut self, index: &Index) {
        let max = index.weights.keys().copied().max().unwrap_or(1);
        self.set_weights(max, index.weights.len() <= 1);
        self.placed = index.placed;
    }
}

impl<X: Upstream> Set<X> {
    /// Adds the endpoint or changes the one of its address; returns one whose connections are
    /// no longer of use, if it has any.
    pub(super) fn upsert(
        &mut self,
        index: &mut Index,
        spec: Spec,
        now: u64,
        diff: &mut Diff,
    ) -> Option<Arc<Endpoint<X>>> {
        let place = match index.places.entry(spec.address().clone()) {
            Entry::Occupied(place) => *place.get() as usize,
            Entry::Vacant(free) => {
                free.insert(u32::try_from(self.len).unwrap_or(u32::MAX));
                index.count(&spec);
                index.new.push(self.len);
                if spec.mark() != SourceHealth::Healthy {
                    index.marked.push(self.len);
                }
                let endpoint = Endpoint::new(spec, now);
                endpoint.list(index.number());
                self.push(Arc::new(endpoint));
                diff.added += 1;
                return None;
            }
        };
        let before = Arc::clone(self.get(place)?);
        if index.anew {
            index.moved |= before.list(index.number());
        }
        if *before.spec() == spec {
            return None;
        }
        diff.changed += 1;
        index.new.push(place);
        index.uncount(before.spec());
        index.count(&spec);
        if before.spec().mark() != spec.mark() {
            index.marked.push(place);
        }
        let after = Arc::new(before.changed(spec, now));
        after.placed(place);
        // Also where there are none yet: a pick from the older set may be making them.
        let is_orphaned = after.live().is_none();
        self.replace(place, after)?;
        is_orphaned.then_some(before)
    }
}

fn weight_of<X>(endpoint: &Endpoint<X>) -> u64 {
    endpoint.spec().weight().into()
}

/// The chunk for writing: copied when the published snapshot shares it.
fn unshared<X>(chunk: &mut Chunk<X>) -> &mut Vec<Arc<Endpoint<X>>> {
    Arc::make_mut(chunk)
}

impl Index {
    /// An update comes: a whole list, or additions.
    pub(super) fn begin(&mut self, anew: bool) {
        (self.anew, self.moved) = (anew, false);
        self.marked.clear();
        self.new.clear();
        if anew {
            self.next = 0;
        }
    }

    /// The places of endpoints of whose health the update says something else than before.
    pub(super) fn take_marked(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.marked)
    }

    /// The places of endpoints that the update has brought, or of which it says something else.
    pub(super) fn take_new(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.new)
    }

    /// Whether the update has changed the numbers of endpoints that were there.
    pub(super) fn is_moved(&self) -> bool {
        self.moved
    }

    fn number(&mut self) -> u32 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }

    fn count(&mut self, spec: &Spec) {
        *self.weights.entry(spec.weight()).or_insert(0) += 1;
        self.placed += usize::from(spec.is_placed());
    }

    fn uncount(&mut self, spec: &Spec) {
        self.placed -= usize::from(spec.is_placed());
        let weight = spec.weight();
        if let Some(count) = self.weights.get_mut(&weight) {
            *count -= 1;
            if *count == 0 {
                self.weights.remove(&weight);
            }
        }
    }

    /// By place, whether the endpoint is among `named`; and how many are not.
    pub(super) fn mark<'a>(&self, named: impl Iterator<Item = &'a Address>) -> (Vec<bool>, usize) {
        let (mut marks, mut others) = (vec![false; self.places.len()], self.places.len());
        for address in named {
            if let Some(place) = self.places.get(address)
                && let Some(mark) = marks.get_mut(*place as usize)
                && !std::mem::replace(mark, true)
            {
                others -= 1;
            }
        }
        (marks, others)
    }

    /// Every address is where the index says, and the weights are those of the set.
    #[cfg(test)]
    pub(super) fn check<X>(&self, set: &Set<X>) {
        assert_eq!(self.places.len(), set.len());
        assert_eq!(set.iter().count(), set.len());
        let mut weights = HashMap::new();
        for (place, endpoint) in set.iter().enumerate() {
            let spec = endpoint.spec();
            assert_eq!(self.places.get(spec.address()).copied(), u32::try_from(place).ok());
            assert!(set.get(place).is_some_and(|found| Arc::ptr_eq(found, endpoint)));
            *weights.entry(spec.weight()).or_insert(0) += 1;
        }
        assert!(set.get(set.len()).is_none());
        let sum = |chunk: &Chunk<X>| chunk.iter().map(|endpoint| weight_of(endpoint)).sum();
        assert_eq!(set.sums, set.chunks.iter().map(sum).collect::<Vec<u64>>());
        assert_eq!(self.weights, weights);
        assert_eq!(set.max_weight, weights.keys().copied().max().unwrap_or(1));
        assert_eq!(set.uniform, weights.len() <= 1);
        let placed = set.iter().filter(|endpoint| endpoint.spec().is_placed()).count();
        assert_eq!((self.placed, set.placed), (placed, placed));
    }
}
