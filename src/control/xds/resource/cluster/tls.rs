//! TLS of a cluster's connections (`UpstreamTlsContext`).
//!
//! Whatever narrows who is accepted is enforced or refuses the cluster: nothing of a validation
//! context is skipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use envoy_types::pb::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        CertificateProviderPluginInstance as Instance, CertificateValidationContext,
        CommonTlsContext, SubjectAltNameMatcher, TlsCertificate, TlsParameters, UpstreamTlsContext,
        common_tls_context::{
            CertificateProviderInstance as OldInstance, CombinedCertificateValidationContext,
            ValidationContextType,
        },
        subject_alt_name_matcher::SanType,
        tls_parameters::TlsProtocol,
    },
};
use prost::Message as _;

use super::super::{
    Context,
    read::{self, bools, u32s},
    text,
    walk::{IGNORED, Result, Walk},
};
use crate::config::{
    CertificateRef, ClusterSecurity, IdentityFiles, IdentityMatch, SanKind, SanMatch, SecurityMode,
    TlsVersion, identity::Pem, security::is_of_istio,
};

/// How connections are secured, and what of it depends on the endpoint.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) security: ClusterSecurity,
    /// Whether the endpoint's host name is asked for.
    pub(super) by_hostname: bool,
    /// Whether the name asked for is what is expected, whatever names are said.
    pub(super) verifies_sni: bool,
    /// Whether the endpoint's host name, where it is asked for, is expected, too.
    pub(super) expects_hostname: bool,
}

/// What contexts of a cluster name.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Files, and what stands in the place of files, by the name that the mesh is to have for them.
    pub(super) files: BTreeMap<String, IdentityFiles>,
    /// Secrets that are resources.
    pub(super) secrets: BTreeSet<Arc<str>>,
}

/// What of a context is read beside it.
pub(super) struct Reader<'a> {
    pub(super) context: &'a Context,
    pub(super) own: &'a mut Own,
    /// The secret that is read, which names what stands in it: content that comes after it takes its place.
    pub(super) within: Option<Arc<str>>,
}

/// What Istio's proxies offer where they tell each other of themselves, ahead of TCP.
const PEER_EXCHANGE: &str = "istio-peer-exchange";
/// The longest name that may be asked for.
const LONGEST_NAME: usize = 255;
const NOT_YET: &str = "not supported yet";
const ENFORCED: &str = "not supported yet, and it would narrow who is accepted";

impl<'a> Reader<'a> {
    pub(super) fn new(context: &'a Context, own: &'a mut Own) -> Self {
        Self { context, own, within: None }
    }

    pub(super) fn upstream(&mut self, walk: &mut Walk, pb: &UpstreamTlsContext) -> Result<Tls> {
        let UpstreamTlsContext {
            common_tls_context,
            sni,
            auto_host_sni,
            auto_sni_san_validation,
            allow_renegotiation,
            max_session_keys,
            // It is always enforced, as by Envoy.
            enforce_rsa_key_usage: _,
        } = pb;
        walk.note_if(*allow_renegotiation, "allow_renegotiation", "is never allowed");
        walk.note_if(max_session_keys.is_some(), "max_session_keys", NOT_YET);
        let Some(common) = common_tls_context else {
            return walk.refuse("common_tls_context", "none", "must say whom to trust");
        };
        let mut security = ClusterSecurity::default();
        walk.within("common_tls_context", |walk| {
            self.common(walk, common, &mut security)?;
            trusts(walk, &security)
        })?;
        let is_mutual = security.certificate.is_some();
        security.mode = Some(if is_mutual { SecurityMode::Mutual } else { SecurityMode::Tls });
        //= gRFC A101: over 255 characters it is refused
        if sni.len() > LONGEST_NAME {
            return walk.refuse("sni", sni, "must be at most 255 characters");
        }
        security.sni = read::said(sni);
        Ok(Tls {
            security,
            by_hostname: *auto_host_sni,
            verifies_sni: *auto_sni_san_validation,
            expects_hostname: false,
        })
    }

    /// What both sides of a connection say.
    pub(super) fn common(
        &mut self,
        walk: &mut Walk,
        pb: &CommonTlsContext,
        security: &mut ClusterSecurity,
    ) -> Result<()> {
        let CommonTlsContext {
            tls_params,
            tls_certificates,
            tls_certificate_sds_secret_configs,
            tls_certificate_provider_instance,
            custom_tls_certificate_selector,
            tls_certificate_certificate_provider,
            tls_certificate_certificate_provider_instance,
            alpn_protocols,
            custom_handshaker,
            key_log,
            validation_context_type,
        } = pb;
        if let Some(params) = tls_params {
            walk.within("tls_params", |walk| parameters(walk, params, security))?;
        }
        for (is_said, field) in [
            (custom_tls_certificate_selector.is_some(), "custom_tls_certificate_selector"),
            (
                tls_certificate_certificate_provider.is_some(),
                "tls_certificate_certificate_provider",
            ),
            (custom_handshaker.is_some(), "custom_handshaker"),
        ] {
            if is_said {
                return walk.refuse(field, "given", NOT_YET);
            }
        }
        walk.note_if(key_log.is_some(), "key_log", IGNORED);
        security.certificate = if let Some(instance) = tls_certificate_provider_instance {
            Some(self.instance(walk, "tls_certificate_provider_instance", instance)?)
        } else if let Some(instance) = tls_certificate_certificate_provider_instance {
            let field = "tls_certificate_certificate_provider_instance";
            Some(self.instance(walk, field, &new(instance))?)
        } else if !tls_certificate_sds_secret_configs.is_empty() {
            let list = tls_certificate_sds_secret_configs;
            Some(walk.within(
                "tls_certificate_sds_secret_configs",
                |walk| match list.as_slice() {
                    [one] => self.own_secret(walk, one),
                    more => walk.refuse("", more.len(), "not supported yet: must be one"),
                },
            )?)
        } else if !tls_certificates.is_empty() {
            Some(walk.within("tls_certificates", |walk| match tls_certificates.as_slice() {
                [one] => self.own_files(walk, one),
                more => walk.refuse("", more.len(), "not supported yet: must be one"),
            })?)
        } else {
            None
        };
        alpn(walk, alpn_protocols, security);
        match validation_context_type {
            Some(ValidationContextType::ValidationContext(it)) => {
                walk.within("validation_context", |walk| self.validation(walk, it, security))?;
            }
            Some(ValidationContextType::ValidationContextSdsSecretConfig(it)) => {
                walk.within("validation_context_sds_secret_config", |walk| {
                    self.roots_of_secret(walk, it, security)
                })?;
            }
            Some(ValidationContextType::CombinedValidationContext(it)) => {
                walk.within("combined_validation_context", |walk| {
                    self.combined(walk, it, security)
                })?;
            }
            Some(ValidationContextType::ValidationContextCertificateProvider(_)) => {
                return walk.refuse("validation_context_certificate_provider", "given", NOT_YET);
            }
            Some(ValidationContextType::ValidationContextCertificateProviderInstance(it)) => {
                let field = "validation_context_certificate_provider_instance";
                security.roots = Some(self.instance(walk, field, &new(it))?);
            }
            None => {}
        }
        Ok(())
    }

    /// What is said in either place counts, as when messages are merged; of whose roots vouch, one word alone:
    /// an instance, else the secret's, else those of the file, else the system's.
    fn combined(
        &mut self,
        walk: &mut Walk,
        pb: &CombinedCertificateValidationContext,
        security: &mut ClusterSecurity,
    ) -> Result<()> {
        let CombinedCertificateValidationContext {
            default_validation_context,
            validation_context_sds_secret_config,
            validation_context_certificate_provider,
            validation_context_certificate_provider_instance,
        } = pb;
        if let Some(it) = default_validation_context {
            walk.within("default_validation_context", |walk| self.validation(walk, it, security))?;
        }
        if validation_context_certificate_provider.is_some() {
            return walk.refuse("validation_context_certificate_provider", "given", NOT_YET);
        }
        let instance = default_validation_context.as_ref();
        let instance = instance.and_then(|it| it.ca_certificate_provider_instance.as_ref());
        let is_given =
            instance.is_some() || validation_context_certificate_provider_instance.is_some();
        if let Some(secret) = validation_context_sds_secret_config.as_ref().filter(|_| is_given) {
            let field = "validation_context_sds_secret_config";
            if !self.holds_roots_alone(secret) {
                let reason = "is beside the instance of a certificate provider, and may hold what narrows who is \
                              accepted";
                return walk.refuse(field, &secret.name, reason);
            }
            walk.note(field, "the instance of a certificate provider goes before it");
        }
        if instance.is_some() {
            return Ok(());
        }
        //= gRFC A29: this instance, where the context has none
        if let Some(it) = validation_context_certificate_provider_instance {
            let field = "validation_context_certificate_provider_instance";
            let roots = self.instance(walk, field, &new(it))?;
            (security.roots, security.system_roots) = (Some(roots), None);
        } else if let Some(it) = validation_context_sds_secret_config {
            (security.roots, security.system_roots) = (None, None);
            walk.within("validation_context_sds_secret_config", |walk| {
                self.roots_of_secret(walk, it, security)
            })?;
        }
        Ok(())
    }

    pub(super) fn validation(
        &mut self,
        walk: &mut Walk,
        pb: &CertificateValidationContext,
        security: &mut ClusterSecurity,
    ) -> Result<()> {
        let CertificateValidationContext {
            trusted_ca,
            ca_certificate_provider_instance,
            system_root_certs,
            // Files are followed anyway.
            watched_directory: _,
            verify_certificate_spki,
            verify_certificate_hash,
            match_typed_subject_alt_names,
            match_subject_alt_names,
            require_signed_certificate_timestamp,
            crl,
            allow_expired_certificate,
            trust_chain_verification,
            custom_validator_config,
            only_verify_leaf_cert_crl: _,
            max_verify_depth,
            // Of servers.
            suppress_client_ca_list: _,
        } = pb;
        for (is_said, field) in [
            (!verify_certificate_spki.is_empty(), "verify_certificate_spki"),
            (!verify_certificate_hash.is_empty(), "verify_certificate_hash"),
            (
                bools(require_signed_certificate_timestamp.as_ref()) == Some(true),
                "require_signed_certificate_timestamp",
            ),
            (crl.is_some(), "crl"),
            (custom_validator_config.is_some(), "custom_validator_config"),
        ] {
            if is_said {
                return walk.refuse(field, "given", ENFORCED);
            }
        }
        if *trust_chain_verification != 0 {
            let reason = "not supported yet, nor ever: anybody would be accepted";
            return walk.refuse("trust_chain_verification", trust_chain_verification, reason);
        }
        walk.note_if(
            *allow_expired_certificate,
            "allow_expired_certificate",
            "a certificate that has expired is refused all the same",
        );
        if let Some(instance) = ca_certificate_provider_instance {
            let field = "ca_certificate_provider_instance";
            security.roots = Some(self.instance(walk, field, instance)?);
        } else if let Some(source) = trusted_ca {
            let mut files = IdentityFiles::default();
            let name = match said(walk, "trusted_ca", source)? {
                Said::File(path) => {
                    files.roots = Some(path.clone());
                    format!("file:{path}")
                }
                Said::Inline(roots) => {
                    // Roots that come with names to expect are trusted with these, and with no others: not before
                    // them, nor after.
                    let is_alone = match_typed_subject_alt_names.is_empty()
                        && match_subject_alt_names.is_empty()
                        && max_verify_depth.is_none();
                    let bound = (!is_alone).then(|| pb.encode_to_vec());
                    let name = self.inline_name("roots", &roots, bound.as_deref());
                    files.pem = Some(Arc::new(Pem { pair: None, roots: Some(roots) }));
                    name
                }
            };
            security.roots = Some(self.files(name, files));
        }
        //= gRFC A82: the instance comes before the system's roots
        if system_root_certs.is_some() && security.roots.is_none() {
            security.system_roots = Some(true);
        }
        let depth = u32s(max_verify_depth.as_ref());
        security.max_verify_depth = depth.or(security.max_verify_depth);
        //= Envoy: one of all of them must match, those of either field
        let typed =
            walk.each("match_typed_subject_alt_names", match_typed_subject_alt_names, typed_name)?;
        let old =
            walk.each("match_subject_alt_names", match_subject_alt_names, |walk, matcher| {
                let (matcher, ignore_case) = text::text(walk, "", matcher)?;
                let mut san = SanMatch::new(matcher);
                san.ignore_case = ignore_case;
                Ok(IdentityMatch::San(san))
            })?;
        security.identities.extend(typed);
        security.identities.extend(old);
        Ok(())
    }

    /// Certificates of a provider of the bootstrap (gRFC A29).
    fn instance(&self, walk: &Walk, field: &str, instance: &Instance) -> Result<CertificateRef> {
        let Instance { instance_name, certificate_name } = instance;
        let Some(provider) = self.context.providers.get(instance_name) else {
            let field = format!("{field}.instance_name");
            return walk.refuse(
                &field,
                instance_name,
                "is no certificate provider of the bootstrap",
            );
        };
        let mut reference = CertificateRef::default();
        reference.provider.clone_from(provider);
        // Providers by files have one certificate, whatever its name.
        let _ = certificate_name;
        Ok(reference)
    }

    pub(super) fn own_files(
        &mut self,
        walk: &mut Walk,
        pb: &TlsCertificate,
    ) -> Result<CertificateRef> {
        let TlsCertificate {
            certificate_chain,
            private_key,
            pkcs12,
            watched_directory: _,
            private_key_provider,
            password,
            // Of servers.
            ocsp_staple: _,
            signed_certificate_timestamp: _,
            tls_params,
        } = pb;
        for (is_said, field) in [
            (pkcs12.is_some(), "pkcs12"),
            (private_key_provider.is_some(), "private_key_provider"),
            (password.is_some(), "password"),
            (tls_params.is_some(), "tls_params"),
        ] {
            if is_said {
                return walk.refuse(field, "given", NOT_YET);
            }
        }
        let (Some(chain), Some(key)) = (certificate_chain, private_key) else {
            return walk.refuse("certificate_chain", "none", "must be given, and `private_key`");
        };
        let chain = said(walk, "certificate_chain", chain)?;
        let key = said(walk, "private_key", key)?;
        let mut files = IdentityFiles::default();
        let name = match (chain, key) {
            (Said::File(chain), Said::File(key)) => {
                let name = format!("file:{chain}~{key}");
                (files.certificate, files.key) = (Some(chain), Some(key));
                name
            }
            (Said::Inline(chain), Said::Inline(key)) => {
                let name = self.inline_name("pair", &chain, None);
                files.pem = Some(Arc::new(Pem { pair: Some((chain, key)), roots: None }));
                name
            }
            _ => {
                let reason = "must be inline or a file as `certificate_chain` is";
                return walk.refuse("private_key", "given", reason);
            }
        };
        Ok(self.files(name, files))
    }

    /// Files that the mesh is to read under this name.
    pub(super) fn files(&mut self, name: String, files: IdentityFiles) -> CertificateRef {
        let mut reference = CertificateRef::default();
        reference.provider.clone_from(&name);
        self.own.files.insert(name, files);
        reference
    }
}

/// Leaves out, with a note, what no library speaks. With what none could do, the resource is refused, and not whatever
/// uses it later.
#[cfg(feature = "_tls")]
pub(super) fn judge(walk: &mut Walk, security: &mut ClusterSecurity) -> Result<()> {
    for (field, name) in crate::security::leave_out(security) {
        let field = format!("common_tls_context.tls_params.{field}");
        walk.note(&field, format!("{name} is not spoken: is not offered"));
    }
    walk.checked("common_tls_context", crate::security::judge(security))
}

/// Whoever is to be known is vouched for by somebody.
pub(super) fn trusts(walk: &Walk, security: &ClusterSecurity) -> Result<()> {
    if !security.says_trust() {
        let reason = "must say whom to trust: anybody would be accepted";
        return walk.refuse("validation_context_type", "none", reason);
    }
    Ok(())
}

fn new(old: &OldInstance) -> Instance {
    let OldInstance { instance_name, certificate_name } = old.clone();
    Instance { instance_name, certificate_name }
}

/// Where a certificate or key is.
enum Said {
    File(String),
    Inline(Vec<u8>),
}

fn said(walk: &Walk, field: &str, source: &DataSource) -> Result<Said> {
    let inline = match &source.specifier {
        Some(Specifier::Filename(path)) if !path.is_empty() => return Ok(Said::File(path.clone())),
        Some(Specifier::InlineBytes(bytes)) => bytes.as_slice(),
        Some(Specifier::InlineString(text)) => text.as_bytes(),
        _ => return walk.refuse(field, "none", "must be a file, inline, or of a provider"),
    };
    // Whether it can be used is found out where keys are; what is no PEM at all is nothing.
    if !inline.windows(11).any(|it| it == b"-----BEGIN ") {
        return walk.refuse(field, "inline", "is not PEM");
    }
    Ok(Said::Inline(inline.to_vec()))
}

fn typed_name(walk: &mut Walk, pb: &SubjectAltNameMatcher) -> Result<IdentityMatch> {
    let SubjectAltNameMatcher { san_type, matcher, oid } = pb;
    let kind = match SanType::try_from(*san_type) {
        Ok(SanType::Dns) => SanKind::Dns,
        Ok(SanType::Uri) => SanKind::Uri,
        Ok(SanType::Email) => SanKind::Email,
        Ok(SanType::IpAddress) => SanKind::Ip,
        Ok(SanType::OtherName) => return walk.refuse("san_type", "OTHER_NAME", ENFORCED),
        Ok(SanType::Unspecified) | Err(_) => {
            return walk.refuse("san_type", san_type, "must be DNS, URI, EMAIL or IP_ADDRESS");
        }
    };
    if !oid.is_empty() {
        return walk.refuse("oid", oid, "is of OTHER_NAME only");
    }
    let Some(matcher) = matcher else {
        return walk.refuse("matcher", "none", "must be given");
    };
    let (matcher, ignore_case) = text::text(walk, "matcher", matcher)?;
    let mut san = SanMatch::new(matcher);
    (san.kind, san.ignore_case) = (Some(kind), ignore_case);
    Ok(IdentityMatch::San(san))
}

/// Istio's proxies tell calls of their mesh by names that nobody speaks: what they offer for HTTP is
/// offered, beside what is spoken. That is what they do by their ALPN filter, too, whatever the list says;
/// `istio-peer-exchange` is for TCP, and whoever agrees to it waits for another protocol first.
fn alpn(walk: &mut Walk, list: &[String], security: &mut ClusterSecurity) {
    let is_said = |name: &str| list.iter().any(|it| it == name);
    let is_istio = list.iter().any(|name| name == PEER_EXCHANGE || is_of_istio(name));
    let spoken: Vec<&str> =
        list.iter().map(String::as_str).filter(|name| matches!(*name, "h2" | "http/1.1")).collect();
    let is_spoken = |name: &str| spoken.is_empty() || is_said(name);
    if is_istio {
        let h2 = is_spoken("h2").then_some("istio-h2");
        let h1 = is_spoken("http/1.1").then_some("istio-http/1.1");
        let names = h2.into_iter().chain(h1).chain(["istio"]);
        let both = if spoken.is_empty() { vec!["h2", "http/1.1"] } else { spoken };
        security.alpn = names.chain(both).map(str::to_owned).collect();
    } else {
        security.alpn = spoken.into_iter().map(str::to_owned).collect();
    }
    let is_known =
        |name: &str| matches!(name, "h2" | "http/1.1" | PEER_EXCHANGE) || is_of_istio(name);
    for name in list.iter().filter(|name| !is_known(name)) {
        walk.note("alpn_protocols", format!("{name} is not spoken: is not offered"));
    }
}

fn parameters(walk: &mut Walk, pb: &TlsParameters, security: &mut ClusterSecurity) -> Result<()> {
    let TlsParameters {
        tls_minimum_protocol_version,
        tls_maximum_protocol_version,
        cipher_suites,
        ecdh_curves,
        signature_algorithms,
        compliance_policies,
    } = pb;
    let field = "tls_minimum_protocol_version";
    security.min_version = match TlsProtocol::try_from(*tls_minimum_protocol_version) {
        Ok(TlsProtocol::TlsAuto) => None,
        Ok(TlsProtocol::TlSv10 | TlsProtocol::TlSv11) => {
            walk.note(field, "is 1.2 at least");
            None
        }
        Ok(TlsProtocol::TlSv12) => Some(TlsVersion::V1_2),
        Ok(TlsProtocol::TlSv13) => Some(TlsVersion::V1_3),
        Err(_) => return walk.refuse(field, tls_minimum_protocol_version, "is no version"),
    };
    let field = "tls_maximum_protocol_version";
    security.max_version = match TlsProtocol::try_from(*tls_maximum_protocol_version) {
        Ok(TlsProtocol::TlsAuto) => None,
        Ok(TlsProtocol::TlSv12) => Some(TlsVersion::V1_2),
        Ok(TlsProtocol::TlSv13) => Some(TlsVersion::V1_3),
        Ok(TlsProtocol::TlSv10 | TlsProtocol::TlSv11) | Err(_) => {
            return walk.refuse(field, tls_maximum_protocol_version, "must be 1.2 or 1.3");
        }
    };
    for (list, field) in [(signature_algorithms, "signature_algorithms")] {
        if !list.is_empty() {
            return walk.refuse(field, list.join(", "), ENFORCED);
        }
    }
    if !compliance_policies.is_empty() {
        return walk.refuse("compliance_policies", compliance_policies.len(), ENFORCED);
    }
    security.ciphers.clone_from(cipher_suites);
    security.groups.clone_from(ecdh_curves);
    Ok(())
}
