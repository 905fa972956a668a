//! Whom an endpoint has to prove to be, and by which name it is asked for.

use envoy_types::pb::envoy::config::core::v3::UpstreamHttpProtocolOptions;

use super::*;
use crate::config::Security;

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
