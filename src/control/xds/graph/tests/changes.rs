//! Changes wait until all that they lead to is known, and take nothing away meanwhile.

use super::*;

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
