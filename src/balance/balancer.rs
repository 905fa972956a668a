//! The balancer of a cluster: the published snapshot, its updater, its policy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64};

use arc_swap::ArcSwap;

use super::{
    endpoint::{Endpoint, Live, Spec, Upstream},
    flight::InFlight,
    health::{self, Phase},
    pick::{Drawn, Picked, Picker, Signal},
    set::{Diff, Index, Set},
};
use crate::{
    config::{self, Address, Health},
    core::{Epoch, Instant, Random},
};

/// Why nothing was picked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PickError {
    /// The cluster has no endpoints.
    Empty,
    /// None of them takes calls.
    Unavailable,
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// Nothing speaks against it.
    Healthy,
    /// It failed more often than not.
    Suspect,
    /// No connection could be made, and the back-off lasts.
    Unavailable,
    /// By the word of its source, or of its checks.
    Unhealthy,
    /// By the word of its source.
    Draining,
    /// Its failures have taken it out of use for a while.
    Ejected,
    /// One call is out to see whether it is well again.
    Probing,
}

impl Standing {
    /// Their names, in their order.
    pub(crate) const NAMES: [&'static str; 7] =
        ["healthy", "suspect", "unavailable", "unhealthy", "draining", "ejected", "probing"];

    fn of<X: Upstream>(endpoint: &Endpoint<X>, now: u64) -> Self {
        let Some(live) = endpoint.live() else {
            return match endpoint.spec().health() {
                Health::Draining => Self::Draining,
                Health::Unhealthy => Self::Unhealthy,
                _ => Self::Healthy,
            };
        };
        let state = &live.load.state;
        match state.phase(live.extra.link(now)) {
            Phase::Draining | Phase::Removed => Self::Draining,
            Phase::Probing => Self::Probing,
            Phase::Ejected => Self::Ejected,
            _ if state.is_doubted() || state.is_unfit() => Self::Unhealthy,
            _ if !live.extra.available(now) => Self::Unavailable,
            _ if state.is_suspect() => Self::Suspect,
            _ => Self::Healthy,
        }
    }
}

/// An endpoint, as its balancer sees it now.
pub(crate) struct Seen<'a> {
    pub(crate) address: &'a Address,
    pub(crate) standing: Standing,
    /// Of one that has been picked.
    pub(crate) in_flight: Option<u32>,
    /// Nanoseconds; 0 while nothing is known.
    pub(crate) latency: Option<f32>,
}

#[derive(Clone, Copy)]
enum Policy {
    PeakEwma,
    LeastRequest,
    RoundRobin,
    Random,
}

/// Picks among the endpoints of one cluster.
pub(crate) struct Balancer<X: Upstream> {
    members: Arc<Members<X>>,
    policy: Policy,
    /// Whose turn it is, in round robin.
    cursor: AtomicU64,
    /// 0: the policy asks for no average.
    decay: u64,
    epoch: Epoch,
}

/// The endpoints, whatever policy picks among them.
struct Members<X: Upstream> {
    set: ArcSwap<Set<X>>,
    /// Locked by updates only, never by a pick.
    updater: Mutex<Updater<X>>,
    context: X::Context,
    health: Arc<health::Health>,
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

/// What only updates touch.
struct Updater<X> {
    index: Index,
    /// Replaced sets that a pick still reads. They are kept so that it is not the pick, which
    /// would be the last to let go, that frees them.
    replaced: Vec<Arc<Set<X>>>,
}

impl<X: Upstream> Members<X> {
    /// The run-time state of an endpoint, made if it is not there.
    fn live<'a>(&self, endpoint: &'a Endpoint<X>, epoch: Epoch) -> &'a Live<X> {
        endpoint.live_or_build(&self.context, epoch, &self.health)
    }
}

impl<X: Upstream> Balancer<X> {
    pub(crate) fn new(policy: &config::Balancer, context: X::Context, epoch: Epoch) -> Self {
        let updater = Updater { index: Index::default(), replaced: Vec::new() };
        let (set, health) = (ArcSwap::from_pointee(Set::empty()), Arc::default());
        let members = Members { set, updater: updater.into(), context, health };
        Self::over(Arc::new(members), policy, epoch)
    }

    /// The same endpoints, with all that is known of them, under another policy.
    pub(crate) fn with_policy(&self, policy: &config::Balancer) -> Self {
        Self::over(Arc::clone(&self.members), policy, self.epoch)
    }

    fn over(members: Arc<Members<X>>, policy: &config::Balancer, epoch: Epoch) -> Self {
        let mut decay = 0;
        let policy = match policy {
            config::Balancer::PeakEwma { decay: time, .. } => {
                decay = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
                Policy::PeakEwma
            }
            config::Balancer::RoundRobin => Policy::RoundRobin,
            config::Balancer::Random => Policy::Random,
            // Validation refuses the others, which are not there yet.
            config::Balancer::LeastRequest
            | config::Balancer::RingHash(_)
            | config::Balancer::Maglev(_)
            | config::Balancer::ClientWeighted(_)
            | config::Balancer::Prequal(_)
            | config::Balancer::PickFirst(_)
            | config::Balancer::OverrideHost(_)
            | config::Balancer::Extension(_) => Policy::LeastRequest,
        };
        Self { members, policy, cursor: AtomicU64::new(0), decay, epoch }
    }

    /// Picks an endpoint and counts a call in flight to it.
    ///
    /// Endpoints in `tried` are picked only when there is no other.
    #[inline]
    pub(crate) fn pick(
        &self,
        now: u64,
        random: &Random,
        tried: &[Arc<Endpoint<X>>],
    ) -> Result<InFlight<X>, PickError> {
        let set = self.members.set.load();
        let picker = Picker { set: &set, now, random, tried };
        let decay = self.decay;
        let picked = match self.policy {
            Policy::LeastRequest => picker.p2c(Signal::LeastRequest),
            Policy::PeakEwma => picker.p2c(Signal::PeakEwma { decay }),
            Policy::RoundRobin => picker.round_robin(&self.cursor),
            Policy::Random => picker.random(),
        };
        let (endpoint, live) = match picked {
            Ok(picked) => picked,
            Err(drawn) => {
                let (endpoint, live) = self.ranked(&set, now, random, tried, drawn)?;
                live.load.begin(now);
                return Ok(InFlight::begun(Arc::clone(endpoint), now, decay).perhaps_probing());
            }
        };
        live.load.begin(now);
        Ok(InFlight::begun(Arc::clone(endpoint), now, decay))
    }

    /// Picks when what was drawn is not plainly good.
    #[cold]
    #[inline(never)]
    fn ranked<'a>(
        &self,
        set: &'a Set<X>,
        now: u64,
        random: &'a Random,
        tried: &'a [Arc<Endpoint<X>>],
        drawn: Option<Drawn<'a, X>>,
    ) -> Result<Picked<'a, X>, PickError> {
        let picker = Picker { set, now, random, tried };
        let drawn = drawn.ok_or(PickError::Empty)?;
        let decay = self.decay;
        let picked = match self.policy {
            Policy::LeastRequest => picker.p2c_ranked(drawn, Signal::LeastRequest),
            Policy::PeakEwma => picker.p2c_ranked(drawn, Signal::PeakEwma { decay }),
            Policy::RoundRobin => picker.round_robin_ranked(drawn.0, &self.cursor),
            Policy::Random => picker.random_ranked(drawn.0),
        };
        let endpoint = picked.ok_or(PickError::Unavailable)?;
        Ok((endpoint, self.members.live(endpoint, self.epoch)))
    }

    fn updater(&self) -> MutexGuard<'_, Updater<X>> {
        self.members.updater.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn update(
        &self,
        updater: &mut Updater<X>,
        endpoints: Vec<config::Endpoint>,
        gone: &Gone<'_>,
    ) -> Diff {
        let mut diff = Diff::default();
        let context = &self.members.context;
        let Updater { index, replaced } = updater;
        let mut set = self.members.set.load().share();
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
        for endpoint in endpoints {
            retired.extend(set.upsert(index, Spec::new(endpoint), &mut diff));
        }
        if diff != Diff::default() {
            set.weigh(index);
            let set = Arc::new(set);
            replaced.push(self.members.set.swap(Arc::clone(&set)));
            // Only now: who is told may call at once.
            for endpoint in retired.iter().take(left) {
                X::removed(endpoint.spec(), context);
            }
            // The new ones are the last.
            for place in set.len() - diff.added..set.len() {
                if let Some(endpoint) = set.get(place) {
                    X::added(endpoint.spec(), context);
                }
            }
        }
        // Only now: a pick from the old set may still have found them.
        for endpoint in retired {
            endpoint.retire();
        }
        self.settle_health();
        // A replaced set gets no new readers: what nobody else holds by now is freed here.
        replaced.retain(|set| Arc::strong_count(set) > 1);
        diff
    }

    /// What ejects endpoints from now on, if anything does.
    pub(crate) fn set_health(&self, rules: Option<health::Rules>, random: &Arc<Random>) {
        let _updater = self.updater();
        self.members.health.set(rules, random);
        self.settle_health();
    }

    /// Notes who is there by now, for what may be ejected.
    fn settle_health(&self) {
        let Members { set, health, .. } = &*self.members;
        if !health.is_on() && health.is_quiet() {
            return;
        }
        let set = set.load();
        let callable = |endpoint: &Endpoint<X>| {
            !matches!(endpoint.spec().health(), Health::Draining | Health::Unhealthy)
        };
        let members =
            || set.iter().filter_map(|endpoint| Some((endpoint.live()?, callable(endpoint))));
        if health.is_on() {
            for (live, _) in members() {
                live.watched(health);
            }
        }
        let unready = set.iter().filter(|endpoint| !callable(endpoint)).count();
        let now = self.epoch.nanos(Instant::now());
        health.settle(now, members, set.len(), unready);
    }

    /// What is due at times; when it is due again. `None` until a call makes something due, of
    /// which [`Balancer::woken`] tells.
    pub(crate) fn keep(&self, now: u64) -> Option<u64> {
        let Members { set, health, .. } = &*self.members;
        let set = set.load();
        health.keep(now, set.iter().filter_map(|endpoint| endpoint.live()))
    }

    /// Ends when a call has made something due.
    pub(crate) fn woken(&self) -> impl Future<Output = ()> + Send + use<X> {
        let health = Arc::clone(&self.members.health);
        async move { health.wake.notified().await }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.members.set.load().len()
    }

    /// Whether any endpoint may be called at all.
    pub(crate) fn is_callable(&self) -> bool {
        let set = self.members.set.load();
        set.iter().any(|endpoint| endpoint.spec().health() != Health::Draining)
    }

    /// Whether there is an endpoint that is none of these, and may be called.
    pub(crate) fn has_other(&self, than: &[&Endpoint<X>]) -> bool {
        let set = self.members.set.load();
        set.iter().any(|known| {
            known.spec().health() != Health::Draining && !than.iter().any(|met| met.is(known))
        })
    }

    /// The index and the set agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.updater().index.check(&self.members.set.load());
    }

    /// The set, as a pick reads it.
    #[cfg(test)]
    pub(super) fn read(&self) -> arc_swap::Guard<Arc<Set<X>>> {
        self.members.set.load()
    }

    /// What the sources have said, as they said it.
    pub(crate) fn specs(&self) -> Vec<config::Endpoint> {
        self.members.set.load().iter().map(|endpoint| endpoint.spec().config()).collect()
    }

    /// Tells how each endpoint is doing.
    pub(crate) fn census(&self, now: u64, mut tell: impl FnMut(Seen<'_>)) {
        let set = self.members.set.load();
        for endpoint in set.iter() {
            let (spec, live) = (endpoint.spec(), endpoint.live());
            let standing = Standing::of(endpoint, now);
            tell(Seen {
                address: spec.address(),
                standing,
                in_flight: live.map(|live| live.load.in_flight()),
                latency: live.map(|live| live.load.latency_at(now, self.decay)),
            });
        }
    }

    /// One line per endpoint.
    pub(crate) fn report(&self, now: u64) -> Vec<String> {
        let set = self.members.set.load();
        set.iter()
            .map(|endpoint| {
                let spec = endpoint.spec();
                let Some(live) = endpoint.live() else {
                    return format!("{} weight {}, not called yet", spec.address(), spec.weight());
                };
                let latency = live.load.latency_at(now, self.decay) / 1e6;
                let state = live.told(now);
                format!(
                    "{} weight {}, {} in flight, {latency:.2} ms, success {:.0} %, {state}",
                    spec.address(),
                    spec.weight(),
                    live.load.in_flight(),
                    live.load.success_ratio() * 100.0,
                )
            })
            .collect()
    }
}
