//! Names whose listener is at the wildcard, or at an address of their host.

use super::*;

const WILDCARD: &str = "0.0.0.0_8080";
const ADDRESS: &str = "10.96.0.9_8080";

/// Routes of these hosts, each of one domain, and to one cluster.
fn hosts(name: &str, hosts: &[(&str, &str)]) -> Resource {
    let host = |(domain, cluster): &(&str, &str)| {
        let mut host = routes(name, &[*cluster]).hosts[0].clone();
        host.domains = vec![(*domain).to_owned()];
        host
    };
    let hosts = hosts.iter().map(host).collect();
    Resource::Routes(Arc::new(Routes {
        name: name.into(),
        hosts,
        notes: Vec::new(),
        ignore_port: false,
    }))
}

/// A sidecar's name, which nobody has answered yet.
fn asked() -> World {
    let mut world = World::default();
    world.graph.ask("users:8080", WILDCARD, "users:8080");
    world.graph.has_addresses("users:8080");
    world.settle();
    world
}

impl World {
    fn seeks(&mut self) -> Vec<String> {
        self.graph.seeks().iter().map(ToString::to_string).collect()
    }

    fn found(&mut self, listeners: &[&str]) {
        let listeners = listeners.iter().map(|&it| it.to_owned()).collect();
        self.graph.found("users:8080", Ok(listeners));
        self.settle();
    }

    /// The listener of the port has these hosts.
    fn port_has(&mut self, all: &[(&str, &str)]) {
        self.tell(listener(WILDCARD, RoutesFrom::Named("8080".into())));
        self.tell(hosts("8080", all));
    }

    /// There is a listener at an address, of a service of its own.
    fn address_has(&mut self, address: &str, cluster: &str) {
        self.tell(listener(address, RoutesFrom::Named("users:8080".into())));
        self.tell(hosts("users:8080", &[("*", cluster)]));
    }

    fn up(&mut self, cluster: &str) {
        self.tell(eds(cluster));
        self.tell(endpoints(cluster, &["10.0.0.1:80"]));
    }
}

#[test]
fn who_is_on_the_listener_of_the_port_is_looked_up_nowhere() {
    let mut world = asked();
    world.port_has(&[("*", "passthrough"), ("users:8080", "blue")]);
    world.up("blue");
    assert_eq!(world.leads("users:8080"), Some(vec!["blue"]));
    assert!(world.seeks().is_empty() && world.graph.astray().is_empty());
}

#[test]
fn who_is_not_on_the_listener_of_the_port_is_found_at_its_address() {
    for port_is_there in [false, true] {
        let mut world = asked();
        if port_is_there {
            // Others are, and there is a last resort for whatever nobody knows.
            world.port_has(&[("other:8080", "other"), ("*", "passthrough")]);
            world.up("passthrough");
        } else {
            world.miss(Kind::Listener, WILDCARD, "there is none");
        }
        // Nothing is said before the addresses are known, which are asked for once.
        assert_eq!(world.seeks(), ["users:8080"]);
        assert!(world.seeks().is_empty());
        assert!(world.services.is_empty() && world.lacks.is_empty(), "{:?}", world.done);
        world.found(&[ADDRESS]);
        assert!(world.watched().contains(&format!("LDS {ADDRESS}")));
        assert!(world.services.is_empty() && world.lacks.is_empty(), "{:?}", world.done);
        world.address_has(ADDRESS, "blue");
        world.up("blue");
        assert_eq!(world.leads("users:8080"), Some(vec!["blue"]), "{port_is_there}");
        assert!(world.graph.astray().is_empty());
        // All that it needs is followed, and let go with it.
        let needs = world.graph.serves("users:8080").unwrap();
        assert!(needs.contains(&(Kind::Listener, ADDRESS.into())), "{needs:?}");
        world.graph.forget("users:8080");
        world.settle();
        assert!(world.watched.is_empty(), "{:?}", world.watched);
    }
}

#[test]
fn a_port_that_gets_a_name_is_led_to_by_the_listener_of_the_port() {
    let mut world = asked();
    world.miss(Kind::Listener, WILDCARD, "there is none");
    world.found(&[ADDRESS]);
    world.address_has(ADDRESS, "blue");
    world.up("blue");
    world.port_has(&[("users:8080", "green")]);
    // Until all of it is known, the way that is known is gone.
    assert_eq!(world.leads("users:8080"), Some(vec!["blue"]));
    world.up("green");
    assert_eq!(world.leads("users:8080"), Some(vec!["green"]));
    assert!(!world.watched().contains(&format!("LDS {ADDRESS}")), "{:?}", world.watched());
}

#[test]
fn the_first_address_whose_listener_leads_somewhere_counts() {
    let mut world = asked();
    world.miss(Kind::Listener, WILDCARD, "there is none");
    world.found(&["10.0.0.1_8080", "10.0.0.2_8080"]);
    world.miss(Kind::Listener, "10.0.0.1_8080", "there is none");
    world.address_has("10.0.0.2_8080", "blue");
    world.up("blue");
    assert_eq!(world.leads("users:8080"), Some(vec!["blue"]));
}

#[test]
fn the_last_resort_counts_where_no_address_has_a_listener() {
    let mut world = asked();
    world.port_has(&[("*", "passthrough")]);
    world.found(&[ADDRESS]);
    world.miss(Kind::Listener, ADDRESS, "there is none");
    world.up("passthrough");
    assert_eq!(world.leads("users:8080"), Some(vec!["passthrough"]));
    // It may get one, at another address.
    assert_eq!(world.graph.astray().len(), 1);
    world.found(&["10.96.0.10_8080"]);
    world.address_has("10.96.0.10_8080", "blue");
    world.up("blue");
    assert_eq!(world.leads("users:8080"), Some(vec!["blue"]));
}

#[test]
fn who_goes_by_the_last_resort_looks_no_further_while_an_address_is_still_there() {
    let mut world = asked();
    world.port_has(&[("*", "passthrough")]);
    world.found(&["10.0.0.1_8080", "10.0.0.2_8080"]);
    world.miss(Kind::Listener, "10.0.0.1_8080", "there is none");
    world.miss(Kind::Listener, "10.0.0.2_8080", "there is none");
    world.up("passthrough");
    assert_eq!(world.leads("users:8080"), Some(vec!["passthrough"]));
    let watched = world.watched();
    world.found(&["10.0.0.2_8080", "10.0.0.3_8080"]);
    assert_eq!(world.watched(), watched);
    assert_eq!(world.graph.astray().len(), 1);
    world.found(&["10.0.0.3_8080"]);
    assert!(world.watched().contains(&"LDS 10.0.0.3_8080".to_owned()), "{:?}", world.watched());
}

#[test]
fn who_is_nowhere_is_told_of_both_and_of_the_name_of_the_port() {
    let mut world = asked();
    world.miss(Kind::Listener, WILDCARD, "there is none; check the name");
    world.found(&[ADDRESS]);
    world.miss(Kind::Listener, ADDRESS, "nor here");
    let lack = &world.lacks["users:8080"];
    for words in ["there is none; nor", ADDRESS, "is the port's protocol named"] {
        assert!(lack.contains(words), "{lack}");
    }
    assert!(lack.ends_with("?); check the name"), "{lack}");
    assert_eq!(world.graph.astray().len(), 1);
    // Nor does an address help that nobody knows.
    let mut world = asked();
    world.port_has(&[("other:8080", "other")]);
    world.graph.found("users:8080", Err("`users` cannot be resolved".into()));
    world.settle();
    let lack = &world.lacks["users:8080"];
    for words in ["none of its virtual hosts", "cannot be resolved", "is the port's protocol named"]
    {
        assert!(lack.contains(words), "{lack}");
    }
    // What was known stays where it cannot be asked for again.
    world.found(&[ADDRESS]);
    world.address_has(ADDRESS, "blue");
    world.up("blue");
    world.graph.found("users:8080", Err("no answer".into()));
    world.settle();
    assert_eq!(world.leads("users:8080"), Some(vec!["blue"]));
}

#[test]
fn what_is_in_the_way_at_an_address_is_told() {
    let mut world = asked();
    world.miss(Kind::Listener, WILDCARD, "there is none");
    world.found(&[ADDRESS]);
    let refused = Lack { reason: "it speaks TCP".into(), why: Why::Refused };
    world.graph.told(Kind::Listener, ADDRESS, Err(refused));
    world.settle();
    assert_eq!(world.lacks["users:8080"], "it speaks TCP");
}
