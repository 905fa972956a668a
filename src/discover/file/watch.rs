//! When a file may have changed: events of the directories on the way to it, and a slow poll.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::Notify;

use super::way::{Identity, Way};

/// For file systems that cannot be watched.
const POLL: Duration = Duration::from_secs(5);
/// For file systems that can be watched and tell nothing (some network mounts).
const SLOW_POLL: Duration = Duration::from_secs(30);
/// An editor writes in several steps.
const SETTLE: Duration = Duration::from_millis(50);
/// A file that is never quiet is read all the same.
const UNQUIET: Duration = Duration::from_secs(2);
/// How often the way is looked at again when it has changed under our eyes.
const LOOKS: usize = 3;

/// Tells when to look again.
pub(super) struct Changes {
    heard: Arc<Heard>,
    /// Watches while it lives; `None` where the system cannot.
    watcher: Option<RecommendedWatcher>,
    /// The directories, as they were when their watches began.
    watched: BTreeMap<PathBuf, Identity>,
}

#[derive(Default)]
pub(super) struct Heard {
    changed: Notify,
    /// Watches may have gone with their directories, which were removed or renamed.
    moved: AtomicBool,
    /// What the watches are for.
    way: Mutex<Way>,
}

impl Changes {
    /// Watches nothing yet.
    pub(super) fn new() -> Self {
        let heard = Arc::new(Heard::default());
        let told = Arc::clone(&heard);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, |event| told.concerns(event)) {
                told.changed.notify_one();
            }
        });
        Self { heard, watcher: watcher.ok(), watched: BTreeMap::new() }
    }

    /// Watches every directory on the way to the file, so that whatever is swapped is heard of.
    /// Call it before each reading: the way may have changed. Does I/O.
    pub(super) fn follow(&mut self, path: &Path) {
        for _ in 0..LOOKS {
            let way = Way::to(path);
            let wanted = way.watched().map(|(path, identity)| (path.to_owned(), identity));
            let wanted = wanted.collect();
            *self.heard.way() = way;
            self.watch(wanted);
            if Way::to(path) == *self.heard.way() {
                return;
            }
        }
    }

    fn watch(&mut self, wanted: BTreeMap<PathBuf, Identity>) {
        let Some(watcher) = &mut self.watcher else { return };
        let moved = self.heard.moved.swap(false, Ordering::AcqRel);
        // Before the new ones begin: two names of one directory share a watch.
        self.watched.retain(|directory, identity| {
            let stays = !moved && wanted.get(directory) == Some(identity);
            if !stays {
                drop(watcher.unwatch(directory));
            }
            stays
        });
        for (directory, identity) in wanted {
            if !self.watched.contains_key(&directory)
                && watcher.watch(&directory, RecursiveMode::NonRecursive).is_ok()
            {
                self.watched.insert(directory, identity);
            }
        }
    }

    /// How long until the next look if nothing is heard, and what is heard.
    pub(super) fn wait(&self) -> (Arc<Heard>, Duration) {
        let way = self.heard.way();
        let mut holders = way.holders().peekable();
        let hears = holders.peek().is_some() && holders.all(|it| self.watched.contains_key(it));
        (Arc::clone(&self.heard), if hears { SLOW_POLL } else { POLL })
    }
}

impl Heard {
    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the file may be another one now.
    fn concerns(&self, event: &Event) -> bool {
        // Reading the file is an event of its own: answering it would never end.
        if event.kind.is_access() {
            return false;
        }
        let way = self.way();
        if !event.paths.is_empty() && event.paths.iter().all(|path| way.passes_by(path)) {
            return false;
        }
        // An atomic rename of the file moves no watch.
        let moved = match event.kind {
            EventKind::Modify(ModifyKind::Name(_)) => event.paths.iter().any(|it| way.passes(it)),
            kind => kind.is_remove() || event.need_rescan(),
        };
        if moved {
            self.moved.store(true, Ordering::Release);
        }
        true
    }

    /// Waits until the file may have changed.
    pub(super) async fn next(&self, poll: Duration) {
        if tokio::time::timeout(poll, self.changed.notified()).await.is_err() {
            return;
        }
        // A file that is written in place is whole when it has been quiet for a while.
        let quiet =
            async { while tokio::time::timeout(SETTLE, self.changed.notified()).await.is_ok() {} };
        if tokio::time::timeout(UNQUIET, quiet).await.is_err() {
            self.changed.notify_one();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use super::*;

    /// Waits until something is heard, and then is quiet.
    async fn heard(changes: &Changes) -> bool {
        let (heard, _) = changes.wait();
        let next = heard.next(Duration::MAX);
        tokio::time::timeout(Duration::from_secs(10), next).await.is_ok()
    }

    #[tokio::test]
    async fn a_swap_that_no_event_told_of_is_found_at_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["conf", "new"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let path = dir.path().join("conf/mesh.yaml");
        let mut changes = Changes::new();
        changes.follow(&path);
        fs::rename(dir.path().join("conf"), dir.path().join("old")).unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("conf")).unwrap();
        assert!(heard(&changes).await);
        changes.heard.moved.store(false, Ordering::Release);
        changes.follow(&path);
        fs::write(&path, "").unwrap();
        assert!(heard(&changes).await, "the watch is dead");
    }

    #[tokio::test]
    async fn what_happens_beside_the_way_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("app/conf")).unwrap();
        let mut changes = Changes::new();
        changes.follow(&root.join("app/conf/mesh.yaml"));
        let event = |kind, path: &str| Event::new(kind).add_path(root.join(path));
        let written = EventKind::Modify(ModifyKind::Any);
        assert!(!changes.heard.concerns(&event(written, "app/log")));
        assert!(changes.heard.concerns(&event(written, "app/conf/next.yaml")));
        assert!(changes.heard.concerns(&event(written, "app/conf")));
        // A watch goes with its directory, and with no file.
        for (path, moved) in [("app/conf/mesh.yaml", false), ("app", true), ("app/conf", true)] {
            let renamed = EventKind::Modify(ModifyKind::Name(notify::event::RenameMode::From));
            assert!(changes.heard.concerns(&event(renamed, path)), "{path}");
            assert_eq!(changes.heard.moved.swap(false, Ordering::AcqRel), moved, "{path}");
        }
    }
}
