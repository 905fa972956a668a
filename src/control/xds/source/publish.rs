//! From what the graph wants done to what the mesh is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    apart::{apart, in_service},
    laid::Laid,
};
use crate::{
    config::{self, ConfigErrors, IdentityFiles},
    control::xds::{
        bootstrap::Bootstrap,
        client::Trouble,
        graph::{Do, Id, Lack, Service, Why},
        kind::Kind,
        resource::{Cluster, Endpoints, Listener, VirtualHost},
    },
    discover::Publisher,
};

/// What the mesh calls the files of a certificate provider: another name than that of other sources,
/// and of other files that another control plane calls the same.
pub(super) fn identity(instance: &str, files: &IdentityFiles) -> String {
    let hash = twox_hash::XxHash64::oneshot(0, format!("{files:?}").as_bytes());
    format!("xds.{instance}.{hash:016x}")
}

/// The files of certificate providers, by what the mesh calls them.
pub(in super::super) fn identities(
    providers: &BTreeMap<String, IdentityFiles>,
) -> BTreeMap<String, IdentityFiles> {
    providers.iter().map(|(it, files)| (identity(it, files), files.clone())).collect()
}

pub(super) struct Publish {
    publisher: Publisher,
    /// The clusters that name files of their own, and the names of these.
    files: BTreeMap<Arc<str>, BTreeSet<String>>,
    /// The one spelling of each cluster's name: to the mesh, case counts for nothing.
    spelled: BTreeMap<String, Arc<str>>,
    /// What was to be published last of clusters whose name another one has, by the common spelling: its
    /// turn comes when that goes.
    waiting: BTreeMap<String, BTreeMap<Arc<str>, Do>>,
    /// What was published of those that lead to one of them: services, and clusters of clusters.
    lead_apart: BTreeMap<(Led, Arc<str>), Do>,
    /// What is reported of resources whose last good state is in use.
    ambient: BTreeMap<Id, String>,
    /// Of which resources it is told what of them is not done.
    noted: BTreeSet<Id>,
    /// What a cluster is that says nothing of how it is secured.
    silent: Silent,
    /// What each cluster was made of that is in use, for the next to be compared with.
    laid: BTreeMap<Arc<str>, Laid>,
}

/// What may lead to a cluster.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Led {
    Cluster,
    Service,
}

/// What becomes of a cluster of which the control plane says nothing of how its connections are
/// secured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Silent {
    /// It is meant to be plaintext.
    Plaintext,
    /// The control plane leaves TLS modes out: it is not used.
    Refused,
    /// The same, and the application says that plaintext is meant: it is told of.
    Told,
}

/// What reports call a service: as the mesh does, without case.
fn of_service(name: &str) -> String {
    format!("service {}", name.to_ascii_lowercase())
}

/// Why a cluster is refused of which its control plane says nothing of TLS, though it may have been told
/// to.
const SILENT: &str = "whether its connections are plaintext or not is not told: to clients of gRPC istiod leaves \
     the TLS modes SIMPLE and MUTUAL out. Say how it is secured in the code (`tls` or `plaintext` of the service of the cluster's \
     name), ask as a sidecar does (`Dialect::Sidecar`), or say that plaintext is meant (`Xds::plaintext`)";
/// What is told of one that is plaintext all the same.
const PLAINTEXT: &str = "its connections are plaintext, as the application says by `Xds::plaintext`: to clients of \
     gRPC istiod leaves the TLS modes SIMPLE and MUTUAL out, and this may have had one";

// === impl Silent ===

impl Silent {
    /// Of the control plane of this bootstrap, where the application says whether plaintext is meant.
    pub(super) fn of(bootstrap: &Bootstrap, is_meant: bool) -> Self {
        match (bootstrap.drops_tls_modes(), is_meant) {
            (false, _) => Self::Plaintext,
            (true, false) => Self::Refused,
            (true, true) => Self::Told,
        }
    }
}

// === impl Publish ===

impl Publish {
    pub(super) fn new(publisher: Publisher, silent: Silent) -> Self {
        let (files, spelled, waiting, ambient, noted, laid) = Default::default();
        let lead_apart = BTreeMap::new();
        Self { publisher, files, spelled, waiting, lead_apart, ambient, noted, silent, laid }
    }

    /// What of the bootstrap is not done.
    pub(super) fn bootstrap(&self, source: &str, notes: &[String]) {
        self.publisher.noted(format!("bootstrap of {source}"), notes.join("; "));
    }

    /// What a resource says and nothing here does; nothing: it is over.
    pub(super) fn noted(&mut self, kind: Kind, name: &Arc<str>, notes: &[String]) {
        let id = (kind, Arc::clone(name));
        let is_told = if notes.is_empty() { self.noted.remove(&id) } else { true };
        if is_told {
            self.publisher.noted(part(kind, name), notes.join("; "));
        }
        if !notes.is_empty() {
            self.noted.insert(id);
        }
    }

    /// Whether a cluster may be used by what is known of its security.
    fn may_be_used(&self, cluster: &Cluster) -> bool {
        let is_meant = self.silent == Silent::Plaintext
            || !cluster.is_silent_on_tls
            || self.publisher.secured_by_code(&cluster.name);
        self.tell_security(&cluster.name, if is_meant { "" } else { PLAINTEXT });
        is_meant || self.silent == Silent::Told
    }

    /// That a cluster is plaintext; nothing: it is over.
    fn tell_security(&self, cluster: &str, note: &str) {
        if self.silent == Silent::Told {
            let part = format!("security of cluster {}", cluster.to_ascii_lowercase());
            self.publisher.noted(part, note);
        }
    }

    /// The files of the bootstrap's certificate providers.
    pub(super) fn identities(&self, providers: &BTreeMap<String, IdentityFiles>) {
        for (instance, files) in providers {
            // What is wrong with it is reported by its name.
            drop(self.publisher.identity(&identity(instance, files), files.clone()));
        }
    }

    /// # Errors
    ///
    /// What the mesh refuses of it: what was there before stays.
    pub(super) fn publish(&mut self, wanted: Do) -> Result<(), String> {
        let cluster = match &wanted {
            Do::Cluster { cluster, .. } => Some((Arc::clone(&cluster.name), false)),
            Do::NoCluster { name, .. } => Some((Arc::clone(name), false)),
            Do::RemoveCluster(name) => Some((Arc::clone(name), true)),
            _ => None,
        };
        let Some((name, is_over)) = cluster else { return self.publish_one(wanted) };
        if !self.spells(&name, is_over) {
            self.waits(&name, wanted, is_over);
            return Ok(());
        }
        let published = self.publish_one(wanted);
        if is_over {
            self.next_of(&name);
        }
        published
    }

    fn publish_one(&mut self, wanted: Do) -> Result<(), String> {
        self.leads(&wanted);
        let publisher = &self.publisher;
        match wanted {
            Do::Watch(_) | Do::Unwatch(_) => {}
            Do::Cluster { cluster, .. } if !self.may_be_used(&cluster) => {
                let name = cluster.name.to_ascii_lowercase();
                self.laid.remove(&cluster.name);
                self.publisher.refused(format!("cluster {name}"), SILENT);
                return Err(SILENT.to_owned());
            }
            Do::Cluster { cluster, endpoints, instead_of } => {
                if cluster.secrets.is_some() {
                    // What is said of it with its secrets alone.
                    self.noted(Kind::Cluster, &cluster.name, &cluster.notes);
                }
                let published = self.cluster(&cluster, endpoints);
                if let Some(reason) = instead_of {
                    // It is in use, and not what was asked for.
                    self.laid.remove(&cluster.name);
                    let part = format!("cluster {}", cluster.name.to_ascii_lowercase());
                    self.publisher.refused(part, format!("{reason}; the last good one stays"));
                }
                published.map_err(|errors| errors.to_string())?;
            }
            Do::NoCluster { name, lack } => {
                self.tell_security(&name, "");
                publisher.withdraw_cluster(&name, &*lack.reason);
                self.laid.remove(&name);
                self.forget_files(&name);
            }
            Do::RemoveCluster(name) => {
                publisher.remove_cluster(&name);
                self.tell_security(&name, "");
                self.laid.remove(&name);
                self.forget_files(&name);
            }
            Do::Service { name, target: Service { listener, routes, authority, .. } } => {
                if let Some(host) = listener.host(&routes, &authority) {
                    if let Some(reason) = listener.lacks(host) {
                        publisher.refused(of_service(&name), &*reason);
                        return Err(reason);
                    }
                    let left_out = listener.left_out(host).join("; ");
                    publisher.noted(of_service(&name), left_out);
                    let published = publisher.service(&name, self.service(&listener, host));
                    published.map_err(|errors| errors.to_string())?;
                }
            }
            Do::NoService { name, lack: Lack { reason, why } } => {
                publisher.noted(of_service(&name), "");
                match why {
                    Why::Absent => publisher.unknown(&name, &*reason),
                    Why::Away => publisher.unavailable(&name, &*reason),
                    Why::Denied => publisher.denied(&name, &*reason),
                    Why::Refused => publisher.withdraw_service(&name, &*reason),
                }
            }
            Do::RemoveService(name) => {
                publisher.remove_service(&name);
                publisher.noted(of_service(&name), "");
            }
        }
        Ok(())
    }

    fn cluster(
        &mut self,
        cluster: &Arc<Cluster>,
        endpoints: Option<Result<Arc<Endpoints>, Lack>>,
    ) -> Result<(), ConfigErrors> {
        let before = self.name_files(cluster);
        let part = of_endpoints(&cluster.name);
        let laid = self.laid.remove(&cluster.name);
        let published = match &endpoints {
            Some(Ok(endpoints)) => self.lay(laid.as_ref(), cluster, endpoints),
            _ => {
                let mut config = cluster.alone();
                for name in config.failover.iter_mut().flat_map(|it| &mut it.clusters) {
                    if let Some(apart) = self.called(name) {
                        *name = apart;
                    }
                }
                self.publisher.cluster(&cluster.name, config)
            }
        };
        match endpoints {
            None | Some(Ok(_)) => self.publisher.accepted(part),
            // It has none, and says why.
            Some(Err(lack)) => self.publisher.refused(part, &*lack.reason),
        }
        // What it was secured by until now may be in use until now, or still.
        match published {
            Ok(()) => self.drop_files(before),
            Err(_) => {
                let kept = self.files.entry(Arc::clone(&cluster.name)).or_default();
                kept.extend(before.into_iter().flatten());
            }
        }
        published
    }

    /// A cluster with endpoints: those that differ, where no more than that does.
    fn lay(
        &mut self,
        before: Option<&Laid>,
        cluster: &Arc<Cluster>,
        endpoints: &Arc<Endpoints>,
    ) -> Result<(), ConfigErrors> {
        let now = Laid { cluster: Arc::clone(cluster), endpoints: Arc::clone(endpoints) };
        match before.and_then(|before| before.patch(&now)) {
            Some(patch) => self.publisher.patch(&cluster.name, patch)?,
            None => self.publisher.cluster(&cluster.name, cluster.with(endpoints))?,
        }
        self.laid.insert(Arc::clone(&cluster.name), now);
        Ok(())
    }

    /// Whether a cluster is called as the others of this name: one that differs from another in case only
    /// would take its place.
    fn spells(&mut self, name: &Arc<str>, is_over: bool) -> bool {
        let lower = name.to_ascii_lowercase();
        let part = part(Kind::Cluster, name);
        match self.spelled.get(&lower) {
            Some(other) if other != name => {
                if is_over {
                    self.publisher.accepted(part);
                    self.publisher.remove_cluster(&apart(name));
                } else {
                    let why = format!("its name differs from that of `{other}` in case only");
                    self.publisher.withdraw_cluster(&apart(name), format!("{part}: {why}"));
                    self.publisher.refused(part, why);
                }
                return false;
            }
            Some(_) if is_over => drop(self.spelled.remove(&lower)),
            Some(_) => {}
            // It was refused for one that has gone since.
            None if is_over => self.publisher.accepted(part),
            None => drop(self.spelled.insert(lower, Arc::clone(name))),
        }
        true
    }

    /// A cluster whose name another one has waits for that to go.
    fn waits(&mut self, name: &Arc<str>, wanted: Do, is_over: bool) {
        let lower = name.to_ascii_lowercase();
        let waiting = self.waiting.entry(lower).or_default();
        if is_over {
            waiting.remove(name);
        } else {
            waiting.insert(Arc::clone(name), wanted);
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
    }

    /// A name is free again: the first one that waits for it has its turn.
    fn next_of(&mut self, name: &Arc<str>) {
        let lower = name.to_ascii_lowercase();
        let Some(waiting) = self.waiting.get_mut(&lower) else { return };
        let Some((next, wanted)) = waiting.pop_first() else { return };
        if waiting.is_empty() {
            self.waiting.remove(&lower);
        }
        self.publisher.accepted(part(Kind::Cluster, &next));
        self.spelled.insert(lower, Arc::clone(&next));
        // What is wrong with it is reported by its name.
        drop(self.publish_one(wanted));
        // Those that led to nobody lead to it now.
        for led in std::mem::take(&mut self.lead_apart).into_values() {
            drop(self.publish_one(led));
        }
        self.publisher.remove_cluster(&apart(&next));
    }

    /// What the mesh calls a cluster, if another one has its name.
    fn called(&self, name: &str) -> Option<String> {
        let other = self.spelled.get(&name.to_ascii_lowercase())?;
        (**other != *name).then(|| apart(name))
    }

    fn service(&self, listener: &Listener, host: &VirtualHost) -> config::Service {
        let mut service = listener.service(host);
        if !self.waiting.is_empty() {
            in_service(&mut service, &|name| self.called(name));
        }
        service
    }

    /// Keeps what leads to a cluster whose name another one has, for when that goes.
    fn leads(&mut self, wanted: &Do) {
        let (id, is_apart) = match wanted {
            Do::Service { name, target: Service { listener, routes, authority, .. } } => {
                let host = listener.host(routes, authority);
                let names = host.into_iter().flat_map(VirtualHost::clusters);
                let mut names = names.chain(listener.clusters());
                let is_apart =
                    !self.waiting.is_empty() && names.any(|it| self.called(it).is_some());
                ((Led::Service, name), is_apart)
            }
            Do::Cluster { cluster, .. } => {
                let mut names = cluster.config.failover.iter().flat_map(|it| &it.clusters);
                let is_apart = names.any(|it| self.called(it).is_some());
                ((Led::Cluster, &cluster.name), is_apart)
            }
            Do::NoCluster { name, .. } | Do::RemoveCluster(name) => ((Led::Cluster, name), false),
            Do::NoService { name, .. } | Do::RemoveService(name) => ((Led::Service, name), false),
            Do::Watch(_) | Do::Unwatch(_) => return,
        };
        let id = (id.0, Arc::clone(id.1));
        if is_apart {
            self.lead_apart.insert(id, wanted.clone());
        } else if !self.lead_apart.is_empty() {
            self.lead_apart.remove(&id);
        }
    }

    /// Something is wrong with a resource whose last good state is in use.
    pub(super) fn ambient(&mut self, trouble: &Trouble) {
        let part = part(trouble.kind, &trouble.name);
        self.publisher.refused(&part, format!("{trouble}; the last good one stays"));
        self.ambient.insert((trouble.kind, Arc::clone(&trouble.name)), part);
    }

    /// What was wrong with it is over, or counts for nothing any more.
    pub(super) fn mended(&mut self, kind: Kind, name: &Arc<str>) {
        if let Some(part) = self.ambient.remove(&(kind, Arc::clone(name))) {
            self.publisher.accepted(part);
        }
    }

    /// Makes the files known that a cluster names itself; those that it named before.
    fn name_files(&mut self, cluster: &Cluster) -> Option<BTreeSet<String>> {
        for (name, files) in &cluster.identities {
            drop(self.publisher.identity(name, files.clone()));
        }
        let now: BTreeSet<String> = cluster.identities.keys().cloned().collect();
        if now.is_empty() {
            self.files.remove(&cluster.name)
        } else {
            self.files.insert(Arc::clone(&cluster.name), now)
        }
    }

    fn forget_files(&mut self, cluster: &Arc<str>) {
        let before = self.files.remove(cluster);
        self.drop_files(before);
    }

    fn drop_files(&self, names: Option<BTreeSet<String>>) {
        for name in names.into_iter().flatten() {
            if !self.files.values().any(|used| used.contains(&name)) {
                self.publisher.remove_identity(&name);
            }
        }
    }
}

fn of_endpoints(cluster: &str) -> String {
    format!("endpoints of cluster {}", cluster.to_ascii_lowercase())
}

/// What a report calls a resource: what it defines is not refused by it.
fn part(kind: Kind, name: &str) -> String {
    format!("{kind} resource {name}")
}
