//! Where a cache is: one client of the process has it, and what clients before it have still to write
//! never comes over what is newer.

use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

/// Those that a client of this process has, or has left and still writes to, by their one spelling.
static PLACES: Mutex<BTreeMap<PathBuf, Weak<Shared>>> = Mutex::new(BTreeMap::new());

/// A place that nobody else has until this is dropped.
pub(super) struct Place(Arc<Shared>);

/// A writing to a place, begun or not. It may outlive whoever has the place.
pub(super) struct Writing {
    shared: Arc<Shared>,
    number: u64,
}

struct Shared {
    is_taken: AtomicBool,
    /// The number of the last writing, and which was done last: a later one is never undone.
    number: AtomicU64,
    done: Mutex<u64>,
    /// How many writings there are that have not ended.
    writings: watch::Sender<usize>,
}

/// The one spelling of a path, as far as it can be told without looking.
pub(super) fn spelled(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut spelled = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                spelled.pop();
            }
            part => spelled.push(part),
        }
    }
    spelled
}

fn places() -> MutexGuard<'static, BTreeMap<PathBuf, Weak<Shared>>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Place ===

impl Place {
    /// Nothing while another client has it.
    pub(super) fn take(path: &Path) -> Option<Self> {
        let path = spelled(path);
        let mut places = places();
        places.retain(|_, shared| shared.strong_count() > 0);
        let known = places.get(&path).and_then(Weak::upgrade);
        let shared = known.unwrap_or_else(|| {
            let shared = Arc::new(Shared {
                is_taken: AtomicBool::new(false),
                number: AtomicU64::new(0),
                done: Mutex::default(),
                writings: watch::Sender::new(0),
            });
            places.insert(path, Arc::downgrade(&shared));
            shared
        });
        let is_taken = shared.is_taken.swap(true, Ordering::AcqRel);
        (!is_taken).then(|| Self(shared))
    }

    /// One that comes after all that there are.
    pub(super) fn writing(&self) -> Writing {
        self.0.writings.send_modify(|count| *count += 1);
        let number = self.0.number.fetch_add(1, Ordering::AcqRel) + 1;
        Writing { shared: Arc::clone(&self.0), number }
    }

    /// Until all that there is to write now has been written, or never will be.
    pub(super) fn written(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut writings = self.0.writings.subscribe();
        // It ends, too, when nobody has the place any more.
        async move { drop(writings.wait_for(|count| *count == 0).await) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Release);
    }
}

// === impl Writing ===

impl Writing {
    /// Writes, unless something later was written. It waits for one that is under way.
    ///
    /// # Errors
    ///
    /// Those of the writing.
    pub(super) fn run(self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        if *done > self.number {
            return Ok(());
        }
        write()?;
        *done = self.number;
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shared.writings.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures_util::FutureExt as _;

    use super::{super::disk, *};

    #[test]
    fn the_late_last_writing_of_one_client_does_not_undo_the_first_of_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let write = |content: &'static [u8]| {
            let path = path.clone();
            move || disk::write(&path, content, 1)
        };
        let first = Place::take(&path).unwrap();
        let late = first.writing();
        drop(first);
        // It is free, though there is something to write.
        let next = Place::take(&path).unwrap();
        next.writing().run(write(b"new")).unwrap();
        late.run(write(b"old")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        next.writing().run(write(b"newer")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
    }

    #[test]
    fn what_an_earlier_client_has_still_to_write_is_waited_for() {
        let first = Place::take(Path::new("/cache-of-two-clients")).unwrap();
        let (begun, never) = (first.writing(), first.writing());
        drop(first);
        let next = Place::take(Path::new("/cache-of-two-clients")).unwrap();
        let mut written = Box::pin(next.written());
        assert_eq!(written.as_mut().now_or_never(), None);
        // What failed is over as well, and what its runtime has dropped.
        begun.run(|| Err(io::Error::other("full"))).unwrap_err();
        assert_eq!(written.as_mut().now_or_never(), None);
        drop(never);
        assert_eq!(written.now_or_never(), Some(()));
    }

    #[test]
    fn two_spellings_of_a_path_are_not_kept_by_two_clients() {
        let is_free = |path: &Path| Place::take(path).is_some();
        let here = std::env::current_dir().unwrap();
        let place = Place::take(Path::new("a-cache")).unwrap();
        let spellings = ["a-cache", "./a-cache", "no/../a-cache", ".//no/./../a-cache"];
        for spelling in spellings {
            assert!(!is_free(Path::new(spelling)), "{spelling}");
            assert!(!is_free(&here.join(spelling)), "absolute {spelling}");
        }
        assert!(is_free(Path::new("no/a-cache")));
        drop(place);
        assert!(is_free(Path::new("./a-cache")));
    }
}
