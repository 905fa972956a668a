//! What control planes say to Envoys and nothing here does: tunnels to themselves, names that only route,
//! ciphers that are never offered. Each is left out or refused, never made less of.

use envoy_types::pb::{
    envoy::{
        config::cluster::v3::cluster::TransportSocketMatch,
        config::core::v3::{
            EnvoyInternalAddress, TransportSocket, envoy_internal_address::AddressNameSpecifier,
            transport_socket::ConfigType,
        },
        extensions::transport_sockets::{
            internal_upstream::v3::InternalUpstreamTransport, raw_buffer::v3::RawBuffer,
            tls::v3::UpstreamTlsContext,
        },
    },
    google::protobuf::Any,
};

use super::{
    tls::{choice, mutual, secured, trusting},
    *,
};
use crate::config::{IdentityMatch, Security, SecurityMode};

const SNI: &str = "outbound_.8080_._.users.prod.svc.cluster.local";
const OF_SOCKETS: &str = "envoy.transport_socket_match";

fn tunnel() -> Any {
    pack_any(InternalUpstreamTransport::default())
}

/// An endpoint as Istio's ambient mode has it.
fn inside(id: &str) -> LbEndpoint {
    let internal = EnvoyInternalAddress {
        endpoint_id: id.into(),
        address_name_specifier: Some(AddressNameSpecifier::ServerListenerName(
            "connect_originate".into(),
        )),
    };
    let address = Address { address: Some(address::Address::EnvoyInternalAddress(internal)) };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Endpoint::default()
        })),
        metadata: Some(metadata(OF_SOCKETS, &[("tunnel", "http")])),
        ..LbEndpoint::default()
    }
}

fn group(list: Vec<LbEndpoint>) -> Vec<LocalityLbEndpoints> {
    vec![LocalityLbEndpoints { lb_endpoints: list, ..Default::default() }]
}

fn labelled(address: &str, labels: &[(&str, &str)]) -> LbEndpoint {
    LbEndpoint { metadata: Some(metadata(OF_SOCKETS, labels)), ..endpoint(address, 80) }
}

/// As istiod secures clusters of an ambient mesh. Never is one of its endpoints spoken to in plaintext that is
/// meant to be reached through a tunnel.
#[test]
fn endpoints_that_choose_a_tunnel_are_left_out_and_others_are_not() {
    let matches = vec![
        choice(&[("tunnel", "http")], tunnel()),
        choice(&[("tlsMode", "istio")], pack_any(mutual())),
        choice(&[], pack_any(RawBuffer {})),
    ];
    let pb = PbCluster { transport_socket_matches: matches, ..eds("c") };
    let cluster = sidecar().cluster(&pb).unwrap();
    let notes = cluster.notes.join("\n");
    assert!(notes.contains("transport_socket_matches[0]") && notes.contains("HBONE"), "{notes}");
    let list = vec![
        labelled("10.0.0.1", &[("tunnel", "http")]),
        labelled("10.0.0.2", &[("tlsMode", "istio")]),
        endpoint("10.0.0.3", 80),
    ];
    let joined = cluster.with(&sidecar().endpoints(&assignment("c", group(list))).unwrap());
    let addresses: Vec<_> = joined.endpoints.iter().map(|it| it.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.2:80", "10.0.0.3:80"]);
    let Some(Security::Tls(tls)) = &joined.endpoints[0].security else { panic!("TLS") };
    assert_eq!(tls.mode, Some(SecurityMode::Mutual));
    assert_eq!(joined.endpoints[1].security, Some(Security::Plain));
    assert!(joined.validate("c").is_ok());

    // Where all of them would choose it, the cluster is refused.
    let all = PbCluster { transport_socket_matches: vec![choice(&[], tunnel())], ..eds("c") };
    refuses(sidecar().cluster(&all), "transport_socket_matches[0].transport_socket.typed_config");
    let socket =
        TransportSocket { name: "s".into(), config_type: Some(ConfigType::TypedConfig(tunnel())) };
    let all = PbCluster { transport_socket: Some(socket), ..eds("c") };
    refuses(sidecar().cluster(&all), "InternalUpstreamTransport: leads to a listener inside");
}

#[test]
fn endpoints_inside_of_envoy_are_left_out_and_told() {
    let mixed = assignment("c", group(vec![inside("10.0.0.1:80"), endpoint("10.0.0.2", 80)]));
    let read = sidecar().endpoints(&mixed).unwrap();
    assert_eq!((read.endpoints.len(), read.notes.len()), (1, 1));
    assert_eq!(read.endpoints[0].address.to_string(), "10.0.0.2:80");
    assert!(read.notes[0].contains("lb_endpoints[0]"), "{:?}", read.notes);
    assert!(read.notes[0].contains("HBONE"), "{:?}", read.notes);
    // One of which it is a further address, too: a part of an endpoint is not it.
    let mut several = endpoint("10.0.0.3", 80);
    let Some(HostIdentifier::Endpoint(it)) = &mut several.host_identifier else { panic!("it is") };
    let Some(HostIdentifier::Endpoint(internal)) = inside("x").host_identifier else {
        panic!("it is")
    };
    it.additional_addresses.push(
        envoy_types::pb::envoy::config::endpoint::v3::endpoint::AdditionalAddress {
            address: internal.address,
        },
    );
    let read =
        sidecar().endpoints(&assignment("c", group(vec![several, endpoint("10.0.0.2", 80)])));
    assert_eq!(read.unwrap().endpoints.len(), 1);
    // With none left, it is said why.
    let all = assignment("c", group(vec![inside("10.0.0.1:80"), inside("10.0.0.2:80")]));
    refuses(sidecar().endpoints(&all), "envoy_internal_address = 2: leads to a listener inside");
    // None at all is no fault.
    assert_eq!(sidecar().endpoints(&assignment("c", group(vec![]))).unwrap().endpoints.len(), 0);
}

#[test]
fn an_endpoint_that_moves_inside_of_envoy_is_left_out_of_what_was_known() {
    let plain: Vec<_> = (1..=8).map(|last| endpoint(&format!("10.0.0.{last}"), 80)).collect();
    let before = assignment("c", group(plain.clone())).encode_to_vec();
    let mut now = plain;
    now[3] = inside("10.0.0.4:80");
    let now = assignment("c", group(now)).encode_to_vec();
    let decoder = sidecar();
    let (_, known) = decoder.decode(Kind::Endpoints, &before).unwrap();
    let beside =
        decoder.decode_beside(Kind::Endpoints, &now, Some((before.as_slice(), &known))).unwrap();
    let Resource::Endpoints(read) = &beside.1 else { panic!("endpoints") };
    assert_eq!((read.endpoints.len(), read.notes.len()), (7, 1));
    assert_eq!(beside, decoder.decode(Kind::Endpoints, &now).unwrap());
}

/// What istiod says of `ISTIO_MUTUAL` while it knows no service account of the service.
fn routed(change: impl FnOnce(&mut UpstreamTlsContext)) -> PbCluster {
    let mut validation = trusting();
    validation.match_typed_subject_alt_names.clear();
    let mut context = tls::tls(validation);
    context.sni = SNI.into();
    change(&mut context);
    secured(context)
}

/// No certificate has the name by which Istio's gateways route, so every call would fail.
#[test]
fn where_the_name_asked_for_only_routes_a_workload_of_the_mesh_is_expected() {
    let of = |domain: Option<&str>| {
        let trust_domain = domain.map(Into::into);
        Decoder::new(Context { trust_domain, ..context(Dialect::Sidecar) })
    };
    let cluster = of(Some("prod.example")).cluster(&routed(|_| {})).unwrap();
    let security = cluster.config.security.as_ref().unwrap();
    assert_eq!(security.identities, [IdentityMatch::TrustDomain("prod.example".into())]);
    assert_eq!(security.sni.as_deref(), Some(SNI));
    let notes = cluster.notes.join("\n");
    assert!(notes.contains("any workload of the trust domain prod.example"), "{notes}");
    // Anybody whom the roots vouch for would be let in.
    refuses(of(None).cluster(&routed(|_| {})), "says nobody whom to expect");
    refuses(of(None).cluster(&routed(|_| {})), "TRUST_DOMAIN");
    refuses(
        of(Some("prod.example")).cluster(&routed(|it| it.auto_sni_san_validation = true)),
        "is no name of a server",
    );
    // Of some endpoints alone, as Istio has it where it finds out by itself who speaks mutual TLS: they are left
    // out, and never spoken to in plaintext.
    let some = |pb: &PbCluster| PbCluster {
        transport_socket_matches: vec![
            TransportSocketMatch {
                name: "n".into(),
                r#match: Some(fields(&[("tlsMode", "istio")])),
                transport_socket: pb.transport_socket.clone(),
            },
            choice(&[], pack_any(RawBuffer {})),
        ],
        ..eds("c")
    };
    let list = || vec![labelled("10.0.0.1", &[("tlsMode", "istio")]), endpoint("10.0.0.2", 80)];
    let endpoints = sidecar().endpoints(&assignment("c", group(list()))).unwrap();
    let cluster = of(None).cluster(&some(&routed(|_| {}))).unwrap();
    let notes = cluster.notes.join("\n");
    assert!(notes.contains("TRUST_DOMAIN") && notes.contains("are left out"), "{notes}");
    let left = cluster.with(&endpoints).endpoints;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].address.to_string(), "10.0.0.2:80");
    let cluster = of(Some("prod.example")).cluster(&some(&routed(|_| {}))).unwrap();
    let joined = cluster.with(&endpoints).endpoints;
    assert!(matches!(joined[0].security, Some(Security::Tls(_))), "{joined:?}");
    assert_eq!(joined[1].security, Some(Security::Plain));
    // Names that are said count, and names of servers are expected as ever.
    let mut said = tls::tls(trusting());
    said.sni = SNI.into();
    let cluster = of(Some("prod.example")).cluster(&secured(said)).unwrap();
    let identities = &cluster.config.security.as_ref().unwrap().identities;
    assert!(matches!(identities.as_slice(), [IdentityMatch::San(_)]), "{identities:?}");
    let cluster = of(Some("prod.example")).cluster(&routed(|it| it.sni = "api.example".into()));
    let identities = cluster.unwrap().config.security.clone().unwrap().identities;
    assert_eq!(identities, [IdentityMatch::Exact("api.example".into())]);
}

#[cfg(feature = "_tls")]
#[test]
fn ciphers_that_are_never_offered_are_left_out_unless_none_is_left() {
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::TlsParameters;

    let read = |ciphers: &[&str], curves: &[&str]| {
        let list = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        let mut context = mutual();
        tls::common(&mut context).tls_params = Some(TlsParameters {
            cipher_suites: list(ciphers),
            ecdh_curves: list(curves),
            ..Default::default()
        });
        sidecar().cluster(&secured(context))
    };
    let (one, two) = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305");
    // Envoy's own way to say it.
    let equal = format!("[{one}|{two}]");
    let suites = [equal.as_str(), "ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256"];
    let cluster = read(&suites, &["X25519Kyber768Draft00", "X25519"]).unwrap();
    let security = cluster.config.security.as_ref().unwrap();
    assert_eq!(security.ciphers, [one, two]);
    assert_eq!(security.groups, ["X25519"]);
    let notes = cluster.notes.join("\n");
    for (field, name) in [
        ("tls_params.cipher_suites", "ECDHE-RSA-AES128-SHA"),
        ("tls_params.cipher_suites", "AES128-GCM-SHA256"),
        ("tls_params.ecdh_curves", "X25519Kyber768Draft00"),
    ] {
        assert!(notes.contains(&format!("{field}: {name} is not spoken")), "{name}: {notes}");
    }
    refuses(read(&["AES128-SHA", "AES256-SHA"], &[]), "ciphers = AES128-SHA");
    refuses(read(&[], &["P-521"]), "groups = P-521");
    // What nobody knows is a mistake.
    refuses(read(&[one, "ECDHE-ECDSA-AES129-GCM-SHA256"], &[]), "AES129");
}
