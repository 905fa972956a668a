//! How the endpoints and the policy of a cluster change: off the path of a call.

use std::sync::{
    Arc, MutexGuard, PoisonError,
    atomic::{Ordering::SeqCst, fence},
};

use super::{
    balancer::Balancer,
    endpoint::{Environment, Spec, Upstream},
    health::Rules,
    set::{Diff, Index},
    view::View,
};
use crate::{
    config::{self, Address},
    core::Instant,
};

/// What only updates touch.
pub(super) struct Updater<X> {
    index: Index,
    /// Replaced views that a pick still reads. They are kept so that it is not the pick, which
    /// would be the last to let go, that frees them.
    replaced: Vec<Arc<View<X>>>,
}

/// Which endpoints an update takes out.
enum Gone<'a> {
    Named(&'a [Address]),
    /// Those at the places without a mark, and how many they are.
    Unmarked {
        marks: &'a [bool],
        count: usize,
    },
}

impl<X> Default for Updater<X> {
    fn default() -> Self {
        Self { index: Index::default(), replaced: Vec::new() }
    }
}

impl<X> Updater<X> {
    /// A replaced view gets no new readers: what nobody else holds by now is freed here.
    fn keep(&mut self, replaced: Arc<View<X>>) {
        self.replaced.push(replaced);
        self.sweep();
    }

    fn sweep(&mut self) {
        self.replaced.retain(|view| Arc::strong_count(view) > 1);
    }

    /// The index and the set agree.
    #[cfg(test)]
    pub(super) fn check(&self, view: &View<X>) {
        self.index.check(&view.all.set);
    }
}

impl<X: Upstream> Balancer<X> {
    pub(super) fn updater(&self) -> MutexGuard<'_, Updater<X>> {
        self.updater.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same endpoints, with all that is known of them, under other settings.
    pub(crate) fn settle(&self, cluster: &config::Cluster) {
        let mut updater = self.updater();
        let view = self.view.load_full();
        let placing = Arc::new(view.placing(cluster, &self.context));
        let now = self.epoch.nanos(Instant::now());
        let policy = view.policy(cluster, &self.context);
        // Before the view, which says of its calls whether their outcomes are watched.
        let rules = cluster.outlier_detection.as_ref().map(Rules::new);
        self.health.set(rules, &self.context.random());
        let next = view.under(policy, placing, view.all.set.share(), &self.context, now);
        drop(view);
        self.bias.set(cluster.balancer.as_ref());
        #[cfg(feature = "orca")]
        self.keeper.settle(&next.policy);
        updater.keep(self.publish(&Arc::new(next)));
        self.health.set_ramps(self.view.load().ramps());
        // Beside that of `Balancer::made`: who makes a state meanwhile sees the settings, or it is seen.
        fence(SeqCst);
        self.settle_health();
        // Only now: a pick that still makes an endpoint's state under the old policy looks again.
        self.reconnect();
    }

    /// The same endpoints under the same settings, in the places that they have by now.
    pub(super) fn remake(&self, now: u64) {
        let mut updater = self.updater();
        let view = self.view.load_full();
        let next = view.of(view.all.set.share(), &self.context, now);
        drop(view);
        updater.keep(self.publish(&Arc::new(next)));
    }

    /// Replaces the whole set; state survives by address.
    pub(crate) fn replace(&self, endpoints: Vec<config::Endpoint>) -> Diff {
        let mut updater = self.updater();
        let named = endpoints.iter().map(|endpoint| &endpoint.address);
        let (named, gone) = updater.index.mark(named);
        self.update(&mut updater, endpoints, &Gone::Unmarked { marks: &named, count: gone })
    }

    /// Adds endpoints, or changes those of the same address.
    pub(crate) fn upsert(&self, endpoints: Vec<config::Endpoint>) -> Diff {
        self.update(&mut self.updater(), endpoints, &Gone::Named(&[]))
    }

    pub(crate) fn remove(&self, addresses: &[Address]) -> Diff {
        self.update(&mut self.updater(), Vec::new(), &Gone::Named(addresses))
    }

    /// Takes these out, and adds or changes those, in one step.
    pub(crate) fn patch(&self, endpoints: Vec<config::Endpoint>, gone: &[Address]) -> Diff {
        self.update(&mut self.updater(), endpoints, &Gone::Named(gone))
    }

    /// Notes who is there by now, for how many of them may be ejected.
    fn settle_health(&self) {
        let health = &self.health;
        if !health.is_on() && health.is_quiet() {
            return;
        }
        let view = self.view.load_full();
        let set = &view.all.set;
        if health.is_on() {
            for live in set.iter().filter_map(|endpoint| endpoint.live()) {
                live.watched(health);
            }
        }
        health.set_members(set.len());
        self.level(&view, self.epoch.nanos(Instant::now()));
    }

    fn update(
        &self,
        updater: &mut Updater<X>,
        endpoints: Vec<config::Endpoint>,
        gone: &Gone<'_>,
    ) -> Diff {
        let mut diff = Diff::default();
        let before = self.view.load_full();
        let index = &mut updater.index;
        index.begin(matches!(gone, Gone::Unmarked { .. }));
        let mut set = before.all.set.share();
        let mut retired: Vec<_> = match *gone {
            Gone::Named(addresses) => addresses
                .iter()
                .filter_map(|address| set.remove(index, address, &mut diff))
                .collect(),
            // Of many it is cheaper to keep the others.
            Gone::Unmarked { marks, count } if count > marks.len() / 2 => {
                set.retain(index, marks, &mut diff)
            }
            // The last ones first: no hole is filled with an endpoint that leaves, too.
            Gone::Unmarked { marks, count } => {
                let mut gone = Vec::with_capacity(count);
                for (place, _) in marks.iter().enumerate().rev().filter(|(_, named)| !**named) {
                    let address = set.get(place).map(|endpoint| endpoint.spec().address().clone());
                    gone.extend(address.and_then(|address| set.remove(index, &address, &mut diff)));
                }
                gone
            }
        };
        let left = retired.len();
        // The first ones have nothing to be new beside.
        let now = self.epoch.nanos(Instant::now());
        let joined = if set.len() == 0 { 0 } else { now };
        for endpoint in endpoints {
            retired.extend(set.upsert(index, Spec::new(endpoint), joined, &mut diff));
        }
        // The same in another order is another list to those who go by it.
        let (marked, new) = (index.take_marked(), index.take_new());
        let is_moved = index.is_moved() && before.policy.first().is_some();
        if diff != Diff::default() || is_moved {
            set.weigh(index);
            let awaited = self.await_checks(&set);
            let view = Arc::new(before.of_changed(set, &new, &self.context, now));
            drop(before);
            updater.keep(self.publish(&view));
            self.checked_meanwhile(awaited, &view, now);
            let (set, context) = (&view.all.set, &self.context);
            if view.placing.close_on_change {
                set.iter().filter_map(|it| it.extra()).for_each(Upstream::renew);
            }
            // Only now: who is told may call at once.
            for endpoint in retired.iter().take(left) {
                context.removed(endpoint.spec());
            }
            // The new ones are the last.
            for place in set.len() - diff.added..set.len() {
                if let Some(endpoint) = set.get(place) {
                    context.added(endpoint.spec());
                }
            }
            for endpoint in marked.into_iter().filter_map(|place| set.get(place)) {
                context.marked(endpoint.spec());
            }
        }
        // Only now: a pick from the old set may still have found them.
        for endpoint in retired {
            endpoint.retire();
        }
        if diff != Diff::default() {
            self.settle_health();
        }
        updater.sweep();
        diff
    }
}
