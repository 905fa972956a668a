//! Whose roots vouch, and where the own key comes from.

use envoy_types::pb::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        SdsSecretConfig, TlsCertificate, certificate_validation_context::SystemRootCerts,
        common_tls_context::CombinedCertificateValidationContext,
    },
};

use super::*;
use crate::config::SecurityMode;

#[test]
fn security_config_from_cluster_with_providers() {
    let security = read(mutual()).unwrap();
    assert_eq!(security.mode, Some(SecurityMode::Mutual));
    assert_eq!(security.roots.as_ref().unwrap().provider, "default");
    assert_eq!(security.certificate.as_ref().unwrap().provider, "default");
    let one_sided = read(tls(trusting())).unwrap();
    assert_eq!((one_sided.mode, one_sided.certificate), (Some(SecurityMode::Tls), None));
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
        read(context).map(|security| (security.roots.is_some(), security.system_roots))
    };
    let roots = |default, secret| combined(default, secret).unwrap();
    let system = || CertificateValidationContext {
        system_root_certs: Some(SystemRootCerts {}),
        match_typed_subject_alt_names: vec![uri(SPIFFE)],
        ..Default::default()
    };
    assert_eq!(roots(system(), None), (false, Some(true)));
    assert_eq!(roots(system(), Some("file-root:/etc/ca.pem")), (true, None));
    let mut file = system();
    file.system_root_certs = None;
    file.trusted_ca = Some(DataSource {
        specifier: Some(Specifier::Filename("/etc/private.pem".into())),
        ..Default::default()
    });
    assert_eq!(roots(file.clone(), None), (true, None));
    assert_eq!(roots(file, Some("file-root:system")), (false, Some(true)));
    // Beside an instance, a secret may say more than whose roots vouch: it is not skipped.
    assert_eq!(roots(trusting(), Some("file-root:/etc/ca.pem")), (true, None));
    let more = combined(trusting(), Some("whom-to-expect"));
    refuses(more, "sds_secret_config = whom-to-expect: is beside the instance");
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
