//! What the names that are asked for need, and what is to be published of them (gRFC A74). Without
//! I/O: it is told what becomes of resources, and says what to watch and what to publish.
//!
//! A name is a **root**: its listener leads to routes, the virtual host of its authority to
//! clusters, and these to endpoints. All that a root needs is watched. What it leads to is published
//! when all of it is known, or known to be missing; until then what was published before stays, and
//! all that it needs stays watched. So no call sees a route whose cluster is still on its way, and
//! a new release that leads to a cluster nobody knows yet takes nothing away.
//!
//! Clusters belong to all roots together; one that is known is brought up to date by itself, for
//! endpoints come and go without any change of a route.
//!
//! What is to be done comes in this order: watches, clusters, services, what is taken back,
//! watches that end.

mod held;
mod known;
mod walk;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use self::{
    held::Held,
    known::{Filling, Known},
    walk::Walked,
};
use super::{
    kind::Kind,
    resource::{Cluster, Endpoints, Listener, Resource, Routes},
};

/// A resource by type and name.
pub(crate) type Id = (Kind, Arc<str>);

/// Why something is not there, in words, and whether the control plane has said that it is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lack {
    pub(crate) reason: Arc<str>,
    pub(crate) does_not_exist: bool,
    /// Nobody could be asked: it says nothing about the thing.
    pub(crate) is_transient: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Do {
    Watch(Id),
    Unwatch(Id),
    /// The cluster is to be published with these endpoints, if it has any of a resource.
    Cluster {
        cluster: Arc<Cluster>,
        endpoints: Option<Result<Arc<Endpoints>, Lack>>,
    },
    /// The cluster cannot be used.
    NoCluster {
        name: Arc<str>,
        lack: Lack,
    },
    /// What the service of this name is.
    Service {
        name: Arc<str>,
        target: Service,
    },
    /// The name leads nowhere.
    NoService {
        name: Arc<str>,
        lack: Lack,
    },
    /// Nobody needs the cluster any more.
    RemoveCluster(Arc<str>),
    /// The name is not asked for any more.
    RemoveService(Arc<str>),
}

/// Of all roots of one source.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    roots: BTreeMap<Arc<str>, Root>,
    known: Known,
    /// How many roots need each resource.
    held: Held,
    /// The roots that need it, for those to look at again.
    users: HashMap<Id, BTreeSet<Arc<str>>>,
    /// What was published last, by the cluster's name.
    published: BTreeMap<Arc<str>, Published>,
    dirty_roots: BTreeSet<Arc<str>>,
    /// Those whose target is to be published though it is the same.
    again: BTreeSet<Arc<str>>,
    dirty_clusters: BTreeSet<Arc<str>>,
    removed_roots: Vec<Arc<str>>,
    todo: VecDeque<Do>,
}

/// A name that is asked for.
#[derive(Debug)]
struct Root {
    listener: Arc<str>,
    authority: Arc<str>,
    /// All that it needs, as far as it is known.
    needs: BTreeSet<Id>,
    /// All that what is published of it needs.
    published_needs: BTreeSet<Id>,
    is_complete: bool,
    published: Option<Target>,
}

/// What a service is made of: a listener, and one virtual host of the routes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) listener: Arc<Listener>,
    pub(crate) routes: Arc<Routes>,
    /// Whose virtual host counts.
    pub(crate) authority: Arc<str>,
}

/// What a root leads to.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    Service(Service),
    Nothing(Lack),
}

#[derive(Clone, Debug, PartialEq)]
enum Published {
    Cluster { cluster: Arc<Cluster>, endpoints: Option<Result<Arc<Endpoints>, Lack>> },
    Nothing(Lack),
}

// === impl Graph ===

impl Graph {
    /// A name is asked for: its listener, and the authority whose virtual host counts.
    pub(crate) fn ask(&mut self, name: &str, listener: &str, authority: &str) {
        if let Some((name, root)) = self.roots.get_key_value(name) {
            // Who asks again is answered again.
            if root.is_complete {
                let name = Arc::clone(name);
                self.again.insert(Arc::clone(&name));
                self.dirty_roots.insert(name);
            }
            return;
        }
        let name: Arc<str> = name.into();
        let root = Root {
            listener: listener.into(),
            authority: authority.into(),
            needs: BTreeSet::new(),
            published_needs: BTreeSet::new(),
            is_complete: false,
            published: None,
        };
        self.roots.insert(Arc::clone(&name), root);
        self.dirty_roots.insert(name);
    }

    /// A name is not asked for any more.
    pub(crate) fn forget(&mut self, name: &str) {
        let Some((name, root)) = self.roots.remove_entry(name) else { return };
        self.dirty_roots.remove(&name);
        self.again.remove(&name);
        for id in &root.needs {
            self.unused(id, &name);
        }
        self.held.replace(root.needs.union(&root.published_needs), std::iter::empty());
        self.removed_roots.push(name);
    }

    /// What becomes of a resource that is watched.
    pub(crate) fn told(&mut self, kind: Kind, name: &str, now: Result<Resource, Lack>) {
        let id = (kind, Arc::<str>::from(name));
        // What comes after its watch has ended says nothing.
        if !self.held.has(&id) || !self.known.set(&id, now) {
            return;
        }
        match kind {
            Kind::Cluster => {
                self.dirty_clusters.insert(Arc::clone(&id.1));
            }
            Kind::Endpoints => self.dirty_clusters.extend(self.known.filled_by(&id.1)),
            Kind::Listener | Kind::Routes => {}
        }
        let users = self.users.get(&id).into_iter().flatten();
        let roots = &self.roots;
        // Endpoints lead nowhere: who has all else is not looked at again for them.
        let looks = |it: &&Arc<str>| {
            kind != Kind::Endpoints || roots.get(&***it).is_some_and(|root| !root.is_complete)
        };
        self.dirty_roots.extend(users.filter(looks).cloned());
    }

    /// The next thing to do; nothing until there is news.
    pub(crate) fn next(&mut self) -> Option<Do> {
        if self.todo.is_empty() {
            self.settle();
        }
        self.todo.pop_front()
    }

    /// The names that are asked for.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.roots.keys()
    }

    fn settle(&mut self) {
        let mut services = Vec::new();
        for name in std::mem::take(&mut self.dirty_roots) {
            if let Some(target) = self.look(&name) {
                services.push((name, target));
            }
        }
        let (begun, ended) = self.held.changes();
        self.todo.extend(begun.into_iter().map(Do::Watch));
        for name in std::mem::take(&mut self.dirty_clusters) {
            self.publish_cluster(name);
        }
        for (name, target) in services {
            self.todo.push_back(match target {
                Target::Service(target) => Do::Service { name, target },
                Target::Nothing(lack) => Do::NoService { name, lack },
            });
        }
        self.todo.extend(self.removed_roots.drain(..).map(Do::RemoveService));
        for id in ended {
            self.known.forget(&id);
            if id.0 == Kind::Cluster && self.published.remove(&id.1).is_some() {
                self.todo.push_back(Do::RemoveCluster(Arc::clone(&id.1)));
            }
            self.todo.push_back(Do::Unwatch(id));
        }
    }

    /// Finds out what a root needs, and what is to be published of it, if that is something else.
    fn look(&mut self, name: &Arc<str>) -> Option<Target> {
        let root = self.roots.get_mut(name)?;
        let Walked { needs, target } = walk::walk(
            &self.known,
            &root.listener,
            &root.authority,
            matches!(root.published, Some(Target::Service(_))),
        );
        root.is_complete = target.is_some();
        let before: BTreeSet<Id> = root.needs.union(&root.published_needs).cloned().collect();
        if target.is_some() {
            root.published_needs.clone_from(&needs);
        }
        let after = needs.union(&root.published_needs);
        self.held.replace(before.iter(), after);
        let gone: Vec<Id> = root.needs.difference(&needs).cloned().collect();
        for id in needs.difference(&root.needs) {
            self.users.entry(id.clone()).or_default().insert(Arc::clone(name));
            // Another root may have made it known, and nobody have published it.
            if id.0 == Kind::Cluster {
                self.dirty_clusters.insert(Arc::clone(&id.1));
            }
        }
        root.needs = needs;
        let is_asked = target.is_some() && self.again.remove(name);
        let target = target.filter(|it| is_asked || root.published.as_ref() != Some(it));
        if let Some(target) = &target {
            root.published = Some(target.clone());
        }
        for id in &gone {
            self.unused(id, name);
        }
        target
    }

    fn unused(&mut self, id: &Id, root: &Arc<str>) {
        if let Some(users) = self.users.get_mut(id) {
            users.remove(root);
            if users.is_empty() {
                self.users.remove(id);
            }
        }
    }

    /// Brings a cluster up to date, once its endpoints are known, too.
    fn publish_cluster(&mut self, name: Arc<str>) {
        if !self.held.has(&(Kind::Cluster, Arc::clone(&name))) {
            return;
        }
        let now = match self.known.cluster(&name) {
            None => return,
            Some(Err(lack)) => Published::Nothing(lack.clone()),
            Some(Ok(cluster)) => {
                let endpoints = match self.known.endpoints_of(cluster) {
                    Filling::Elsewhere => None,
                    Filling::Awaited => return,
                    Filling::Known(endpoints) => Some(endpoints),
                };
                Published::Cluster { cluster: Arc::clone(cluster), endpoints }
            }
        };
        if self.published.get(&name) == Some(&now) {
            return;
        }
        self.published.insert(Arc::clone(&name), now.clone());
        self.todo.push_back(match now {
            Published::Cluster { cluster, endpoints } => Do::Cluster { cluster, endpoints },
            Published::Nothing(lack) => Do::NoCluster { name, lack },
        });
    }
}
