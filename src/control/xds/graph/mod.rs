//! What the names that are asked for need, and what is to be published of them (gRFC A74). Without
//! I/O: it is told what becomes of resources, and says what to watch and what to publish.
//!
//! A name is a **root**: its listener leads to routes, the virtual host of its authority to
//! clusters, and these to endpoints. All that a root needs is watched. What it leads to is published
//! when all of it is known, or known to be missing; until then what was published before stays, and
//! all that it needs stays watched. So no call sees a route whose cluster is still on its way, and
//! a new release that leads to a cluster nobody knows yet takes nothing away.
//!
//! A cluster that names secrets (SDS) is known when they are, and has what they say in it.
//!
//! Clusters belong to all roots together; one that is known is brought up to date by itself, for
//! endpoints come and go without any change of a route.
//!
//! What is to be done comes in this order: watches, clusters, services; then, once it is known what of
//! that the mesh has refused, what is taken back, and watches that end. What a service leads to that
//! the mesh keeps, for it has refused the new one, is kept and followed; and so is the cluster that is kept
//! in place of a refused one.
//!
//! A cluster of clusters comes after those that it is made of, and goes before them.
//!
//! The listener of a name may be elsewhere than it is looked for: [`elsewhere`].

mod elsewhere;
mod given;
mod held;
mod known;
mod lines;
mod secured;
mod walk;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use self::{
    elsewhere::Elsewhere,
    given::{Given, Good},
    held::Held,
    known::Known,
    lines::Lines,
    walk::Walked,
};
use super::{
    kind::Kind,
    resource::{Cluster, Endpoints, EndpointsFrom, Listener, Resource, Routes},
};

/// A resource by type and name.
pub(crate) type Id = (Kind, Arc<str>);

/// Why something is not there, in words, and what that says of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lack {
    pub(crate) reason: Arc<str>,
    pub(crate) why: Why,
}

/// What it says of a thing that it is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why {
    /// The control plane has said that it does not exist.
    Absent,
    /// Nobody could be asked, or has an error for it: it says nothing about the thing.
    Away,
    /// The control plane does not tell this node, or the name cannot be asked for.
    Denied,
    /// It is there, and cannot be used.
    Refused,
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
        /// The mesh has refused another one, for this reason, and keeps this one.
        instead_of: Option<Arc<str>>,
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
    /// Those whose service the mesh may still have, though nobody asks for it any more, or it is another one by now; and
    /// why it has refused that one.
    removed_roots: BTreeMap<Arc<str>, Option<Arc<str>>>,
    todo: VecDeque<Do>,
    /// What was given to be done last, of which the mesh may say that it refuses it.
    given: Option<Given>,
    /// The last cluster of each name that the mesh has not refused, and whether it stands in for one.
    good: BTreeMap<Arc<str>, Good>,
    /// What calls go by of clusters of clusters, and whether that is to be looked at again.
    lines: Lines,
    dirty_lines: bool,
    /// The names whose host is to be looked up.
    sought: BTreeSet<Arc<str>>,
}

/// A name that is asked for.
#[derive(Debug)]
struct Root {
    listener: Arc<str>,
    elsewhere: Elsewhere,
    authority: Arc<str>,
    /// All that it needs, as far as it is known.
    needs: BTreeSet<Id>,
    /// All that the service needs that calls go by.
    served_needs: BTreeSet<Id>,
    is_complete: bool,
    published: Option<Target>,
    /// The service that calls go by: the last one that the mesh has not refused.
    serves: Option<Service>,
}

/// What a service is made of: a listener, and one virtual host of the routes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    /// What the listener is asked for by.
    asked: Arc<str>,
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
        if let Some((name, _)) = self.roots.get_key_value(name) {
            // Who asks again is answered again, as soon as there is an answer.
            let name = Arc::clone(name);
            self.again.insert(Arc::clone(&name));
            self.dirty_roots.insert(name);
            return;
        }
        let name: Arc<str> = name.into();
        let root = Root {
            listener: listener.into(),
            elsewhere: Elsewhere::Nowhere,
            authority: authority.into(),
            needs: BTreeSet::new(),
            served_needs: BTreeSet::new(),
            is_complete: false,
            published: None,
            serves: None,
        };
        self.roots.insert(Arc::clone(&name), root);
        self.dirty_roots.insert(name);
    }

    /// A name is not asked for any more.
    pub(crate) fn forget(&mut self, name: &str) {
        let Some((name, root)) = self.roots.remove_entry(name) else { return };
        self.dirty_roots.remove(&name);
        self.again.remove(&name);
        self.sought.remove(&name);
        for id in root.all() {
            self.unused(id, &name);
        }
        self.held.replace(root.all(), std::iter::empty());
        self.removed_roots.insert(name, None);
    }

    /// Whether something has been said of this name.
    pub(crate) fn is_answered(&self, name: &str) -> bool {
        self.roots.get(name).is_some_and(|root| root.published.is_some())
    }

    /// All that calls of this name need; nothing while it leads nowhere.
    pub(crate) fn serves(&self, name: &str) -> Option<&BTreeSet<Id>> {
        let root = self.roots.get(name)?;
        root.serves.is_some().then_some(&root.served_needs)
    }

    /// What becomes of a resource that is watched.
    pub(crate) fn told(&mut self, kind: Kind, name: &str, now: Result<Resource, Lack>) {
        let id = (kind, Arc::<str>::from(name));
        // What comes after its watch has ended says nothing.
        if !self.held.has(&id) {
            return;
        }
        // Nor does what nobody can be asked for: what is known of it stays.
        let is_away = matches!(&now, Err(Lack { why: Why::Away, .. }));
        if is_away && self.known.has(&id) || !self.known.set(&id, now) {
            return;
        }
        match kind {
            Kind::Cluster => {
                self.dirty_clusters.insert(Arc::clone(&id.1));
                self.dirty_lines = true;
            }
            Kind::Endpoints => {
                self.dirty_clusters.extend(self.known.filled_by(&id.1));
                self.dirty_clusters.extend(self.stand_ins(&id));
            }
            Kind::Secret => {
                self.dirty_clusters.extend(self.known.secured_by(&id.1));
                self.dirty_clusters.extend(self.stand_ins(&id));
                self.dirty_lines = true;
            }
            Kind::Listener | Kind::Routes => {}
        }
        let users = self.users.get(&id).into_iter().flatten();
        let roots = &self.roots;
        // Endpoints and secrets lead nowhere: who has all else is not looked at again for them.
        let leads = !matches!(kind, Kind::Endpoints | Kind::Secret);
        let looks =
            |it: &&Arc<str>| leads || roots.get(&***it).is_some_and(|root| !root.is_complete);
        self.dirty_roots.extend(users.filter(looks).cloned());
    }

    /// Whether a good state of the resource is known.
    pub(crate) fn knows(&self, kind: Kind, name: &Arc<str>) -> bool {
        self.known.has(&(kind, Arc::clone(name)))
    }

    /// The next thing to do; nothing until there is news. What was given before is done, and the mesh
    /// has not refused it unless [`refused`](Self::refused) was told of it.
    pub(crate) fn next(&mut self) -> Option<Do> {
        loop {
            self.accept();
            if let Some(next) = self.todo.pop_front() {
                self.given = Given::of(&next);
                return Some(next);
            }
            if !self.settle() {
                return None;
            }
        }
    }

    /// Whether there is more to do than to bring clusters up to date: something may have to be asked for, or
    /// a name be answered.
    pub(crate) fn is_pressing(&self) -> bool {
        !(self.dirty_roots.is_empty() && self.todo.is_empty() && self.removed_roots.is_empty())
    }

    /// The names that are asked for.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.roots.keys()
    }

    /// Finds more to do, if there is anything.
    fn settle(&mut self) -> bool {
        let mut services = Vec::new();
        for name in std::mem::take(&mut self.dirty_roots) {
            if let Some(target) = self.look(&name) {
                services.push((name, target));
            }
        }
        if self.dirty_lines {
            self.hold_lines();
        }
        self.todo.extend(self.held.begun().into_iter().map(Do::Watch));
        let dirty = std::mem::take(&mut self.dirty_clusters).into_iter();
        let (mut lines, others): (BTreeSet<_>, BTreeSet<_>) =
            dirty.partition(|name| self.known.is_aggregate(name));
        for name in others {
            self.publish_cluster(name);
        }
        if std::mem::take(&mut self.dirty_lines) {
            lines.append(&mut self.lined_up_again());
        }
        for name in lines {
            self.publish_cluster(name);
        }
        for (name, target) in services {
            match target {
                // If the mesh does not refuse it, it takes the place of that of before the name was forgotten.
                Target::Service(target) => self.todo.push_back(Do::Service { name, target }),
                Target::Nothing(lack) => {
                    if self.removed_roots.remove(&name).is_some() {
                        self.todo.push_back(Do::RemoveService(Arc::clone(&name)));
                    }
                    self.todo.push_back(Do::NoService { name, lack });
                }
            }
        }
        if self.todo.is_empty() {
            self.take_back();
        }
        !self.todo.is_empty()
    }

    /// All that is new is published: what nobody needs any more goes.
    fn take_back(&mut self) {
        for (name, refused) in std::mem::take(&mut self.removed_roots) {
            self.todo.push_back(match refused {
                // What was before goes, and why nothing takes its place stays.
                Some(reason) => Do::NoService { name, lack: Lack { reason, why: Why::Refused } },
                None => Do::RemoveService(name),
            });
        }
        for id in self.held.ended() {
            self.known.forget(&id);
            if id.0 == Kind::Cluster && self.published.remove(&id.1).is_some() {
                self.no_good(&id.1);
                self.todo.push_back(Do::RemoveCluster(Arc::clone(&id.1)));
            }
            self.todo.push_back(Do::Unwatch(id));
        }
    }

    /// Finds out what a root needs, and what is to be published of it, if that is something else.
    fn look(&mut self, name: &Arc<str>) -> Option<Target> {
        let root = self.roots.get_mut(name)?;
        let asked = walk::Asked {
            listener: &root.listener,
            elsewhere: &root.elsewhere,
            authority: &root.authority,
        };
        let Walked { needs, target, seeks } =
            walk::walk(&self.known, &asked, root.serves.is_some());
        root.is_complete = target.is_some();
        // What calls go by may lead to more by now, which is followed as long as they do.
        let served = root.serves.as_ref();
        let served = served.map(|service| walk::served(&self.known, service));
        self.needs(name, needs, served.unwrap_or_default());
        if seeks {
            self.seek(name);
        }
        let root = self.roots.get_mut(name)?;
        let is_asked = target.is_some() && self.again.remove(name);
        let target = target.filter(|it| is_asked || root.published.as_ref() != Some(it));
        if let Some(target) = &target {
            root.published = Some(target.clone());
        }
        target
    }

    /// Notes what a root needs now, and what the service needs that its calls go by.
    fn needs(&mut self, name: &Arc<str>, needs: BTreeSet<Id>, served: BTreeSet<Id>) {
        let Some(root) = self.roots.get_mut(name) else { return };
        let before: BTreeSet<Id> = root.all().cloned().collect();
        (root.needs, root.served_needs) = (needs, served);
        let after: BTreeSet<Id> = root.all().cloned().collect();
        self.held.replace(before.iter(), after.iter());
        for id in after.difference(&before) {
            self.users.entry(id.clone()).or_default().insert(Arc::clone(name));
            // Another root may have made it known, and nobody have published it.
            if id.0 == Kind::Cluster {
                self.dirty_clusters.insert(Arc::clone(&id.1));
            }
        }
        for id in before.difference(&after) {
            self.unused(id, name);
        }
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
            // Its secrets are on their way.
            None => {
                self.stand_in(&name, "its secrets are on their way".into(), false);
                return self.publish_stand_in(&name);
            }
            Some(Err(lack)) => {
                let lack = lack.clone();
                // Nobody can be asked for a secret of it, and calls go by another one of its name.
                if lack.why == Why::Away && self.stand_in(&name, Arc::clone(&lack.reason), true) {
                    return self.publish_stand_in(&name);
                }
                Published::Nothing(lack)
            }
            Some(Ok(cluster)) => {
                let cluster = Arc::clone(cluster);
                match self.whole(&cluster) {
                    Some(now) if !self.make_wait(&cluster) => now,
                    _ => return self.publish_stand_in(&name),
                }
            }
        };
        if self.published.get(&name) == Some(&now) && !self.is_back(&now) {
            return self.publish_stand_in(&name);
        }
        let before = self.published.insert(Arc::clone(&name), now.clone());
        let is_new = |before: Published| before.is_line() && !now.is_line() || before.is_empty();
        if before.is_none_or(is_new) {
            // It may have been waited for.
            self.dirty_lines = true;
        }
        self.todo.push_back(match now {
            Published::Cluster { cluster, endpoints } => {
                Do::Cluster { cluster, endpoints, instead_of: None }
            }
            Published::Nothing(lack) => Do::NoCluster { name, lack },
        });
    }

    /// The cluster with its endpoints, or with those that it is made of; nothing while they are on their
    /// way.
    fn whole(&self, cluster: &Arc<Cluster>) -> Option<Published> {
        match &cluster.endpoints {
            EndpointsFrom::Aggregate(parts) => self.lined_up(cluster, parts),
            _ => self.known.with_endpoints(cluster),
        }
    }
}

impl Service {
    /// Whether its virtual host is the one for all names that no other is for.
    fn is_of_all(&self) -> bool {
        let host = self.listener.host(&self.routes, &self.authority);
        host.is_some_and(|host| matches!(host.domains.as_slice(), [only] if only == "*"))
    }
}

impl Published {
    /// Whether there are no endpoints, for a reason.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Nothing(_) | Self::Cluster { endpoints: Some(Err(_)), .. })
    }

    /// Whether the mesh goes by what a cluster is made of.
    fn is_line(&self) -> bool {
        matches!(self, Self::Cluster { cluster, .. } if matches!(cluster.endpoints, EndpointsFrom::Aggregate(_)))
    }
}

impl Root {
    /// All that is to be watched for it.
    fn all(&self) -> impl Iterator<Item = &Id> {
        self.needs.union(&self.served_needs)
    }
}
