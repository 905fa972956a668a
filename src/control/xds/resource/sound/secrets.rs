//! What holds of any secret: it is read, and so are clusters with it, or they are refused; and its key is shown
//! nowhere.

use std::collections::BTreeMap;

use envoy_types::{
    pb::envoy::{
        config::{
            cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType},
            core::v3::{
                AggregatedConfigSource, ConfigSource, DataSource, TransportSocket,
                config_source::ConfigSourceSpecifier, data_source::Specifier,
                transport_socket::ConfigType,
            },
        },
        extensions::transport_sockets::tls::v3::{
            CertificateValidationContext, CommonTlsContext, SdsSecretConfig, TlsCertificate,
            UpstreamTlsContext,
            common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
            secret::Type,
        },
        r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
    },
    util::pack_any,
};

use super::*;

/// What every key is made to contain.
const MARK: &str = "b7-what-nobody-may-see-e1";

/// Reads a secret, and clusters whose key it is, whose roots, and both.
///
/// # Panics
///
/// If what is read is not sound, or what is said of it shows the key.
pub(crate) fn secret(bytes: &[u8]) {
    reads(Kind::Secret, bytes);
    let Ok(mut pb) = PbSecret::decode(bytes) else { return };
    let is_marked_already = bytes.windows(MARK.len()).any(|it| it == MARK.as_bytes());
    if is_marked_already {
        return;
    }
    mark(&mut pb);
    let marked = pb.encode_to_vec();
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let decoder = decoder(dialect);
        let read = decoder.decode(Kind::Secret, &marked);
        hides(&format!("{read:?}"));
        let Ok((name, Resource::Secret(secret))) = read else { continue };
        hides(&secret.notes.concat());
        let name = Some(&*name);
        for (own, roots) in [(name, None), (None, name), (name, name)] {
            let pb = naming(own, roots).encode_to_vec();
            let Ok((_, Resource::Cluster(cluster))) = decoder.decode(Kind::Cluster, &pb) else {
                continue;
            };
            let given: BTreeMap<_, _> =
                cluster.secrets().map(|it| (Arc::clone(it), Arc::clone(&secret))).collect();
            let whole = cluster.with_secrets(given);
            hides(&format!("{cluster:?} {whole:?}"));
            if let Ok(whole) = whole {
                hides(&whole.notes.concat());
                is_sound(&Resource::Cluster(Arc::new(whole)));
            }
        }
        // The same where it stands in the cluster itself.
        if let Some(Type::TlsCertificate(certificate)) = &pb.r#type {
            let pb = holding(certificate.clone()).encode_to_vec();
            hides(&format!("{:?}", decoder.decode(Kind::Cluster, &pb)));
        }
    }
}

/// Nowhere is the key: as text, or as a list of bytes.
fn hides(text: &str) {
    let listed = format!("{:?}", MARK.as_bytes());
    let listed = listed.trim_matches(['[', ']']);
    assert!(!text.contains(MARK) && !text.contains(listed), "a key is shown: {text}");
}

/// Makes each key of a secret one that is known again.
fn mark(pb: &mut PbSecret) {
    match &mut pb.r#type {
        Some(Type::TlsCertificate(it)) => {
            for source in [&mut it.private_key, &mut it.password, &mut it.pkcs12] {
                source.iter_mut().for_each(mark_source);
            }
        }
        Some(Type::SessionTicketKeys(it)) => it.keys.iter_mut().for_each(mark_source),
        Some(Type::GenericSecret(it)) => {
            it.secret.iter_mut().chain(it.secrets.values_mut()).for_each(mark_source);
        }
        Some(Type::ValidationContext(_)) | None => {}
    }
}

/// A file is no key, nor is a variable.
fn mark_source(source: &mut DataSource) {
    match &mut source.specifier {
        Some(Specifier::InlineString(text)) => text.push_str(MARK),
        Some(Specifier::InlineBytes(bytes)) => bytes.extend_from_slice(MARK.as_bytes()),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) | None => {}
    }
}

/// Who is expected, and roots that anybody may see.
fn trust(roots: bool) -> CertificateValidationContext {
    let name = StringMatcher {
        match_pattern: Some(MatchPattern::Exact("a.example".to_owned())),
        ..StringMatcher::default()
    };
    let roots = roots.then(|| DataSource {
        specifier: Some(Specifier::InlineString("-----BEGIN CERTIFICATE-----".to_owned())),
        ..DataSource::default()
    });
    CertificateValidationContext {
        trusted_ca: roots,
        match_subject_alt_names: vec![name],
        ..CertificateValidationContext::default()
    }
}

/// A cluster that shows the one secret and trusts the other.
fn naming(own: Option<&str>, roots: Option<&str>) -> PbCluster {
    let named = |name: &str| {
        let of_stream = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
        let sds_config = Some(ConfigSource {
            config_source_specifier: Some(of_stream),
            ..ConfigSource::default()
        });
        SdsSecretConfig { name: name.to_owned(), sds_config }
    };
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(trust(roots.is_none())),
        validation_context_sds_secret_config: roots.map(named),
        ..CombinedCertificateValidationContext::default()
    };
    secured(CommonTlsContext {
        tls_certificate_sds_secret_configs: own.map(named).into_iter().collect(),
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
        ..CommonTlsContext::default()
    })
}

/// A cluster in which the key stands.
fn holding(certificate: TlsCertificate) -> PbCluster {
    let trust = ValidationContextType::ValidationContext(trust(true));
    secured(CommonTlsContext {
        tls_certificates: vec![certificate],
        validation_context_type: Some(trust),
        ..CommonTlsContext::default()
    })
}

fn secured(common: CommonTlsContext) -> PbCluster {
    let context =
        UpstreamTlsContext { common_tls_context: Some(common), ..UpstreamTlsContext::default() };
    let config_type = Some(ConfigType::TypedConfig(pack_any(context)));
    PbCluster {
        name: "c".to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        transport_socket: Some(TransportSocket { name: "tls".to_owned(), config_type }),
        ..PbCluster::default()
    }
}
