//! The form of a request on each protocol.

use http::{
    HeaderValue, Request, Uri, Version,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::core::{apart::REQUEST_ID, uri::bare};

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
/// table, whoever has written it.
#[inline]
pub(crate) fn http2<B>(request: &mut Request<B>, fallback: &str, secured: bool) {
    *request.version_mut() = Version::HTTP_2;
    if let Some(id) = request.headers_mut().get_mut(REQUEST_ID) {
        id.set_sensitive(true);
    }
    // One name only, and the header wins as it does in HTTP/1.1.
    let host = request.headers_mut().remove(HOST);
    if host.is_none()
        && let Some(authority) = request.uri().authority()
        && !authority.as_str().as_bytes().contains(&b'@')
        && let Some(scheme) = request.uri().scheme()
        && (!secured || *scheme == Scheme::HTTPS)
    {
        return;
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
        http2(&mut request, "10.0.0.1:80", false);
        assert_eq!(request.uri(), "http://10.0.0.1:80/a");
        let mut request = Request::get("/a").header(HOST, "users").body(()).unwrap();
        http2(&mut request, "10.0.0.1:80", false);
        assert_eq!(request.uri(), "http://users/a");
        let request = Request::get("http://users/a").header(HOST, "shop.example");
        let mut request = request.body(()).unwrap();
        http2(&mut request, "10.0.0.1:80", false);
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
                http2(&mut second, "10.0.0.1:80", false);
                assert_eq!(second.uri(), "http://users:80/a", "{user}");
            }
        }
    }

    #[test]
    fn under_tls_the_scheme_is_https() {
        for uri in ["/a", "http://10.0.0.1:80/a", "https://10.0.0.1:80/a"] {
            let mut request = request(uri);
            http2(&mut request, "10.0.0.1:80", true);
            assert_eq!(request.uri(), "https://10.0.0.1:80/a");
        }
    }
}
