//! The task that does the periodic work of a cluster, where its settings ask for some.

use std::sync::{Arc, Weak};

use super::{cluster::Node, inner::Inner, state::State};
use crate::{
    balance::Balancer,
    core::{Epoch, Instant},
};

impl Inner {
    /// Starts the task if the cluster needs one and has none.
    pub(super) fn keep(&self, balancer: &Arc<Balancer<Node>>) {
        #[cfg(feature = "orca")]
        self.probe(balancer);
        if balancer.takes_keeper() {
            drop(self.spawn(run(Arc::downgrade(balancer), self.epoch)));
        }
    }

    /// The same for a cluster whose endpoints have changed: they may ask for such work, too.
    pub(super) fn keep_entry(&self, state: &mut State, name: &str) {
        let core = self.entry(state, name).cell.core.load_full();
        self.keep(&core.balancer);
    }
}

/// Until the balancer is gone.
async fn run(balancer: Weak<Balancer<Node>>, epoch: Epoch) {
    let Some(woken) = balancer.upgrade().map(|balancer| Arc::clone(&balancer.context().woken))
    else {
        return;
    };
    let mut beside = Beside::default();
    loop {
        let due = {
            let Some(balancer) = balancer.upgrade() else { return };
            let due = balancer.keep(epoch.nanos(Instant::now()));
            beside.tend(&balancer, epoch);
            due
        };
        match due {
            None => beside.until_called(woken.notified()).await,
            Some(due) => {
                let until = epoch.at(due);
                drop(tokio::time::timeout_at(until, woken.notified()).await);
            }
        }
    }
}

/// What is kept beside the balancer: streams of load reports.
#[derive(Default)]
struct Beside {
    #[cfg(feature = "orca")]
    streams: super::out_of_band::Streams,
    /// How long streams outlast the last call.
    #[cfg(feature = "orca")]
    idle: std::time::Duration,
}

impl Beside {
    #[cfg(feature = "orca")]
    fn tend(&mut self, balancer: &Balancer<Node>, epoch: Epoch) {
        self.idle = balancer.context().settings.idle_timeout;
        self.streams.tend(balancer, epoch);
    }

    #[cfg(not(feature = "orca"))]
    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "for load reports")]
    fn tend(&mut self, _balancer: &Balancer<Node>, _epoch: Epoch) {}

    /// Waits for a call. Streams end when none comes for as long as connections are kept idle.
    async fn until_called(&mut self, called: impl Future<Output = ()>) {
        #[cfg(feature = "orca")]
        if !self.streams.is_empty() {
            let mut called = std::pin::pin!(called);
            if tokio::time::timeout(self.idle, called.as_mut()).await.is_err() {
                self.streams.end();
                called.await;
            }
            return;
        }
        called.await;
    }
}
