//! Secrets (SDS), and clusters with them.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, GenericSecret, SdsSecretConfig, TlsCertificate,
        common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
        secret::Type,
    },
};

use super::{
    super::types::Secret,
    tls::{common, exact, secured, tls, uri},
    *,
};
use crate::config::{IdentityMatch, SecurityMode, StringMatch};

const SPIFFE: &str = "spiffe://prod.example/ns/shop/sa/cart";

fn pem(of: &str) -> Option<DataSource> {
    let text = format!("-----BEGIN {of}-----\nAA==\n-----END {of}-----\n");
    Some(DataSource { specifier: Some(Specifier::InlineString(text)), ..DataSource::default() })
}

fn named(name: &str) -> SdsSecretConfig {
    SdsSecretConfig { name: name.into(), sds_config: Some(ads()) }
}

fn trusting(names: &[&str]) -> CertificateValidationContext {
    CertificateValidationContext {
        trusted_ca: pem("CERTIFICATE"),
        match_typed_subject_alt_names: names.iter().map(|name| uri(name)).collect(),
        ..CertificateValidationContext::default()
    }
}

fn certificate() -> TlsCertificate {
    TlsCertificate {
        certificate_chain: pem("CERTIFICATE"),
        private_key: pem("PRIVATE KEY"),
        ..TlsCertificate::default()
    }
}

fn read(name: &str, r#type: Option<Type>) -> Result<Arc<Secret>, String> {
    let pb = PbSecret { name: name.into(), r#type };
    match proxyless().decode(Kind::Secret, &pb.encode_to_vec()) {
        Ok((read, Resource::Secret(secret))) => {
            assert_eq!(*read, *name);
            Ok(secret)
        }
        Ok(_) => panic!("another resource"),
        Err(refused) => Err(refused.reason),
    }
}

fn given(secrets: &[(&str, Type)]) -> BTreeMap<Arc<str>, Arc<Secret>> {
    let read = |(name, it): &(&str, Type)| ((*name).into(), read(name, Some(it.clone())).unwrap());
    secrets.iter().map(read).collect()
}

/// A cluster that shows the secret `own` and trusts the secret `roots`, and what it says of names itself.
fn both(names: &[&str]) -> PbCluster {
    let mut context = tls(CertificateValidationContext::default());
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_subject_alt_names: names.iter().map(|name| exact(name)).collect(),
            ..CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(named("roots")),
        ..CombinedCertificateValidationContext::default()
    };
    common(&mut context).tls_certificate_sds_secret_configs = vec![named("own")];
    common(&mut context).validation_context_type =
        Some(ValidationContextType::CombinedValidationContext(combined));
    secured(context)
}

#[test]
fn what_secrets_say_counts_as_if_it_stood_in_the_cluster() {
    let cluster = proxyless().cluster(&both(&["a"])).unwrap();
    assert_eq!(cluster.secrets().map(|it| &**it).collect::<Vec<_>>(), ["own", "roots"]);
    let all = |names: &[&str]| {
        given(&[
            ("own", Type::TlsCertificate(certificate())),
            ("roots", Type::ValidationContext(trusting(names))),
        ])
    };
    let whole = cluster.with_secrets(all(&[SPIFFE])).unwrap();
    let security = whole.config.security.unwrap();
    assert_eq!(security.mode, Some(SecurityMode::Mutual));
    // Of either place, names are enforced.
    assert_eq!(security.identities.len(), 2);
    let is_of_secret = |it: &IdentityMatch| matches!(it, IdentityMatch::San(san) if san.matcher == StringMatch::Exact(SPIFFE.into()));
    assert!(security.identities.iter().any(is_of_secret), "{:?}", security.identities);
    let own = security.certificate.unwrap().provider;
    let roots = security.roots.unwrap().provider;
    assert_eq!(own, "xds.secret.here.own");
    assert!(roots.starts_with("xds.secret.here.roots."), "{roots}");
    assert!(whole.identities[&own].pem.as_ref().unwrap().pair.is_some());
    assert!(whole.identities[&roots].pem.as_ref().unwrap().roots.is_some());
    // Roots are bound to the names that come with them: those of one version are never trusted by others.
    let other = cluster.with_secrets(all(&["spiffe://other"])).unwrap();
    assert!(other.identities.contains_key(&own) && !other.identities.contains_key(&roots));
    // Alone they have one name: what is renewed takes the place of what was there.
    let alone = cluster.with_secrets(all(&[])).unwrap();
    assert!(alone.identities.contains_key("xds.secret.here.roots"), "{:?}", alone.identities);
    // Whom to expect may be the secret's to say alone.
    let silent = proxyless().cluster(&both(&[])).unwrap();
    let whole = silent.with_secrets(all(&[SPIFFE])).unwrap();
    assert_eq!(whole.config.security.unwrap().identities.len(), 1);
    let error = silent.with_secrets(all(&[])).unwrap_err();
    assert!(error.contains("says nobody whom to expect"), "{error}");
}

/// Of SPIRE, of istiod for gateways, of federation, and of nobody.
#[test]
fn a_secret_may_have_any_name() {
    for name in
        ["spiffe://example.org", "kubernetes://ns/ca", "xdstp://a/Secret/roots", "my roots", "é"]
    {
        let mut context = tls(CertificateValidationContext::default());
        common(&mut context).validation_context_type =
            Some(ValidationContextType::ValidationContextSdsSecretConfig(named(name)));
        let cluster = proxyless().cluster(&secured(context)).unwrap();
        let roots = Type::ValidationContext(trusting(&[SPIFFE]));
        let whole = cluster.with_secrets(given(&[(name, roots)])).unwrap();
        assert!(whole.config.security.unwrap().roots.is_some());
    }
}

#[test]
fn what_narrows_who_is_accepted_in_a_secret_is_never_skipped() {
    let refused = |change: &dyn Fn(&mut CertificateValidationContext), text: &str| {
        let mut context = trusting(&[SPIFFE]);
        change(&mut context);
        refuses(read("s", Some(Type::ValidationContext(context))), text);
    };
    refused(&|it| it.crl = pem("X509 CRL"), "validation_context.crl = given");
    refused(&|it| it.verify_certificate_hash = vec!["a".into()], "verify_certificate_hash");
    refused(&|it| it.trust_chain_verification = 1, "anybody would be accepted");
    refused(&|it| it.trusted_ca = None, "must say whom to trust");
}

#[test]
fn what_is_no_certificate_and_says_nobody_to_trust_is_refused() {
    refuses(read("s", None), "type = none: must be `tls_certificate` or `validation_context`");
    let generic = Type::GenericSecret(GenericSecret::default());
    refuses(read("s", Some(generic)), "type = generic_secret");
    refuses(read("", Some(Type::TlsCertificate(certificate()))), "name = \"\": must not be empty");
    let keyless = TlsCertificate { private_key: None, ..certificate() };
    refuses(read("s", Some(Type::TlsCertificate(keyless))), "tls_certificate.certificate_chain");
    let cluster = proxyless().cluster(&both(&["a"])).unwrap();
    let own = Type::TlsCertificate(certificate());
    let error = cluster.with_secrets(given(&[("own", own.clone()), ("roots", own)])).unwrap_err();
    assert!(error.contains("says nobody to trust") && error.contains("CDS resource c"), "{error}");
}

#[test]
fn a_secret_that_another_source_has_is_not_asked_for() {
    let mut context = tls(CertificateValidationContext::default());
    let mut secret = named("roots");
    secret.sds_config = Some(of_server(ApiType::Grpc, "sds-grpc"));
    common(&mut context).validation_context_type =
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret));
    let pb = secured(context);
    for decoder in [proxyless(), sidecar()] {
        let refused = decoder.cluster(&pb).map(|_| ()).unwrap_err();
        assert!(refused.contains("roots: is no secret that is known here"), "{refused}");
        // What mends it is named.
        for way in ["BootstrapBuilder::secret", "tower_mesh.secrets", "Istio::certificates_dir"] {
            assert!(refused.contains(way), "{refused}");
        }
    }
}

#[test]
fn keys_are_not_printed() {
    let secret = read("own", Some(Type::TlsCertificate(certificate()))).unwrap();
    let cluster = proxyless().cluster(&both(&["a"])).unwrap();
    let roots = Type::ValidationContext(trusting(&[]));
    let all = given(&[("own", Type::TlsCertificate(certificate())), ("roots", roots)]);
    let whole = cluster.with_secrets(all).unwrap();
    let printed = format!("{secret:?} {cluster:?} {whole:?}");
    assert!(!printed.contains("PRIVATE"), "{printed}");
}
