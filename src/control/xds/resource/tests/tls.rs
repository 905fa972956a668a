use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::cluster::TransportSocketMatch,
            core::v3::{
                DataSource, TransportSocket, TypedExtensionConfig, UpstreamHttpProtocolOptions,
                data_source::Specifier, transport_socket::ConfigType,
            },
        },
        extensions::transport_sockets::{
            raw_buffer::v3::RawBuffer,
            tls::v3::{
                CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
                SdsSecretConfig, SubjectAltNameMatcher, TlsCertificate, TlsParameters,
                UpstreamTlsContext,
                certificate_validation_context::SystemRootCerts,
                common_tls_context::{
                    CertificateProviderInstance, CombinedCertificateValidationContext,
                    ValidationContextType,
                },
                subject_alt_name_matcher::SanType,
            },
        },
        r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::{Any, BoolValue},
};

use super::*;
use crate::config::{
    ClusterSecurity, Discovery, IdentityMatch, SanKind, Security, SecurityMode, StringMatch,
    TlsVersion,
};

const SPIFFE: &str = "spiffe://prod.example/ns/shop/sa/cart";

pub(super) fn exact(text: &str) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Exact(text.into())), ..Default::default() }
}

/// That it is to be compared without case means nothing.
pub(super) fn regex(text: &str) -> StringMatcher {
    let regex = RegexMatcher { regex: text.into(), ..Default::default() };
    StringMatcher { ignore_case: true, match_pattern: Some(MatchPattern::SafeRegex(regex)) }
}

pub(super) fn uri(text: &str) -> SubjectAltNameMatcher {
    SubjectAltNameMatcher {
        san_type: SanType::Uri.into(),
        matcher: Some(exact(text)),
        oid: String::new(),
    }
}

fn provider() -> Option<CertificateProviderPluginInstance> {
    Some(CertificateProviderPluginInstance {
        instance_name: "default".into(),
        certificate_name: "any".into(),
    })
}

/// Trusts the provider's roots, and expects the name.
pub(super) fn trusting() -> CertificateValidationContext {
    CertificateValidationContext {
        ca_certificate_provider_instance: provider(),
        match_typed_subject_alt_names: vec![uri(SPIFFE)],
        ..Default::default()
    }
}

pub(super) fn tls(validation: CertificateValidationContext) -> UpstreamTlsContext {
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(super) fn mutual() -> UpstreamTlsContext {
    let mut context = tls(trusting());
    common(&mut context).tls_certificate_provider_instance = provider();
    context
}

pub(super) fn common(context: &mut UpstreamTlsContext) -> &mut CommonTlsContext {
    context.common_tls_context.as_mut().unwrap()
}

fn socket_of(any: Any) -> TransportSocket {
    TransportSocket { name: "s".into(), config_type: Some(ConfigType::TypedConfig(any)) }
}

/// A socket of the endpoints whose metadata has these labels.
pub(super) fn choice(labels: &[(&str, &str)], any: Any) -> TransportSocketMatch {
    TransportSocketMatch {
        name: "n".into(),
        r#match: Some(fields(labels)),
        transport_socket: Some(socket_of(any)),
    }
}

pub(super) fn secured(context: UpstreamTlsContext) -> PbCluster {
    PbCluster { transport_socket: Some(socket_of(pack_any(context))), ..eds("c") }
}

fn read(context: UpstreamTlsContext) -> Result<ClusterSecurity, String> {
    let read = proxyless().cluster(&secured(context))?;
    Ok(read.config.security.clone().expect("it is secured"))
}

fn names(security: &ClusterSecurity) -> Vec<(Option<SanKind>, StringMatch)> {
    let name = |it: &IdentityMatch| match it {
        IdentityMatch::San(san) => (san.kind, san.matcher.clone()),
        IdentityMatch::Exact(name) => (None, StringMatch::Exact(name.clone())),
        other => panic!("{other:?}"),
    };
    security.identities.iter().map(name).collect()
}

#[test]
fn security_config_from_cluster_with_providers() {
    let security = read(mutual()).unwrap();
    assert_eq!(security.mode, Some(SecurityMode::Mutual));
    assert_eq!(security.roots.as_ref().unwrap().provider, "default");
    assert_eq!(security.certificate.as_ref().unwrap().provider, "default");
    let one_sided = read(tls(trusting())).unwrap();
    assert_eq!((one_sided.mode, one_sided.certificate), (Some(SecurityMode::Tls), None));
}

/// C-core and others read the old field alone, and accept a server of another name.
#[test]
fn names_of_both_fields_are_expected() {
    let mut validation = trusting();
    validation.match_subject_alt_names = vec![exact("old.example")];
    let security = read(tls(validation)).unwrap();
    let uri = (Some(SanKind::Uri), StringMatch::Exact(SPIFFE.into()));
    assert_eq!(names(&security), [uri, (None, StringMatch::Exact("old.example".into()))]);
}

#[test]
fn names_of_both_fields_may_be_matched_by_regular_expressions() {
    let (workload, host) = (r"spiffe://prod\.example/ns/[^/]+/sa/cart", r"a|b\.example");
    let of = |san_type: SanType, text: &str| SubjectAltNameMatcher {
        san_type: san_type.into(),
        matcher: Some(regex(text)),
        oid: String::new(),
    };
    let mut validation = trusting();
    validation.match_typed_subject_alt_names =
        vec![of(SanType::Uri, workload), of(SanType::Dns, host)];
    validation.match_subject_alt_names = vec![regex("old[0-9]*")];
    let security = read(tls(validation)).unwrap();
    let is = |kind, text: &str| (kind, StringMatch::Regex(text.into()));
    let expected =
        [is(Some(SanKind::Uri), workload), is(Some(SanKind::Dns), host), is(None, "old[0-9]*")];
    assert_eq!(names(&security), expected);
    //= Envoy: the case counts for patterns, whatever is said
    let ignores = |it: &IdentityMatch| matches!(it, IdentityMatch::San(san) if san.ignore_case);
    assert!(!security.identities.iter().any(ignores), "{:?}", security.identities);
}

#[test]
fn what_istio_sends_to_proxyless_clients() {
    let old = || CertificateProviderInstance {
        instance_name: "default".into(),
        certificate_name: "ROOTCA".into(),
    };
    let mut context = UpstreamTlsContext::default();
    context.sni = "outbound_.80_._.a.b.svc".into();
    context.common_tls_context = Some(CommonTlsContext {
        tls_certificate_certificate_provider_instance: Some(old()),
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(
            CombinedCertificateValidationContext {
                default_validation_context: Some(CertificateValidationContext {
                    match_subject_alt_names: vec![exact(SPIFFE)],
                    ..Default::default()
                }),
                validation_context_certificate_provider_instance: Some(old()),
                ..Default::default()
            },
        )),
        ..Default::default()
    });
    let security = read(context).unwrap();
    assert_eq!(security.mode, Some(SecurityMode::Mutual));
    assert_eq!(security.roots.as_ref().unwrap().provider, "default");
    assert_eq!(names(&security), [(None, StringMatch::Exact(SPIFFE.into()))]);
    assert_eq!(security.sni.as_deref(), Some("outbound_.80_._.a.b.svc"));
}

#[test]
fn what_istio_sends_to_sidecars() {
    let secret = |name: &str| SdsSecretConfig {
        name: name.into(),
        sds_config: Some(of_server(ApiType::Grpc, "sds-grpc")),
    };
    let context = |own: &str, roots: &str| UpstreamTlsContext {
        sni: "x".into(),
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: vec!["istio-peer-exchange".into(), "istio".into()],
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: 3,
                tls_maximum_protocol_version: 4,
                ..Default::default()
            }),
            tls_certificate_sds_secret_configs: vec![secret(own)],
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(
                CombinedCertificateValidationContext {
                    default_validation_context: Some(CertificateValidationContext {
                        match_subject_alt_names: vec![exact(SPIFFE)],
                        ..Default::default()
                    }),
                    validation_context_sds_secret_config: Some(secret(roots)),
                    ..Default::default()
                },
            )),
            ..Default::default()
        }),
        ..Default::default()
    };
    let security = read(context("default", "ROOTCA")).unwrap();
    assert_eq!(security.roots.as_ref().unwrap().provider, "default");
    assert_eq!(security.alpn, ["istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1"]);
    assert_eq!(security.min_version, Some(TlsVersion::V1_2));
    // Files by name, and the system's roots.
    let read_files = proxyless()
        .cluster(&secured(context("file-cert:/etc/a.pem~/etc/k.pem", "file-root:system")))
        .unwrap();
    let security = read_files.config.security.clone().unwrap();
    assert_eq!((security.system_roots, security.roots), (Some(true), None));
    let files = &read_files.identities[&security.certificate.unwrap().provider];
    assert_eq!(files.key.as_deref(), Some("/etc/k.pem"));
    refuses(read(context("other", "ROOTCA")), "sds_secret_configs.name = other: is no secret");
    refuses(read(context("default", "other")), "is no secret that is known here");
}

#[test]
fn what_narrows_who_is_accepted_is_never_skipped() {
    let refused = |change: &dyn Fn(&mut CertificateValidationContext), text: &str| {
        let mut validation = trusting();
        change(&mut validation);
        refuses(read(tls(validation)), text);
    };
    let inline = || DataSource {
        specifier: Some(Specifier::InlineString("pem".into())),
        ..Default::default()
    };
    refused(&|it| it.crl = Some(inline()), "validation_context.crl = given");
    refused(&|it| it.verify_certificate_hash = vec!["a".into()], "verify_certificate_hash");
    refused(&|it| it.verify_certificate_spki = vec!["a".into()], "verify_certificate_spki");
    refused(
        &|it| it.custom_validator_config = Some(TypedExtensionConfig::default()),
        "custom_validator",
    );
    refused(
        &|it| it.trust_chain_verification = 1,
        "trust_chain_verification = 1: not supported yet, nor ever",
    );
    refused(
        &|it| it.require_signed_certificate_timestamp = Some(BoolValue { value: true }),
        "require_signed_certificate_timestamp",
    );
    for (pattern, text) in [
        (".*", "identities[1].san.matcher.regex = .*: not supported yet, nor ever"),
        ("", "match_subject_alt_names[0].safe_regex.regex = \"\": must not be empty"),
        ("(", "match_subject_alt_names[0].safe_regex.regex = (: is not a regular expression"),
        ("((a{100}){100}){100}", "is too large"),
    ] {
        refused(&|it| it.match_subject_alt_names = vec![regex(pattern)], text);
        let typed = SubjectAltNameMatcher { matcher: Some(regex(pattern)), ..uri("") };
        let text = text.replace("match_subject_alt_names[0]", "alt_names[0].matcher");
        let text = text.replace("identities[1]", "identities[0]");
        refused(&|it| it.match_typed_subject_alt_names = vec![typed.clone()], &text);
    }
    refused(&|it| it.match_typed_subject_alt_names[0].san_type = 0, "san_type = 0");
    refused(&|it| it.match_typed_subject_alt_names[0].san_type = 5, "san_type = OTHER_NAME");
    refused(&|it| it.match_typed_subject_alt_names[0].matcher = None, "matcher = none");
    refused(
        &|it| it.match_subject_alt_names = vec![StringMatcher::default()],
        "match_pattern = none",
    );
    let empty = |pattern: MatchPattern| StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    };
    for pattern in [
        MatchPattern::Prefix(String::new()),
        MatchPattern::Suffix(String::new()),
        MatchPattern::Contains(String::new()),
    ] {
        let matcher = empty(pattern);
        refused(&|it| it.match_subject_alt_names = vec![matcher.clone()], "must not be empty");
    }
    refused(&|it| it.ca_certificate_provider_instance = None, "must say whom to trust");
    refused(&|it| it.match_typed_subject_alt_names.clear(), "says nobody whom to expect");
    refused(
        &|it| it.ca_certificate_provider_instance.as_mut().unwrap().instance_name = "x".into(),
        "instance_name = x: is no certificate provider of the bootstrap",
    );
    refused(
        &|it| {
            it.ca_certificate_provider_instance = None;
            it.trusted_ca = Some(inline());
        },
        "trusted_ca = inline: is not PEM",
    );
}

#[test]
fn what_of_a_context_is_not_known_refuses() {
    let refused = |change: &dyn Fn(&mut CommonTlsContext), text: &str| {
        let mut context = mutual();
        change(common(&mut context));
        refuses(read(context), text);
    };
    let extension = || Some(TypedExtensionConfig::default());
    refused(&|it| it.custom_handshaker = extension(), "custom_handshaker = given");
    refused(&|it| it.custom_tls_certificate_selector = extension(), "selector = given");
    refused(&|it| it.validation_context_type = None, "must say whom to trust");
    let signatures =
        || TlsParameters { signature_algorithms: vec!["x".into()], ..Default::default() };
    refused(&|it| it.tls_params = Some(signatures()), "signature_algorithms = x");
    let compliant = || TlsParameters { compliance_policies: vec![0], ..Default::default() };
    refused(&|it| it.tls_params = Some(compliant()), "compliance_policies");
    refuses(read(UpstreamTlsContext::default()), "common_tls_context = none");
}

#[test]
fn system_root_certs() {
    let validation = CertificateValidationContext {
        system_root_certs: Some(SystemRootCerts {}),
        match_typed_subject_alt_names: vec![uri(SPIFFE)],
        ..Default::default()
    };
    let security = read(tls(validation)).unwrap();
    assert_eq!((security.system_roots, security.roots), (Some(true), None));
}

#[test]
fn without_names_the_one_that_is_asked_for_is_expected() {
    let mut validation = trusting();
    validation.match_typed_subject_alt_names.clear();
    let mut context = tls(validation);
    context.sni = "api.example".into();
    let security = read(context).unwrap();
    assert_eq!(security.identities, [IdentityMatch::Exact("api.example".into())]);
    // And it takes the place of others where that is said.
    let mut context = tls(trusting());
    context.sni = "api.example".into();
    context.auto_sni_san_validation = true;
    assert_eq!(read(context).unwrap().identities, [IdentityMatch::Exact("api.example".into())]);
}

#[test]
fn the_endpoint_s_host_name_is_asked_for() {
    let mut validation = trusting();
    validation.match_typed_subject_alt_names.clear();
    let mut context = tls(validation);
    context.auto_host_sni = true;
    let cluster = proxyless().cluster(&secured(context)).unwrap();
    let mut named = endpoint("10.0.0.1", 443);
    let Some(HostIdentifier::Endpoint(it)) = &mut named.host_identifier else { panic!("it is") };
    it.hostname = "one.example".into();
    let groups = vec![LocalityLbEndpoints { lb_endpoints: vec![named], ..Default::default() }];
    let joined = cluster.with(&proxyless().endpoints(&assignment("c", groups)).unwrap());
    let Some(Security::Tls(tls)) = &joined.endpoints[0].security else { panic!("TLS") };
    assert_eq!(tls.sni.as_deref(), Some("one.example"));
    assert_eq!(tls.identities, [IdentityMatch::Exact("one.example".into())]);
}

/// What only the library could judge is judged where it is answered.
#[cfg(feature = "_tls")]
#[test]
fn what_no_library_could_do_is_refused_with_the_resource() {
    let mut validation = trusting();
    validation.match_typed_subject_alt_names.clear();
    let mut context = tls(validation);
    context.sni = "a b".into();
    refuses(read(context), "must be a DNS name");
    let mut context = tls(trusting());
    let ciphers = TlsParameters { cipher_suites: vec!["FOO".into()], ..Default::default() };
    context.common_tls_context.as_mut().unwrap().tls_params = Some(ciphers);
    refuses(read(context), "FOO");
}

/// One word alone says whose roots vouch.
#[test]
fn of_a_combined_context_one_word_alone_says_whose_roots_vouch() {
    let combined = |default: CertificateValidationContext, secret: Option<&str>| {
        let combined = CombinedCertificateValidationContext {
            default_validation_context: Some(default),
            validation_context_sds_secret_config: secret
                .map(|name| SdsSecretConfig { name: name.into(), ..Default::default() }),
            ..Default::default()
        };
        let mut context = tls(trusting());
        context.common_tls_context.as_mut().unwrap().validation_context_type =
            Some(ValidationContextType::CombinedValidationContext(combined));
        let security = read(context).unwrap();
        (security.roots.is_some(), security.system_roots)
    };
    let system = || CertificateValidationContext {
        system_root_certs: Some(SystemRootCerts {}),
        match_typed_subject_alt_names: vec![uri(SPIFFE)],
        ..Default::default()
    };
    assert_eq!(combined(system(), None), (false, Some(true)));
    assert_eq!(combined(system(), Some("file-root:/etc/ca.pem")), (true, None));
    let mut file = system();
    file.system_root_certs = None;
    file.trusted_ca = Some(DataSource {
        specifier: Some(Specifier::Filename("/etc/private.pem".into())),
        ..Default::default()
    });
    assert_eq!(combined(file.clone(), None), (true, None));
    assert_eq!(combined(file, Some("file-root:system")), (false, Some(true)));
}

/// An endpoint of this host name, and one without.
fn with_and_without(context: UpstreamTlsContext) -> [(Option<String>, Vec<IdentityMatch>); 2] {
    let cluster = proxyless().cluster(&secured(context)).unwrap();
    let mut named = endpoint("10.0.0.1", 443);
    let Some(HostIdentifier::Endpoint(it)) = &mut named.host_identifier else { panic!("it is") };
    it.hostname = "one.example".into();
    let endpoints = vec![named, endpoint("10.0.0.2", 443)];
    let groups = vec![LocalityLbEndpoints { lb_endpoints: endpoints, ..Default::default() }];
    let joined = cluster.with(&proxyless().endpoints(&assignment("c", groups)).unwrap());
    [0, 1].map(|at| {
        let Some(Security::Tls(tls)) = &joined.endpoints[at].security else { panic!("TLS") };
        (tls.sni.clone(), tls.identities.clone())
    })
}

/// gRFC A101: first the endpoint's host name, then `sni`; what is asked for is what is validated.
#[test]
fn the_endpoint_s_host_name_goes_before_the_name_that_is_said() {
    let exact = |name: &str| vec![IdentityMatch::Exact(name.into())];
    let sni = |name: &str| Some(name.to_owned());
    let mut context = tls(trusting());
    context.sni = "default.example".into();
    context.auto_host_sni = true;
    let said = read(tls(trusting())).unwrap().identities;
    assert!(!said.is_empty());
    // The names that are said are expected, whatever is asked for.
    let [named, other] = with_and_without(context.clone());
    assert_eq!(named, (sni("one.example"), said.clone()));
    assert_eq!(other, (sni("default.example"), said.clone()));
    context.auto_sni_san_validation = true;
    let [named, other] = with_and_without(context.clone());
    assert_eq!(named, (sni("one.example"), exact("one.example")));
    assert_eq!(other, (sni("default.example"), exact("default.example")));
    // Of one for whom nothing is asked for, the names hold that are said.
    context.sni.clear();
    let [named, other] = with_and_without(context.clone());
    assert_eq!(named, (sni("one.example"), exact("one.example")));
    assert_eq!(other, (None, said));
    context.sni = "a".repeat(256);
    refuses(read(context), "must be at most 255 characters");
}

/// istiod's clusters of the TLS mode `SIMPLE` name nobody: Envoy asks for the request's authority.
#[test]
fn of_a_sidecar_s_cluster_the_host_in_its_name_is_asked_for() {
    let mut validation = trusting();
    validation.match_typed_subject_alt_names.clear();
    let mut cluster = secured(tls(validation));
    cluster.upstream_http_protocol_options = Some(UpstreamHttpProtocolOptions {
        auto_sni: true,
        auto_san_validation: true,
        ..Default::default()
    });
    let asked = |decoder: Decoder, name: &str| {
        let read = decoder.cluster(&PbCluster { name: name.into(), ..cluster.clone() }).unwrap();
        let security = read.config.security.clone().expect("it is secured");
        (security.sni, security.identities)
    };
    let host = || "users.prod.svc".to_owned();
    for name in ["outbound|443||users.prod.svc", "outbound|443|v1|users.prod.svc"] {
        let expected = (Some(host()), vec![IdentityMatch::Exact(host())]);
        assert_eq!(asked(sidecar(), name), expected, "{name}");
        assert_eq!(asked(proxyless(), name), (None, vec![]), "{name}");
    }
    for name in ["c", "outbound|443||*.example", "outbound|443||", "outbound|443|users.prod.svc"] {
        assert_eq!(asked(sidecar(), name), (None, vec![]), "{name}");
    }
}

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

#[test]
fn keys_and_roots_inline() {
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let inline = |text: &str| {
        let specifier = Some(Specifier::InlineBytes(text.as_bytes().to_vec()));
        Some(DataSource { specifier, ..Default::default() })
    };
    let path = |path: &str| {
        let specifier = Some(Specifier::Filename(path.into()));
        Some(DataSource { specifier, ..Default::default() })
    };
    let read = |certificate: Option<DataSource>, key: Option<DataSource>| {
        let mut context = tls(trusting());
        let common = common(&mut context);
        common.tls_certificates = vec![TlsCertificate {
            certificate_chain: certificate,
            private_key: key,
            ..Default::default()
        }];
        match &mut common.validation_context_type {
            Some(ValidationContextType::ValidationContext(it)) => {
                (it.ca_certificate_provider_instance, it.trusted_ca) = (None, inline(PEM));
            }
            other => panic!("{other:?}"),
        }
        sidecar().cluster(&secured(context))
    };
    let cluster = read(inline(PEM), inline("-----BEGIN KEY-----")).unwrap();
    let security = cluster.config.security.as_ref().unwrap();
    let own = &cluster.identities[&security.certificate.as_ref().unwrap().provider];
    assert!(own.pem.as_ref().unwrap().pair.is_some());
    let roots = &cluster.identities[&security.roots.as_ref().unwrap().provider];
    assert_eq!(roots.pem.as_ref().unwrap().roots.as_deref(), Some(PEM.as_bytes()));
    assert!(!format!("{cluster:?}").contains("BEGIN"), "{cluster:?}");
    assert!(own.validate("x").is_ok() && roots.validate("x").is_ok());
    refuses(read(inline(PEM), path("/k.pem")), "private_key = given: must be inline or a file");
    refuses(read(inline("x"), inline(PEM)), "certificate_chain = inline: is not PEM");
}

#[test]
fn names_that_istio_s_proxies_look_at() {
    let offered = |list: &[&str]| {
        let mut context = tls(trusting());
        common(&mut context).alpn_protocols = list.iter().map(|it| (*it).to_owned()).collect();
        read(context).unwrap().alpn
    };
    assert_eq!(offered(&["istio-peer-exchange", "istio", "h2"]), ["istio-h2", "istio", "h2"]);
    assert_eq!(offered(&["istio", "http/1.1"]), ["istio-http/1.1", "istio", "http/1.1"]);
    assert_eq!(offered(&["h2", "http/1.1", "x"]), ["h2", "http/1.1"]);
    assert_eq!(offered(&[]), Vec::<String>::new());
}

fn tls_of_system() -> UpstreamTlsContext {
    tls(CertificateValidationContext {
        system_root_certs: Some(SystemRootCerts {}),
        ..Default::default()
    })
}
