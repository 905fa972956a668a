//! The cache of the driver's client: who wants it, when it is read and written.

use std::collections::BTreeSet;

use super::{Batch, Driver, Flaw, Input, Teller};
use crate::{
    control::xds::{
        cache::{self, Keeper},
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
            let keeper =
                self.keeper.get_or_insert_with(|| Keeper::new(settings.clone(), &self.bootstrap));
            let flaw = if *keeper.settings() == settings {
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

    pub(super) fn leave_cache(&mut self, subscriber: u64) {
        if !self.caching.remove(&subscriber) || !self.caching.is_empty() {
            return;
        }
        if let Some(mut keeper) = self.keeper.take()
            && let Some(save) = keeper.last(&self.client)
        {
            // Nobody is left to be told what becomes of it.
            drop(self.runtime.spawn_blocking(move || save.run()));
        }
        self.told_flaw = Flaw::default();
    }

    /// Reads what an earlier process knew, before anything else is done.
    pub(super) async fn stock(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        if keeper.is_unread(Instant::now())
            && let Some(stocked) = keeper.read().await
        {
            let max_age = keeper.settings().max_age;
            self.client.stock(Instant::now(), stocked, max_age);
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

    /// Writes what is known, if it is due.
    pub(super) fn save(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        let Some(save) = keeper.due(Instant::now(), &self.client) else { return };
        let inbox = self.sender.clone();
        let run = move || drop(inbox.send(Input::Saved(save.run())));
        drop(self.runtime.spawn_blocking(run));
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
