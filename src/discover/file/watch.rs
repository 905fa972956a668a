//! When a file may have changed: events of the directories on the way to it, and a slow poll.

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// For file systems that cannot be watched.
const POLL: Duration = Duration::from_secs(5);
/// For file systems that can be watched and tell nothing (some network mounts).
const SLOW_POLL: Duration = Duration::from_secs(30);
/// An editor writes in several steps.
const SETTLE: Duration = Duration::from_millis(50);
/// A file that is never quiet is read all the same.
const UNQUIET: Duration = Duration::from_secs(2);
/// Links that are followed, as Linux does.
const MAX_LINKS: usize = 40;

/// Tells when to look again.
pub(super) struct Changes {
    heard: Arc<Heard>,
    /// Watches while it lives; `None` where the system cannot.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

#[derive(Default)]
pub(super) struct Heard {
    changed: Notify,
    /// Something was removed: if it was a directory, its watch went with it.
    removed: AtomicBool,
}

impl Changes {
    /// Watches nothing yet.
    pub(super) fn new() -> Self {
        let heard = Arc::new(Heard::default());
        let told = Arc::clone(&heard);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = &event {
                // Reading the file is an event of its own: answering it would never end.
                if event.kind.is_access() {
                    return;
                }
                if event.kind.is_remove() {
                    told.removed.store(true, Ordering::Release);
                }
            }
            told.changed.notify_one();
        });
        Self { heard, watcher: watcher.ok(), watched: BTreeSet::new() }
    }

    /// Watches every directory in which the file, or a link on the way to it, may be swapped.
    /// Call it before each reading: the way may have changed. Does I/O.
    pub(super) fn follow(&mut self, path: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted = directories(path);
        if self.heard.removed.swap(false, Ordering::AcqRel) {
            for directory in std::mem::take(&mut self.watched) {
                drop(watcher.unwatch(&directory));
            }
        }
        for gone in self.watched.difference(&wanted) {
            drop(watcher.unwatch(gone));
        }
        self.watched.retain(|directory| wanted.contains(directory));
        for directory in wanted {
            if !self.watched.contains(&directory)
                && watcher.watch(&directory, RecursiveMode::NonRecursive).is_ok()
            {
                self.watched.insert(directory);
            }
        }
    }

    /// How long until the next look if nothing is heard, and what is heard.
    pub(super) fn wait(&self) -> (Arc<Heard>, Duration) {
        (Arc::clone(&self.heard), if self.watched.is_empty() { POLL } else { SLOW_POLL })
    }
}

impl Heard {
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

/// The directories, themselves without links, that hold the file and every link on the way to it;
/// of what is missing, the nearest that is there.
fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(path) = std::path::absolute(path) else { return found };
    let mut current = PathBuf::new();
    let mut rest = steps(&path);
    let mut links = 0;
    while let Some(step) = rest.pop_front() {
        if step == ".." {
            current.pop();
            continue;
        }
        let next = current.join(&step);
        match fs::symlink_metadata(&next) {
            Ok(met) if met.is_symlink() && links < MAX_LINKS => {
                links += 1;
                found.insert(current.clone());
                let Ok(target) = fs::read_link(&next) else { return found };
                if target.has_root() {
                    current = PathBuf::new();
                }
                let mut way = steps(&target);
                way.append(&mut rest);
                rest = way;
            }
            Ok(met) if met.is_dir() => current = next,
            // The file, or what is missing on the way to it.
            _ => {
                found.insert(current);
                return found;
            }
        }
    }
    found
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter(|step| !matches!(step, Component::CurDir));
    steps.map(|step| step.as_os_str().to_owned()).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_has_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for folder in ["app", "config", "config/v1"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        fs::write(root.join("config/v1/mesh.yaml"), "").unwrap();
        symlink("v1", root.join("config/now")).unwrap();
        symlink("../config/now/mesh.yaml", root.join("app/mesh.yaml")).unwrap();
        symlink(root.join("app"), root.join("link")).unwrap();
        let wanted = ["", "app", "config", "config/v1"].map(|folder| root.join(folder));
        let wanted = wanted.map(|path| path.components().collect());
        assert_eq!(directories(&root.join("link/mesh.yaml")), BTreeSet::from(wanted));

        fs::remove_dir_all(root.join("config/v1")).unwrap();
        let found = directories(&root.join("app/mesh.yaml"));
        assert_eq!(found, BTreeSet::from(["app", "config"].map(|folder| root.join(folder))));
    }

    #[test]
    fn links_in_a_circle_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(directories(&root.join("a")), BTreeSet::from([root]));
    }
}
