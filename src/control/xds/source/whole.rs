//! The way from bytes to a mesh, driven by bytes, for the fuzz target and a property test: whatever
//! resources say and whatever becomes of them, in any dialect, nothing panics, no service that is published
//! names a cluster that is not there, none is on a listener that nobody has named for it, and no cluster is
//! plaintext that nobody has called so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a finding is a panic")]

mod policies;
mod resources;
#[cfg(test)]
mod seeds;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex},
};

use self::resources::{Bytes, LISTENERS, SERVICES};
use super::publish::{Publish, Silent};
use crate::{
    Mesh,
    control::xds::{
        bootstrap::{Bootstrap, Dialect},
        graph::{Do, Graph, Id, Lack, Service, Why},
        kind::Kind,
        resource::{Cluster, Decoder, Resource, runs},
    },
    discover::{Discover, Publisher},
};

/// How many steps are gone with each cluster that is told of.
const STEPS: usize = 48;

/// A control plane as it is asked: the first byte of a script chooses.
#[derive(Clone, Copy)]
struct Way {
    dialect: Dialect,
    /// istiod's that answers; it leaves TLS modes out to clients of gRPC.
    generator: &'static str,
    /// Whether plaintext is meant where it is silent.
    plaintext: bool,
}

const WAYS: [Way; 5] = [
    Way { dialect: Dialect::Proxyless, generator: "", plaintext: false },
    Way { dialect: Dialect::Proxyless, generator: "grpc", plaintext: false },
    Way { dialect: Dialect::Proxyless, generator: "grpc", plaintext: true },
    Way { dialect: Dialect::Sidecar, generator: "", plaintext: false },
    Way { dialect: Dialect::Envoy, generator: "", plaintext: false },
];

/// What a script has come to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Met {
    /// Calls go by a service, on the listener that is looked for first.
    Service,
    /// The service of a name is on a listener of its host's address.
    Elsewhere,
    /// An endpoint is secured by what its own metadata says.
    Joined,
    /// A cluster is not used, or is told of, since nothing is said of its security.
    Silent,
}

/// A source that hands its publisher out.
struct Handed(Arc<Mutex<Option<Publisher>>>);

impl Discover for Handed {
    fn name(&self) -> String {
        "script".to_owned()
    }

    fn run(self: Box<Self>, publisher: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            *self.0.lock().unwrap() = Some(publisher);
            std::future::pending::<()>().await;
        })
    }
}

/// The mesh, the graph that feeds it, and what it was given.
struct World {
    mesh: Mesh,
    decoder: Decoder,
    graph: Graph,
    publish: Publish,
    publisher: Publisher,
    watched: BTreeSet<Id>,
    /// What is known of each, to know what may be ambient.
    held: BTreeSet<Id>,
    /// The clusters that are published, or known to be missing.
    clusters: BTreeSet<String>,
    /// The clusters that each service names.
    services: BTreeMap<String, BTreeSet<String>>,
    /// The clusters that take over from each.
    lines: BTreeMap<String, Vec<String>>,
    /// The names that are asked for.
    asked: BTreeMap<&'static str, Asked>,
    /// Whether the listener of a name may be at an address of its host.
    is_by_port: bool,
    silent: Silent,
    met: BTreeSet<Met>,
}

/// Where the listener of a name may be.
struct Asked {
    listener: &'static str,
    others: BTreeSet<&'static str>,
    /// Its host has addresses, which may be looked up, and have been asked for.
    has_addresses: bool,
    is_sought: bool,
}

impl World {
    fn settle(&mut self) {
        for step in 0.. {
            assert!(step < 10_000, "it never ends");
            let Some(wanted) = self.graph.next() else { break };
            let (mut service, mut line, mut cluster_of, mut met) = (None, None, None, None);
            match &wanted {
                Do::Watch(id) => assert!(self.watched.insert(id.clone()), "{id:?} twice"),
                Do::Unwatch(id) => {
                    assert!(self.watched.remove(id), "{id:?} was not watched");
                    self.held.remove(id);
                    self.publish.mended(id.0, &id.1);
                    self.publish.noted(id.0, &id.1, &[]);
                }
                Do::Cluster { cluster, endpoints, .. } => {
                    self.clusters.insert(cluster.name.to_string());
                    if let Some(Ok(endpoints)) = endpoints {
                        let mut laid = cluster.with(endpoints).endpoints.into_iter();
                        met = laid.any(|it| it.security.is_some()).then_some(Met::Joined);
                    }
                    cluster_of = Some(Arc::clone(cluster));
                    let names = cluster.config.failover.iter().flat_map(|it| it.clusters.clone());
                    line = Some((cluster.name.to_string(), names.collect()));
                }
                Do::NoCluster { name, .. } => {
                    self.lines.remove(&**name);
                    self.clusters.insert(name.to_string());
                }
                Do::RemoveCluster(name) => {
                    self.lines.remove(&**name);
                    assert!(self.clusters.remove(&**name), "{name} was not there");
                }
                Do::Service { name, target: Service { listener, routes, authority, .. } } => {
                    let host = listener.host(routes, authority).expect("it was found before");
                    let asked = self.asked.get(&**name).expect("it is asked for");
                    let on: &str = &listener.name;
                    let is_elsewhere = on != asked.listener;
                    assert!(!is_elsewhere || asked.others.contains(on), "{name} is on {on}");
                    met = Some(if is_elsewhere { Met::Elsewhere } else { Met::Service });
                    let names = host.clusters().into_iter().chain(listener.clusters());
                    service = Some((name.to_string(), names.map(str::to_owned).collect()));
                }
                // What is in use stays where nobody can be asked.
                Do::NoService { lack: Lack { why: Why::Away, .. }, .. } => {}
                Do::NoService { name, .. } | Do::RemoveService(name) => {
                    self.services.remove(&**name);
                }
            }
            if matches!(wanted, Do::Watch(_) | Do::Unwatch(_)) {
                continue;
            }
            let published = self.publish.publish(wanted);
            if let Some(cluster) = cluster_of {
                self.judge(&cluster, published.is_ok());
            }
            match published {
                Ok(()) => {
                    self.services.extend(service);
                    self.lines.extend(line);
                    self.met.extend(met);
                }
                // The last good one stays.
                Err(reason) => self.graph.refused(&reason),
            }
            self.check();
        }
        for name in self.graph.seeks() {
            let asked = self.asked.get_mut(&*name).expect("it is asked for");
            assert!(asked.has_addresses, "{name} has no addresses to look up");
            assert!(!asked.is_sought, "{name} is looked up again");
            asked.is_sought = true;
        }
    }

    /// What is in plaintext was called so, or is told of.
    fn judge(&mut self, cluster: &Cluster, is_used: bool) {
        let name: &str = &cluster.name;
        // Another cluster has its name, and it waits.
        let waits = self.clusters.iter().any(|it| it != name && it.eq_ignore_ascii_case(name));
        if !cluster.is_silent_on_tls || waits {
            return;
        }
        match self.silent {
            Silent::Plaintext => return,
            Silent::Refused => assert!(!is_used, "{name} is used, and nobody has secured it"),
            Silent::Told => {
                let part = format!("security of cluster {}", name.to_ascii_lowercase());
                let notes = self.mesh.describe().notes;
                assert!(notes.iter().any(|it| it.part == part), "nobody is told of {name}");
            }
        }
        self.met.insert(Met::Silent);
    }

    /// A name is asked for.
    fn ask(&mut self, script: &mut Bytes<'_>) {
        let name = script.of(&SERVICES);
        let listener = script.of(&LISTENERS);
        self.graph.ask(name, listener, name);
        if self.asked.contains_key(name) {
            return;
        }
        let mut asked =
            Asked { listener, others: BTreeSet::new(), has_addresses: false, is_sought: false };
        if self.is_by_port && script.often() {
            self.graph.has_addresses(name);
            asked.has_addresses = true;
        } else if self.is_by_port {
            // It is an address itself.
            let other = script.of(&LISTENERS);
            self.graph.found(name, Ok(vec![other.to_owned()]));
            asked.others.insert(other);
        }
        self.asked.insert(name, asked);
    }

    /// A host has been looked up, for the first time or again.
    fn look_up(&mut self, script: &mut Bytes<'_>) {
        let name = script.of(&SERVICES);
        let Some(asked) = self.asked.get_mut(name).filter(|it| it.is_sought) else { return };
        let found = match script.below(4) {
            0 => Err("nobody knows it".to_owned()),
            count => Ok((1..count).map(|_| script.of(&LISTENERS)).collect::<Vec<_>>()),
        };
        asked.others.extend(found.iter().flatten());
        let found = found.map(|all| all.into_iter().map(str::to_owned).collect());
        self.graph.found(name, found);
    }

    /// A name is not asked for any more.
    fn forget(&mut self, name: &str) {
        self.graph.forget(name);
        self.publisher.forget(name);
        self.services.remove(name);
        self.asked.remove(name);
    }

    /// At any moment, for calls come at any moment.
    fn check(&self) {
        for (service, names) in &self.services {
            for name in names {
                assert!(self.clusters.contains(name), "{service} names {name}, which is not there");
            }
        }
        for (cluster, names) in &self.lines {
            for name in names {
                assert!(
                    self.clusters.contains(name),
                    "{cluster} leads to {name}, which is not there"
                );
            }
        }
        for reason in self.mesh.describe().refused {
            let is_lost = reason.part.starts_with("service ")
                && reason.text.contains("which no source defines");
            assert!(!is_lost, "{reason}");
        }
    }

    fn explain(&self) {
        for name in SERVICES {
            let uri = format!("http://{name}/a");
            let request = http::Request::get(uri).body(()).expect("a request");
            if let Ok(explained) = self.mesh.explain(&request) {
                drop(explained.to_string());
            }
        }
        drop(self.mesh.describe().to_string());
    }
}

/// Runs what the bytes say: the first, how the control plane is asked.
pub(crate) fn run(script: &[u8]) -> BTreeSet<Met> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { steps(Bytes(script)).await })
}

/// A mesh that knows nothing yet, beside a control plane that is asked so.
async fn world(way: Way) -> World {
    let handed = Arc::new(Mutex::new(None));
    let source = Handed(Arc::clone(&handed));
    let mesh = Mesh::builder().source(source).dry_run().build().expect("a mesh");
    let publisher = loop {
        if let Some(publisher) = handed.lock().unwrap().take() {
            break publisher;
        }
        tokio::task::yield_now().await;
    };
    drop(publisher.asked());
    publisher.synced();
    let bootstrap = Bootstrap::builder()
        .server(super::super::Server::insecure("127.0.0.1:1"))
        .node_id("n")
        .node_metadata("GENERATOR", way.generator)
        .dialect(way.dialect)
        .build()
        .expect("a bootstrap");
    let silent = Silent::of(&bootstrap, way.plaintext);
    World {
        mesh,
        decoder: super::Xds::decoder(&bootstrap),
        graph: Graph::default(),
        publish: Publish::new(publisher.clone(), silent),
        publisher,
        watched: BTreeSet::new(),
        held: BTreeSet::new(),
        clusters: BTreeSet::new(),
        services: BTreeMap::new(),
        lines: BTreeMap::new(),
        asked: BTreeMap::new(),
        is_by_port: bootstrap.listens_by_port(),
        silent,
        met: BTreeSet::new(),
    }
}

async fn steps(mut script: Bytes<'_>) -> BTreeSet<Met> {
    let mut world = world(script.of(&WAYS)).await;
    let steps = if world.is_by_port { 9 } else { 8 };
    while !script.0.is_empty() {
        match script.below(steps) {
            0 => world.ask(&mut script),
            1 => world.forget(script.of(&SERVICES)),
            2 => world.explain(),
            8 => world.look_up(&mut script),
            step => {
                let count = world.watched.len();
                if count == 0 {
                    continue;
                }
                let at = script.below(count);
                let Some((kind, name)) = world.watched.iter().nth(at).cloned() else { continue };
                let now = if step == 3 { None } else { said(&mut script, &world, kind, &name) };
                let now = match now {
                    Some(resource) => Ok(resource),
                    // What was good stays, as the client has it.
                    None if world.held.contains(&(kind, Arc::clone(&name))) && script.often() => {
                        continue;
                    }
                    None => Err(Lack {
                        reason: "gone".into(),
                        why: script.of(&[Why::Absent, Why::Away, Why::Denied, Why::Refused]),
                    }),
                };
                if now.is_ok() {
                    world.held.insert((kind, Arc::clone(&name)));
                }
                world.graph.told(kind, &name, now);
            }
        }
        // Changes may come together.
        if script.often() {
            world.settle();
        }
    }
    world.settle();
    world.explain();
    for name in SERVICES {
        world.forget(name);
    }
    world.settle();
    assert!(world.watched.is_empty(), "{:?} is watched for nobody", world.watched);
    assert!(world.clusters.is_empty(), "{:?} stays", world.clusters);
    let left = world.mesh.describe();
    assert!(left.services.is_empty(), "{left}");
    assert!(left.refused.is_empty(), "{left}");
    assert!(left.notes.is_empty(), "{left}");
    world.met
}

fn said(script: &mut Bytes<'_>, world: &World, kind: Kind, name: &Arc<str>) -> Option<Resource> {
    let bytes = script.resource(kind, name);
    let (named, resource) = world.decoder.decode(kind, &bytes).ok()?;
    // Whatever calls meet by it.
    runs(&resource, script.word(), STEPS);
    // The client tells of a name what is of that name.
    (named == *name).then_some(resource)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config,
        control::xds::resource::{Listener, Routes, RoutesFrom, VirtualHost},
    };

    /// A listener for all names, whose routes cannot be used for this reason.
    fn listener(refused: Option<&str>) -> Resource {
        let host = VirtualHost {
            name: "h".to_owned(),
            domains: vec!["*".to_owned()],
            routes: Vec::new(),
            refused: refused.map(str::to_owned),
        };
        let routes =
            Routes { name: "r".into(), hosts: vec![host], notes: Vec::new(), ignore_port: false };
        Resource::Listener(Arc::new(Listener {
            name: "l".into(),
            routes: RoutesFrom::Inline(Arc::new(routes)),
            filters: Vec::new(),
            unknown: BTreeMap::new(),
            policy: config::Policy::default(),
            upgrades: Vec::new(),
            address: None,
            notes: Vec::new(),
            ignore_port: false,
        }))
    }

    impl World {
        fn says(&mut self, refused: Option<&str>) {
            self.graph.told(Kind::Listener, "l", Ok(listener(refused)));
        }

        /// What stands in `describe()` once all is done.
        fn refused(&mut self) -> Vec<String> {
            self.settle();
            let refused = self.mesh.describe().refused.into_iter();
            refused.map(|it| format!("{}: {}", it.part, it.text)).collect()
        }
    }

    #[tokio::test]
    async fn why_a_service_is_refused_stands_as_long_as_it_is_and_its_name_is_asked_for() {
        let mut world = world(WAYS[0]).await;
        let (listener, others) = ("l", BTreeSet::new());
        let asked = Asked { listener, others, has_addresses: false, is_sought: false };
        world.asked.insert("a", asked);
        world.graph.ask("a", "l", "a");
        world.settle();
        world.says(None);
        assert_eq!(world.refused(), [""; 0]);
        // The name is given up, and asked for again before anything is done: the mesh has the service of before.
        world.says(Some("its routes are bad"));
        world.graph.forget("a");
        world.graph.ask("a", "l", "a");
        assert_eq!(world.refused(), ["service a: its routes are bad"]);
        assert!(world.graph.serves("a").is_none());
        world.says(Some("they are worse"));
        assert_eq!(world.refused(), ["service a: they are worse"]);
        world.says(None);
        assert_eq!(world.refused(), [""; 0]);
        // Nor does it stay for nobody.
        world.says(Some("its routes are bad"));
        assert_eq!(world.refused(), ["service a: its routes are bad"]);
        world.graph.forget("a");
        assert_eq!(world.refused(), [""; 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn whatever_resources_say_no_service_names_a_cluster_that_is_not_there(
            way in 0..WAYS.len(),
            script in proptest::collection::vec(any::<u8>(), 0..1500),
        ) {
            let way = u8::try_from(way).unwrap();
            run(&[&[way][..], &script].concat());
        }
    }
}
