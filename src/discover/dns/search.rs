//! Search domains: the names that a name may stand for.
//!
//! They are tried here and not by the resolver library, for two reasons. Both families must be
//! those of the same name: a name that has an IPv4 address in the first domain is not given the
//! IPv6 address of the second. And a question that gets no answer ends the search: it would else
//! go on to the name as it is, which may be somebody else's.

use std::sync::Arc;

/// Where names without a final dot are looked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Search {
    pub(crate) domains: Vec<String>,
    /// The dots from which on a name is first asked as it is.
    pub(crate) ndots: usize,
}

impl Search {
    /// The absolute names, in the order in which they are asked.
    pub(crate) fn names(&self, host: &str) -> Vec<Arc<str>> {
        if host.ends_with('.') {
            return vec![host.into()];
        }
        let plain: Arc<str> = format!("{host}.").into();
        let found = self.domains.iter().filter_map(|domain| {
            let domain = domain.trim_matches('.').to_ascii_lowercase();
            let name = format!("{host}.{domain}.");
            (!domain.is_empty() && name.len() <= 254).then(|| Arc::from(name))
        });
        let mut names: Vec<Arc<str>> = found.collect();
        let dots = host.bytes().filter(|byte| *byte == b'.').count();
        //= resolv.conf(5): from `ndots` dots on, an initial absolute query is made
        let place = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(place, plain);
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(host: &str, ndots: usize) -> Vec<String> {
        let domains = ["prod.svc.cluster.local".to_owned(), "Cluster.Local.".to_owned()];
        let search = Search { domains: domains.into(), ndots };
        search.names(host).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn dots_decide_whether_a_name_is_asked_as_it_is_first_or_last() {
        let searched = ["users.prod.svc.cluster.local.", "users.cluster.local.", "users."];
        assert_eq!(names("users", 1), searched);
        assert_eq!(names("users", 0), [searched[2], searched[0], searched[1]]);
        assert_eq!(names("a.b", 5).last().unwrap(), "a.b.");
        assert_eq!(names("a.b", 1)[0], "a.b.");
    }

    #[test]
    fn a_final_dot_keeps_search_domains_away() {
        assert_eq!(names("users.", 5), ["users."]);
    }
}
