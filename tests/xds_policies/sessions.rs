//! Sessions by a cookie (gRFC A55): with which endpoint they stay, and for how long.

use base64::{Engine, engine::general_purpose::STANDARD};
use envoy_types::{
    pb::{
        envoy::{
            config::{
                cluster::v3::cluster::CommonLbConfig,
                core::v3::{HealthStatus, HealthStatusSet},
                listener::v3::{ApiListener, Listener},
            },
            extensions::{
                filters::{
                    http::{router::v3::Router, stateful_session::v3::StatefulSession},
                    network::http_connection_manager::v3::{
                        HttpConnectionManager, HttpFilter, Rds,
                        http_connection_manager::RouteSpecifier, http_filter::ConfigType,
                    },
                },
                http::stateful_session::cookie::v3::CookieBasedSessionState,
            },
            r#type::http::v3::Cookie,
        },
        google::protobuf::Any,
    },
    util::pack_any,
};
use http::{
    StatusCode,
    header::{COOKIE, SET_COOKIE},
};
use tower_mesh::{
    Client, Mesh,
    testing::xds::{AdsServer, LDS, Resource},
};

use super::{
    ads, at, cluster, endpoint, extension, is_accepted, named, said, start,
    support::{Server, fetch, get, patience},
    told, until, with, zones,
};

/// A listener whose calls have a session by the cookie `at`.
fn sticky() -> Resource {
    let cookie = Cookie { name: "at".to_owned(), path: "/".to_owned(), ..Cookie::default() };
    let session = StatefulSession {
        session_state: Some(extension("cookie", CookieBasedSessionState { cookie: Some(cookie) })),
        ..StatefulSession::default()
    };
    let filter = |name: &str, any: Any| HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(any)),
        ..HttpFilter::default()
    };
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: "routes".to_owned(),
        })),
        http_filters: vec![
            filter("session", pack_any(session)),
            filter("router", pack_any(Router::default())),
        ],
        ..HttpConnectionManager::default()
    };
    let listener = Listener {
        name: "users".to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
        ..Listener::default()
    };
    said(LDS, "users", &listener)
}

/// An endpoint of these states keeps its sessions.
fn keeping(statuses: &[HealthStatus]) -> Resource {
    let statuses = statuses.iter().map(|status| i32::from(*status)).collect();
    cluster(|it| {
        it.common_lb_config = Some(CommonLbConfig {
            override_host_status: Some(HealthStatusSet { statuses }),
            ..CommonLbConfig::default()
        });
    })
}

/// A call with this cookie: who has answered, and the cookie that the caller is told.
async fn visit(client: &Client, cookie: Option<&str>) -> (String, Option<String>) {
    let request = cookie.map_or_else(|| get("/"), |cookie| with(COOKIE.as_str(), cookie));
    let answer = patience(fetch(client, request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let told = answer.headers().get(SET_COOKIE).map(|set| {
        let pair = set.to_str().unwrap().split(';').next().unwrap();
        pair.to_owned()
    });
    (String::from_utf8_lossy(answer.body().as_ref()).into_owned(), told)
}

/// A caller whose session is with one of three.
struct Visitor {
    plane: AdsServer,
    mesh: Mesh,
    client: Client,
    own: Server,
    name: String,
    cookie: String,
    others: Vec<Server>,
}

impl Visitor {
    async fn new(node: &str, statuses: &[HealthStatus]) -> Self {
        let names = ["a", "b", "c"];
        let mut servers = named(names).await;
        let resources = [sticky(), keeping(statuses), at(&servers)];
        let (plane, mesh, client) = start(node, resources).await;
        let (name, cookie) = visit(&client, None).await;
        let cookie = cookie.unwrap();
        let own = servers.remove(names.iter().position(|it| *it == name).unwrap());
        // As Envoy and gRPC write it: they understand each other's.
        let value = STANDARD.decode(cookie.strip_prefix("at=").unwrap()).unwrap();
        assert_eq!(String::from_utf8(value).unwrap(), own.socket().to_string());
        Self { plane, mesh, client, own, name, cookie, others: servers }
    }

    /// Its endpoint drains, and the mesh knows.
    async fn drains(&self) {
        let mut all = vec![endpoint(&self.own, HealthStatus::Draining)];
        all.extend(self.others.iter().map(|it| endpoint(it, HealthStatus::Unknown)));
        self.plane.set([zones([("zone", 1, all)])]);
        let drains = |line: String| line.contains("draining");
        until(|| told(&self.mesh, self.own.socket()).is_some_and(drains)).await;
    }

    async fn stays(&self) {
        for _ in 0..20 {
            let met = visit(&self.client, Some(&self.cookie)).await;
            assert_eq!(met, (self.name.clone(), None));
        }
    }

    /// Another endpoint takes over, and the caller is told.
    async fn moves(&self) {
        let (heir, cookie) = visit(&self.client, Some(&self.cookie)).await;
        assert_ne!(heir, self.name);
        let cookie = cookie.expect("it is told who has taken over");
        for _ in 0..20 {
            assert_eq!(visit(&self.client, Some(&cookie)).await, (heir.clone(), None));
        }
    }
}

#[tokio::test]
async fn a_session_outlasts_the_draining_of_its_endpoint_where_that_is_listed_not_its_removal() {
    let statuses = [HealthStatus::Unknown, HealthStatus::Healthy, HealthStatus::Draining];
    let visitor = Visitor::new("kept sessions", &statuses).await;
    visitor.stays().await;
    visitor.drains().await;
    visitor.stays().await;
    // It takes no new ones.
    for _ in 0..20 {
        assert_ne!(visit(&visitor.client, None).await.0, visitor.name);
    }
    visitor.plane.set([at(&visitor.others)]);
    until(|| told(&visitor.mesh, visitor.own.socket()).is_none()).await;
    visitor.moves().await;
    is_accepted(&visitor.plane);
}

#[tokio::test]
async fn a_session_leaves_an_endpoint_that_drains_where_that_is_not_listed() {
    let statuses = [HealthStatus::Unknown, HealthStatus::Healthy];
    let visitor = Visitor::new("moved sessions", &statuses).await;
    visitor.stays().await;
    visitor.drains().await;
    visitor.moves().await;
    is_accepted(&visitor.plane);
}

/// Two clusters by weight, with a server each.
fn parted(servers: &[Server], shares: &[(&str, u32)]) -> Vec<Resource> {
    let each = ["blue", "green"].iter().zip(servers).flat_map(|(name, server)| {
        [Resource::cluster(*name), Resource::endpoints(*name, [server.socket()])]
    });
    let split = shares.iter().map(|(name, weight)| ((*name).to_owned(), *weight));
    let routes = Resource::split("routes", "*", split);
    each.chain([sticky(), routes]).collect()
}

/// gRFC A60: which cluster is drawn is not drawn again.
#[tokio::test]
async fn a_session_stays_with_its_cluster_of_several_by_weight_while_the_route_leads_there() {
    let servers = named(["a", "b"]).await;
    let even = [("blue", 50), ("green", 50)];
    let (plane, mesh, client) = start("parted sessions", parted(&servers, &even)).await;
    let (mut seen, mut cookies) = (Vec::new(), Vec::new());
    while !(seen.contains(&"a".to_owned()) && seen.contains(&"b".to_owned())) {
        let (name, cookie) = visit(&client, None).await;
        seen.push(name.clone());
        cookies.push((name, cookie.unwrap()));
    }
    for (name, cookie) in &cookies {
        for _ in 0..20 {
            assert_eq!(visit(&client, Some(cookie)).await, (name.clone(), None));
        }
    }
    let blue = cookies.iter().find(|(name, _)| name == "a").unwrap().1.clone();
    let value = STANDARD.decode(blue.strip_prefix("at=").unwrap()).unwrap();
    let wanted = format!("{};cluster:blue", servers[0].socket());
    assert_eq!(String::from_utf8(value).unwrap(), wanted);
    let explained = client.explain(&with(COOKIE.as_str(), &blue)).unwrap().to_string();
    assert!(explained.contains("of the session"), "{explained}");

    // A cookie of before there were several says no cluster: it is where its endpoint is.
    let plain = format!("at={}", STANDARD.encode(servers[0].socket().to_string()));
    for _ in 0..20 {
        assert_eq!(visit(&client, Some(&plain)).await.0, "a");
    }

    // It leads there no more: another takes over, and the caller is told.
    plane.set(parted(&servers, &[("green", 1)]));
    until(|| !mesh.describe().to_string().contains("blue")).await;
    let (name, told) = visit(&client, Some(&blue)).await;
    assert_eq!(name, "b");
    assert!(told.is_some());
    is_accepted(&plane);
}
