//! TLS contexts of clusters: what is enforced, and what is refused since it could not be.

mod identities;
mod istio;
mod refused;
mod sockets;
mod trust;

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::cluster::TransportSocketMatch,
            core::v3::{TransportSocket, transport_socket::ConfigType},
        },
        extensions::transport_sockets::tls::v3::{
            CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
            SubjectAltNameMatcher, UpstreamTlsContext, common_tls_context::ValidationContextType,
            subject_alt_name_matcher::SanType,
        },
        r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::Any,
};

use super::*;
use crate::config::{ClusterSecurity, IdentityMatch, SanKind, StringMatch};

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
