//! Clusters that fill themselves: a task for each whose settings leave its endpoints to
//! DNS.
//!
//! What a task finds are the endpoints of a source of its own, [`SourceId::DISCOVERY`], beside
//! those that the sources list. The task ends with the settings that ask for it.

use std::sync::{Arc, Weak, atomic::Ordering};

use tokio::task::AbortHandle;

use super::{
    inner::Inner,
    state::{Entry, State},
};
use crate::{
    config::{Discovery, DnsDiscovery},
    core::Instant,
    discover::{
        Change, SourceId,
        dns::{self, Outcome, Tell},
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
        if let Some(before) = &before
            && cell.discovered.came()
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
        let stale = settings.stale_limit.unwrap_or(dns::STALE);
        let inherited = before.map(|_| now.checked_add(stale).unwrap_or(now));
        if inherited.is_none() {
            cell.discovered.await_first();
            if source != SourceId::DNS {
                self.awaited.fetch_add(1, Ordering::AcqRel);
            }
        }
        state.runs += 1;
        let number = state.runs;
        let (inner, cluster) = (Weak::clone(&self.this), name.to_owned());
        let tell = Teller { inner, cluster, number, source, told: None, used: now };
        let ask = Arc::new(self.resolvers.get(&settings));
        let unreachable = Arc::clone(&cell.discovered.unreachable);
        let random = Arc::clone(&self.random);
        let task =
            self.spawn(dns::run(settings.clone(), inherited, ask, tell, unreachable, random));
        if let Some(entry) = state.clusters.get_mut(name) {
            entry.discovery = Some(Running { number, source, settings, task });
        }
    }

    /// The first outcome of a discovery, for whoever waits for all of them.
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
            let failure = Some("its task panicked".to_owned());
            let outcome = Outcome { is_over: true, failure, ..Outcome::default() };
            inner.discovered(self, outcome);
        }
    }
}

/// What reports call the endpoints of a cluster.
fn part(cluster: &str) -> String {
    format!("endpoints of cluster {cluster}")
}

#[cfg(test)]
mod tests {
    use crate::{Mesh, config, discover::Static};

    use super::{Instant, Teller};

    #[tokio::test]
    async fn a_discovery_that_panics_is_reported_and_not_waited_for() {
        // It never answers.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let dns = config::DnsDiscovery {
            name: "dns:///users.test:80".into(),
            resolvers: vec![silent.local_addr().unwrap().into()],
            ..config::DnsDiscovery::default()
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
        let teller = Teller {
            inner: std::sync::Arc::downgrade(&mesh.inner),
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
        let ready = tokio::time::timeout(std::time::Duration::from_secs(2), mesh.ready()).await;
        let refused = ready.expect("it is not waited for").unwrap_err().to_string();
        assert!(refused.contains("its task panicked"), "{refused}");
    }
}
