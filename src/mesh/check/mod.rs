//! Active checks of a cluster's endpoints: one task per cluster that asks for them, and none for
//! others.
//!
//! The task knows when each endpoint is due (`balance/health/check.rs` decides that), probes it
//! over connections of its own, which are made and secured as the endpoint's, and tells the
//! balancer what came of it. Probes are no attempts: they are in no metric of calls, and load
//! nothing in the balancer's eyes.

#[cfg(feature = "grpc-health")]
mod grpc;
mod http;
mod probe;
mod tcp;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::pin,
    sync::{Arc, Weak},
    task::Poll,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::Notify, task::AbortHandle};

use self::probe::{Answer, Prober};
use super::{cluster::Node, inner::Inner};
use crate::{
    balance::{
        Balancer, Endpoint,
        health::{
            Checked,
            check::{Check, Found, Rules},
        },
    },
    config::{Address, HealthCheck},
    core::{BoxFuture, Epoch, Instant, Random},
    observe::ClusterMeter,
};

/// A task under way; its drop ends it.
pub(crate) struct Checking(AbortHandle);

impl Drop for Checking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    /// Starts the checks that the cluster asks for.
    pub(super) fn check(
        &self,
        balancer: &Arc<Balancer<Node>>,
        checks: &[HealthCheck],
    ) -> Option<Arc<Checking>> {
        if checks.is_empty() || self.is_dry {
            balancer.forget_checks(self.epoch.nanos(Instant::now()));
            return None;
        }
        let context = balancer.context();
        let task = Task {
            balancer: Arc::downgrade(balancer),
            changed: Arc::clone(&context.members),
            meter: Arc::clone(&context.meter),
            random: Arc::clone(&self.random),
            epoch: self.epoch,
            kinds: checks.iter().map(Kind::new).collect(),
            checked: HashMap::new(),
            due: BTreeSet::new(),
            called: false,
            by: balancer.begin_checks(),
        };
        Some(Arc::new(Checking(self.spawn(task.run()))))
    }
}

struct Task {
    balancer: Weak<Balancer<Node>>,
    /// Notified when an endpoint has come or gone, or the balancer is gone.
    changed: Arc<Notify>,
    meter: Arc<ClusterMeter>,
    random: Arc<Random>,
    epoch: Epoch,
    /// What each endpoint must pass, all of it.
    kinds: Vec<Kind>,
    checked: HashMap<Address, Entry>,
    due: BTreeSet<(Instant, u64)>,
    /// The cluster was called at least once.
    called: bool,
    /// Its number: of a task that was replaced, nothing is listened to any more.
    by: u64,
}

/// One of the checks that a cluster asks for.
struct Kind {
    rules: Rules,
    config: Arc<HealthCheck>,
}

impl Kind {
    fn new(config: &HealthCheck) -> Self {
        Self { rules: Rules::new(config), config: Arc::new(config.clone()) }
    }
}

/// An endpoint that is checked.
struct Entry {
    endpoint: Arc<Endpoint<Node>>,
    /// One of each kind.
    checks: Vec<OneCheck>,
}

/// One check of an endpoint.
struct OneCheck {
    number: u64,
    check: Check,
    prober: Arc<Prober>,
}

impl Entry {
    /// What all of its checks together say.
    fn checked(&self) -> Checked {
        let known = || self.checks.iter().filter(|it| it.check.is_known());
        if known().any(|it| !it.check.is_healthy()) {
            Checked::Unfit
        } else if known().count() < self.checks.len() {
            Checked::Not
        } else {
            Checked::Fit
        }
    }

    fn close(&self) {
        self.checks.iter().for_each(|it| it.prober.close());
    }
}

/// Whose checks have these numbers: the endpoint, and which of its checks it is.
type Numbers = BTreeMap<u64, (Address, usize)>;
/// A probe that is over, of the check of this number.
type Probed = (u64, Answer);

impl Task {
    /// Until the balancer is gone.
    async fn run(mut self) {
        let mut running = FuturesUnordered::<BoxFuture<Probed>>::new();
        let mut numbers = Numbers::new();
        let mut last = 0;
        let changed = Arc::clone(&self.changed);
        let mut look = true;
        loop {
            if look {
                let Some(balancer) = self.balancer.upgrade() else { return };
                self.reconcile(&balancer, &mut numbers, &mut last);
                look = false;
            }
            let now = Instant::now();
            while let Some((at, number)) = self.due.first().copied()
                && at <= now
            {
                self.due.remove(&(at, number));
                let Some((address, which)) = numbers.get(&number) else { continue };
                let Some(entry) = self.checked.get(address) else { continue };
                if let (Some(check), Some(kind)) =
                    (entry.checks.get(*which), self.kinds.get(*which))
                {
                    let prober = Arc::clone(&check.prober);
                    if let Some(node) = entry.endpoint.extra() {
                        // Its source may have said others since.
                        prober.moved(node.pool.more_addresses());
                    }
                    let timeout = std::time::Duration::from_nanos(kind.rules.timeout);
                    running.push(Box::pin(async move { (number, prober.probe(timeout).await) }));
                }
            }
            let next = self.due.first().map(|(at, _)| *at);
            match happening(&mut running, next, &changed).await {
                Happening::Probed(probed) => {
                    let Some(balancer) = self.balancer.upgrade() else { return };
                    self.answered(&balancer, &numbers, &probed);
                }
                Happening::Changed => look = true,
                Happening::Due => {}
            }
        }
    }

    /// Begins with endpoints that have come, and forgets those that are gone.
    fn reconcile(&mut self, balancer: &Arc<Balancer<Node>>, numbers: &mut Numbers, last: &mut u64) {
        let now = Instant::now();
        let nanos = self.epoch.nanos(now);
        let (mut gone, mut new) = (std::mem::take(&mut self.checked), Vec::new());
        for endpoint in balancer.endpoints() {
            let address = endpoint.spec().address().clone();
            let same = gone.get(&address).is_some_and(|entry| entry.endpoint.is(&endpoint));
            if same && let Some(entry) = gone.remove(&address) {
                self.checked.insert(address, Entry { endpoint, ..entry });
                continue;
            }
            let mut checks = Vec::with_capacity(self.kinds.len());
            for (which, kind) in self.kinds.iter().enumerate() {
                *last += 1;
                let prober = Prober::new(&kind.config, balancer.context(), endpoint.spec());
                let (check, prober) = (Check::default(), Arc::new(prober));
                checks.push(OneCheck { number: *last, check, prober });
                self.due.insert((later(now, kind.rules.first(&self.random)), *last));
                numbers.insert(*last, (address.clone(), which));
            }
            new.push(Arc::clone(&endpoint));
            self.checked.insert(address, Entry { endpoint, checks });
        }
        let new = new.iter().map(|endpoint| (endpoint, Checked::Not));
        balancer.set_checked(self.by, new, nanos);
        for entry in gone.into_values() {
            for check in &entry.checks {
                numbers.remove(&check.number);
            }
            entry.close();
        }
        self.due.retain(|(_, number)| numbers.contains_key(number));
    }

    /// Probes are over: the balancer hears of all of them at once, and before anybody else does.
    fn answered(&mut self, balancer: &Balancer<Node>, numbers: &Numbers, probed: &[Probed]) {
        let now = Instant::now();
        let mut news = Vec::new();
        let mut over = Vec::with_capacity(probed.len());
        for (number, answer) in probed {
            let Some((address, which)) = numbers.get(number) else { continue };
            let Some(entry) = self.checked.get_mut(address) else { continue };
            let Some(kind) = self.kinds.get(*which) else { continue };
            let Some(one) = entry.checks.get_mut(*which) else { continue };
            let is_news = one.check.found(&kind.rules, answer.found);
            let check = one.check;
            let checked = entry.checked();
            let is_healthy = checked == Checked::Fit;
            // A check that passes is told each time: it may end an ejection.
            if is_news || (answer.found == Found::Well && is_healthy) {
                news.push((Arc::clone(&entry.endpoint), checked));
            }
            over.push((*number, &kind.rules, check, address, answer, is_healthy));
        }
        let news = news.iter().map(|(endpoint, checked)| (endpoint, *checked));
        balancer.set_checked(self.by, news, self.epoch.nanos(now));
        self.called = self.called || balancer.was_called();
        for (number, rules, check, address, answer, is_healthy) in over {
            let name: Arc<str> = address.to_string().into();
            if answer.found == Found::Well {
                self.meter.check_passed(&name, is_healthy);
            } else {
                self.meter.check_failed(&name, &answer.cause, is_healthy);
            }
            let wait = check.next(rules, self.called, &self.random);
            self.due.insert((later(now, wait), number));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.checked.values().for_each(Entry::close);
    }
}

/// What the task is woken by.
enum Happening {
    /// All that are over by now.
    Probed(Vec<Probed>),
    Changed,
    Due,
}

async fn happening(
    running: &mut FuturesUnordered<BoxFuture<Probed>>,
    next: Option<Instant>,
    changed: &Notify,
) -> Happening {
    let mut changed = pin!(changed.notified());
    let mut due = pin!(async {
        match next {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    });
    std::future::poll_fn(|cx| {
        let mut over = Vec::new();
        while let Poll::Ready(Some(probed)) = running.poll_next_unpin(cx) {
            over.push(probed);
        }
        if !over.is_empty() {
            return Poll::Ready(Happening::Probed(over));
        }
        if changed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Happening::Changed);
        }
        due.as_mut().poll(cx).map(|()| Happening::Due)
    })
    .await
}

fn later(now: Instant, nanos: u64) -> Instant {
    now.checked_add(std::time::Duration::from_nanos(nanos)).unwrap_or(now)
}
