mod elsewhere;
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
                if let Do::Cluster { cluster, .. } = it {
                    self.clusters
                        .entry(cluster.name.to_string())
                        .or_insert_with(|| "refused".into());
                }
                continue;
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

#[test]
fn one_thing_leads_to_the_next_and_all_is_published_at_once() {
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Named("r".into())));
    world.tell(Resource::Routes(routes("r", &["blue", "green"])));
    world.tell(eds("blue"));
    world.tell(endpoints("blue", &["10.0.0.1:80"]));
    assert_eq!(world.leads("users"), None);
    world.tell(eds("green"));
    assert_eq!(world.leads("users"), None);
    world.tell(endpoints("green", &["10.0.0.2:80"]));
    assert_eq!(world.leads("users"), Some(vec!["blue", "green"]));
    assert_eq!(
        world.done,
        [
            "watch LDS users",
            "watch RDS r",
            "watch CDS blue",
            "watch CDS green",
            "watch EDS blue",
            "cluster blue",
            "watch EDS green",
            "cluster green",
            "service users"
        ]
    );
}

#[test]
fn endpoints_come_and_go_without_a_word_of_routes() {
    let mut world = World::known("users", "blue");
    world.tell(endpoints("blue", &["10.0.0.1:80", "10.0.0.2:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.1:80,10.0.0.2:80");
    // The same again is no news.
    world.tell(endpoints("blue", &["10.0.0.1:80", "10.0.0.2:80"]));
    assert_eq!(world.done, ["cluster blue"]);
}

/// gRFC A74: a change of the routes takes effect when all that it leads to is known.
#[test]
fn routes_to_a_cluster_that_is_on_its_way_wait_and_take_nothing_away() {
    let mut world = World::known("users", "blue");
    world.tell(Resource::Routes(routes("r", &["green"])));
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
    // What is in use is still followed.
    world.tell(endpoints("blue", &["10.0.0.9:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.9:80");
    world.tell(eds("green"));
    world.tell(endpoints("green", &["10.0.0.2:80"]));
    assert_eq!(world.leads("users"), Some(vec!["green"]));
    assert_eq!(
        world.done,
        [
            "watch CDS green",
            "cluster blue",
            "watch EDS green",
            "cluster green",
            "service users",
            "remove cluster blue",
            "unwatch CDS blue",
            "unwatch EDS blue"
        ]
    );
}

#[test]
fn a_plane_that_dies_amid_a_change_takes_nothing_away() {
    let mut world = World::known("users", "blue");
    world.tell(Resource::Routes(routes("r", &["green"])));
    let away = Lack { reason: "away".into(), why: Why::Away };
    world.graph.told(Kind::Cluster, "green", Err(away.clone()));
    world.settle();
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
    world.tell(eds("green"));
    world.graph.told(Kind::Endpoints, "green", Err(away));
    world.settle();
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
    world.tell(endpoints("green", &["10.0.0.2:80"]));
    assert_eq!(world.leads("users"), Some(vec!["green"]));
}

/// The plane renames the endpoints of a cluster, and is gone before it tells them.
#[test]
fn a_cluster_in_use_keeps_its_endpoints_until_the_next_are_told() {
    let away = || Lack { reason: "away".into(), why: Why::Away };
    let renamed = || cluster("blue", EndpointsFrom::Eds { service_name: Some("pods".into()) });
    let mut world = World::known("users", "blue");
    world.tell(renamed());
    world.graph.told(Kind::Endpoints, "pods", Err(away()));
    world.settle();
    assert_eq!(world.clusters["blue"], "10.0.0.1:80");
    // They are followed, for somebody may tell them still.
    world.tell(endpoints("blue", &["10.0.0.2:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.2:80");
    let all = ["LDS users", "RDS r", "CDS blue", "EDS blue", "EDS pods"];
    assert_eq!(world.watched(), all);
    world.tell(endpoints("pods", &["10.0.0.3:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.3:80");
    assert_eq!(world.watched(), ["LDS users", "RDS r", "CDS blue", "EDS pods"]);
    // Who takes the change back is in use as ever.
    world.tell(eds("blue"));
    world.graph.told(Kind::Endpoints, "blue", Err(away()));
    world.settle();
    world.done.clear();
    world.tell(renamed());
    assert_eq!((&*world.clusters["blue"], &*world.done[0]), ("10.0.0.3:80", "cluster blue"));
    // That they do not exist is an answer.
    world.tell(eds("blue"));
    world.miss(Kind::Endpoints, "blue", "gone");
    assert_eq!(world.clusters["blue"], "none: gone");
    // And what never had any says why it has none.
    world.graph.told(Kind::Endpoints, "blue", Err(away()));
    world.settle();
    assert_eq!(world.clusters["blue"], "none: away");
    world.graph.forget("users");
    world.settle();
    assert_eq!(world.watched(), [""; 0]);
}

#[test]
fn a_line_in_use_stays_while_nobody_can_be_asked_for_the_next() {
    let away = || Lack { reason: "away".into(), why: Why::Away };
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["all"]))));
    world.tell(made_of("all", &["a"]));
    world.tell(eds("a"));
    world.tell(endpoints("a", &["10.0.0.1:80"]));
    world.tell(made_of("all", &["b"]));
    world.graph.told(Kind::Cluster, "b", Err(away()));
    world.settle();
    assert_eq!(world.lines["all"], ["a"]);
    world.tell(eds("b"));
    world.graph.told(Kind::Endpoints, "b", Err(away()));
    world.settle();
    assert_eq!(world.lines["all"], ["a"]);
    world.tell(endpoints("a", &["10.0.0.2:80"]));
    assert_eq!(world.clusters["a"], "10.0.0.2:80");
    world.tell(endpoints("b", &["10.0.0.3:80"]));
    assert_eq!(world.lines["all"], ["b"]);
    assert_eq!(world.watched(), ["LDS users", "CDS all", "CDS b", "EDS b"]);
}

#[test]
fn who_asks_again_is_answered_again() {
    let mut world = World::known("users", "blue");
    world.ask("users");
    assert_eq!(world.done, ["service users"]);
}

/// What was refused here is not in use: what is in use stays as it was, and is kept up to date.
#[test]
fn a_service_that_the_mesh_refuses_takes_no_cluster_of_the_old_one_away() {
    let mut world = World::known("users", "blue");
    world.refuses.insert("service users".into());
    world.tell(Resource::Routes(routes("r", &["green"])));
    world.tell(eds("green"));
    world.tell(endpoints("green", &["10.0.0.2:80"]));
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
    assert_eq!(world.clusters["blue"], "10.0.0.1:80");
    world.tell(endpoints("blue", &["10.0.0.9:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.9:80");
    assert_eq!(
        world.watched(),
        ["LDS users", "RDS r", "CDS blue", "CDS green", "EDS blue", "EDS green"]
    );
    // It is well again, and the old one goes.
    world.refuses.clear();
    world.tell(Resource::Routes(routes("r", &["green", "green"])));
    assert_eq!(world.leads("users"), Some(vec!["green"]));
    assert_eq!(world.watched(), ["LDS users", "RDS r", "CDS green", "EDS green"]);
    assert!(!world.clusters.contains_key("blue"));
}

#[test]
fn a_cluster_that_the_mesh_refuses_is_kept_with_the_endpoints_of_the_old_one() {
    let mut world = World::known("users", "blue");
    world.refuses.insert("cluster blue".into());
    world.tell(cluster("blue", EndpointsFrom::Eds { service_name: Some("pods".into()) }));
    world.tell(endpoints("pods", &["10.0.0.2:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.1:80");
    // The one that is in use is followed, and told to be no more than that.
    world.tell(endpoints("blue", &["10.0.0.3:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.3:80");
    world.tell(endpoints("blue", &["10.0.0.4:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.4:80");
    assert_eq!(world.done.last().unwrap(), "again blue");
    // Endpoints may be what was refused of it.
    world.refuses.clear();
    world.tell(endpoints("pods", &["10.0.0.5:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.5:80");
    assert_eq!(world.watched(), ["LDS users", "RDS r", "CDS blue", "EDS pods"]);
    world.graph.forget("users");
    world.settle();
    assert!(world.watched.is_empty() && world.graph.good.is_empty());
}

#[test]
fn what_serves_while_a_change_is_on_its_way_is_followed_wherever_it_leads() {
    let mut world = World::known("users", "blue");
    world.tell(Resource::Routes(routes("r", &["green"])));
    // Calls go to blue, whose endpoints are others from now on.
    world.tell(cluster("blue", EndpointsFrom::Eds { service_name: Some("pods".into()) }));
    assert!(world.watched().contains(&"EDS pods".into()), "{:?}", world.watched());
    world.tell(endpoints("pods", &["10.0.0.2:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.2:80");
    world.tell(eds("green"));
    world.tell(endpoints("green", &["10.0.0.3:80"]));
    assert_eq!(world.watched(), ["LDS users", "RDS r", "CDS green", "EDS green"]);
}

fn chain(world: &mut World, length: usize) {
    for n in 0..length {
        let next = Arc::from(format!("c{:02}", n + 1));
        world.tell(cluster(&format!("c{n:02}"), EndpointsFrom::Aggregate(vec![next])));
    }
    world.tell(cluster(&format!("c{length:02}"), EndpointsFrom::Dns));
}

/// gRFC A37: no more than 16, on the shortest way.
#[test]
fn clusters_of_clusters_that_are_too_deep_are_refused_and_a_short_way_counts() {
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["c00"]))));
    chain(&mut world, 15);
    assert_eq!(world.leads("users"), Some(vec!["c00"]));
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["c00"]))));
    chain(&mut world, 16);
    assert_eq!(world.leads("users"), None);
    assert!(world.lacks["users"].contains("CDS resource c16: "), "{:?}", world.lacks);
    // Another route leads there more directly: all of it is known then, its endpoints, too.
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["c00", "c08"]))));
    world.tell(eds("c16"));
    assert_eq!(world.leads("users"), None);
    world.tell(endpoints("c16", &["10.0.0.1:80"]));
    assert_eq!(world.leads("users"), Some(vec!["c00", "c08"]));
}

#[test]
fn a_name_that_leads_to_too_much_is_refused_and_nothing_of_it_is_asked_for() {
    let mut world = World::known("users", "blue");
    let names: Vec<String> = (0..walk::MOST).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.tell(Resource::Routes(routes("r", &names)));
    assert_eq!(world.leads("users"), None);
    assert!(world.lacks["users"].contains("more than 16384"), "{:?}", world.lacks);
    assert_eq!(world.watched(), ["LDS users", "RDS r"]);
    world.tell(Resource::Routes(routes("r", &["blue"])));
    world.tell(eds("blue"));
    world.tell(endpoints("blue", &["10.0.0.1:80"]));
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
}

#[test]
fn who_asks_again_before_there_is_an_answer_gets_one() {
    let mut world = World::default();
    world.ask("users");
    world.miss(Kind::Listener, "users", "gone");
    world.tell(listener("users", RoutesFrom::Named("r".into())));
    world.ask("users");
    world.done.clear();
    world.miss(Kind::Listener, "users", "gone");
    assert_eq!(world.done[0], "no service users");
    assert!(world.graph.is_answered("users") && world.graph.serves("users").is_none());
}

#[test]
fn a_cluster_that_is_missing_fails_its_calls_alone() {
    let mut world = World::known("users", "blue");
    world.tell(Resource::Routes(routes("r", &["blue", "green"])));
    world.miss(Kind::Cluster, "green", "CDS resource green: does not exist");
    assert_eq!(world.leads("users"), Some(vec!["blue", "green"]));
    assert_eq!(world.clusters["green"], "refused: CDS resource green: does not exist");
    // It comes.
    world.tell(eds("green"));
    assert!(world.clusters["green"].starts_with("refused"));
    world.miss(Kind::Endpoints, "green", "EDS resource green: does not exist");
    assert_eq!(world.clusters["green"], "none: EDS resource green: does not exist");
    world.tell(endpoints("green", &["10.0.0.2:80"]));
    assert_eq!(world.clusters["green"], "10.0.0.2:80");
}

#[test]
fn a_name_that_leads_nowhere_says_why_and_is_found_when_it_comes() {
    let mut world = World::default();
    world.ask("users");
    world.miss(Kind::Listener, "users", "LDS resource users: does not exist");
    assert_eq!(world.lacks["users"], "LDS resource users: does not exist");
    world.tell(listener("users", RoutesFrom::Named("r".into())));
    world.miss(Kind::Routes, "r", "RDS resource r: does not exist");
    assert_eq!(world.lacks["users"], "RDS resource r: does not exist");
    world.tell(Resource::Routes(Arc::new(Routes {
        name: "r".into(),
        hosts: Vec::new(),
        notes: Vec::new(),
        ignore_port: false,
    })));
    assert!(world.lacks["users"].contains("for the authority users"), "{:?}", world.lacks);
    world.tell(listener("users", RoutesFrom::Inline(routes("", &[]))));
    assert_eq!((world.leads("users"), world.lacks.len()), (Some(vec![]), 0));
    assert_eq!(world.watched(), ["LDS users"]);
}

#[test]
fn what_two_names_need_stays_until_neither_is_asked_for() {
    let mut world = World::known("users", "blue");
    world.ask("orders");
    world.tell(listener("orders", RoutesFrom::Named("r".into())));
    // All else was known.
    assert_eq!(world.leads("orders"), Some(vec!["blue"]));
    world.graph.forget("users");
    world.settle();
    assert_eq!(world.watched(), ["LDS orders", "RDS r", "CDS blue", "EDS blue"]);
    world.graph.forget("orders");
    world.settle();
    assert_eq!(world.watched(), Vec::<String>::new());
    assert_eq!((world.services.len(), world.clusters.len()), (0, 0));
    assert!(world.graph.users.is_empty() && world.graph.published.is_empty());
    assert!(world.graph.names().next().is_none());
}

#[test]
fn a_name_that_comes_back_is_asked_for_again() {
    let mut world = World::known("users", "blue");
    world.graph.forget("users");
    world.settle();
    world.ask("users");
    assert_eq!((world.leads("users"), world.watched().len()), (None, 1));
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["blue"]))));
    world.tell(eds("blue"));
    world.tell(endpoints("blue", &["10.0.0.1:80"]));
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
}

#[test]
fn news_of_what_is_not_watched_any_more_is_no_news() {
    let mut world = World::known("users", "blue");
    world.graph.forget("users");
    world.settle();
    world.done.clear();
    world.tell(eds("blue"));
    world.miss(Kind::Listener, "users", "gone");
    assert!(world.done.is_empty());
}

/// gRFC A37: clusters of clusters, and one that leads back to itself.
#[test]
fn clusters_of_clusters_are_followed_and_loops_end() {
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["all"]))));
    world.tell(cluster("all", EndpointsFrom::Aggregate(vec!["a".into(), "b".into()])));
    world.tell(cluster("a", EndpointsFrom::Aggregate(vec!["all".into(), "a".into()])));
    assert_eq!(world.leads("users"), None);
    world.tell(cluster("b", EndpointsFrom::Dns));
    assert_eq!(world.leads("users"), Some(vec!["all"]));
    assert_eq!(world.clusters.len(), 3);
}

#[test]
fn a_listener_may_say_that_ports_count_for_nothing() {
    let mut world = World::default();
    world.graph.ask("users:80", "l", "users:80");
    world.settle();
    let Resource::Listener(it) = listener("l", RoutesFrom::Named("r".into())) else { panic!() };
    world.tell(Resource::Listener(Arc::new(Listener { ignore_port: true, ..(*it).clone() })));
    let mut all = (*routes("r", &["blue"])).clone();
    all.hosts[0].domains = vec!["users".into()];
    world.tell(Resource::Routes(Arc::new(all)));
    world.tell(cluster("blue", EndpointsFrom::Inline));
    assert!(world.lacks.is_empty(), "{:?}", world.lacks);
    assert!(world.clusters.contains_key("blue"));
}

fn made_of(name: &str, parts: &[&str]) -> Resource {
    cluster(name, EndpointsFrom::Aggregate(parts.iter().map(|it| (*it).into()).collect()))
}

/// gRFC A37: those of a cluster within come in its place, once each.
#[test]
fn a_cluster_of_clusters_is_their_line() {
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["all"]))));
    world.tell(made_of("all", &["b", "c", "e"]));
    world.tell(eds("b"));
    world.tell(made_of("c", &["d", "b", "e", "all"]));
    world.tell(eds("d"));
    world.tell(endpoints("b", &["10.0.0.1:80"]));
    world.tell(endpoints("d", &["10.0.0.2:80"]));
    assert_eq!(world.leads("users"), None);
    // One that is not there has its place all the same.
    world.miss(Kind::Cluster, "e", "CDS resource e: does not exist");
    assert_eq!(world.leads("users"), Some(vec!["all"]));
    assert_eq!(world.lines["all"], ["b", "d", "e"]);
    assert_eq!(world.lines["c"], ["d", "b", "e"]);
    // The one within changes: the line does when all of it is known.
    world.tell(made_of("c", &["f", "d"]));
    assert_eq!(world.lines["all"], ["b", "d", "e"]);
    world.tell(eds("f"));
    assert_eq!(world.lines["all"], ["b", "d", "e"]);
    world.done.clear();
    world.tell(endpoints("f", &["10.0.0.3:80"]));
    assert_eq!(world.lines["all"], ["b", "f", "d", "e"]);
    assert_eq!(world.done, ["cluster f", "cluster all", "cluster c"]);
    // It is taken apart from above.
    world.done.clear();
    world.graph.forget("users");
    world.settle();
    let at = |word: &str| world.done.iter().position(|it| it == word).unwrap();
    assert!(at("remove cluster all") < at("remove cluster b"), "{:?}", world.done);
    assert!(world.watched.is_empty() && world.clusters.is_empty(), "{:?}", world.done);
    assert!(world.graph.lines.is_empty());
}

#[test]
fn a_line_in_use_stays_until_the_next_is_known() {
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["all"]))));
    world.tell(made_of("all", &["a"]));
    world.tell(eds("a"));
    world.tell(endpoints("a", &["10.0.0.1:80"]));
    world.tell(made_of("all", &["b"]));
    assert_eq!(world.lines["all"], ["a"]);
    // It is followed as long as calls go by it.
    world.tell(endpoints("a", &["10.0.0.2:80"]));
    assert_eq!(world.clusters["a"], "10.0.0.2:80");
    world.tell(cluster("a", EndpointsFrom::Eds { service_name: Some("pods".into()) }));
    world.tell(endpoints("pods", &["10.0.0.3:80"]));
    assert_eq!(world.clusters["a"], "10.0.0.3:80");
    world.tell(eds("b"));
    world.tell(endpoints("b", &["10.0.0.4:80"]));
    assert_eq!(world.lines["all"], ["b"]);
    assert_eq!(world.watched(), ["LDS users", "CDS all", "CDS b", "EDS b"]);
}

#[test]
fn a_line_that_the_mesh_refuses_leaves_the_one_before() {
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["all"]))));
    world.tell(made_of("all", &["a", "c"]));
    world.tell(cluster("a", EndpointsFrom::Inline));
    world.tell(made_of("c", &["d"]));
    world.tell(cluster("d", EndpointsFrom::Inline));
    assert_eq!(world.lines["all"], ["a", "d"]);
    world.refuses.insert("cluster all".into());
    world.tell(made_of("all", &["b"]));
    world.tell(cluster("b", EndpointsFrom::Inline));
    assert_eq!(world.lines["all"], ["a", "d"]);
    assert!(world.watched().contains(&"CDS d".to_owned()), "{:?}", world.watched());
    world.refuses.clear();
    world.tell(made_of("all", &["b", "a"]));
    assert_eq!(world.lines["all"], ["b", "a"]);
    assert_eq!(world.watched(), ["LDS users", "CDS a", "CDS all", "CDS b"]);
}

#[test]
fn a_ring_of_clusters_alone_leads_nowhere_and_says_so() {
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["all"]))));
    world.tell(made_of("all", &["a"]));
    world.tell(made_of("a", &["all"]));
    assert_eq!(world.leads("users"), Some(vec!["all"]));
    assert!(world.clusters["all"].contains("made of one another"), "{:?}", world.clusters);
    world.tell(made_of("a", &["all", "b"]));
    world.tell(cluster("b", EndpointsFrom::Inline));
    assert_eq!(world.lines["all"], ["b"]);
}

/// Nobody could be asked: that takes nothing away, whatever it is told of.
#[test]
fn what_nobody_can_be_asked_for_stays_as_it_is_known() {
    let mut world = World::known("users", "blue");
    let (services, clusters) = (world.services.clone(), world.clusters.clone());
    let watched = world.watched.clone();
    world.done.clear();
    let away = || Lack { reason: "nobody is there".into(), why: Why::Away };
    for (kind, name) in watched.clone() {
        world.graph.told(kind, &name, Err(away()));
    }
    world.settle();
    assert_eq!((world.services, world.clusters, world.watched), (services, clusters, watched));
    assert_eq!(world.done, Vec::<String>::new());
}

#[test]
fn two_clusters_may_share_their_endpoints() {
    let mut world = World::default();
    let shared = || EndpointsFrom::Eds { service_name: Some("pods".into()) };
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Inline(routes("", &["a", "b"]))));
    world.tell(cluster("a", shared()));
    world.tell(cluster("b", shared()));
    world.tell(endpoints("pods", &["10.0.0.1:80"]));
    world.done.clear();
    world.tell(endpoints("pods", &["10.0.0.2:80"]));
    assert_eq!(world.done, ["cluster a", "cluster b"]);
    // One of them looks elsewhere, and keeps what it has until that is known.
    world.tell(eds("a"));
    world.tell(endpoints("pods", &["10.0.0.3:80"]));
    assert_eq!((&*world.clusters["a"], &*world.clusters["b"]), ("10.0.0.2:80", "10.0.0.3:80"));
    world.tell(endpoints("a", &["10.0.0.4:80"]));
    assert_eq!(world.clusters["a"], "10.0.0.4:80");
}

mod chance {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Word {
        Ask(u8),
        Forget(u8),
        Listener(u8, Option<u8>),
        Routes(u8, Vec<u8>),
        Cluster(u8, u8),
        Endpoints(u8, u8),
        Missing(u8, u8),
        /// The mesh refuses it from now on, or no more.
        Refuse(bool, u8, bool),
    }

    fn word() -> impl Strategy<Value = Word> {
        let few = || 0..3_u8;
        prop_oneof![
            few().prop_map(Word::Ask),
            few().prop_map(Word::Forget),
            (few(), prop::option::of(few())).prop_map(|(a, b)| Word::Listener(a, b)),
            (few(), prop::collection::vec(few(), 0..3)).prop_map(|(a, b)| Word::Routes(a, b)),
            (few(), 0..6_u8).prop_map(|(a, b)| Word::Cluster(a, b)),
            (few(), few()).prop_map(|(a, b)| Word::Endpoints(a, b)),
            (0..4_u8, few()).prop_map(|(a, b)| Word::Missing(a, b)),
            (any::<bool>(), few(), any::<bool>()).prop_map(|(a, b, c)| Word::Refuse(a, b, c)),
        ]
    }

    proptest! {
        /// Whatever a control plane says, in whatever order: no service leads to a cluster that is not
        /// there (`World` asserts it), and nothing is left when nothing is asked for.
        #[test]
        fn no_call_sees_a_route_without_its_cluster(words in prop::collection::vec(word(), 0..60)) {
            let mut world = World::default();
            for word in words {
                match word {
                    Word::Ask(it) => world.ask(&format!("s{it}")),
                    Word::Forget(it) => {
                        world.graph.forget(&format!("s{it}"));
                        world.settle();
                    }
                    Word::Listener(it, from) => {
                        let from = match from {
                            Some(from) => RoutesFrom::Named(format!("r{from}").into()),
                            None => RoutesFrom::Inline(routes("", &["c0"])),
                        };
                        world.tell(listener(&format!("s{it}"), from));
                    }
                    Word::Routes(it, leads) => {
                        let leads: Vec<String> = leads.iter().map(|it| format!("c{it}")).collect();
                        let leads: Vec<&str> = leads.iter().map(String::as_str).collect();
                        world.tell(Resource::Routes(routes(&format!("r{it}"), &leads)));
                    }
                    Word::Cluster(it, from) => {
                        let from = match from {
                            0..3 => EndpointsFrom::Eds {
                                service_name: Some(format!("e{from}").into()),
                            },
                            3 => EndpointsFrom::Inline,
                            4 => EndpointsFrom::Aggregate(vec!["c0".into(), "c1".into()]),
                            _ => EndpointsFrom::Aggregate(vec!["c2".into(), "c1".into()]),
                        };
                        world.tell(cluster(&format!("c{it}"), from));
                    }
                    Word::Endpoints(it, address) => {
                        let address = format!("10.0.0.{address}:80");
                        world.tell(endpoints(&format!("e{it}"), &[&address]));
                    }
                    Word::Refuse(is_service, it, now) => {
                        let kind = if is_service { "service s" } else { "cluster c" };
                        let what = format!("{kind}{it}");
                        let _ = if now {
                            world.refuses.insert(what)
                        } else {
                            world.refuses.remove(&what)
                        };
                    }
                    Word::Missing(kind, it) => {
                        let kind = Kind::ALL[usize::from(kind)];
                        let letter = ["s", "r", "c", "e"][kind as usize];
                        world.miss(kind, &format!("{letter}{it}"), "gone");
                    }
                }
            }
            for it in 0..3 {
                world.graph.forget(&format!("s{it}"));
            }
            world.settle();
            prop_assert!(world.watched.is_empty() && world.clusters.is_empty());
            prop_assert!(world.services.is_empty() && world.graph.users.is_empty());
            prop_assert!(world.graph.published.is_empty() && world.graph.good.is_empty());
            prop_assert!(world.graph.lines.is_empty() && world.lines.is_empty());
        }
    }
}
