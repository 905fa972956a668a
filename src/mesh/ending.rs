//! The end of a mesh, in two steps: no call begins any more, and those that have begun go on as ever;
//! when none is left, or their grace is over, sources, endpoints and connections go.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::inner::Inner;
use crate::observe::Hub;

/// The end of a mesh waits so long for what sources still say.
#[cfg(feature = "xds")]
const FAREWELL: Duration = Duration::from_secs(2);

impl Inner {
    /// Whether no call begins any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.hub.is_closing()
    }

    /// Whether those that had begun before end, too.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.hub.end.is_over()
    }

    /// Waits until no call begins any more.
    pub(crate) async fn closing(&self) {
        self.wait_until(Self::is_closing).await;
    }

    /// Refuses further calls, waits for those that have begun, and ends what is left.
    pub(super) async fn shut_down(self: &Arc<Self>, grace: Duration) {
        self.refuse_calls();
        let _alone = GoesOn(self);
        let drained = async {
            // Whatever they wait for may come yet: sources go on, and so do connections.
            self.hub.drained().await;
            self.close();
            // The bodies that are read are streams of connections.
            self.transport.wait_idle().await;
        };
        if tokio::time::timeout(grace, drained).await.is_err() {
            self.close();
            self.hub.end.cut();
            self.transport.abort();
            // Ends as soon as each connection task has been dropped.
            self.transport.wait_idle().await;
        }
        #[cfg(feature = "xds")]
        self.say_farewell(grace).await;
    }

    fn refuse_calls(&self) {
        self.hub.refuse_calls();
        self.notify();
    }

    /// Ends calls that wait, drains every endpoint, and ends the sources.
    pub(super) fn close(&self) {
        self.refuse_calls();
        // Under the lock: a source that publishes meanwhile comes before it, or is refused.
        let state = self.state();
        self.hub.end.end();
        self.end_tasks();
        self.notify();
        for entry in state.clusters.values() {
            entry.cell.core.load().balancer.replace(Vec::new());
        }
    }

    /// Waits until the sources have said what they still had to say, a moment at most.
    #[cfg(feature = "xds")]
    async fn say_farewell(&self, most: Duration) {
        let farewells = &self.farewells;
        let all = std::mem::take(
            &mut *farewells.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        let all = futures_util::future::join_all(all);
        drop(tokio::time::timeout(most.min(FAREWELL), all).await);
    }
}

/// A shutdown that nobody waits for any more: its calls end by themselves, and then its connections go.
struct GoesOn<'a>(&'a Arc<Inner>);

impl Drop for GoesOn<'_> {
    fn drop(&mut self) {
        if self.0.is_closed() {
            return;
        }
        let (mesh, hub): (Weak<Inner>, Arc<Hub>) =
            (Arc::downgrade(self.0), Arc::clone(&self.0.hub));
        self.0.transport.handle.spawn(async move {
            hub.drained().await;
            if let Some(mesh) = mesh.upgrade() {
                mesh.close();
            }
        });
    }
}
