//! Checks of how connections are secured.

use std::time::Duration;

use super::{Checker, NOT_YET, not_yet};
use crate::config::{
    CertificateRef, ClusterSecurity, ConfigErrors, EndpointTls, IdentityFiles, IdentityMatch,
    Protocol, SanKind, SanMatch, Security, SecurityMode, SecurityRule, StringMatch, TlsVersion,
    security::{ANY_NAME, is_of_istio},
};

/// What stands where TLS is not compiled in.
const WITHOUT_TLS: &str = "needs TLS, which is not compiled in: turn on the feature `tls`";

/// The shortest time between two readings of a file of keys or roots.
const SHORTEST_POLL: Duration = Duration::from_millis(100);

impl Checker {
    /// `is_shown` says whether the mode of an endpoint is mutual.
    pub(super) fn security(
        &mut self,
        security: &ClusterSecurity,
        protocol: Option<Protocol>,
        is_shown: bool,
    ) {
        let ClusterSecurity {
            mode,
            identities,
            sni,
            sni_from_host,
            verify_sni,
            alpn,
            certificate,
            roots,
            system_roots: _,
            bundles,
            crl,
            spki,
            certificate_hashes,
            min_version,
            max_version,
            // What the cryptography in use does not offer is refused where that is known.
            ciphers: _,
            groups: _,
            signatures,
            max_verify_depth: _,
            max_session_keys,
            matches,
        } = security;
        let mut names = std::collections::BTreeSet::new();
        for (index, rule) in matches.iter().enumerate() {
            self.within(&format!("matches[{index}]"), |checker| {
                checker.rule_of_security(rule, protocol, is_shown);
                if !names.insert(&rule.name) {
                    checker.refuse("name", &rule.name, "is used twice");
                }
            });
        }
        match mode {
            None if *security != ClusterSecurity::default() => {
                let reason = "must be given with anything else of `security`: `tls`, `mutual`, or \
                              `off` where only endpoints that say so are secured";
                self.refuse("mode", "none", reason);
            }
            None | Some(SecurityMode::Off) => {}
            Some(SecurityMode::Tls | SecurityMode::Mutual) => self.needs_tls("mode", mode),
        }
        if *mode == Some(SecurityMode::Tls) && certificate.is_some() && !is_shown {
            let reason = "is shown in mode `mutual` only, of the cluster or of an endpoint";
            self.refuse("certificate", format!("{certificate:?}"), reason);
        }
        self.each("identities", identities, Self::identity);
        self.sni(sni.as_deref());
        self.alpn(alpn, protocol);
        for (field, reference) in
            [("certificate", certificate), ("roots", roots), ("bundles", bundles)]
        {
            self.reference(field, reference.as_ref());
        }
        self.versions(*min_version, *max_version);
        not_yet!(
            self,
            sni_from_host,
            verify_sni,
            crl,
            spki,
            certificate_hashes,
            signatures,
            max_session_keys,
        );
    }

    fn rule_of_security(
        &mut self,
        rule: &SecurityRule,
        protocol: Option<Protocol>,
        is_shown: bool,
    ) {
        let SecurityRule { name, labels, security } = rule;
        self.named("name", name);
        self.not_yet("labels", labels);
        if !security.matches.is_empty() {
            let reason = "means nothing here: a rule has none of its own";
            return self.refuse("security.matches", security.matches.len(), reason);
        }
        if security.mode.is_none() {
            return self.refuse("security.mode", "none", "must be `tls`, `mutual` or `off`");
        }
        self.within("security", |checker| checker.security(security, protocol, is_shown));
    }

    pub(super) fn endpoint_security(&mut self, security: &Security, protocol: Option<Protocol>) {
        let Security::Tls(tls) = security else { return };
        let EndpointTls { mode, identities, sni, alpn, rule } = &**tls;
        self.needs_tls("tls", tls);
        self.within("tls", |checker| {
            if *mode == Some(SecurityMode::Off) {
                let reason = "not supported yet, nor ever: must be `tls` or `mutual`; plaintext is \
                              `security: plain`";
                checker.refuse("mode", "off", reason);
            }
            checker.each("identities", identities, Self::identity);
            checker.sni(sni.as_deref());
            checker.alpn(alpn, protocol);
            if let Some(rule) = rule {
                checker.named("rule", rule);
            }
        });
    }

    fn needs_tls(&mut self, field: &str, value: &impl std::fmt::Debug) {
        if cfg!(not(feature = "_tls")) {
            self.refuse(field, format!("{value:?}"), WITHOUT_TLS);
        }
    }

    fn identity(&mut self, identity: &IdentityMatch) {
        match identity {
            IdentityMatch::Exact(name) => self.named("exact", name),
            IdentityMatch::Prefix(prefix) => {
                if !prefix.starts_with("spiffe://") {
                    self.refuse("prefix", prefix, "must begin with `spiffe://`");
                }
            }
            IdentityMatch::TrustDomain(domain) => self.named("trust_domain", domain),
            IdentityMatch::San(san) => {
                let SanMatch { kind, matcher, ignore_case: _, oid } = san;
                if *kind == Some(SanKind::Other) {
                    self.refuse("san.kind", "other", NOT_YET);
                }
                match matcher {
                    StringMatch::Regex(regex) => {
                        let all = [SanKind::Uri, SanKind::Dns, SanKind::Email, SanKind::Ip];
                        let kinds = kind.as_ref().map_or(&all[..], std::slice::from_ref);
                        let why = kinds.iter().find_map(|kind| san.text(*kind).err());
                        if let Some(reason) = why {
                            self.refuse("san.matcher.regex", regex, reason);
                        }
                    }
                    StringMatch::Range(_) => self.refuse("san.matcher", "range", NOT_YET),
                    StringMatch::Present => self.refuse("san.matcher", "present", ANY_NAME),
                    _ => {}
                }
                self.within("san", |checker| checker.not_yet("oid", oid));
            }
        }
    }

    fn named(&mut self, field: &str, name: &str) {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.refuse(field, name, "must be a name without spaces");
        }
    }

    fn sni(&mut self, sni: Option<&str>) {
        if let Some(name) = sni {
            self.named("sni", name);
        }
    }

    fn alpn(&mut self, alpn: &[String], protocol: Option<Protocol>) {
        for (index, name) in alpn.iter().enumerate() {
            if !matches!(name.as_str(), "h2" | "http/1.1") && !is_of_istio(name) {
                let reason = "not supported yet: `h2` and `http/1.1` are spoken";
                self.refuse(&format!("alpn[{index}]"), name, reason);
            }
        }
        let wanted = match protocol {
            Some(Protocol::Http1) => "http/1.1",
            Some(Protocol::Http2) => "h2",
            None => return,
        };
        if !alpn.is_empty() && !alpn.iter().any(|name| name == wanted) {
            let reason = format!("must hold `{wanted}`, which is what `protocol` says");
            self.refuse("alpn", format!("{alpn:?}"), reason);
        }
    }

    fn reference(&mut self, field: &str, reference: Option<&CertificateRef>) {
        if let Some(CertificateRef { provider, name }) = reference {
            self.within(field, |checker| {
                checker.named("provider", provider);
                if let Some(name) = name {
                    checker.named("name", name);
                }
            });
        }
    }

    fn versions(&mut self, min: Option<TlsVersion>, max: Option<TlsVersion>) {
        for (field, version) in [("min_version", min), ("max_version", max)] {
            if let Some(version @ (TlsVersion::V1_0 | TlsVersion::V1_1)) = version {
                let reason = "not supported yet, nor ever: must be 1.2 or 1.3";
                self.refuse(field, format!("{version:?}"), reason);
            }
        }
        if min == Some(TlsVersion::V1_3) && max == Some(TlsVersion::V1_2) {
            self.refuse("min_version", "1.3", "must be at most max_version (1.2)");
        }
    }
}

#[cfg(feature = "xds")]
impl ClusterSecurity {
    /// Checks every field, of connections that come in: their certificate is shown in any mode.
    pub(crate) fn validate_received(&self) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new("");
        checker.security(self, None, true);
        checker.done()
    }
}

impl IdentityFiles {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, with its value and what is allowed.
    pub fn validate(&self, name: &str) -> Result<(), ConfigErrors> {
        let Self { certificate, key, roots, bundles, bundle_map, crl, poll_interval, pem: _ } =
            self;
        let mut checker = Checker::new(format!("identities.{name}"));
        checker.needs_tls("", &name);
        match (certificate, key) {
            (Some(certificate), None) => {
                checker.refuse("certificate", certificate, "must be given with `key`");
            }
            (None, Some(key)) => checker.refuse("key", key, "must be given with `certificate`"),
            _ => {}
        }
        for (field, path) in [
            ("certificate", certificate),
            ("key", key),
            ("roots", roots),
            ("bundle_map", bundle_map),
            ("crl", crl),
        ] {
            if path.as_ref().is_some_and(String::is_empty) {
                checker.refuse(field, "", "the path must not be empty");
            }
        }
        for (domain, path) in bundles {
            if domain.is_empty() || path.is_empty() {
                checker.refuse("bundles", domain, "domain and path must not be empty");
            }
        }
        if let Some(map) = bundle_map
            && cfg!(not(any(feature = "file", feature = "xds")))
        {
            checker.refuse("bundle_map", map, "needs the feature `file` or `xds`");
        }
        let has_roots = roots.is_some() || bundle_map.is_some() || !bundles.is_empty();
        if crl.is_some() && !has_roots {
            checker.refuse("crl", format!("{crl:?}"), "must be given with `roots` or `bundles`");
        }
        checker.time("poll_interval", *poll_interval);
        if let Some(interval) = poll_interval.filter(|it| !it.is_zero() && *it < SHORTEST_POLL) {
            checker.refuse("poll_interval", format!("{interval:?}"), "must be at least 100 ms");
        }
        if (Self { poll_interval: None, ..self.clone() }) == Self::default() {
            checker.refuse("", "", "must say `certificate` and `key`, `roots` or `bundles`");
        }
        checker.done()
    }
}
