//! Which virtual host takes an authority.

use super::super::{
    Listener, Routes, VirtualHost,
    walk::{Result, Walk},
};

/// How well a domain matches, the best first: exact, a suffix, a prefix, any; the longer the better.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fit {
    Any,
    Prefix(usize),
    Suffix(usize),
    Exact,
}

// === impl Listener ===

impl Listener {
    /// The virtual host of an authority among these routes: the port counts for nothing where either
    /// says so.
    pub(crate) fn host<'a>(&self, routes: &'a Routes, authority: &str) -> Option<&'a VirtualHost> {
        routes.host_of(authority, self.ignore_port || routes.ignore_port)
    }
}

// === impl Routes ===

impl Routes {
    /// The virtual host of an authority (gRFC A27, Envoy); the case does not count.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn host(&self, authority: &str) -> Option<&VirtualHost> {
        self.host_of(authority, self.ignore_port)
    }

    fn host_of(&self, authority: &str, ignore_port: bool) -> Option<&VirtualHost> {
        let mut authority = authority.to_ascii_lowercase();
        if ignore_port {
            authority.truncate(without_port(&authority).len());
        }
        let mut best: Option<(Fit, &VirtualHost)> = None;
        for host in &self.hosts {
            let fit = host.domains.iter().filter_map(|domain| fit(domain, &authority)).max();
            if let Some(fit) = fit
                && best.is_none_or(|(other, _)| fit > other)
            {
                best = Some((fit, host));
            }
        }
        best.map(|(_, host)| host)
    }
}

fn fit(domain: &str, authority: &str) -> Option<Fit> {
    let domain = domain.to_ascii_lowercase();
    if domain == "*" {
        return Some(Fit::Any);
    }
    if let Some(suffix) = domain.strip_prefix('*') {
        // A star stands for something.
        let is_it = authority.len() > suffix.len() && authority.ends_with(suffix);
        return is_it.then_some(Fit::Suffix(suffix.len()));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        let is_it = authority.len() > prefix.len() && authority.starts_with(prefix);
        return is_it.then_some(Fit::Prefix(prefix.len()));
    }
    (domain == authority).then_some(Fit::Exact)
}

/// Without the port, as far as there is one.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    }
}

pub(super) fn check(walk: &Walk, field: &str, domain: &str) -> Result<()> {
    let bare = domain.strip_prefix('*').or_else(|| domain.strip_suffix('*')).unwrap_or(domain);
    let is_wrong = domain.is_empty()
        || bare.contains('*')
        || bare.chars().any(|c| c.is_control() || c.is_whitespace());
    if is_wrong {
        return walk.refuse(field, domain, "must be `a.b`, `*.b`, `a.*` or `*`");
    }
    Ok(())
}
