//! Clusters that fill themselves: a task for each whose settings leave its endpoints to
//! DNS.
//!
//! What a task finds are the endpoints of a source of its own, [`SourceId::DISCOVERY`], beside
//! those that the sources list. The task ends with the settings that ask for it.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::task::AbortHandle;

use super::{
    cluster::Cluster,
    inner::Inner,
    state::{Entry, State},
    supervise::again,
};
use crate::{
    config::{Discovery, DnsDiscovery},
    core::Instant,
    discover::{
        Change, SourceId,
        dns::{self, Ask, Inherited, Outcome, Tell},
    },
};

/// A task under way; its drop ends it.
pub(super) struct Running {
    number: u64,
    /// Whose settings ask for it.
    source: SourceId,
    settings: DnsDiscovery,
    task: AbortHandle,
}

/// Hands what a task finds to the mesh, which it holds weakly.
struct Teller {
    inner: Weak<Inner>,
    cluster: String,
    number: u64,
    source: SourceId,
    /// What was reported last, and whether it was that of a part.
    told: Option<(String, bool)>,
    used: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    /// Starts, changes or ends the discovery of a cluster, as its settings ask now.
    pub(super) fn discover(&self, state: &mut State, name: &str) {
        let Some(entry) = state.clusters.get_mut(name) else { return };
        let wanted = entry.discovery_said().and_then(|(source, discovery)| match discovery {
            // A dry run asks nobody.
            Discovery::Dns(dns) if !self.is_dry => Some((source, dns.clone())),
            _ => None,
        });
        let same = match (&entry.discovery, &wanted) {
            (None, None) => true,
            (Some(running), Some((source, dns))) => {
                running.source == *source && running.settings == *dns
            }
            _ => false,
        };
        if same {
            return;
        }
        let cell = Arc::clone(&entry.cell);
        let before = entry.discovery.take();
        // While nothing has come, whoever waits goes on to wait: for what comes now.
        let is_awaited = cell.discovered.is_awaited();
        if let Some((source, _)) = &wanted
            && (before.is_none() || is_awaited)
        {
            cell.discovered.await_first();
            self.first_is_due(*source);
        }
        if let Some(before) = &before
            && is_awaited
        {
            self.first_came(before.source);
        }
        let Some((source, settings)) = wanted else {
            entry.forget(SourceId::DISCOVERY);
            cell.discovered.clear();
            self.mended(state, &part(name));
            return;
        };
        let now = Instant::now();
        let inherited = before.filter(|_| !is_awaited).map(|_| Inherited {
            until: now.checked_add(stale_limit(&settings)).unwrap_or(now),
            of_others: true,
        });
        let ask = Arc::new(self.resolvers.get(&settings));
        self.begin(state, name, (source, settings), inherited, ask);
    }

    /// Begins to ask for the endpoints of a cluster, and does so again should that panic.
    fn begin(
        &self,
        state: &mut State,
        name: &str,
        (source, settings): (SourceId, DnsDiscovery),
        inherited: Option<Inherited>,
        ask: Arc<dyn Ask>,
    ) {
        let Some(entry) = state.clusters.get_mut(name) else { return };
        state.runs += 1;
        let number = state.runs;
        let (inner, cell) = (Weak::clone(&self.this), Arc::downgrade(&entry.cell));
        let unreachable = Arc::clone(&entry.cell.discovered.unreachable);
        let (cluster, dns) = (name.to_owned(), settings.clone());
        let random = Arc::clone(&self.random);
        let mut is_first = true;
        let task = self.spawn(again(move || {
            let (inherited, told) = if std::mem::take(&mut is_first) {
                (inherited, None)
            } else {
                (left(&inner, &cell, &dns), Some((PANICKED.to_owned(), false)))
            };
            let (inner, cluster, used) = (Weak::clone(&inner), cluster.clone(), Instant::now());
            let tell = Teller { inner, cluster, number, source, told, used };
            let (ask, random) = (Arc::clone(&ask), Arc::clone(&random));
            dns::run(dns.clone(), inherited, ask, tell, Arc::clone(&unreachable), random)
        }));
        entry.discovery = Some(Running { number, source, settings, task });
    }

    /// The first outcome of a discovery is waited for by whoever waits for all of them.
    fn first_is_due(&self, source: SourceId) {
        if source != SourceId::DNS {
            self.awaited.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// It has come, or is not waited for any more.
    fn first_came(&self, source: SourceId) {
        if source != SourceId::DNS {
            self.awaited.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn discovered(&self, teller: &mut Teller, outcome: Outcome) -> Option<Instant> {
        let mut state = self.state();
        let name = teller.cluster.as_str();
        let is_current = |entry: &&Entry| {
            entry.discovery.as_ref().is_some_and(|running| running.number == teller.number)
        };
        // One that was replaced while it spoke is not listened to.
        let cell = Arc::clone(&state.clusters.get(name).filter(is_current)?.cell);
        if self.is_closed() {
            return None;
        }
        let replaced = outcome.endpoints.is_some();
        if let Some(endpoints) = outcome.endpoints {
            let change = Change::Endpoints(name.to_owned(), endpoints);
            // A refusal is reported.
            drop(self.change(&mut state, SourceId::DISCOVERY, change));
        }
        if let Some(note) = outcome.note {
            self.note(&mut state, SourceId::DISCOVERY, "resolv.conf", note);
        }
        if outcome.is_over {
            if let Some(at) = outcome.last_good {
                cell.discovered.set_good(self.epoch.nanos(at));
            }
            let is_partial = outcome.is_partial;
            let failure = outcome.failure.map(|failure| (failure, is_partial));
            // New endpoints take a refusal back.
            if failure != teller.told || (replaced && failure.is_some() && !is_partial) {
                let has = cell.core.load().balancer.is_callable(None);
                let kept = match (is_partial, has) {
                    (true, _) => "; the rest is in force",
                    (false, true) => "; the last good answer stays",
                    (false, false) => "",
                };
                let reason = failure.as_ref().map(|(why, _)| format!("DNS: {why}{kept}"));
                match &reason {
                    None => self.mended(&mut state, &part(name)),
                    Some(reason) if is_partial => {
                        self.mended(&mut state, &part(name));
                        self.hub.doubted(&part(name), reason);
                    }
                    // Names that nobody defines are no part of the configuration.
                    Some(reason) if teller.source == SourceId::DNS => {
                        self.report(&part(name), reason);
                    }
                    Some(reason) => {
                        let (source, part) = (SourceId::DISCOVERY, part(name));
                        self.refuse(&mut state, source, &part, reason.clone());
                    }
                }
                cell.discovered.set_trouble(reason);
            }
            teller.told = failure;
        }
        if cell.discovered.came() {
            self.first_came(teller.source);
        }
        let again = (teller.source == SourceId::DNS)
            .then(|| self.still_used(&mut state, name, &mut teller.used))
            .flatten();
        drop(state);
        self.notify();
        again
    }
}

impl Tell for Teller {
    fn tell(&mut self, outcome: Outcome) -> Option<Instant> {
        let inner = self.inner.upgrade()?;
        inner.discovered(self, outcome)
    }
}

impl Drop for Teller {
    /// A task that panics must not be waited for.
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(inner) = self.inner.upgrade()
        {
            let failure = Some(PANICKED.to_owned());
            let outcome = Outcome { is_over: true, failure, ..Outcome::default() };
            inner.discovered(self, outcome);
        }
    }
}

/// The last good answer that a task has left that panicked: it is kept for as long as that task would
/// have kept it.
fn left(inner: &Weak<Inner>, cell: &Weak<Cluster>, dns: &DnsDiscovery) -> Option<Inherited> {
    let (inner, cell) = (inner.upgrade()?, cell.upgrade()?);
    let now = Instant::now();
    let age = cell.discovered.age(inner.epoch.nanos(now))?;
    let until = now.checked_add(stale_limit(dns).saturating_sub(age)).unwrap_or(now);
    Some(Inherited { until, of_others: false })
}

fn stale_limit(dns: &DnsDiscovery) -> Duration {
    dns.stale_limit.unwrap_or(dns::STALE)
}

const PANICKED: &str = "its task panicked";

/// What reports call the endpoints of a cluster.
fn part(cluster: &str) -> String {
    format!("endpoints of cluster {cluster}")
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use crate::{
        Mesh,
        config::{self, DnsDiscovery},
        core::BoxFuture,
        discover::{
            SourceId, Static,
            dns::{Answer, Ask, Question, address},
        },
    };

    use super::{Instant, Teller};

    /// A mesh whose one name nobody answers for, the number of its discovery, and whose it is.
    async fn silent() -> (Mesh, u64, SourceId) {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let dns = DnsDiscovery {
            name: "dns:///users.test.:80".into(),
            resolvers: vec![silent.local_addr().unwrap().into()],
            family: Some(config::DnsFamily::V4Only),
            ..DnsDiscovery::default()
        };
        let cluster = config::Cluster {
            discovery: Some(config::Discovery::Dns(dns)),
            ..config::Cluster::default()
        };
        let source = Static::default().cluster("users", cluster);
        let mesh = Mesh::builder().source(source).build().unwrap();
        let found = || {
            let state = mesh.inner.state();
            let running = state.clusters.get("users")?.discovery.as_ref()?;
            Some((running.number, running.source))
        };
        let (number, source) = loop {
            if let Some(found) = found() {
                break found;
            }
            tokio::task::yield_now().await;
        };
        (mesh, number, source)
    }

    /// Has an address for a second, then a bug, and then another address.
    #[derive(Clone, Default)]
    struct PanicsOnce(Arc<AtomicUsize>);

    impl Ask for PanicsOnce {
        fn names(&self, host: &str) -> BoxFuture<Vec<Arc<str>>> {
            let names = vec![host.into()];
            Box::pin(async move { names })
        }

        fn ask(&self, question: Question) -> BoxFuture<Answer> {
            let turn = self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                let last = match turn {
                    0 => 1,
                    1 => panic!("as a bug would"),
                    // It goes on to be asked, and what is there stays.
                    2 => return Answer::Nothing { exists: false, ttl: None },
                    _ => 2,
                };
                let answers = vec![address(&question.name, 1, &format!("10.0.0.{last}"))];
                Answer::Message { answers, additionals: Vec::new() }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_discovery_that_panics_begins_again_and_keeps_its_endpoints() {
        let (mesh, _, source) = silent().await;
        let asked = PanicsOnce::default();
        {
            let mut state = mesh.inner.state();
            let running = state.clusters.get_mut("users").unwrap().discovery.take();
            let settings = running.unwrap().settings.clone();
            mesh.inner.begin(
                &mut state,
                "users",
                (source, settings),
                None,
                Arc::new(asked.clone()),
            );
        }
        let endpoints = || {
            let state = mesh.inner.state();
            let specs = state.clusters.get("users").unwrap().cell.core.load().balancer.specs();
            specs.iter().map(|spec| spec.address.to_string()).collect::<Vec<_>>()
        };
        let until = async |turn, address: &str| {
            let reached = async {
                while asked.0.load(Ordering::SeqCst) < turn || endpoints() != [address] {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
            reached.unwrap_or_else(|_| panic!("{address}: {:?}, {:?}", asked.0, endpoints()));
        };
        until(1, "10.0.0.1:80").await;
        mesh.ready().await.unwrap();
        until(2, "10.0.0.1:80").await;
        let refused = mesh.ready().await.unwrap_err().to_string();
        assert!(refused.contains("its task panicked; the last good answer stays"), "{refused}");
        // Begun again it is told that there is nothing, and does not believe it.
        until(3, "10.0.0.1:80").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(endpoints(), ["10.0.0.1:80"]);
        until(4, "10.0.0.2:80").await;
        mesh.ready().await.unwrap();
    }

    #[tokio::test]
    async fn a_discovery_that_panics_is_reported_and_not_waited_for() {
        let (mesh, number, source) = silent().await;
        let teller = Teller {
            inner: Arc::downgrade(&mesh.inner),
            cluster: "users".into(),
            number,
            source,
            told: None,
            used: Instant::now(),
        };
        let task = std::thread::spawn(move || {
            let _teller = teller;
            panic!("as a bug would");
        });
        assert!(task.join().is_err());
        let ready = tokio::time::timeout(Duration::from_secs(2), mesh.ready()).await;
        let refused = ready.expect("it is not waited for").unwrap_err().to_string();
        assert!(refused.contains("its task panicked"), "{refused}");
    }
}
