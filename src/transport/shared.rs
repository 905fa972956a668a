//! What every pool of a mesh shares: runtime, events, and the tasks of its connections.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::{runtime::Handle, sync::Notify, task::AbortHandle};

use crate::core::{Epoch, Random};

/// Shared by every pool of a mesh.
pub(crate) struct Shared {
    pub(crate) handle: Handle,
    pub(crate) random: Arc<Random>,
    pub(crate) epoch: Epoch,
    /// Of connections and of connection attempts. Locked when one begins or ends.
    tasks: Mutex<Tasks>,
    idle: Notify,
}

#[derive(Default)]
struct Tasks {
    running: HashMap<u64, Option<AbortHandle>>,
    next: u64,
    aborted: bool,
}

impl Shared {
    pub(crate) fn new(handle: Handle, random: Arc<Random>, epoch: Epoch) -> Self {
        Self { handle, random, epoch, tasks: Mutex::default(), idle: Notify::new() }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task that the shutdown waits for, and ends when its grace is over.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        if tasks.aborted {
            return;
        }
        let number = tasks.next;
        tasks.next += 1;
        tasks.running.insert(number, None);
        drop(tasks);
        let counted = Counted { task, place: Place { shared: Arc::clone(self), number } };
        let abort = self.handle.spawn(counted).abort_handle();
        let mut tasks = self.tasks();
        let aborted = tasks.aborted;
        if let Some(running) = tasks.running.get_mut(&number) {
            if aborted {
                abort.abort();
            }
            *running = Some(abort);
        }
    }

    /// Waits until no connection is left.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.tasks().running.is_empty() {
                return;
            }
            idle.await;
        }
    }

    /// Ends every connection where it is.
    pub(crate) fn abort(&self) {
        let mut tasks = self.tasks();
        tasks.aborted = true;
        let running: Vec<AbortHandle> = tasks.running.values().flatten().cloned().collect();
        drop(tasks);
        for task in running {
            task.abort();
        }
    }
}

/// A task with its place among those that run; polling it costs nothing more.
#[pin_project::pin_project]
struct Counted<F> {
    #[pin]
    task: F,
    place: Place,
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().task.poll(cx)
    }
}

/// Given back when the task has been dropped, however it ended.
struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tasks = self.shared.tasks();
        tasks.running.remove(&self.number);
        let idle = tasks.running.is_empty();
        drop(tasks);
        if idle {
            self.shared.idle.notify_waiters();
        }
    }
}
