//! The form of a request on each protocol.

use http::{
    HeaderMap, HeaderValue, Request, Uri, Version,
    header::{HOST, UPGRADE},
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::core::{Error, ErrorKind, Phase, apart::REQUEST_ID, uri::bare};

/// Headers up to which a pass over all of them costs less than looking three up.
const FEW: usize = 16;

/// What HTTP/2 takes out of a request, or cannot carry.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    host: bool,
    upgrade: bool,
}

/// HTTP/1.1: a `host` header, which names nobody before the host, and the origin form (RFC 9112
/// §3.2.1).
pub(crate) fn http1<B>(request: &mut Request<B>, fallback: &str) {
    *request.version_mut() = Version::HTTP_11;
    let host = match request.headers().get(HOST) {
        None => Some(bare(request.uri().authority().map_or(fallback, Authority::as_str))),
        Some(host) if host.as_bytes().contains(&b'@') => Some(host.to_str().map_or("", bare)),
        Some(_) => None,
    };
    if let Some(host) = host {
        let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("localhost"));
        request.headers_mut().insert(HOST, host);
    }
    if request.uri().authority().is_some() {
        let path = std::mem::take(request.uri_mut()).into_parts().path_and_query;
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
    }
}

/// HTTP/2: scheme and authority as pseudo-headers, the latter without a user (RFC 9113 §8.3.1); under
/// TLS the scheme is `https`, whatever the caller's own words. A request's id stays out of the header
/// table, whoever has written it. False of a request that it cannot carry; that keeps its form.
#[inline]
#[must_use]
pub(crate) fn http2<B>(request: &mut Request<B>, fallback: &str, secured: bool) -> bool {
    let found = look(request.headers_mut());
    if found.upgrade {
        return false;
    }
    *request.version_mut() = Version::HTTP_2;
    // One name only, and the header wins as it does in HTTP/1.1.
    let host = if found.host { request.headers_mut().remove(HOST) } else { None };
    if host.is_none()
        && let Some(authority) = request.uri().authority()
        && !authority.as_str().as_bytes().contains(&b'@')
        && let Some(scheme) = request.uri().scheme()
        && (!secured || *scheme == Scheme::HTTPS)
    {
        return true;
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if secured {
        parts.scheme = Some(Scheme::HTTPS);
    }
    parts.scheme.get_or_insert(Scheme::HTTP);
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    let own = match parts.authority {
        Some(own) if own.as_str().contains('@') => bare(own.as_str()).parse().ok(),
        own => own,
    };
    parts.authority = host
        .and_then(|host| bare(host).parse().ok())
        .or(own)
        .or_else(|| fallback.parse().ok())
        .or(Some(Authority::from_static("localhost")));
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    true
}

/// Looks at a request's headers for HTTP/2, and marks its id.
#[inline]
fn look(headers: &mut HeaderMap) -> Found {
    if headers.len() > FEW {
        if let Some(id) = headers.get_mut(REQUEST_ID) {
            id.set_sensitive(true);
        }
        return Found { host: headers.contains_key(HOST), upgrade: headers.contains_key(UPGRADE) };
    }
    let mut found = Found::default();
    for (name, value) in headers.iter_mut() {
        if *name == HOST {
            found.host = true;
        } else if *name == UPGRADE {
            found.upgrade = true;
        } else if *name == REQUEST_ID {
            value.set_sensitive(true);
        }
    }
    found
}

/// HTTP/2 has no `Upgrade`, and would lose it on the way.
#[cold]
pub(crate) fn no_upgrade() -> Error {
    //= RFC 9113 §8.6: HTTP/2 removes support for `Upgrade` and 101
    Error::new(ErrorKind::InvalidRequest, Phase::Request)
        .detail("it asks for an upgrade, and its connection speaks HTTP/2, which has none")
        .check("`protocol: http1` of the cluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request<()> {
        Request::get(uri).body(()).unwrap()
    }

    #[test]
    fn http1_gets_a_host_and_the_origin_form() {
        let mut request = request("http://users.prod/1?a=b");
        http1(&mut request, "10.0.0.1:80");
        assert_eq!(request.uri(), "/1?a=b");
        assert_eq!(request.headers()[HOST], "users.prod");
    }

    #[test]
    fn http2_gets_scheme_and_authority() {
        let mut request = request("/a");
        assert!(http2(&mut request, "10.0.0.1:80", false));
        assert_eq!(request.uri(), "http://10.0.0.1:80/a");
        let mut request = Request::get("/a").header(HOST, "users").body(()).unwrap();
        assert!(http2(&mut request, "10.0.0.1:80", false));
        assert_eq!(request.uri(), "http://users/a");
        let request = Request::get("http://users/a").header(HOST, "shop.example");
        let mut request = request.body(()).unwrap();
        assert!(http2(&mut request, "10.0.0.1:80", false));
        assert_eq!(request.uri(), "http://shop.example/a");
        assert!(!request.headers().contains_key(HOST));
    }

    #[test]
    fn nobody_is_named_before_the_host() {
        for user in ["me@", "me:secret@", "users:80@", ":@", "@@"] {
            let uri = format!("http://{user}users:80/a");
            let Ok(_) = uri.parse::<Uri>() else { continue };
            let by_uri = || request(&uri);
            let by_host =
                || Request::get("/a").header(HOST, format!("{user}users:80")).body(()).unwrap();
            for (mut first, mut second) in [(by_uri(), by_uri()), (by_host(), by_host())] {
                http1(&mut first, "10.0.0.1:80");
                assert_eq!(first.headers()[HOST], "users:80", "{user}");
                assert!(http2(&mut second, "10.0.0.1:80", false));
                assert_eq!(second.uri(), "http://users:80/a", "{user}");
            }
        }
    }

    #[test]
    fn under_tls_the_scheme_is_https() {
        for uri in ["/a", "http://10.0.0.1:80/a", "https://10.0.0.1:80/a"] {
            let mut request = request(uri);
            assert!(http2(&mut request, "10.0.0.1:80", true));
            assert_eq!(request.uri(), "https://10.0.0.1:80/a");
        }
    }

    #[test]
    fn few_headers_and_many_are_looked_at_alike() {
        for others in [0, FEW, 4 * FEW] {
            let mut request = request("/a");
            let headers = request.headers_mut();
            for n in 0..others {
                let name: http::HeaderName = format!("x-{n}").parse().unwrap();
                headers.insert(name, HeaderValue::from_static("1"));
            }
            headers.insert(HOST, HeaderValue::from_static("users"));
            headers.insert(REQUEST_ID, HeaderValue::from_static("7"));
            assert!(http2(&mut request, "10.0.0.1:80", false));
            assert_eq!(request.uri(), "http://users/a", "{others}");
            assert!(!request.headers().contains_key(HOST), "{others}");
            assert!(request.headers()[REQUEST_ID].is_sensitive(), "{others}");
            request.headers_mut().insert(UPGRADE, HeaderValue::from_static("echo"));
            *request.version_mut() = Version::HTTP_11;
            assert!(!http2(&mut request, "10.0.0.1:80", false), "{others}");
            assert_eq!(request.version(), Version::HTTP_11, "{others}");
        }
    }
}
