//! Clusters whose keys and roots are resources of their own (SDS).

use envoy_types::pb::envoy::{
    config::{
        cluster::v3::{Cluster as PbCluster, cluster},
        core::v3::{
            AggregatedConfigSource, ConfigSource, DataSource, TransportSocket,
            config_source::ConfigSourceSpecifier, data_source::Specifier, transport_socket,
        },
    },
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, CommonTlsContext, SdsSecretConfig, Secret, TlsCertificate,
        UpstreamTlsContext, common_tls_context::ValidationContextType, secret::Type,
    },
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

use super::*;
use crate::control::xds::resource::{Context, Decoder};

fn decoded(kind: Kind, bytes: &[u8]) -> Resource {
    Decoder::new(Context::default()).decode(kind, bytes).unwrap().1
}

fn ads() -> Option<ConfigSource> {
    let specifier = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    Some(ConfigSource { config_source_specifier: Some(specifier), ..ConfigSource::default() })
}

/// A cluster of EDS whose own certificate, if it shows one, and roots are secrets.
fn secured(name: &str, own: Option<&str>, roots: &str) -> Resource {
    let secret = |name: &str| SdsSecretConfig { name: name.into(), sds_config: ads() };
    let common = CommonTlsContext {
        tls_certificate_sds_secret_configs: own.into_iter().map(secret).collect(),
        validation_context_type: Some(ValidationContextType::ValidationContextSdsSecretConfig(
            secret(roots),
        )),
        ..CommonTlsContext::default()
    };
    let context = UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: "users.prod".into(),
        ..UpstreamTlsContext::default()
    };
    let any = Any { type_url: UpstreamTlsContext::type_url(), value: context.encode_to_vec() };
    let socket = TransportSocket {
        name: "tls".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any)),
    };
    let pb = PbCluster {
        name: name.into(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: ads(),
            ..cluster::EdsClusterConfig::default()
        }),
        transport_socket: Some(socket),
        ..PbCluster::default()
    };
    decoded(Kind::Cluster, &pb.encode_to_vec())
}

fn pem(of: &str, content: &str) -> Option<DataSource> {
    let text = format!("-----BEGIN {of}-----\n{content}\n-----END {of}-----\n");
    Some(DataSource { specifier: Some(Specifier::InlineString(text)), ..DataSource::default() })
}

fn secret(name: &str, r#type: Type) -> Resource {
    let pb = Secret { name: name.into(), r#type: Some(r#type) };
    decoded(Kind::Secret, &pb.encode_to_vec())
}

fn roots(name: &str, content: &str) -> Resource {
    let trusted_ca = pem("CERTIFICATE", content);
    let context = CertificateValidationContext { trusted_ca, ..Default::default() };
    secret(name, Type::ValidationContext(context))
}

fn own(name: &str, content: &str) -> Resource {
    let certificate = TlsCertificate {
        certificate_chain: pem("CERTIFICATE", content),
        private_key: pem("PRIVATE KEY", content),
        ..TlsCertificate::default()
    };
    secret(name, Type::TlsCertificate(certificate))
}

/// A service whose cluster `blue` is secured by the secrets `own` and `roots`.
fn known() -> World {
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Named("r".into())));
    world.tell(Resource::Routes(routes("r", &["blue"])));
    world.tell(secured("blue", Some("own"), "roots"));
    world.tell(endpoints("blue", &["10.0.0.1:80"]));
    world.tell(own("own", "first"));
    world.tell(roots("roots", "first"));
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
    world.done.clear();
    world
}

#[test]
fn a_cluster_waits_for_its_secrets_which_are_asked_for_with_its_endpoints() {
    let mut world = World::default();
    world.ask("users");
    world.tell(listener("users", RoutesFrom::Named("r".into())));
    world.tell(Resource::Routes(routes("r", &["blue"])));
    world.tell(secured("blue", Some("own"), "roots"));
    assert_eq!(
        world.watched(),
        ["LDS users", "RDS r", "CDS blue", "EDS blue", "SDS own", "SDS roots"]
    );
    world.tell(endpoints("blue", &["10.0.0.1:80"]));
    world.tell(roots("roots", "first"));
    assert_eq!((world.leads("users"), world.clusters.len()), (None, 0));
    world.tell(own("own", "first"));
    assert_eq!(world.leads("users"), Some(vec!["blue"]));
    assert_eq!(world.clusters["blue"], "10.0.0.1:80");
}

#[test]
fn a_secret_that_is_renewed_makes_its_cluster_known_anew() {
    let mut world = known();
    world.tell(own("own", "second"));
    assert_eq!(world.done, ["cluster blue"]);
    // The same again is no news.
    world.tell(own("own", "second"));
    assert_eq!(world.done, ["cluster blue"]);
}

#[test]
fn a_secret_that_does_not_exist_is_why_its_cluster_cannot_be_used() {
    let mut world = known();
    world.miss(Kind::Secret, "roots", "SDS resource roots does not exist");
    assert_eq!(world.clusters["blue"], "refused: SDS resource roots does not exist");
    world.tell(roots("roots", "third"));
    assert_eq!(world.clusters["blue"], "10.0.0.1:80");
}

#[test]
fn a_secret_of_the_wrong_kind_is_why_its_cluster_cannot_be_used() {
    let mut world = known();
    world.tell(own("roots", "x"));
    let said = &world.clusters["blue"];
    assert!(
        said.contains("blue, with its secrets") && said.contains("says nobody to trust"),
        "{said}"
    );
}

/// What is in use stays until all that is new is there.
#[test]
fn another_secret_that_is_on_its_way_takes_nothing_away() {
    let mut world = known();
    world.tell(secured("blue", Some("newer"), "roots"));
    assert_eq!(world.done, ["watch SDS newer"]);
    // What of it was in use is followed.
    assert!(world.watched().contains(&"SDS own".to_owned()));
    world.done.clear();
    world.tell(endpoints("blue", &["10.0.0.2:80"]));
    assert_eq!(
        (&*world.clusters["blue"], &*world.done),
        ("10.0.0.2:80", &["again blue".to_owned()][..])
    );
    world.graph.told(
        Kind::Secret,
        "newer",
        Err(Lack { reason: "nobody can be asked".into(), why: Why::Away }),
    );
    world.settle();
    world.done.clear();
    world.tell(endpoints("blue", &["10.0.0.3:80"]));
    assert_eq!(world.clusters["blue"], "10.0.0.3:80");
    world.tell(own("own", "renewed"));
    assert_eq!(world.done, ["again blue", "again blue"]);
    world.done.clear();
    world.tell(own("newer", "first"));
    assert_eq!(world.done, ["cluster blue", "unwatch SDS own"]);
    assert_eq!(world.clusters["blue"], "10.0.0.3:80");
}

#[test]
fn secrets_of_a_cluster_that_is_gone_are_not_asked_for_any_more() {
    let mut world = known();
    world.tell(eds("blue"));
    assert_eq!(world.watched(), ["LDS users", "RDS r", "CDS blue", "EDS blue"]);
    world.tell(secured("blue", None, "roots"));
    world.tell(roots("roots", "x"));
    assert_eq!(world.clusters["blue"], "10.0.0.1:80");
    world.graph.forget("users");
    world.settle();
    assert!(world.watched.is_empty() && world.clusters.is_empty());
}

/// A cluster that the mesh refuses: the one before goes on, with its own secrets as they are renewed.
#[test]
fn a_cluster_that_stands_in_for_a_refused_one_follows_its_secrets() {
    let mut world = known();
    world.refuses.insert("cluster blue".into());
    world.tell(secured("blue", None, "roots"));
    assert_eq!(world.done, ["cluster blue", "again blue"]);
    world.done.clear();
    world.tell(own("own", "second"));
    assert_eq!(world.done, ["again blue"]);
}
