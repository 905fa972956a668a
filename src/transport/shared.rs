//! What every pool of a mesh shares: runtime, events, and the count of its connections.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

use crate::core::{Epoch, Events, Random};

/// Shared by every pool of a mesh.
pub(crate) struct Shared {
    pub(crate) handle: Handle,
    pub(crate) events: Arc<Events>,
    pub(crate) random: Arc<Random>,
    pub(crate) epoch: Epoch,
    /// Tasks of connections and of connection attempts.
    tasks: AtomicUsize,
    idle: Notify,
    abort: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(
        handle: Handle,
        events: Arc<Events>,
        random: Arc<Random>,
        epoch: Epoch,
    ) -> Self {
        let (tasks, idle, abort) = (AtomicUsize::new(0), Notify::new(), watch::Sender::new(false));
        Self { handle, events, random, epoch, tasks, idle, abort }
    }

    /// Runs a task that the shutdown waits for, and ends when its grace is over.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.fetch_add(1, Ordering::AcqRel);
        let counted = Counted(Arc::clone(self));
        let mut abort = self.abort.subscribe();
        self.handle.spawn(async move {
            let counted = counted;
            let aborted = async { abort.wait_for(|abort| *abort).await.map(drop) };
            let (mut task, mut aborted) = (std::pin::pin!(task), std::pin::pin!(aborted));
            std::future::poll_fn(|cx| {
                if aborted.as_mut().poll(cx).is_ready() {
                    return std::task::Poll::Ready(());
                }
                task.as_mut().poll(cx)
            })
            .await;
            drop(counted);
        });
    }

    /// Waits until no connection is left.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.tasks.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Ends every connection where it is.
    pub(crate) fn abort(&self) {
        self.abort.send_replace(true);
    }
}

struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
