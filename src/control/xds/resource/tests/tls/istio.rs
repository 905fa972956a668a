//! What istiod sends to clients of either dialect.

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    SdsSecretConfig, TlsParameters,
    common_tls_context::{CertificateProviderInstance, CombinedCertificateValidationContext},
};

use super::*;
use crate::config::{SecurityMode, TlsVersion};

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
