//! The way from bytes to a mesh, driven by bytes, for the fuzz target and a property test: whatever
//! resources say and whatever becomes of them, nothing panics, and no service that is published names a
//! cluster that is not there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a finding is a panic")]

mod policies;
mod resources;

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
        bootstrap::Bootstrap,
        graph::{Do, Graph, Id, Lack, Service, Why},
        kind::Kind,
        resource::{Decoder, Resource, runs},
    },
    discover::{Discover, Publisher},
};

/// How many steps are gone with each cluster that is told of.
const STEPS: usize = 48;

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
}

impl World {
    fn settle(&mut self) {
        for step in 0.. {
            assert!(step < 10_000, "it never ends");
            let Some(wanted) = self.graph.next() else { break };
            let (mut service, mut line) = (None, None);
            match &wanted {
                Do::Watch(id) => assert!(self.watched.insert(id.clone()), "{id:?} twice"),
                Do::Unwatch(id) => {
                    assert!(self.watched.remove(id), "{id:?} was not watched");
                    self.held.remove(id);
                    self.publish.mended(id.0, &id.1);
                }
                Do::Cluster { cluster, .. } => {
                    self.clusters.insert(cluster.name.to_string());
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
            match self.publish.publish(wanted) {
                Ok(()) => {
                    self.services.extend(service);
                    self.lines.extend(line);
                }
                // The last good one stays.
                Err(reason) => self.graph.refused(&reason),
            }
            self.check();
        }
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

/// Runs what the bytes say.
pub(crate) fn run(script: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { steps(Bytes(script)).await });
}

async fn steps(mut script: Bytes<'_>) {
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
        .build()
        .expect("a bootstrap");
    let mut world = World {
        mesh,
        decoder: super::Xds::decoder(&bootstrap),
        graph: Graph::default(),
        publish: Publish::new(publisher.clone(), Silent::Plaintext),
        publisher,
        watched: BTreeSet::new(),
        held: BTreeSet::new(),
        clusters: BTreeSet::new(),
        services: BTreeMap::new(),
        lines: BTreeMap::new(),
    };
    while !script.0.is_empty() {
        match script.below(8) {
            0 => {
                let name = script.of(&SERVICES);
                let listener = script.of(&LISTENERS);
                world.graph.ask(name, listener, name);
            }
            1 => {
                let name = script.of(&SERVICES);
                world.graph.forget(name);
                world.publisher.forget(name);
                world.services.remove(name);
            }
            2 => world.explain(),
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
        world.graph.forget(name);
        world.publisher.forget(name);
        world.services.remove(name);
    }
    world.settle();
    assert!(world.watched.is_empty(), "{:?} is watched for nobody", world.watched);
    assert!(world.clusters.is_empty(), "{:?} stays", world.clusters);
    let left = world.mesh.describe();
    assert!(left.services.is_empty(), "{left}");
    assert!(left.refused.is_empty(), "{left}");
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

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn whatever_resources_say_no_service_names_a_cluster_that_is_not_there(
            script in proptest::collection::vec(any::<u8>(), 0..1500),
        ) {
            run(&script);
        }
    }
}
