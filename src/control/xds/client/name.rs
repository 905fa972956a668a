//! Names of resources: plain ones, and those of an authority (`xdstp:`, gRFC A47).

use std::sync::Arc;

use super::super::{bulk::LONGEST_NAME, kind::Kind, said::quoted};

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Name {
    /// `None`: the servers of the bootstrap.
    pub(super) authority: Option<Arc<str>>,
    /// The name with its parameters in one order: what is the same resource has one name.
    pub(super) canonical: Arc<str>,
}

// === impl Name ===

impl Name {
    /// Reads a name of a resource of this type.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(kind: Kind, name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("it is empty".to_owned());
        }
        if name.len() > LONGEST_NAME {
            return Err(format!("it has {} bytes, and may have {LONGEST_NAME}", name.len()));
        }
        if name == "*" {
            return Err("`*` means all there are".to_owned());
        }
        let Some(rest) = name.strip_prefix("xdstp:") else {
            return Ok(Self { authority: None, canonical: name.into() });
        };
        let Some(rest) = rest.strip_prefix("//") else {
            return Err("`xdstp:` is followed by `//` and an authority".to_owned());
        };
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let Some((authority, path)) = path.split_once('/') else {
            return Err("there is no type after its authority".to_owned());
        };
        let (of_type, id) = path.split_once('/').unwrap_or((path, ""));
        let wanted = kind.url().rsplit('/').next().unwrap_or_default();
        if of_type != wanted {
            return Err(format!("its type is `{}`, not `{wanted}`", quoted(of_type)));
        }
        if id.is_empty() {
            return Err("there is no name after its type".to_owned());
        }
        if id == "*" || id.ends_with("/*") {
            return Err("it is a glob, which means all there are".to_owned());
        }
        let mut canonical = format!("xdstp://{authority}/{of_type}/{id}");
        let mut parameters: Vec<&str> = query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .filter(|one| !one.is_empty())
            .collect();
        parameters.sort_by_key(|one| one.split_once('=').map_or((*one, ""), |parts| parts));
        for (at, parameter) in parameters.iter().enumerate() {
            canonical.push(if at == 0 { '?' } else { '&' });
            canonical.push_str(parameter);
        }
        Ok(Self { authority: Some(authority.into()), canonical: canonical.into() })
    }

    /// The one name of what a server has named; as it came where it is no name.
    pub(super) fn canonical(kind: Kind, name: &str) -> Arc<str> {
        Self::read(kind, name).map_or_else(|_| name.into(), |name| name.canonical)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(name: &str) -> Result<(Option<String>, String), String> {
        let name = Name::read(Kind::Cluster, name)?;
        Ok((name.authority.map(|name| name.to_string()), name.canonical.to_string()))
    }

    #[test]
    fn plain_names_are_what_they_are() {
        for name in ["c", "outbound|80||a.b", "xdst:x", "a?c=2&b=1", "日本\u{7}", "http://x/y"] {
            assert_eq!(read(name), Ok((None, name.to_owned())));
        }
    }

    #[test]
    fn parameters_have_one_order() {
        let cluster = "envoy.config.cluster.v3.Cluster";
        let canonical = format!("xdstp://a.example/{cluster}/x/y?a=1&b=2&c");
        for query in ["b=2&a=1&c", "c&a=1&b=2", "&&a=1&c&b=2#fragment"] {
            let name = format!("xdstp://a.example/{cluster}/x/y?{query}");
            assert_eq!(read(&name), Ok((Some("a.example".to_owned()), canonical.clone())));
        }
        let none = format!("xdstp:///{cluster}/x");
        assert_eq!(read(&none), Ok((Some(String::new()), none.clone())));
    }

    #[test]
    fn what_asks_for_everything_or_another_type_is_refused() {
        let cluster = "envoy.config.cluster.v3.Cluster";
        for name in [
            "",
            "*",
            "xdstp:x",
            "xdstp://a",
            "xdstp://a/envoy.config.listener.v3.Listener/x",
            &format!("xdstp://a/{cluster}"),
            &format!("xdstp://a/{cluster}/"),
            &format!("xdstp://a/{cluster}/*"),
            &format!("xdstp://a/{cluster}/x/*?b=1"),
            &"a".repeat(LONGEST_NAME + 1),
        ] {
            assert!(read(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_name_is_its_own(name in "(xdstp://a/envoy.config.cluster.v3.Cluster/)?[a-c/?&=#*]{0,12}") {
            if let Ok(name) = Name::read(Kind::Cluster, &name) {
                prop_assert_eq!(Name::read(Kind::Cluster, &name.canonical), Ok(name));
            }
        }
    }
}
