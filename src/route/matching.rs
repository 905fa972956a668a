//! What a request must look like for a route to take it.

use http::{HeaderMap, HeaderName, Method, Request};

use crate::config::{Match, PathMatch, StringMatch};

/// One compiled match: all of its parts must hold.
#[derive(Debug)]
pub(crate) struct Matcher {
    path: Option<Path>,
    method: Option<Method>,
    headers: Vec<(HeaderName, Text, bool)>,
    query: Vec<(String, Text)>,
}

#[derive(Debug)]
enum Path {
    Exact(String),
    /// Without a trailing slash.
    Prefix(String),
}

#[derive(Debug)]
enum Text {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Present,
}

// === impl Matcher ===

impl Matcher {
    /// Compiles a validated match; what cannot be compiled is named.
    pub(crate) fn new(rule: &Match) -> Result<Self, String> {
        let path = match &rule.path {
            None => None,
            Some(PathMatch::Exact(path)) => Some(Path::Exact(path.clone())),
            Some(PathMatch::Prefix(path)) => {
                Some(Path::Prefix(path.strip_suffix('/').unwrap_or(path).to_owned()))
            }
            Some(other) => return Err(format!("path match {other:?} is not supported yet")),
        };
        let method = match &rule.method {
            None => None,
            Some(method) => Some(
                Method::from_bytes(method.as_bytes())
                    .map_err(|_| format!("`{method}` is not a method"))?,
            ),
        };
        let mut headers = Vec::with_capacity(rule.headers.len());
        for header in &rule.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| format!("`{}` is not a header name", header.name))?;
            headers.push((name, Text::new(&header.matcher)?, header.invert));
        }
        let mut query = Vec::with_capacity(rule.query.len());
        for parameter in &rule.query {
            query.push((parameter.name.clone(), Text::new(&parameter.matcher)?));
        }
        Ok(Self { path, method, headers, query })
    }

    pub(crate) fn matches<B>(&self, request: &Request<B>) -> bool {
        self.path.as_ref().is_none_or(|path| path.matches(request.uri().path()))
            && self.method.as_ref().is_none_or(|method| method == request.method())
            && self.headers.iter().all(|(name, text, invert)| {
                header_matches(request.headers(), name, text) != *invert
            })
            && self.query.iter().all(|(name, text)| query_matches(request, name, text))
    }
}

fn header_matches(headers: &HeaderMap, name: &HeaderName, text: &Text) -> bool {
    headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|value| text.matches(value)))
}

fn query_matches<B>(request: &Request<B>, name: &str, text: &Text) -> bool {
    let query = request.uri().query().unwrap_or_default();
    // The first parameter of that name decides (Gateway API HTTPQueryParamMatch).
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .is_some_and(|(_, value)| text.matches(value))
}

// === impl Path ===

impl Path {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            //= Gateway API HTTPPathMatch: a prefix matches whole path elements
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

// === impl Text ===

impl Text {
    fn new(matcher: &StringMatch) -> Result<Self, String> {
        Ok(match matcher {
            StringMatch::Exact(text) => Self::Exact(text.clone()),
            StringMatch::Prefix(text) => Self::Prefix(text.clone()),
            StringMatch::Suffix(text) => Self::Suffix(text.clone()),
            StringMatch::Contains(text) => Self::Contains(text.clone()),
            StringMatch::Present => Self::Present,
            other => return Err(format!("match {other:?} is not supported yet")),
        })
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == text,
            Self::Prefix(text) => value.starts_with(text.as_str()),
            Self::Suffix(text) => value.ends_with(text.as_str()),
            Self::Contains(text) => value.contains(text.as_str()),
            Self::Present => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(uri: &str) -> Request<()> {
        Request::get(uri).header("version", "two").body(()).unwrap()
    }

    fn path(path: PathMatch) -> Matcher {
        let mut rule = Match::default();
        rule.path = Some(path);
        Matcher::new(&rule).unwrap()
    }

    // Vectors of the Gateway API case MeshHTTPRouteMatching.
    #[test]
    fn a_prefix_matches_whole_path_elements() {
        let v2 = path(PathMatch::Prefix("/v2".into()));
        for (uri, expected) in [
            ("/v2", true),
            ("/v2/", true),
            ("/v2/example", true),
            ("/v2?x=1", true),
            ("/v2example", false),
            ("/foo/v2/example", false),
        ] {
            assert_eq!(v2.matches(&get(uri)), expected, "{uri}");
        }
        let root = path(PathMatch::Prefix("/".into()));
        assert!(root.matches(&get("/anything")));
    }

    #[test]
    fn an_exact_path_matches_only_itself() {
        let exact = path(PathMatch::Exact("/v1".into()));
        assert!(exact.matches(&get("/v1")));
        assert!(!exact.matches(&get("/v1/")));
    }
}
