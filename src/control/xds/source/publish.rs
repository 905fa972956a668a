//! From what the graph wants done to what the mesh is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    config::IdentityFiles,
    control::xds::{
        client::Trouble,
        graph::{Do, Id, Service},
        kind::Kind,
        resource::Cluster,
    },
    discover::Publisher,
};

/// What the mesh calls the files of a certificate provider: other names than those of other sources.
pub(super) fn identity(instance: &str) -> String {
    format!("xds.{instance}")
}

pub(super) struct Publish {
    publisher: Publisher,
    /// The clusters that name files of their own, and the names of these.
    files: BTreeMap<Arc<str>, BTreeSet<String>>,
    /// What is reported of resources whose last good state is in use.
    ambient: BTreeMap<Id, String>,
}

// === impl Publish ===

impl Publish {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self { publisher, files: BTreeMap::new(), ambient: BTreeMap::new() }
    }

    /// The files of the bootstrap's certificate providers.
    pub(super) fn identities(&self, providers: &BTreeMap<String, IdentityFiles>) {
        for (instance, files) in providers {
            // What is wrong with it is reported by its name.
            drop(self.publisher.identity(&identity(instance), files.clone()));
        }
    }

    pub(super) fn publish(&mut self, wanted: Do) {
        let publisher = &self.publisher;
        match wanted {
            Do::Watch(_) | Do::Unwatch(_) => {}
            Do::Cluster { cluster, endpoints } => {
                self.name_files(&cluster);
                let name = &*cluster.name;
                // Whatever the mesh refuses of it, it reports.
                match endpoints {
                    None => drop(self.publisher.cluster(name, cluster.alone())),
                    Some(Ok(endpoints)) => {
                        drop(self.publisher.cluster(name, cluster.with(&endpoints)));
                        self.publisher.accepted(of_endpoints(name));
                    }
                    // It has none, and says why.
                    Some(Err(lack)) => {
                        drop(self.publisher.cluster(name, cluster.alone()));
                        self.publisher.refused(of_endpoints(name), &*lack.reason);
                    }
                }
            }
            Do::NoCluster { name, lack } => {
                publisher.remove_cluster(&name);
                publisher.refused(format!("cluster {name}"), &*lack.reason);
                self.forget_files(&name);
            }
            Do::RemoveCluster(name) => {
                publisher.remove_cluster(&name);
                self.forget_files(&name);
            }
            Do::Service { name, target: Service { listener, routes, authority } } => {
                let Some(host) = routes.host(&authority) else { return };
                drop(publisher.service(&name, listener.service(host)));
            }
            Do::NoService { name, lack } if lack.does_not_exist => {
                publisher.remove_service(&name);
                publisher.unknown(&name, &*lack.reason);
            }
            Do::NoService { name, lack } => {
                publisher.remove_service(&name);
                publisher.refused(format!("service {name}"), &*lack.reason);
            }
            Do::RemoveService(name) => publisher.remove_service(&name),
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

    /// Makes the files known that a cluster names itself.
    fn name_files(&mut self, cluster: &Cluster) {
        for (name, files) in &cluster.identities {
            drop(self.publisher.identity(name, files.clone()));
        }
        let now: BTreeSet<String> = cluster.identities.keys().cloned().collect();
        let before = if now.is_empty() {
            self.files.remove(&cluster.name)
        } else {
            self.files.insert(Arc::clone(&cluster.name), now)
        };
        self.drop_files(before);
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
    format!("endpoints of cluster {cluster}")
}

/// What a report calls a resource: what it defines is not refused by it.
fn part(kind: Kind, name: &str) -> String {
    format!("{kind} resource {name}")
}
