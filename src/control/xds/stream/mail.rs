//! What waits for a subscriber: all that it has not been told yet, at once.
//!
//! Of each resource only the last word waits, so what waits is bounded by what is watched, however long
//! a mesh does not listen.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::driver::{Batch, Told};
use crate::control::xds::client::Watched;

/// The side that tells. Dropped, it tells no more.
#[derive(Debug)]
pub(super) struct Teller<R>(Arc<Shared<R>>);

/// The side that is told.
#[derive(Debug)]
pub(super) struct Mailbox<R>(Arc<Shared<R>>);

#[derive(Debug)]
struct Shared<R> {
    waiting: Mutex<Waiting<R>>,
    news: Notify,
}

#[derive(Debug)]
struct Waiting<R> {
    batch: Option<Batch<R>>,
    is_over: bool,
}

/// Both sides.
pub(super) fn mail<R>() -> (Teller<R>, Mailbox<R>) {
    let waiting = Mutex::new(Waiting { batch: None, is_over: false });
    let shared = Arc::new(Shared { waiting, news: Notify::new() });
    (Teller(Arc::clone(&shared)), Mailbox(shared))
}

// === impl Teller ===

impl<R> Teller<R> {
    pub(super) fn tell(&self, batch: Batch<R>) {
        let mut waiting = self.0.lock();
        match &mut waiting.batch {
            Some(before) => before.followed_by(batch),
            none => *none = Some(batch),
        }
        drop(waiting);
        self.0.news.notify_one();
    }
}

impl<R> Drop for Teller<R> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.news.notify_one();
    }
}

// === impl Mailbox ===

impl<R> Mailbox<R> {
    /// All that waits; nothing when nobody tells any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Option<Batch<R>> {
        loop {
            {
                let mut waiting = self.0.lock();
                if let Some(batch) = waiting.batch.take() {
                    return Some(batch);
                }
                if waiting.is_over {
                    return None;
                }
            }
            self.0.news.notified().await;
        }
    }
}

// === impl Shared ===

impl<R> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, Waiting<R>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Batch ===

impl<R> Batch<R> {
    /// What came later is told with it, in place of what it says otherwise.
    fn followed_by(&mut self, later: Self) {
        let Self { told, cache, lost, working } = later;
        let key = |it: &Told<R>| (it.kind, Arc::clone(&it.name));
        // What is wrong beside a last good one says nothing of that one.
        let (ambient, whole): (Vec<_>, Vec<_>) =
            told.iter().partition(|it| matches!(it.watched, Watched::Ambient(_)));
        let whole: HashSet<_> = whole.into_iter().map(key).collect();
        let ambient: HashSet<_> = ambient.into_iter().map(key).collect();
        self.told.retain(|before| {
            let key = key(before);
            let is_ambient = matches!(before.watched, Watched::Ambient(_));
            !whole.contains(&key) && !(is_ambient && ambient.contains(&key))
        });
        self.told.extend(told);
        self.cache = cache.or(self.cache.take());
        self.lost = lost.or(self.lost.take());
        self.working.extend(working);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::xds::{
        client::{Cause, Trouble},
        kind::Kind,
    };

    fn batch(told: impl IntoIterator<Item = (&'static str, Watched<u8>)>) -> Batch<u8> {
        let told = told.into_iter().map(|(name, watched)| Told {
            kind: Kind::Cluster,
            name: name.into(),
            watched,
        });
        Batch { told: told.collect(), ..Batch::default() }
    }

    fn there(resource: u8) -> Watched<u8> {
        Watched::Resource { resource, version: "1".into() }
    }

    fn wrong(text: &str) -> Arc<Trouble> {
        Arc::new(Trouble {
            kind: Kind::Cluster,
            name: "a".into(),
            version: None,
            node: "n".into(),
            server: None,
            cause: Cause::Name(text.to_owned()),
        })
    }

    #[tokio::test]
    async fn of_each_resource_the_last_word_waits() {
        let (teller, mut mailbox) = mail();
        for round in 0..100 {
            teller.tell(batch([("a", there(round)), ("b", there(round))]));
        }
        teller.tell(batch([("a", Watched::Missing(wrong("gone")))]));
        let told = mailbox.next().await.unwrap().told;
        let told: Vec<_> = told.iter().map(|it| (&*it.name, &it.watched)).collect();
        assert_eq!(told, [("b", &there(99)), ("a", &Watched::Missing(wrong("gone")))]);
    }

    #[tokio::test]
    async fn what_is_wrong_beside_a_good_one_waits_behind_it_and_goes_with_it() {
        let (teller, mut mailbox) = mail();
        teller.tell(batch([("a", there(1))]));
        for text in ["one", "two"] {
            teller.tell(batch([("a", Watched::Ambient(wrong(text)))]));
        }
        let told = mailbox.next().await.unwrap().told;
        let told: Vec<_> = told.into_iter().map(|it| it.watched).collect();
        assert_eq!(told, [there(1), Watched::Ambient(wrong("two"))]);

        teller.tell(batch([("a", Watched::Ambient(wrong("three")))]));
        teller.tell(batch([("a", there(2))]));
        let told = mailbox.next().await.unwrap().told;
        assert_eq!(told.into_iter().map(|it| it.watched).collect::<Vec<_>>(), [there(2)]);
    }

    #[tokio::test]
    async fn what_was_told_before_the_end_is_heard() {
        let (teller, mut mailbox) = mail();
        teller.tell(batch([("a", there(1))]));
        drop(teller);
        assert_eq!(mailbox.next().await.unwrap().told.len(), 1);
        assert!(mailbox.next().await.is_none());
    }
}
