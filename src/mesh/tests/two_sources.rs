//! Two sources that list the same endpoint: the first decides, the next when that removes it.

use std::net::SocketAddr;

use super::{super::Mesh, Own, address};
use crate::{
    config::{self, Address},
    discover::Publisher,
};

/// A mesh of two sources, the first of which decides.
async fn two() -> (Mesh, Publisher, Publisher) {
    let (give, first) = tokio::sync::oneshot::channel();
    let (give_too, second) = tokio::sync::oneshot::channel();
    let mesh = Mesh::builder().source(Own(give)).source(Own(give_too)).build().unwrap();
    (mesh, first.await.unwrap(), second.await.unwrap())
}

fn of_weight(weight: u32) -> config::Endpoint {
    let mut endpoint = config::Endpoint::new(address());
    endpoint.weight = weight;
    endpoint
}

fn endpoints(mesh: &Mesh) -> Vec<config::Endpoint> {
    let state = mesh.inner.state();
    state.clusters.get("users").map_or(Vec::new(), |entry| entry.cell.core.load().balancer.specs())
}

#[tokio::test]
async fn a_later_source_does_not_overwrite_an_endpoint_of_an_earlier_one() {
    for first_comes_first in [true, false] {
        let (mesh, first, second) = two().await;
        if first_comes_first {
            first.endpoints("users", [of_weight(1)]).unwrap();
        }
        second.endpoints("users", [of_weight(2)]).unwrap();
        if !first_comes_first {
            first.endpoints("users", [of_weight(1)]).unwrap();
        }
        assert_eq!(endpoints(&mesh), [of_weight(1)]);
        second.upsert_endpoints("users", [of_weight(3)]).unwrap();
        assert_eq!(endpoints(&mesh), [of_weight(1)]);
        first.upsert_endpoints("users", [of_weight(4)]).unwrap();
        assert_eq!(endpoints(&mesh), [of_weight(4)]);
        second.remove_endpoints("users", &[address()]);
        assert_eq!(endpoints(&mesh), [of_weight(4)]);
    }
}

#[tokio::test]
async fn an_endpoint_that_its_source_removes_is_what_the_next_says() {
    let removals: [fn(&Publisher); 3] = [
        |first| first.remove_endpoints("users", &[address()]),
        |first| first.endpoints("users", [] as [config::Endpoint; 0]).unwrap(),
        |first| first.remove_cluster("users"),
    ];
    for removal in removals {
        let (mesh, first, second) = two().await;
        second.endpoints("users", [of_weight(2)]).unwrap();
        first.endpoints("users", [of_weight(1)]).unwrap();
        removal(&first);
        assert_eq!(endpoints(&mesh), [of_weight(2)]);
        first.endpoints("users", [of_weight(5)]).unwrap();
        assert_eq!(endpoints(&mesh), [of_weight(5)]);
        removal(&first);
        second.remove_cluster("users");
        assert!(endpoints(&mesh).is_empty());
    }
}

#[tokio::test]
async fn a_later_source_does_not_make_an_endpoint_plain_that_is_secured_as_its_cluster() {
    let (mesh, first, second) = two().await;
    first.endpoints("users", [address()]).unwrap();
    let mut plain = config::Endpoint::new(address());
    plain.security = Some(config::Security::Plain);
    second.endpoints("users", [plain]).unwrap();
    assert_eq!(endpoints(&mesh), [address().into()]);
}

#[tokio::test]
async fn a_bare_address_is_secured_as_the_endpoint_that_lists_it_among_others() {
    let [one, two, three]: [Address; 3] =
        ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(|it| it.parse().unwrap());
    let mut secured = config::Endpoint::new(one.clone());
    secured.security = Some(config::Security::Tls(Box::default()));
    secured.more_addresses = vec![two.clone()];
    // Of another source: one of its addresses, and an endpoint that listens there, too.
    let mut among = config::Endpoint::new(three.clone());
    among.more_addresses = vec![one.clone()];
    let bare = [config::Endpoint::new(two.clone()), among];
    let is_secured = |mesh: &Mesh, address: &Address| {
        let all = endpoints(mesh);
        let found = all.into_iter().find(|endpoint| endpoint.address == *address).unwrap();
        matches!(found.security, Some(config::Security::Tls(_)))
    };
    for secured_comes_first in [true, false] {
        for secured_decides in [true, false] {
            let (mesh, first, second) = two_sources(secured_decides).await;
            if secured_comes_first {
                first.endpoints("users", [secured.clone()]).unwrap();
            }
            second.endpoints("users", bare.clone()).unwrap();
            if !secured_comes_first {
                first.upsert_endpoints("users", [secured.clone()]).unwrap();
            }
            assert!(is_secured(&mesh, &two) && is_secured(&mesh, &three));
            // Nobody says so any more.
            first.remove_endpoints("users", std::slice::from_ref(&one));
            assert!(!is_secured(&mesh, &two) && !is_secured(&mesh, &three));
            first.endpoints("users", [secured.clone()]).unwrap();
            assert!(is_secured(&mesh, &two) && is_secured(&mesh, &three));
            first.remove_cluster("users");
            assert!(!is_secured(&mesh, &two) && !is_secured(&mesh, &three));
        }
    }
}

/// Two sources, the first of which decides or not.
async fn two_sources(first_decides: bool) -> (Mesh, Publisher, Publisher) {
    let (mesh, first, second) = two().await;
    if first_decides { (mesh, first, second) } else { (mesh, second, first) }
}

#[tokio::test]
async fn pick_first_goes_by_the_order_of_each_source_the_first_one_first() {
    let ((give, take), (give_too, take_too)) =
        (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
    let sources = Mesh::builder().source(Own(give)).source(Own(give_too));
    let mesh = sources.build().unwrap();
    let (one, other) = (take.await.unwrap(), take_too.await.unwrap());
    let at = |port: u16| config::Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)).into());
    let cluster = |ports: &[u16]| {
        let mut first = config::PickFirst::default();
        first.shuffle = Some(false);
        let mut cluster = config::Cluster::default();
        cluster.balancer = Some(config::Balancer::PickFirst(first));
        cluster.endpoints = ports.iter().map(|port| at(*port)).collect();
        cluster
    };
    let first = || {
        let request = http::Request::get("http://users/").body(()).unwrap();
        match &mesh.explain(&request).unwrap().clusters[0].pick.choice {
            crate::balance::Choice::Endpoint { address, .. } => address.clone(),
            other => panic!("{other:?}"),
        }
    };
    // The one that comes second speaks first.
    other.cluster("users", cluster(&[4, 3, 1])).unwrap();
    one.cluster("users", cluster(&[2, 1])).unwrap();
    one.synced();
    other.synced();
    mesh.ready().await.unwrap();
    assert_eq!(first(), "127.0.0.1:2");
    one.cluster("users", cluster(&[1, 2])).unwrap();
    assert_eq!(first(), "127.0.0.1:1");
    // Of what both list, the place of the first source counts.
    one.cluster("users", cluster(&[])).unwrap();
    assert_eq!(first(), "127.0.0.1:4");
    other.cluster("users", cluster(&[3, 4, 1])).unwrap();
    assert_eq!(first(), "127.0.0.1:3");
}
