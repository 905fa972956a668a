//! What waits for a subscriber: all that it has not been told yet, at once.
//!
//! Of each resource only the last word waits, so what waits is bounded by what is watched, however long
//! a mesh does not listen.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::driver::{Batch, Told};
use crate::control::xds::{client::Watched, kind::Kind};

/// The side that tells. Dropped, it tells no more.
#[derive(Debug)]
pub(super) struct Teller<R>(Arc<Shared<R>>);

/// The side that is told. Dropped, nothing waits for it.
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
    /// What the batch tells, once a second one has come before it was taken; nothing in place of what is
    /// no longer so.
    told: Vec<Option<Told<R>>>,
    /// Where of that each resource is.
    places: Option<HashMap<(Kind, Arc<str>), Places>>,
    /// Nobody tells any more, or nobody is told.
    is_over: bool,
}

/// The places of a resource, and of what is wrong beside it.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    whole: Option<usize>,
    ambient: Option<usize>,
}

/// Both sides.
pub(super) fn mail<R>() -> (Teller<R>, Mailbox<R>) {
    let waiting =
        Mutex::new(Waiting { batch: None, told: Vec::new(), places: None, is_over: false });
    let shared = Arc::new(Shared { waiting, news: Notify::new() });
    (Teller(Arc::clone(&shared)), Mailbox(shared))
}

// === impl Teller ===

impl<R> Teller<R> {
    pub(super) fn tell(&self, batch: Batch<R>) {
        let mut waiting = self.0.lock();
        if waiting.is_over {
            // Whoever works on it is done with it, without the lock.
            drop(waiting);
            return drop(batch);
        }
        let replaced = waiting.add(batch);
        drop(waiting);
        drop(replaced);
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
    pub(super) async fn next(&self) -> Option<Batch<R>> {
        loop {
            {
                let mut waiting = self.0.lock();
                if let Some(batch) = waiting.take() {
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

impl<R> Drop for Mailbox<R> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.is_over = true;
        let left = waiting.take();
        drop(waiting);
        drop(left);
    }
}

// === impl Shared ===

impl<R> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, Waiting<R>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Waiting ===

impl<R> Waiting<R> {
    fn take(&mut self) -> Option<Batch<R>> {
        self.places = None;
        let mut batch = self.batch.take()?;
        batch.told.extend(std::mem::take(&mut self.told).into_iter().flatten());
        Some(batch)
    }

    /// What comes later is told with what waits, in place of what that says otherwise. As many steps as it has
    /// itself. What is replaced is for whoever calls this to drop, without the lock.
    fn add(&mut self, later: Batch<R>) -> Vec<Told<R>> {
        let mut replaced = Vec::new();
        let Some(batch) = &mut self.batch else {
            self.batch = Some(later);
            return replaced;
        };
        let all = &mut self.told;
        let places = self.places.get_or_insert_with(|| {
            *all = std::mem::take(&mut batch.told).into_iter().map(Some).collect();
            let mut places = HashMap::new();
            for (at, told) in all.iter().flatten().enumerate() {
                note(&mut places, told, at);
            }
            places
        });
        for told in later.told {
            let key = (told.kind, Arc::clone(&told.name));
            let before = places.get(&key).copied().unwrap_or_default();
            // What is wrong beside a last good one says nothing of that one.
            let whole = before.whole.filter(|_| !is_ambient(&told));
            for at in whole.into_iter().chain(before.ambient) {
                replaced.extend(all[at].take());
            }
            if !is_ambient(&told) {
                places.insert(key, Places::default());
            }
            note(places, &told, all.len());
            all.push(Some(told));
        }
        if all.len() > 64 && all.len() > 4 * places.len() {
            all.retain(Option::is_some);
            places.clear();
            for (at, told) in all.iter().flatten().enumerate() {
                note(places, told, at);
            }
        }
        batch.cache = later.cache.or_else(|| batch.cache.take());
        batch.lost = later.lost.or_else(|| batch.lost.take());
        batch.working.extend(later.working);
        replaced
    }
}

fn is_ambient<R>(told: &Told<R>) -> bool {
    matches!(told.watched, Watched::Ambient(_))
}

fn note<R>(places: &mut HashMap<(Kind, Arc<str>), Places>, told: &Told<R>, at: usize) {
    let of = places.entry((told.kind, Arc::clone(&told.name))).or_default();
    if is_ambient(told) {
        of.ambient = Some(at);
    } else {
        of.whole = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::driver::Working, *};
    use crate::control::xds::client::{Cause, Trouble};

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
        let (teller, mailbox) = mail();
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
        let (teller, mailbox) = mail();
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

    /// A mesh that never listens costs as much as what is told, and what is watched is kept.
    #[tokio::test]
    async fn much_that_waits_long_is_bounded_by_what_is_watched() {
        let (teller, mailbox) = mail();
        let names: Vec<&'static str> =
            (0..2_000).map(|at| &*Box::leak(at.to_string().into_boxed_str())).collect();
        let began = tokio::time::Instant::now();
        for round in 0..50 {
            for name in &names {
                teller.tell(batch([(*name, there(round))]));
            }
        }
        assert!(teller.0.lock().told.len() <= 4 * names.len() + 1);
        let told = mailbox.next().await.unwrap().told;
        assert_eq!(told.len(), names.len());
        assert!(told.iter().all(|it| it.watched == there(49)));
        // 100,000 of them: by the square that took minutes.
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    /// Nobody waits for whoever is not there any more.
    #[tokio::test]
    async fn what_waits_for_one_that_is_gone_is_let_go() {
        let (teller, mailbox) = mail();
        let done = Arc::new(());
        let of = || {
            let done = Arc::clone(&done);
            let mut batch = batch([("a", there(1))]);
            batch.working.push(Working(Box::new(move || drop(Arc::clone(&done)))));
            batch
        };
        teller.tell(of());
        assert_eq!(Arc::strong_count(&done), 2);
        drop(mailbox);
        assert_eq!(Arc::strong_count(&done), 1);
        teller.tell(of());
        assert_eq!(Arc::strong_count(&done), 1);
    }

    #[tokio::test]
    async fn what_was_told_before_the_end_is_heard() {
        let (teller, mailbox) = mail();
        teller.tell(batch([("a", there(1))]));
        drop(teller);
        assert_eq!(mailbox.next().await.unwrap().told.len(), 1);
        assert!(mailbox.next().await.is_none());
    }
}
