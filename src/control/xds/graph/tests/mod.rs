//! What is watched and what is published: a control plane in words, and a mesh that may refuse.

mod aggregates;
mod chance;
mod changes;
mod elsewhere;
mod names;
mod secrets;

use super::*;
use crate::{
    config,
    control::xds::resource::{EndpointsFrom, Route, RoutesFrom, VirtualHost},
};

/// A control plane whose words are these, and what was done.
#[derive(Default)]
struct World {
    graph: Graph,
    watched: BTreeSet<Id>,
    /// What a mesh would have: clusters by name, services by name with the clusters that they lead to.
    clusters: BTreeMap<String, String>,
    services: BTreeMap<String, Vec<String>>,
    /// The clusters that take over from one.
    lines: BTreeMap<String, Vec<String>>,
    lacks: BTreeMap<String, String>,
    /// The services that it has refused, and says so.
    refused: BTreeSet<String>,
    done: Vec<String>,
    /// What the mesh refuses, by what `word` says of it.
    refuses: BTreeSet<String>,
}

fn routes(name: &str, clusters: &[&str]) -> Arc<Routes> {
    let mut route = config::Route::default();
    route.clusters = clusters.iter().map(|it| config::WeightedCluster::new(*it)).collect();
    let route = Route {
        config: route,
        overrides: BTreeMap::new(),
        of_clusters: Vec::new(),
        describe: Vec::new(),
    };
    let (domains, routes) = (vec!["*".into()], vec![route]);
    let host = VirtualHost { name: "h".into(), domains, routes, refused: None };
    Arc::new(Routes { name: name.into(), hosts: vec![host], notes: Vec::new(), ignore_port: false })
}

fn listener(name: &str, from: RoutesFrom) -> Resource {
    Resource::Listener(Arc::new(Listener {
        name: name.into(),
        routes: from,
        filters: Vec::new(),
        unknown: BTreeMap::new(),
        policy: config::Policy::default(),
        upgrades: Vec::new(),
        address: None,
        notes: Vec::new(),
        ignore_port: false,
    }))
}

fn cluster(name: &str, endpoints: EndpointsFrom) -> Resource {
    Resource::Cluster(Arc::new(Cluster {
        name: name.into(),
        config: config::Cluster::default(),
        endpoints,
        load_report: None,
        sockets: Default::default(),
        identities: BTreeMap::new(),
        secrets: None,
        is_silent_on_tls: false,
        weighs_localities: false,
        notes: Vec::new(),
    }))
}

fn eds(name: &str) -> Resource {
    cluster(name, EndpointsFrom::Eds { service_name: None })
}

fn endpoints(name: &str, addresses: &[&str]) -> Resource {
    let endpoints = addresses.iter().map(|it| config::Endpoint::new(it.parse().unwrap())).collect();
    Resource::Endpoints(Arc::new(Endpoints {
        name: name.into(),
        endpoints,
        ..Endpoints::default()
    }))
}

fn lack(reason: &str) -> Lack {
    Lack { reason: reason.into(), why: Why::Absent }
}

impl World {
    fn settle(&mut self) {
        while let Some(it) = self.graph.next() {
            self.done.push(word(&it));
            let refuses = self.refuses.contains(&word(&it));
            if refuses {
                self.graph.refused("as the mesh says");
                match it {
                    Do::Cluster { cluster, .. } => {
                        let name = cluster.name.to_string();
                        self.clusters.entry(name).or_insert_with(|| "refused".into());
                    }
                    Do::Service { name, .. } => {
                        self.refused.insert(name.to_string());
                    }
                    _ => {}
                }
                continue;
            }
            if let Do::Service { name, .. } | Do::NoService { name, .. } | Do::RemoveService(name) =
                &it
            {
                self.refused.remove(&**name);
            }
            match it {
                Do::Watch(id) => assert!(self.watched.insert(id)),
                Do::Unwatch(id) => assert!(self.watched.remove(&id)),
                Do::Cluster { cluster, endpoints, .. } => {
                    let addresses = match endpoints {
                        None => "elsewhere".to_owned(),
                        Some(Err(lack)) => format!("none: {}", lack.reason),
                        Some(Ok(it)) => {
                            let all: Vec<_> =
                                it.endpoints.iter().map(|it| it.address.to_string()).collect();
                            all.join(",")
                        }
                    };
                    self.clusters.insert(cluster.name.to_string(), addresses);
                    let failover = cluster.config.failover.iter();
                    let line: Vec<String> = failover.flat_map(|it| it.clusters.clone()).collect();
                    for other in &line {
                        assert!(self.clusters.contains_key(other), "{other} is not there yet");
                        assert!(self.lines.get(other).is_none_or(Vec::is_empty), "{other}");
                    }
                    self.lines.insert(cluster.name.to_string(), line);
                }
                Do::NoCluster { name, lack } => {
                    self.clusters.insert(name.to_string(), format!("refused: {}", lack.reason));
                    self.lines.remove(&*name);
                }
                Do::RemoveCluster(name) => {
                    assert!(self.clusters.remove(&*name).is_some());
                    let uses = |leads: &Vec<String>| leads.contains(&name.to_string());
                    assert!(!self.services.values().any(uses), "{name} is still led to");
                    self.lines.remove(&*name);
                    assert!(!self.lines.values().any(uses), "{name} is still in a line");
                }
                Do::Service { name, target: Service { listener, routes, authority, .. } } => {
                    let leads: Vec<String> = listener
                        .host(&routes, &authority)
                        .unwrap()
                        .clusters()
                        .into_iter()
                        .map(Into::into)
                        .collect();
                    for cluster in &leads {
                        assert!(self.clusters.contains_key(cluster), "{cluster} is not there yet");
                    }
                    self.lacks.remove(&*name);
                    self.services.insert(name.to_string(), leads);
                }
                Do::NoService { name, lack } => {
                    self.services.remove(&*name);
                    self.lacks.insert(name.to_string(), lack.reason.to_string());
                }
                Do::RemoveService(name) => {
                    self.services.remove(&*name);
                    self.lacks.remove(&*name);
                }
            }
        }
    }

    fn tell(&mut self, resource: Resource) {
        let (kind, name) = match &resource {
            Resource::Listener(it) => (Kind::Listener, it.name.clone()),
            Resource::Routes(it) => (Kind::Routes, it.name.clone()),
            Resource::Cluster(it) => (Kind::Cluster, it.name.clone()),
            Resource::Endpoints(it) => (Kind::Endpoints, it.name.clone()),
            Resource::Secret(it) => (Kind::Secret, it.name.clone()),
        };
        self.graph.told(kind, &name, Ok(resource));
        self.settle();
    }

    fn miss(&mut self, kind: Kind, name: &str, reason: &str) {
        self.graph.told(kind, name, Err(lack(reason)));
        self.settle();
    }

    fn ask(&mut self, name: &str) {
        self.graph.ask(name, name, name);
        self.settle();
    }

    fn leads(&self, service: &str) -> Option<Vec<&str>> {
        Some(self.services.get(service)?.iter().map(String::as_str).collect())
    }

    fn watched(&self) -> Vec<String> {
        self.watched.iter().map(|(kind, name)| format!("{kind} {name}")).collect()
    }

    /// A listener that leads by its routes to a cluster with one endpoint.
    fn known(name: &str, blue: &str) -> Self {
        let mut world = Self::default();
        world.ask(name);
        world.tell(listener(name, RoutesFrom::Named("r".into())));
        world.tell(Resource::Routes(routes("r", &[blue])));
        world.tell(eds(blue));
        world.tell(endpoints(blue, &["10.0.0.1:80"]));
        assert_eq!(world.leads(name), Some(vec![blue]));
        world.done.clear();
        world
    }
}

fn word(it: &Do) -> String {
    match it {
        Do::Watch((kind, name)) => format!("watch {kind} {name}"),
        Do::Unwatch((kind, name)) => format!("unwatch {kind} {name}"),
        Do::Cluster { cluster, instead_of: Some(_), .. } => format!("again {}", cluster.name),
        Do::Cluster { cluster, .. } => format!("cluster {}", cluster.name),
        Do::NoCluster { name, .. } => format!("no cluster {name}"),
        Do::Service { name, .. } => format!("service {name}"),
        Do::NoService { name, .. } => format!("no service {name}"),
        Do::RemoveCluster(name) => format!("remove cluster {name}"),
        Do::RemoveService(name) => format!("remove service {name}"),
    }
}
