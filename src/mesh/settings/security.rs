//! How the connections of a cluster are secured, and by whose keys and roots.

use super::{Layers, debug, name_of, text};
use crate::{
    config::{CertificateRef, ClusterSecurity, IdentityMatch, TlsVersion},
    mesh::{
        describe::{Setting, SettingOrigin},
        inner::Inner,
        protect::{Giver, Protector},
    },
};

/// How connections are secured; of what secures them only where anything does. The own certificate
/// may be shown to some endpoints alone.
pub(super) fn of(
    inner: &Inner,
    security: &Layers<'_, ClusterSecurity>,
    protector: &Protector,
    is_shown: bool,
) -> Vec<Setting> {
    let mode = security
        .setting("security.mode", "off, and https is refused", |s| s.mode.as_ref().map(name_of));
    if !protector.is_on() && !is_shown {
        return vec![mode];
    }
    let (host, told) = (protector.host(), protector.told());
    let list = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
    let reference = |reference: &Option<CertificateRef>, told: &str| {
        let CertificateRef { provider, name } = reference.as_ref()?;
        let name = name.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        Some(format!("{provider}{name}: {told}"))
    };
    let [identity_by, trust_by] = inner.state().keys.givers();
    let bundles =
        security.setting("security.bundles", "none", |s| reference(&s.bundles, &told.trust));
    let system = security.setting("security.system_roots", "false", |s| text(s.system_roots));
    let mut roots =
        security.setting("security.roots", &told.trust, |s| reference(&s.roots, &told.trust));
    if roots.origin == SettingOrigin::Default {
        // The mesh's own roots vouch only where nothing else is said.
        let mut others = [&bundles, &system].into_iter();
        let other = others.find(|it| it.origin != SettingOrigin::Default && it.value != "false");
        (roots.origin, roots.source) = match other {
            Some(other) => (other.origin, other.source.clone()),
            None => given_by(inner, trust_by),
        };
    }
    let mut all = vec![
        mode,
        security.setting("security.identities", host, |s| {
            list(&s.identities.iter().map(identity).collect::<Vec<_>>())
        }),
        security.setting("security.sni", host, |s| s.sni.clone()),
        security.setting("security.alpn", "by protocol", |s| list(&s.alpn)),
        roots,
        bundles,
        system,
        security.setting("security.crypto", &told.crypto, |_| None),
        security.setting("security.min_version", "1.2", |s| s.min_version.map(version)),
        security.setting("security.max_version", "1.3", |s| s.max_version.map(version)),
        security.setting("security.ciphers", "the library's", |s| list(&s.ciphers)),
        security.setting("security.groups", "the library's", |s| list(&s.groups)),
        security.setting("security.max_verify_depth", "none", |s| text(s.max_verify_depth)),
    ];
    if protector.is_mutual() || is_shown {
        let mut certificate = security.setting("security.certificate", &told.identity, |s| {
            reference(&s.certificate, &told.identity)
        });
        if certificate.origin == SettingOrigin::Default {
            (certificate.origin, certificate.source) = given_by(inner, identity_by);
        }
        all.push(certificate);
    }
    all
}

/// Where the keys and roots come from that nobody names.
fn given_by(inner: &Inner, giver: Giver) -> (SettingOrigin, Option<String>) {
    match giver {
        Giver::Nobody => (SettingOrigin::Default, None),
        Giver::Code => (SettingOrigin::Code, None),
        Giver::Source(source) => {
            (SettingOrigin::ControlPlane, inner.sources.get(source.index()).cloned())
        }
    }
}

pub(in crate::mesh) fn identity(identity: &IdentityMatch) -> String {
    match identity {
        IdentityMatch::Exact(name) => name.clone(),
        IdentityMatch::Prefix(prefix) => format!("{prefix}…"),
        IdentityMatch::TrustDomain(domain) => format!("trust domain {domain}"),
        IdentityMatch::San(san) => debug(san),
    }
}

fn version(version: TlsVersion) -> String {
    match version {
        TlsVersion::V1_0 => "1.0",
        TlsVersion::V1_1 => "1.1",
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    }
    .to_owned()
}
