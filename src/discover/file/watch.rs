//! When a file may have changed: events of its directory, and a slow poll.

use std::{path::Path, sync::Arc, time::Duration};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// For file systems that cannot be watched.
const POLL: Duration = Duration::from_secs(5);
/// For file systems that can be watched and tell nothing (some network mounts).
const SLOW_POLL: Duration = Duration::from_secs(30);
/// An editor writes in several steps.
const SETTLE: Duration = Duration::from_millis(50);

/// Tells when to look again.
pub(super) struct Changes {
    changed: Arc<Notify>,
    /// Watches while it lives; `None` where the system cannot.
    watcher: Option<RecommendedWatcher>,
}

impl Changes {
    /// Watches the directories in which the file, and what it links to, are swapped.
    pub(super) fn of(path: &Path) -> Self {
        let changed = Arc::new(Notify::new());
        let heard = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the file is an event of its own: answering it would never end.
            if !matches!(&event, Ok(event) if event.kind.is_access()) {
                heard.notify_one();
            }
        });
        let watcher = watcher.ok().and_then(|mut watcher| {
            let directory = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            watcher.watch(directory, RecursiveMode::NonRecursive).ok()?;
            Some(watcher)
        });
        Self { changed, watcher }
    }

    /// Waits until the file may have changed.
    pub(super) async fn next(&self) {
        let poll = if self.watcher.is_some() { SLOW_POLL } else { POLL };
        if tokio::time::timeout(poll, self.changed.notified()).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
    }
}
