//! Clusters that are made of others (gRFC A37), and the line in which these take over.

use super::*;

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
