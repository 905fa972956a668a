//! What each source says of the endpoints of a cluster that several sources name, and what that
//! comes to.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    loosening::{Floor, Loosening},
    overlay::Whose,
};
use crate::{
    balance::Spec,
    config::{self, Address, Security},
    discover::SourceId,
};

/// What each source says of each address.
#[derive(Default)]
pub(super) struct Listed {
    by: BTreeMap<SourceId, HashMap<Address, Said>>,
    /// The place in its list of what each source adds next.
    next: HashMap<SourceId, u64>,
    /// Of each of `more_addresses`: whose they are.
    more: HashMap<Address, HashSet<(SourceId, Address)>>,
    /// Who says how the cluster is secured, and how far: what an endpoint of another source would loosen of
    /// that is left out.
    floor: Option<(Whose, Floor)>,
    /// What is left out by that.
    left_out: HashSet<(SourceId, Address)>,
    /// The source for which DNS finds endpoints: what it finds is that one's.
    finds_for: Option<SourceId>,
}

/// What one source says of one address.
struct Said {
    /// Its place in the source's list: what was added to that comes behind it.
    place: u64,
    spec: Spec,
}

// === impl Listed ===

impl Listed {
    pub(super) fn clear(&mut self) {
        self.by.clear();
        self.next.clear();
        self.left_out.clear();
        self.more.clear();
    }

    /// Replaces what a source says; returns the addresses of which something else is said now.
    pub(super) fn replace(
        &mut self,
        source: SourceId,
        set: impl IntoIterator<Item = config::Endpoint>,
    ) -> Vec<Address> {
        let set: Vec<config::Endpoint> = set.into_iter().collect();
        let now: HashSet<&Address> = set.iter().map(|endpoint| &endpoint.address).collect();
        let before = self.by.get(&source).into_iter().flat_map(HashMap::keys);
        let gone: Vec<Address> = before.filter(|address| !now.contains(address)).cloned().collect();
        let mut touched = self.remove(source, gone);
        touched.extend(self.insert_from(0, source, set));
        touched
    }

    /// Adds to what a source says; returns the same.
    pub(super) fn insert(
        &mut self,
        source: SourceId,
        set: impl IntoIterator<Item = config::Endpoint>,
    ) -> Vec<Address> {
        let first = self.next.get(&source).copied().unwrap_or_default();
        self.insert_from(first, source, set)
    }

    /// The same; those that are new have the places from this one on.
    fn insert_from(
        &mut self,
        first: u64,
        source: SourceId,
        set: impl IntoIterator<Item = config::Endpoint>,
    ) -> Vec<Address> {
        let mut touched = Vec::new();
        for (place, endpoint) in (first..).zip(set) {
            let next = place.saturating_add(1);
            let address = endpoint.address.clone();
            let known = self.by.get(&source).and_then(|said| Some(said.get(&address)?.place));
            // In a whole list each has another place.
            let place = known.filter(|_| first > 0).unwrap_or(place);
            self.take(source, &address, &mut touched);
            for more in &endpoint.more_addresses {
                self.more.entry(more.clone()).or_default().insert((source, address.clone()));
                self.touch(more, &mut touched);
            }
            self.touch(&address, &mut touched);
            let said = Said { place, spec: Spec::new(endpoint) };
            if self.loosened_by(source, &said).is_some() {
                self.left_out.insert((source, address.clone()));
            }
            self.by.entry(source).or_default().insert(address, said);
            self.next.insert(source, next);
        }
        touched
    }

    /// Takes addresses from what a source says; returns the same.
    pub(super) fn remove(&mut self, source: SourceId, addresses: Vec<Address>) -> Vec<Address> {
        let mut touched = Vec::new();
        for address in &addresses {
            self.take(source, address, &mut touched);
        }
        touched.extend(addresses);
        touched
    }

    /// Somebody else, or the same one otherwise, says how the cluster is secured, or DNS finds endpoints for
    /// another; returns the addresses of which something else may be said now.
    pub(super) fn secure(
        &mut self,
        floor: Option<(Whose, Floor)>,
        finds_for: Option<SourceId>,
    ) -> Vec<Address> {
        if (&self.floor, self.finds_for) == (&floor, finds_for) {
            return Vec::new();
        }
        (self.floor, self.finds_for) = (floor, finds_for);
        let all = self.by.iter().flat_map(|(source, listed)| {
            listed.iter().map(move |(address, said)| (*source, address, said))
        });
        let left_out = all.filter(|(source, _, said)| self.loosened_by(*source, said).is_some());
        self.left_out = left_out.map(|(source, address, _)| (source, address.clone())).collect();
        self.by.values().flat_map(HashMap::keys).cloned().collect()
    }

    /// The endpoints that are left out since they would loosen what another says: whose, and who that is.
    pub(super) fn loosening(
        &self,
    ) -> impl Iterator<Item = (SourceId, &Address, Loosening<'_>, Whose)> {
        let floor = self.floor.as_ref().map(|(by, _)| *by);
        floor.into_iter().flat_map(move |by| {
            self.left_out.iter().filter_map(move |(source, address)| {
                let said = self.by.get(source)?.get(address)?;
                Some((*source, address, self.loosened_by(*source, said)?, by))
            })
        })
    }

    fn loosened_by<'a>(&self, source: SourceId, said: &'a Said) -> Option<Loosening<'a>> {
        let whose = match self.finds_for {
            Some(asking) if source == SourceId::DISCOVERY => asking,
            _ => source,
        };
        let (_, floor) = self.floor.as_ref().filter(|(by, _)| *by != Whose::Source(whose))?;
        floor.loosened_by(said.spec.security(), said.spec.authority())
    }

    /// What a source says of an address, unless that would loosen what another says.
    fn said(&self, source: SourceId, address: &Address) -> Option<&Said> {
        let said = self.by.get(&source)?.get(address)?;
        self.loosened_by(source, said).is_none().then_some(said)
    }

    /// Takes back everything that a source says. Its addresses have been removed.
    pub(super) fn forget(&mut self, source: SourceId) {
        self.by.remove(&source);
        self.next.remove(&source);
        self.left_out.retain(|(of, _)| *of != source);
    }

    fn take(&mut self, source: SourceId, address: &Address, touched: &mut Vec<Address>) {
        let Some(said) = self.by.get_mut(&source).and_then(|said| said.remove(address)) else {
            return;
        };
        if !self.left_out.is_empty() {
            self.left_out.remove(&(source, address.clone()));
        }
        for more in said.spec.more_addresses() {
            if let Some(owners) = self.more.get_mut(more) {
                owners.remove(&(source, address.clone()));
                if owners.is_empty() {
                    self.more.remove(more);
                }
            }
            self.touch(more, touched);
        }
        self.touch(address, touched);
    }

    /// Something else is said of an address, and so of whoever lists it among others.
    fn touch(&self, address: &Address, touched: &mut Vec<Address>) {
        touched.push(address.clone());
        touched.extend(self.owners(address));
    }

    fn owners(&self, address: &Address) -> impl Iterator<Item = Address> {
        self.more.get(address).into_iter().flatten().map(|(_, owner)| owner.clone())
    }

    /// The endpoint of an address as the first source that lists it says, unless that would loosen what
    /// another says of the cluster. Where that says nothing of
    /// its security, it is secured as the first that wants any of its addresses to be: a bare
    /// address of one source never makes plaintext of another's.
    pub(super) fn endpoint(&self, address: &Address) -> Option<config::Endpoint> {
        let mut said = self.by.keys().filter_map(|source| self.said(*source, address));
        let mut endpoint = said.next()?.spec.config();
        if endpoint.security.is_none() {
            let mut all = std::iter::once(address).chain(&endpoint.more_addresses);
            if let Some(secured) = all.find_map(|address| self.secured(address)) {
                endpoint.security = secured.security().cloned();
                // What it is to prove may be the name that it is called by.
                endpoint.authority = secured.authority().map(str::to_owned);
            }
        }
        Some(endpoint)
    }

    /// All of them: those of the first source in the order of its list, then what the next one lists
    /// beside these, and so on.
    pub(super) fn in_order(&self) -> Vec<config::Endpoint> {
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for said in self.by.values() {
            let mut of_source: Vec<_> =
                said.iter().map(|(address, it)| (it.place, address)).collect();
            of_source.sort_unstable_by_key(|(place, _)| *place);
            all.extend(
                of_source.into_iter().map(|(_, address)| address).filter(|it| seen.insert(*it)),
            );
        }
        all.into_iter().filter_map(|address| self.endpoint(address)).collect()
    }

    /// Who says how an address is to be secured, be it the first or another of an endpoint.
    fn secured(&self, address: &Address) -> Option<&Spec> {
        let as_own = self.by.keys().filter_map(|source| self.said(*source, address));
        let owners = self.more.get(address).into_iter().flatten();
        let mut owners: Vec<_> = owners.collect();
        owners.sort_unstable_by_key(|(source, _)| *source);
        let as_more = owners.into_iter().filter_map(|(source, owner)| self.said(*source, owner));
        let mut said = as_own.chain(as_more).map(|said| &said.spec);
        said.find(|said| matches!(said.security(), Some(Security::Tls(_))))
    }
}
