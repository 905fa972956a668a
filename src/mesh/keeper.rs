//! The task that does the periodic work of a cluster, where its settings ask for some.

use std::sync::{Arc, Weak};

use super::{cluster::Node, inner::Inner};
use crate::{
    balance::Balancer,
    core::{Epoch, Instant},
};

impl Inner {
    /// Starts the task if the cluster needs one and has none.
    pub(super) fn keep(&self, balancer: &Arc<Balancer<Node>>) {
        if balancer.takes_keeper() {
            drop(self.spawn(run(Arc::downgrade(balancer), self.epoch)));
        }
    }
}

/// Until the balancer is gone.
async fn run(balancer: Weak<Balancer<Node>>, epoch: Epoch) {
    let Some(woken) = balancer.upgrade().map(|balancer| Arc::clone(&balancer.context().woken))
    else {
        return;
    };
    loop {
        let due = {
            let Some(balancer) = balancer.upgrade() else { return };
            balancer.keep(epoch.nanos(Instant::now()))
        };
        match due {
            None => woken.notified().await,
            Some(due) => {
                let until = epoch.at(due);
                drop(tokio::time::timeout_at(until, woken.notified()).await);
            }
        }
    }
}
