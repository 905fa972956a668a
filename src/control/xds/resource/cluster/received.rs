//! TLS of connections that come in (`DownstreamTlsContext`).

use std::collections::BTreeMap;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    DownstreamTlsContext,
    downstream_tls_context::{OcspStaplePolicy, SessionTicketKeysType},
};

use super::{
    super::{
        Context, Dialect,
        read::bools,
        walk::{IGNORED, Result, Walk},
    },
    tls::{Own, Reader, trusts},
};
use crate::config::{ClusterSecurity, IdentityFiles, SecurityMode};

/// How connections that come in are secured.
pub(in super::super) struct Received {
    pub(in super::super) security: ClusterSecurity,
    pub(in super::super) requires_certificate: bool,
    /// Files that it names, by the name that its settings have for them.
    pub(in super::super) files: BTreeMap<String, IdentityFiles>,
}

/// Reads how they are. Whatever narrows who is accepted is there to be enforced, or refuses the listener.
pub(in super::super) fn received(
    walk: &mut Walk,
    context: &Context,
    pb: &DownstreamTlsContext,
) -> Result<Received> {
    let DownstreamTlsContext {
        common_tls_context,
        require_client_certificate,
        require_sni,
        disable_stateful_session_resumption,
        session_timeout,
        ocsp_staple_policy,
        full_scan_certs_on_sni_mismatch: _,
        prefer_client_ciphers: _,
        session_ticket_keys_type,
    } = pb;
    //= gRFC A29: neither is done
    if bools(require_sni.as_ref()) == Some(true) {
        return walk.refuse("require_sni", true, "not supported yet");
    }
    if *ocsp_staple_policy != OcspStaplePolicy::LenientStapling as i32 {
        return walk.refuse("ocsp_staple_policy", ocsp_staple_policy, "must be LENIENT_STAPLING");
    }
    // Who resumes a session was let in by a certificate of before.
    let is_off = matches!(
        session_ticket_keys_type,
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(true))
    );
    for (is_said, field) in [
        (*disable_stateful_session_resumption, "disable_stateful_session_resumption"),
        (session_timeout.is_some(), "session_timeout"),
        (session_ticket_keys_type.is_some() && !is_off, "session_ticket_keys"),
    ] {
        walk.note_if(is_said, field, IGNORED);
    }
    let Some(common) = common_tls_context else {
        return walk.refuse("common_tls_context", "none", "must name a certificate");
    };
    let requires_certificate = bools(require_client_certificate.as_ref()) == Some(true);
    let mut own = Own::default();
    let mut security = ClusterSecurity::default();
    walk.within("common_tls_context", |walk| {
        Reader::new(context, &mut own).common(walk, common, &mut security)?;
        if security.certificate.is_none() {
            let field = "tls_certificate_provider_instance";
            return walk.refuse(field, "none", "must be given: there is no TLS without");
        }
        if requires_certificate {
            trusts(walk, &security)?;
        }
        //= gRFC A29: of servers, names refuse the listener
        if context.dialect == Dialect::Proxyless && !security.identities.is_empty() {
            let count = security.identities.len();
            let reason = "must be empty where calls come in: rules say who may call";
            return walk.refuse("match_subject_alt_names", count, reason);
        }
        if let Some(name) = own.secrets.first() {
            let reason = "not supported yet where calls come in: must be of the bootstrap";
            return walk.refuse("sds_config", name, reason);
        }
        Ok(())
    })?;
    security.mode =
        Some(if requires_certificate { SecurityMode::Mutual } else { SecurityMode::Tls });
    #[cfg(feature = "_tls")]
    super::tls::judge(walk, &mut security)?;
    walk.checked("common_tls_context", security.validate_received())?;
    Ok(Received { security, requires_certificate, files: own.files })
}
