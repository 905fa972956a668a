//! Compiled rewrites of host and path.

use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::HOST,
    uri::{Authority, PathAndQuery},
};

use super::{matching::authority_of, table::Rule};
use crate::{
    config::{self, HostRewrite, PathRewrite, pattern::Replace, template::Filled},
    core::uri::with_authority,
};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A compiled rewrite.
#[derive(Debug)]
pub(crate) struct Rewrite {
    host: Option<Host>,
    path: Option<Path>,
    forwarded_host: bool,
}

#[derive(Debug)]
enum Host {
    Literal(Authority),
    Header(HeaderName),
    Path(Box<Replace>),
}

/// A new path.
#[derive(Debug)]
pub(super) enum Path {
    Full(String),
    Prefix(String),
    Regex(Box<Replace>),
    /// By the template that took the request.
    Template(Filled),
}

/// What a rewrite made is none: which part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unusable {
    Host,
    Path,
}

impl Rewrite {
    /// Compiles a validated rewrite; what cannot be compiled changes nothing.
    pub(crate) fn new(rewrite: &config::Rewrite) -> Self {
        let host = rewrite.host.as_ref().and_then(|host| match host {
            HostRewrite::Literal(host) => host.parse().ok().map(Host::Literal),
            HostRewrite::Header(name) => HeaderName::try_from(name).ok().map(Host::Header),
            HostRewrite::PathRegex(regex) => {
                Replace::new(regex).ok().map(|replace| Host::Path(Box::new(replace)))
            }
            // Each attempt does it, when it has an endpoint.
            HostRewrite::Endpoint => None,
        });
        let path = rewrite.path.as_ref().and_then(Path::new);
        Self { host, path, forwarded_host: rewrite.forwarded_host }
    }

    pub(crate) fn apply<B>(
        &self,
        request: &mut Request<B>,
        rule: Option<&Rule>,
    ) -> Result<(), Unusable> {
        let host = match &self.host {
            None => None,
            Some(Host::Literal(host)) => Some(host.clone()),
            // Without the header it stays (Envoy).
            Some(Host::Header(name)) => match request.headers().get(name) {
                None => None,
                Some(host) => Some(host.to_str().ok().and_then(authority).ok_or(Unusable::Host)?),
            },
            Some(Host::Path(replace)) => {
                let host = replace.replace(request.uri().path());
                Some(host.as_deref().and_then(authority).ok_or(Unusable::Host)?)
            }
        };
        let path = match &self.path {
            Some(path) => path.rewritten(request.uri().path(), rule)?,
            None => None,
        };
        if host.is_none() && path.is_none() {
            return Ok(());
        }
        let mut uri = request.uri().clone();
        let path = path.map(|path| with_query(&path, request.uri().query())).transpose()?;
        if let Some(host) = host {
            if self.forwarded_host
                && let Some(old) = authority_of(request)
                && let Ok(old) = HeaderValue::try_from(old)
            {
                request.headers_mut().append(FORWARDED_HOST, old);
            }
            request.headers_mut().remove(HOST);
            uri = with_authority(uri, host);
        }
        if let Some(path) = path {
            let mut parts = uri.into_parts();
            parts.path_and_query = Some(path);
            uri = Uri::from_parts(parts).map_err(|_| Unusable::Path)?;
        }
        *request.uri_mut() = uri;
        Ok(())
    }
}

/// A host that a request has made: nobody's name stands before it.
fn authority(host: &str) -> Option<Authority> {
    if host.contains('@') { None } else { host.parse().ok() }
}

/// A path with the query that was there.
pub(super) fn with_query(path: &str, query: Option<&str>) -> Result<PathAndQuery, Unusable> {
    // A `?` in it would begin another query.
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(Unusable::Path);
    }
    let whole = match query {
        None => path.parse(),
        Some(query) => format!("{path}?{query}").parse(),
    };
    whole.map_err(|_| Unusable::Path)
}

// === impl Path ===

impl Path {
    pub(super) fn new(path: &PathRewrite) -> Option<Self> {
        Some(match path {
            PathRewrite::Full(path) => Self::Full(path.clone()),
            PathRewrite::Prefix(prefix) => Self::Prefix(prefix.clone()),
            PathRewrite::Regex(regex) => Self::Regex(Box::new(Replace::new(regex).ok()?)),
            PathRewrite::Template(text) => Self::Template(Filled::of_any(text).ok()?),
        })
    }

    /// The new path; none: it stays.
    pub(super) fn rewritten(
        &self,
        path: &str,
        rule: Option<&Rule>,
    ) -> Result<Option<String>, Unusable> {
        Ok(match self {
            Self::Full(new) => Some(new.clone()),
            Self::Prefix(new) => {
                let (length, whole) = rule.map_or((0, true), |rule| rule.prefix());
                let rest = path.get(length..);
                rest.map(|rest| if whole { replaced(new, rest) } else { format!("{new}{rest}") })
            }
            Self::Regex(replace) => Some(replace.replace(path).ok_or(Unusable::Path)?),
            Self::Template(filled) => {
                rule.and_then(Rule::template).and_then(|template| filled.fill_all(template, path))
            }
        })
    }
}

//= Gateway API HTTPPathModifier.replacePrefixMatch: its table
fn replaced(new: &str, rest: &str) -> String {
    let whole = match rest {
        "" => new.to_owned(),
        rest => format!("{}{rest}", new.strip_suffix('/').unwrap_or(new)),
    };
    if whole.is_empty() { "/".to_owned() } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The table of HTTPPathModifier.replacePrefixMatch.
    #[test]
    fn a_prefix_is_replaced_by_whole_elements() {
        for (rest, new, expected) in [
            ("/bar", "/xyz", "/xyz/bar"),
            ("/bar", "/xyz/", "/xyz/bar"),
            ("", "/xyz", "/xyz"),
            ("/", "/xyz", "/xyz/"),
            ("/bar", "", "/bar"),
            ("/", "", "/"),
            ("", "", "/"),
            ("/", "/", "/"),
            ("", "/", "/"),
        ] {
            assert_eq!(replaced(new, rest), expected, "{rest} {new}");
        }
    }

    #[test]
    fn a_host_of_the_request_with_a_user_before_it_is_an_error() {
        let mut rewrite = config::Rewrite::default();
        rewrite.host = Some(HostRewrite::Header("x-host".into()));
        let rewrite = Rewrite::new(&rewrite);
        for (host, expected) in [("a.b:80", Ok(())), ("good@a.b", Err(Unusable::Host))] {
            let mut request = Request::get("/").header("x-host", host).body(()).unwrap();
            assert_eq!(rewrite.apply(&mut request, None), expected, "{host}");
        }
    }

    #[cfg(feature = "regex")]
    #[test]
    fn a_path_with_too_many_matches_is_an_error() {
        let regex = config::RegexRewrite { pattern: "a".into(), substitution: "b".into() };
        let path = Path::new(&PathRewrite::Regex(regex)).unwrap();
        assert_eq!(path.rewritten("/aa", None), Ok(Some("/bb".to_owned())));
        assert_eq!(path.rewritten(&format!("/{}", "a".repeat(65)), None), Err(Unusable::Path));
    }

    #[test]
    fn what_is_no_path_is_an_error() {
        for path in ["a", "/a?b", "/a#b", "/a b", ""] {
            assert_eq!(with_query(path, Some("x=1")), Err(Unusable::Path), "{path}");
        }
        assert_eq!(with_query("/a", Some("x=1")).unwrap(), "/a?x=1");
    }
}
