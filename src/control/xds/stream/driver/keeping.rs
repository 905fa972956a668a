//! The cache of the driver's client: who wants it, when it is read and written.

use std::collections::BTreeSet;

use super::{Batch, Driver, Flaw, Input, Said, Teller};
use crate::{
    control::xds::{
        cache::{self, Found, Keeper},
        client::{Decode, Watched},
    },
    core::Instant,
};

impl<D> Driver<D>
where
    D: Decode + Send + 'static,
    D::Resource: Send + Sync + 'static,
{
    pub(super) fn join(
        &mut self,
        subscriber: u64,
        tell: Teller<D::Resource>,
        cache: Option<cache::Settings>,
    ) {
        if let Some(settings) = cache {
            self.caching.insert(subscriber);
            let keeper = self.keeper.get_or_insert_with(|| {
                // Nobody has asked for anything: what is there comes first.
                self.holds = self.topics.is_empty();
                Keeper::new(subscriber, settings.clone(), &self.bootstrap)
            });
            let flaw = if keeper.is_of(&settings) {
                self.told_flaw.clone()
            } else {
                let path = keeper.path().display();
                let why = format!(
                    "another mesh of this process keeps the cache of the same control planes at \
                     {path}, or with another age: what it says counts"
                );
                Flaw(Some(why.into()))
            };
            if flaw != Flaw::default() {
                tell.tell(Batch::of_cache(flaw));
            }
        }
        self.subscribers.insert(subscriber, tell);
    }

    /// What is said is dropped when all has been written.
    pub(super) fn leave_cache(&mut self, subscriber: u64, said: Option<Said>) {
        if !self.caching.remove(&subscriber) || !self.caching.is_empty() {
            return;
        }
        self.told_flaw = Flaw::default();
        let Some(keeper) = self.keeper.take() else { return };
        if let Some(save) = keeper.last(&self.client) {
            // Nobody is left to be told what becomes of it.
            drop(self.runtime.spawn_blocking(move || save.run()));
        }
        if let (Some(said), Some(written)) = (said, keeper.written()) {
            drop(self.runtime.spawn(async move {
                written.await;
                drop(said);
            }));
        }
    }

    /// Begins to read what an earlier process knew, beside all else, and tells what is wrong with it.
    pub(super) fn look(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        if keeper.is_unread(Instant::now()) {
            if let Some(reading) = keeper.read() {
                let (inbox, keeper) = (self.sender.clone(), keeper.id());
                drop(self.runtime.spawn(async move {
                    let found = reading.run().await;
                    drop(inbox.send(Input::Stocked { keeper, found }));
                }));
            } else {
                self.holds = false;
            }
        }
        let flaw = Flaw(keeper.trouble().cloned());
        if flaw != self.told_flaw {
            for subscriber in &self.caching {
                if let Some(tell) = self.subscribers.get(subscriber) {
                    tell.tell(Batch::of_cache(flaw.clone()));
                }
            }
            self.told_flaw = flaw;
        }
    }

    /// Whether nothing is asked for yet, until what an earlier process knew is there.
    pub(super) fn is_held(&self) -> bool {
        self.holds && self.keeper.as_ref().is_some_and(Keeper::is_reading)
    }

    /// What an earlier process knew is there, or why it is not.
    pub(super) fn stocked(&mut self, keeper: u64, found: Result<Vec<Found>, String>) {
        let Some(keeper) = self.keeper.as_mut().filter(|it| it.id() == keeper) else { return };
        self.holds = false;
        if let Some(stocked) = keeper.found(found) {
            let max_age = keeper.max_age();
            self.client.stock(Instant::now(), stocked, max_age);
        }
    }

    /// Writes what is known, if it is due.
    pub(super) fn save(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        let Some(save) = keeper.due(Instant::now(), &self.client) else { return };
        let (inbox, keeper) = (self.sender.clone(), keeper.id());
        let run = move || drop(inbox.send(Input::Saved { keeper, result: save.run() }));
        drop(self.runtime.spawn_blocking(run));
    }

    pub(super) fn saved(&mut self, now: Instant, keeper: u64, result: Result<(), String>) {
        if let Some(keeper) = self.keeper.as_mut().filter(|it| it.id() == keeper) {
            keeper.saved(now, result);
        }
    }

    pub(super) fn fit(
        &self,
        subscriber: u64,
        watched: Watched<D::Resource>,
    ) -> Watched<D::Resource> {
        fit(&self.caching, subscriber, watched)
    }
}

/// What one is told that another learns from the cache, which this one may not want.
pub(super) fn fit<R>(caching: &BTreeSet<u64>, subscriber: u64, watched: Watched<R>) -> Watched<R> {
    match watched {
        Watched::Cached { trouble, .. } if !caching.contains(&subscriber) => {
            Watched::Missing(trouble)
        }
        other => other,
    }
}

impl<R> Batch<R> {
    fn of_cache(flaw: Flaw) -> Self {
        Self { cache: Some(flaw), ..Self::default() }
    }
}
