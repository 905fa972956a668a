//! Names that are asked for, once, again and no more, and those that lead nowhere or to too much.

use super::*;

#[test]
fn who_asks_again_is_answered_again() {
    let mut world = World::known("users", "blue");
    world.ask("users");
    assert_eq!(world.done, ["service users"]);
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
fn a_name_that_comes_back_before_it_is_gone_keeps_its_service() {
    let mut world = World::known("users", "blue");
    let watched = world.watched();
    world.graph.forget("users");
    world.ask("users");
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
    assert_eq!((&world.done[..], world.watched()), (&["service users".to_owned()][..], watched));
    assert!(world.graph.serves("users").is_some());
    // Nor is it taken back later.
    world.ask("orders");
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
    world.graph.forget("users");
    world.settle();
    assert_eq!((world.services.len(), world.clusters.len()), (0, 0));
}

#[test]
fn a_name_that_comes_back_and_leads_elsewhere_is_not_served_by_what_was_before() {
    let mut world = World::known("users", "blue");
    world.tell(Resource::Routes(routes("r", &["green"])));
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
    // Where it leads now is on its way; nobody needs the cluster of before, which goes after the service.
    world.graph.forget("users");
    world.ask("users");
    assert_eq!((world.leads("users"), world.clusters.len()), (None, 0));
    world.tell(eds("green"));
    world.tell(endpoints("green", &["10.0.0.2:80"]));
    assert_eq!(world.leads("users"), Some(vec!["green"]));
    // If the mesh refuses the new one, the old one is not kept: nobody holds its clusters.
    world.refuses.insert("service users".into());
    world.graph.forget("users");
    world.ask("users");
    assert_eq!(world.leads("users"), None);
    assert!(world.graph.serves("users").is_none());
}

#[test]
fn a_name_that_comes_back_and_is_refused_says_why_until_it_is_not_or_nobody_asks() {
    let mut world = World::known("users", "blue");
    for is_mended in [true, false] {
        world.refuses.insert("service users".into());
        world.graph.forget("users");
        world.ask("users");
        assert_eq!(world.done, ["service users", "no service users"], "in one step");
        assert_eq!((world.leads("users"), &*world.lacks["users"]), (None, "as the mesh says"));
        // Where it leads is followed, as with any service that is refused.
        assert_eq!(world.watched(), ["LDS users", "RDS r", "CDS blue", "EDS blue"]);
        world.refuses.clear();
        if is_mended {
            world.ask("users");
            assert_eq!((world.leads("users"), world.lacks.len()), (Some(vec!["blue"]), 0));
        } else {
            world.graph.forget("users");
            world.settle();
            assert_eq!((world.services.len(), world.lacks.len()), (0, 0));
        }
        world.done.clear();
    }
}

#[test]
fn a_name_that_comes_back_and_leads_nowhere_says_why() {
    for why in [Why::Absent, Why::Away] {
        let mut world = World::known("users", "blue");
        world.graph.ask("orders", "other", "orders");
        world.settle();
        world.graph.told(Kind::Listener, "other", Err(Lack { reason: "so".into(), why }));
        world.settle();
        world.graph.forget("users");
        world.graph.ask("users", "other", "users");
        world.settle();
        assert_eq!((world.leads("users"), &*world.lacks["users"]), (None, "so"), "{why:?}");
        assert_eq!(world.clusters.len(), 0, "{why:?}");
    }
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
