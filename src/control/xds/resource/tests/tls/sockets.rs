//! Transport sockets: what of them is TLS, what plaintext, and which one an endpoint has.

use envoy_types::pb::envoy::extensions::transport_sockets::{
    raw_buffer::v3::RawBuffer, tls::v3::certificate_validation_context::SystemRootCerts,
};

use super::*;
use crate::config::{Discovery, Security, SecurityMode};

#[test]
fn an_unknown_transport_socket_is_never_plaintext() {
    for name in ["http_11_proxy.v3.Http11ProxyUpstreamTransport", "alts.v3.Alts", "x"] {
        let any = Any {
            type_url: format!("type.googleapis.com/envoy.extensions.transport_sockets.{name}"),
            value: Vec::new(),
        };
        let pb = PbCluster { transport_socket: Some(socket_of(any)), ..eds("c") };
        refuses(sidecar().cluster(&pb), &format!("{name}: not supported yet"));
    }
    let pb = PbCluster {
        transport_socket: Some(TransportSocket { name: "tls".into(), config_type: None }),
        ..eds("c")
    };
    refuses(sidecar().cluster(&pb), "transport_socket.typed_config = tls: must be given");
    let plain = PbCluster { transport_socket: Some(socket_of(pack_any(RawBuffer {}))), ..eds("c") };
    assert_eq!(sidecar().cluster(&plain).unwrap().config.security, None);
}

/// Istio: an endpoint says by a label whether its workload has a proxy.
#[test]
fn metadata_of_an_endpoint_chooses_its_socket() {
    let matches = vec![
        choice(&[("tlsMode", "istio")], pack_any(mutual())),
        choice(&[], pack_any(RawBuffer {})),
    ];
    let pb = PbCluster { transport_socket_matches: matches, ..eds("c") };
    let cluster = sidecar().cluster(&pb).unwrap();
    let security = cluster.config.security.as_ref().unwrap();
    assert_eq!(security.mode, Some(SecurityMode::Mutual));
    let mut meshed = endpoint("10.0.0.1", 80);
    meshed.metadata = Some(metadata("envoy.transport_socket_match", &[("tlsMode", "istio")]));
    let list = vec![meshed, endpoint("10.0.0.2", 80)];
    let groups = vec![LocalityLbEndpoints { lb_endpoints: list, ..Default::default() }];
    let joined = cluster.with(&sidecar().endpoints(&assignment("c", groups)).unwrap());
    let Some(Security::Tls(tls)) = &joined.endpoints[0].security else { panic!("TLS") };
    assert_eq!(tls.mode, Some(SecurityMode::Mutual));
    assert_eq!(tls.identities.len(), 1);
    assert_eq!(joined.endpoints[1].security, Some(Security::Plain));
    assert!(joined.validate("c").is_ok());
    // One that trusts others: rules, which endpoints name.
    let mut other = tls_of_system();
    other.sni = "x".into();
    let mut pb = pb;
    pb.transport_socket_matches.insert(0, choice(&[("a", "b")], pack_any(other)));
    let cluster = sidecar().cluster(&pb).unwrap();
    let security = cluster.config.security.as_ref().unwrap();
    assert_eq!(security.matches.len(), 2);
    assert_eq!(security.matches[0].security.system_roots, Some(true));
    let mut outside = endpoint("10.0.0.3", 80);
    outside.metadata = Some(metadata("envoy.transport_socket_match", &[("a", "b")]));
    let mut meshed = endpoint("10.0.0.1", 80);
    meshed.metadata = Some(metadata("envoy.transport_socket_match", &[("tlsMode", "istio")]));
    let list = vec![outside, meshed, endpoint("10.0.0.2", 80)];
    let groups = vec![LocalityLbEndpoints { lb_endpoints: list, ..Default::default() }];
    let joined = cluster.with(&sidecar().endpoints(&assignment("c", groups)).unwrap());
    let rules: Vec<_> = joined
        .endpoints
        .iter()
        .map(|endpoint| match &endpoint.security {
            Some(Security::Tls(tls)) => tls.rule.clone(),
            Some(Security::Plain) => Some("plain".to_owned()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(rules, ["socket-0", "socket-1", "plain"].map(|it| Some(it.to_owned())));
    assert!(joined.validate("c").is_ok());
    // An unknown one refuses all.
    let unknown = Any { type_url: "type.googleapis.com/x".into(), value: Vec::new() };
    let pb = PbCluster { transport_socket_matches: vec![choice(&[], unknown)], ..eds("c") };
    refuses(
        sidecar().cluster(&pb),
        "transport_socket_matches[0].transport_socket.typed_config = x",
    );
}

/// Else it would be spoken to in plaintext, as the match without labels says.
#[test]
fn the_metadata_of_a_name_chooses_its_socket() {
    let mut name = endpoint("a.example", 80);
    let of = |name| PbCluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into())),
        load_assignment: Some(assignment(
            "c",
            vec![LocalityLbEndpoints { lb_endpoints: vec![name], ..Default::default() }],
        )),
        transport_socket_matches: vec![
            choice(&[("tlsMode", "istio")], pack_any(mutual())),
            choice(&[], pack_any(RawBuffer {})),
        ],
        eds_cluster_config: None,
        ..eds("c")
    };
    assert_eq!(sidecar().cluster(&of(name.clone())).unwrap().alone().security, None);
    name.metadata = Some(metadata("envoy.transport_socket_match", &[("tlsMode", "istio")]));
    let cluster = sidecar().cluster(&of(name)).unwrap().alone();
    assert_eq!(cluster.security.as_ref().unwrap().mode, Some(SecurityMode::Mutual));
    let Some(Discovery::Dns(dns)) = &cluster.discovery else { panic!("DNS") };
    let Some(Security::Tls(tls)) = &dns.targets[0].endpoint.security else { panic!("{dns:?}") };
    assert_eq!(tls.mode, Some(SecurityMode::Mutual));
}

fn tls_of_system() -> UpstreamTlsContext {
    tls(CertificateValidationContext {
        system_root_certs: Some(SystemRootCerts {}),
        ..Default::default()
    })
}
