//! Which endpoint takes a call: pick first, one that the call names, the least busy, the one of a hash.

use std::{collections::BTreeSet, sync::Arc};

use envoy_types::pb::{
    envoy::{
        config::route::v3::{
            Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
            route::Action,
            route_action::{
                ClusterSpecifier, HashPolicy,
                hash_policy::{Header, PolicySpecifier},
            },
            route_match::PathSpecifier,
        },
        extensions::load_balancing_policies::{
            least_request::v3::LeastRequest,
            override_host::v3::{OverrideHost, override_host::OverrideHostSource},
            pick_first::v3::PickFirst,
            ring_hash::v3::RingHash,
            round_robin::v3::RoundRobin,
        },
        r#type::metadata::v3::MetadataKey,
    },
    google::protobuf::UInt64Value,
};
use tokio::sync::Semaphore;
use tower_mesh::{
    Client,
    testing::xds::{CDS, RDS, Resource},
};

use super::{
    CLUSTER, at, is_accepted, list, named, number, said, start,
    support::{Server, fetch, get, patience},
    text, told, under, until, waiting, with,
};

async fn all_go_to(client: &Client, name: &str) {
    for _ in 0..20 {
        assert_eq!(text(client, get("/")).await, name);
    }
}

#[tokio::test]
async fn one_endpoint_takes_all_calls_until_it_is_lost_and_then_the_first_of_the_list_of_now() {
    let [a, b] = [Server::named("a").await, Server::named("b").await];
    let [c, d] = [Server::named("c").await, Server::named("d").await];
    let resources = [under(PickFirst { shuffle_address_list: false }), at([&a, &b, &c])];
    let (plane, mesh, client) = start("pick first", resources).await;
    all_go_to(&client, "a").await;

    // Another order: the one in use stays, as the new list has it, too.
    plane.set([at([&d, &c, &b, &a])]);
    until(|| told(&mesh, d.socket()).is_some()).await;
    all_go_to(&client, "a").await;
    assert_eq!(b.requests() + c.requests() + d.requests(), 0);

    // It stops listening: the first of now, not the one that followed it when it was chosen.
    a.kill().await;
    all_go_to(&client, "d").await;
    d.kill().await;
    all_go_to(&client, "c").await;
    assert_eq!(b.requests(), 0);

    // The one in use leaves the list.
    let gone = c.socket();
    plane.set([at([&b])]);
    until(|| told(&mesh, gone).is_none()).await;
    all_go_to(&client, "b").await;
    is_accepted(&plane);
}

// === one that the call names ===

fn named_by(source: OverrideHostSource) -> Resource {
    under(OverrideHost {
        override_host_sources: vec![source],
        fallback_policy: Some(list(RoundRobin::default())),
        ..OverrideHost::default()
    })
}

#[tokio::test]
async fn a_header_names_the_endpoint_and_who_is_not_there_leaves_it_to_the_next_policy() {
    let servers = named(["a", "b", "c"]).await;
    let source = OverrideHostSource { header: "x-to".to_owned(), ..OverrideHostSource::default() };
    let (plane, _mesh, client) = start("named", [named_by(source), at(&servers)]).await;
    for (server, name) in servers.iter().zip(["a", "b", "c"]) {
        for _ in 0..10 {
            assert_eq!(text(&client, with("x-to", &server.socket().to_string())).await, name);
        }
    }
    for to in ["127.0.0.1:1", "nobody"] {
        for _ in 0..15 {
            text(&client, with("x-to", to)).await;
        }
    }
    let calls: Vec<_> = servers.iter().map(Server::requests).collect();
    assert!(calls.iter().all(|calls| (18..=22).contains(calls)), "{calls:?}");
    is_accepted(&plane);
}

#[tokio::test]
async fn endpoints_that_metadata_alone_would_name_are_refused_and_the_last_good_policy_stays() {
    let servers = named(["a", "b"]).await;
    let resources = [under(PickFirst { shuffle_address_list: false }), at(&servers)];
    let (plane, _mesh, client) = start("named by metadata", resources).await;
    all_go_to(&client, "a").await;
    let metadata = Some(MetadataKey { key: "to".to_owned(), ..MetadataKey::default() });
    plane.set([named_by(OverrideHostSource { metadata, ..OverrideHostSource::default() })]);
    patience(plane.until(|plane| !plane.nacks(CDS).is_empty())).await;
    let reason = plane.nacks(CDS)[0].error.clone().unwrap();
    for words in [CLUSTER, "override_host_sources", "not supported yet: no header is named"] {
        assert!(reason.contains(words), "{reason}");
    }
    all_go_to(&client, "a").await;
}

// === least request (gRFC A48), ring hash (gRFC A42) ===

#[tokio::test]
async fn of_as_many_choices_as_endpoints_the_least_busy_takes_the_call() {
    let leave = Arc::new(Semaphore::new(0));
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(waiting(&leave).await);
    }
    let policy = LeastRequest { choice_count: number(4), ..LeastRequest::default() };
    let (plane, _mesh, client) = start("least request", [under(policy), at(&servers)]).await;
    let count = || servers.iter().map(Server::requests).collect::<Vec<_>>();
    let mut calls = Vec::new();
    for round in 1..=5_usize {
        for _ in 0..4 {
            calls.push(tokio::spawn(fetch(&client, get("/"))));
            until(|| count().iter().sum::<usize>() == calls.len()).await;
        }
        // Of two at random it would be another one than this sooner or later.
        assert_eq!(count(), [round; 4]);
    }
    leave.add_permits(calls.len());
    for call in calls {
        assert_eq!(patience(call).await.unwrap().unwrap().body(), "let go");
    }
    is_accepted(&plane);
}

/// Routes whose calls are hashed by a header.
fn hashed_by(header: &str) -> Resource {
    let header = Header { header_name: header.to_owned(), ..Header::default() };
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(CLUSTER.to_owned())),
        hash_policy: vec![HashPolicy {
            policy_specifier: Some(PolicySpecifier::Header(header)),
            ..HashPolicy::default()
        }],
        ..RouteAction::default()
    };
    let any_path = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(String::new())),
        ..RouteMatch::default()
    };
    let route =
        Route { r#match: Some(any_path), action: Some(Action::Route(action)), ..Route::default() };
    let host = VirtualHost {
        name: "users".to_owned(),
        domains: vec!["users".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let routes = RouteConfiguration {
        name: "routes".to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    said(RDS, "routes", &routes)
}

/// Who answers each of 60 users.
async fn owners(client: &Client) -> Vec<String> {
    let mut owners = Vec::new();
    for user in 0..60 {
        owners.push(text(client, with("x-user", &format!("user-{user}"))).await);
    }
    owners
}

#[tokio::test]
async fn a_key_of_a_route_s_hash_policy_stays_with_its_endpoint_while_another_leaves_and_returns() {
    let names = ["a", "b", "c", "d", "e"];
    let servers = named(names).await;
    // Four entries for each of five endpoints, and for each of four.
    let size = Some(UInt64Value { value: 16 });
    let ring = under(RingHash { minimum_ring_size: size, ..RingHash::default() });
    let resources = [hashed_by("x-user"), ring, at(&servers)];
    let (plane, mesh, client) = start("ring hash", resources).await;
    let before = owners(&client).await;
    assert_eq!(owners(&client).await, before);
    assert!(before.iter().collect::<BTreeSet<_>>().len() > 1, "{before:?}");

    let gone = before[0].clone();
    let leaves = names.iter().position(|it| *it == gone).unwrap();
    let left = servers.iter().enumerate().filter(|(place, _)| *place != leaves);
    plane.set([at(left.map(|(_, server)| server))]);
    until(|| told(&mesh, servers[leaves].socket()).is_none()).await;
    let meanwhile = owners(&client).await;
    for (was, is) in before.iter().zip(&meanwhile) {
        assert!(*is != gone && (is == was || *was == gone), "{before:?} {meanwhile:?}");
    }

    plane.set([at(&servers)]);
    until(|| told(&mesh, servers[leaves].socket()).is_some()).await;
    assert_eq!(owners(&client).await, before);
    is_accepted(&plane);
}
