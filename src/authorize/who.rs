//! The names of a workload, as its certificate has them.

use crate::config::SanKind;

/// Who a workload is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Who {
    /// Its names; those of DNS in lower case.
    names: Vec<(SanKind, String)>,
    /// The subject of its certificate (RFC 2253), where that is known.
    subject: Option<String>,
}

/// How the text of a SPIFFE id begins.
const SCHEME: &str = "spiffe://";

// === impl Who ===

impl Who {
    /// One with these names, of which there may be none.
    pub(crate) fn new(names: impl IntoIterator<Item = (SanKind, String)>) -> Self {
        let lower = |(kind, name): (SanKind, String)| match kind {
            SanKind::Dns => (kind, name.to_ascii_lowercase()),
            _ => (kind, name),
        };
        Self { names: names.into_iter().map(lower).collect(), subject: None }
    }

    /// The same, with the subject of its certificate.
    #[cfg_attr(
        not(all(test, feature = "xds")),
        allow(dead_code, reason = "what serves calls is built on it")
    )]
    pub(crate) fn with_subject(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    pub(super) fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The same of names as they are written: what has a scheme is a URI, the rest are DNS names.
    pub(crate) fn of_texts<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let kind = |name: &str| if name.contains("://") { SanKind::Uri } else { SanKind::Dns };
        Self::new(names.into_iter().map(|name| (kind(name), name.to_owned())))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = (SanKind, &str)> {
        self.names.iter().map(|(kind, name)| (*kind, name.as_str()))
    }

    /// Whether its SPIFFE id is so. One with several ids is no workload that SPIFFE knows: where they
    /// differ in that, it is not known.
    //= X509-SVID §5.2: an SVID has exactly one URI
    pub(crate) fn has_id(&self, is_so: impl Fn(&str) -> bool) -> Option<bool> {
        let ids = self
            .names
            .iter()
            .filter(|(kind, name)| *kind == SanKind::Uri && name.starts_with(SCHEME));
        let mut found = None;
        for (_, id) in ids {
            let so = is_so(id);
            if found.is_some_and(|found| found != so) {
                return None;
            }
            found = Some(so);
        }
        Some(found.unwrap_or(false))
    }

    /// For a reader: its SPIFFE id, else its first name.
    pub(crate) fn shown(&self) -> &str {
        let id = self.names.iter().find(|(_, name)| name.starts_with(SCHEME));
        id.or_else(|| self.names.first()).map_or("a certificate without names", |(_, name)| name)
    }
}

/// The trust domain of a SPIFFE id.
pub(super) fn trust_domain(id: &str) -> &str {
    let rest = id.strip_prefix(SCHEME).unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

/// What follows a key in the path of a SPIFFE id: of `ns`, the `shop` in `/ns/shop/sa/cart`.
//= Istio, Consul: the path of an id is of pairs: `/ns/…/sa/…`, `/ap/…/ns/…/dc/…/svc/…`
pub(super) fn value_of<'a>(id: &'a str, key: &str) -> Option<&'a str> {
    let rest = id.strip_prefix(SCHEME)?;
    let mut parts = rest.split('/').skip(1);
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if name == key {
            return Some(value);
        }
    }
    None
}

/// Whether the id is the prefix or below it, by whole segments.
pub(super) fn is_below(id: &str, prefix: &str) -> bool {
    let rest = id.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
