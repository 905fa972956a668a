//! Clusters by names, and how their connections are secured.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use envoy_types::{
    pb::{
        envoy::{
            config::{
                cluster::v3::{
                    Cluster,
                    cluster::{ClusterDiscoveryType, DiscoveryType, TransportSocketMatch},
                },
                core::v3::{
                    Address, DataSource, Metadata, TransportSocket, data_source::Specifier,
                    transport_socket::ConfigType,
                },
                endpoint::v3::LbEndpoint,
            },
            extensions::transport_sockets::tls::v3::{
                CertificateValidationContext, CommonTlsContext, TlsCertificate, UpstreamTlsContext,
                common_tls_context::ValidationContextType,
            },
            r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
        },
        google::protobuf::{Struct, Value, value::Kind},
    },
    util::pack_any,
};
use tower_mesh::{
    Mesh,
    testing::xds::{AdsServer, CDS, EDS, Resource},
};

use super::{
    assignment, at, body, echo, eds, endpoint, of, proxyless, said,
    support::{Ca, Issued, Server, Tls, TlsServer, patience, zone::Zone},
};

#[tokio::test]
async fn all_names_of_a_cluster_are_asked_for() {
    let zone = Zone::serve("users.test.").await;
    zone.set("a.users.test.", "A", 60, &["127.0.0.1"]).await;
    zone.set("b.users.test.", "A", 60, &["127.0.0.1"]).await;
    let servers = [echo("a").await, echo("b").await, echo("c").await];
    let [a, b, c] = servers.each_ref().map(|server| server.socket().port());
    let resolver = zone.address;
    let cluster = Cluster {
        name: "users-cluster".to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into())),
        load_assignment: Some(assignment(
            "users-cluster",
            vec![
                at(endpoint("a.users.test.", a)),
                at(endpoint("b.users.test.", b)),
                at(endpoint("127.0.0.1", c)),
            ],
        )),
        dns_resolvers: vec![Address {
            address: endpoint(&resolver.ip().to_string(), resolver.port())
                .address
                .and_then(|it| it.address),
        }],
        ..Cluster::default()
    };
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", []));
    plane.set([said(CDS, "users-cluster", &cluster)]);
    let mesh = proxyless(&plane, "names");
    patience(async {
        let mut seen = BTreeSet::new();
        while seen.len() < 3 {
            let text = body(&mesh, "/").await.unwrap();
            seen.insert(text.chars().next().unwrap());
        }
    })
    .await;
    assert!(plane.nacks(CDS).is_empty());
}

fn inline(pem: &str) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(Specifier::InlineString(pem.to_owned())),
        ..DataSource::default()
    })
}

/// TLS that trusts this authority, which the resource itself holds, and expects this name.
fn tls(ca: &Ca, name: &str, own: Option<&Issued>, alpn: &[&str]) -> TransportSocket {
    expecting(ca, name, MatchPattern::Exact(name.to_owned()), own, alpn)
}

/// The same, of a server with a name like this, which is asked for by another.
fn expecting(
    ca: &Ca,
    sni: &str,
    name: MatchPattern,
    own: Option<&Issued>,
    alpn: &[&str],
) -> TransportSocket {
    let mut common = CommonTlsContext {
        alpn_protocols: alpn.iter().map(|name| (*name).to_owned()).collect(),
        validation_context_type: Some(ValidationContextType::ValidationContext(
            CertificateValidationContext {
                trusted_ca: inline(ca.pem()),
                match_subject_alt_names: vec![StringMatcher {
                    match_pattern: Some(name),
                    ..StringMatcher::default()
                }],
                ..CertificateValidationContext::default()
            },
        )),
        ..CommonTlsContext::default()
    };
    if let Some(own) = own {
        let key = Specifier::InlineBytes(own.key_pem.clone().into_bytes());
        common.tls_certificates = vec![TlsCertificate {
            certificate_chain: inline(&own.chain_pem),
            private_key: Some(DataSource { specifier: Some(key), ..DataSource::default() }),
            ..TlsCertificate::default()
        }];
    }
    let context = UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: sni.to_owned(),
        ..UpstreamTlsContext::default()
    };
    TransportSocket {
        name: "tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack_any(context))),
    }
}

/// A plane that knows one cluster, and a mesh that asks it.
async fn secured(node: &str, cluster: Cluster, endpoints: Vec<LbEndpoint>) -> (AdsServer, Mesh) {
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", []));
    plane.set([
        said(CDS, "users-cluster", &cluster),
        said(EDS, "users-cluster", &assignment("users-cluster", endpoints)),
    ]);
    let mesh = proxyless(&plane, node);
    (plane, mesh)
}

#[tokio::test]
async fn keys_and_roots_that_stand_in_the_resource() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let own = ca.issue(&["client.example"]);
    let server = Tls::new(ca.issue(&["users.example"])).clients_of(&ca).start().await;
    let socket = tls(&ca, "users.example", Some(&own), &[]);
    let cluster = Cluster { transport_socket: Some(socket), ..eds("users-cluster") };
    let (plane, mesh) = secured("inline", cluster, vec![of(server.socket())]).await;
    assert_eq!(body(&mesh, "/").await.unwrap(), "hello");
    assert_eq!(server.met()[0].certificates, 1);
    // No key is told of.
    let told = format!("{} {mesh:?}", mesh.describe());
    assert!(!told.contains("PRIVATE"), "{told}");
    // Of another authority nobody is accepted.
    let socket = tls(&other, "users.example", Some(&own), &[]);
    let cluster = Cluster { transport_socket: Some(socket), ..eds("users-cluster") };
    plane.set([said(CDS, "users-cluster", &cluster)]);
    patience(async {
        while body(&mesh, "/").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// gRFC A29, Envoy: it is for the whole of a name.
#[tokio::test]
async fn a_server_is_accepted_whose_name_matches_a_regular_expression() {
    let ca = Ca::new("ca");
    let users = Tls::new(ca.issue(&["users.example"])).start().await;
    let other = Tls::new(ca.issue(&["xusers.example"])).start().await;
    for (at, (server, regex, will_do)) in [
        (&users, r"users\.example", true),
        (&users, r"a|[a-z]+\.example", true),
        (&users, "users|example", false),
        (&other, r"users\.example", false),
        (&other, "users.*|x", false),
    ]
    .into_iter()
    .enumerate()
    {
        let regex = RegexMatcher { regex: regex.to_owned(), ..RegexMatcher::default() };
        let name = MatchPattern::SafeRegex(regex.clone());
        let socket = expecting(&ca, "users.example", name, None, &[]);
        let cluster = Cluster { transport_socket: Some(socket), ..eds("users-cluster") };
        let endpoints = vec![of(server.socket())];
        let (plane, mesh) = secured(&format!("regex-{at}"), cluster, endpoints).await;
        let answer = body(&mesh, "/").await;
        assert_eq!(answer.is_ok(), will_do, "{regex:?}: {answer:?}");
        assert!(plane.nacks(CDS).is_empty(), "{:?}", plane.nacks(CDS));
    }
    assert_eq!((users.requests(), other.requests()), (2, 0));
}

#[tokio::test]
async fn sockets_of_one_cluster_that_trust_different_roots() {
    let (one, two) = (Ca::new("one"), Ca::new("two"));
    let a = Tls::new(one.issue(&["a.example"])).named("a").start().await;
    let b = Tls::new(two.issue(&["b.example"])).named("b").start().await;
    // It has the name that is expected, of the wrong authority.
    let wrong = Tls::new(one.issue(&["b.example"])).named("wrong").start().await;
    let plain = Server::named("plain").await;
    let labels = |name: &str| {
        let value = Value { kind: Some(Kind::StringValue(name.to_owned())) };
        Struct { fields: [("ca".to_owned(), value)].into() }
    };
    let choice = |name: &str, socket: Option<TransportSocket>| TransportSocketMatch {
        name: name.to_owned(),
        r#match: Some(labels(name)),
        transport_socket: socket,
    };
    let cluster = Cluster {
        transport_socket_matches: vec![
            choice("one", Some(tls(&one, "a.example", None, &[]))),
            choice("two", Some(tls(&two, "b.example", None, &[]))),
        ],
        ..eds("users-cluster")
    };
    let by = |name: &str, address: SocketAddr| LbEndpoint {
        metadata: Some(Metadata {
            filter_metadata: [("envoy.transport_socket_match".to_owned(), labels(name))].into(),
            ..Metadata::default()
        }),
        ..of(address)
    };
    let endpoints = vec![
        by("one", a.socket()),
        by("two", b.socket()),
        by("two", wrong.socket()),
        by("none", plain.socket()),
    ];
    let (plane, mesh) = secured("roots", cluster, endpoints).await;
    let mut seen = BTreeSet::new();
    patience(async {
        while seen.len() < 3 {
            match body(&mesh, "/").await {
                Ok(text) => drop(seen.insert(text)),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    })
    .await;
    for _ in 0..30 {
        seen.extend(body(&mesh, "/").await);
    }
    assert_eq!(seen, ["a", "b", "plain"].map(str::to_owned).into());
    assert_eq!(wrong.requests(), 0);
    assert!(plane.nacks(CDS).is_empty());
}

#[tokio::test]
async fn names_are_offered_that_istio_s_proxies_look_at() {
    let ca = Ca::new("ca");
    let server = |alpn: &'static [&'static str]| {
        let tls = Tls::new(ca.issue(&["users.example"])).alpn(alpn);
        async move { tls.start().await }
    };
    let call = async |node: &str, server: &TlsServer| {
        let socket = tls(&ca, "users.example", None, &["istio-peer-exchange", "istio"]);
        let cluster = Cluster { transport_socket: Some(socket), ..eds("users-cluster") };
        let (_plane, mesh) = secured(node, cluster, vec![of(server.socket())]).await;
        body(&mesh, "/").await.map(|_| server.met()[0].alpn.clone().unwrap())
    };
    // As a sidecar agrees: what is spoken.
    let usual = server(&["h2", "http/1.1"]).await;
    assert_eq!(call("usual", &usual).await.unwrap(), "h2");
    // They are there.
    let looks = server(&["istio-http/1.1"]).await;
    assert_eq!(call("looks", &looks).await.unwrap(), "istio-http/1.1");
    let looks = server(&["istio-h2"]).await;
    assert_eq!(call("looks-h2", &looks).await.unwrap(), "istio-h2");
    // Who agrees to this one waits for something else than HTTP.
    let tcp = server(&["istio-peer-exchange"]).await;
    assert!(call("tcp", &tcp).await.is_err());
}
