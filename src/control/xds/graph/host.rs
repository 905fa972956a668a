//! Which virtual host counts for an authority.

use std::cmp::Reverse;

use crate::control::xds::resource::Routes;

/// How well a domain names an authority; the greater, the better.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fit {
    All,
    /// By how many bytes.
    Prefix(usize),
    Suffix(usize),
    Exact,
}

/// The virtual host for an authority, as in Envoy and gRPC: an exact domain comes before the longest
/// suffix (`*.example.com`), then the longest prefix (`example.*`), then `*`; the first of equals
/// counts. Case counts for nothing.
pub(super) fn of(routes: &Routes, authority: &str) -> Option<usize> {
    let authority = authority.to_ascii_lowercase();
    let authority = if routes.ignore_port { without_port(&authority) } else { &authority };
    let hosts = routes.hosts.iter().enumerate();
    let fits = hosts.filter_map(|(index, host)| {
        let best = host.domains.iter().filter_map(|domain| fit(domain, authority)).max()?;
        Some((best, Reverse(index)))
    });
    fits.max().map(|(_, Reverse(index))| index)
}

fn fit(domain: &str, authority: &str) -> Option<Fit> {
    let domain = domain.to_ascii_lowercase();
    if domain == "*" {
        return Some(Fit::All);
    }
    // The star stands for something.
    if let Some(suffix) = domain.strip_prefix('*') {
        let fits = authority.len() > suffix.len() && authority.ends_with(suffix);
        return fits.then_some(Fit::Suffix(suffix.len()));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        let fits = authority.len() > prefix.len() && authority.starts_with(prefix);
        return fits.then_some(Fit::Prefix(prefix.len()));
    }
    (domain == authority).then_some(Fit::Exact)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()) => {
            host
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::xds::resource::VirtualHost;

    fn chosen(domains: &[&[&str]], authority: &str) -> Option<usize> {
        let host = |domains: &&[&str]| VirtualHost {
            name: String::new(),
            domains: domains.iter().map(|it| (*it).to_owned()).collect(),
            routes: Vec::new(),
        };
        let hosts = domains.iter().map(host).collect();
        let routes = Routes { name: "r".into(), hosts, notes: Vec::new(), ignore_port: false };
        of(&routes, authority)
    }

    /// gRFC A27 and Envoy's `VirtualHost.domains`.
    #[test]
    fn exact_then_suffix_then_prefix_then_all() {
        let hosts: &[&[&str]] =
            &[&["*"], &["foo.*", "*.com"], &["*.bar.com"], &["foo.bar.com"], &["foo.bar.*"]];
        assert_eq!(chosen(hosts, "foo.bar.com"), Some(3));
        assert_eq!(chosen(hosts, "FOO.Bar.com"), Some(3));
        assert_eq!(chosen(hosts, "x.bar.com"), Some(2));
        assert_eq!(chosen(hosts, "bar.com"), Some(1));
        assert_eq!(chosen(hosts, "foo.bar.net"), Some(4));
        assert_eq!(chosen(hosts, "foo.net"), Some(1));
        assert_eq!(chosen(hosts, "net"), Some(0));
        assert_eq!(chosen(&hosts[1..], "net"), None);
        // The star stands for at least one character.
        assert_eq!(chosen(&[&["*.bar.com"]], ".bar.com"), None);
        assert_eq!(chosen(&[&["foo.*"]], "foo."), None);
    }

    #[test]
    fn the_first_of_equals_counts() {
        assert_eq!(chosen(&[&["a"], &["a"], &["*"], &["*"]], "a"), Some(0));
        assert_eq!(chosen(&[&["a"], &["a"], &["*"], &["*"]], "b"), Some(2));
    }

    #[test]
    fn a_port_may_count_for_nothing() {
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("a:80"), "a");
        assert_eq!(chosen(&[&["a"]], "a:80"), None);
    }
}
