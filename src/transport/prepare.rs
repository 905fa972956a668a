//! The form of a request on each protocol.

use http::{
    HeaderValue, Request, Uri, Version,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};

/// HTTP/1.1: a `host` header and the origin form (RFC 9112 §3.2.1).
pub(crate) fn http1<B>(request: &mut Request<B>, fallback: &str) {
    *request.version_mut() = Version::HTTP_11;
    if !request.headers().contains_key(HOST) {
        let host = request.uri().authority().map_or(fallback, Authority::as_str);
        let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("localhost"));
        request.headers_mut().insert(HOST, host);
    }
    if request.uri().authority().is_some() {
        let path = std::mem::take(request.uri_mut()).into_parts().path_and_query;
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
    }
}

/// HTTP/2: scheme and authority as pseudo-headers (RFC 9113 §8.3.1); under TLS the scheme is `https`,
/// whatever the caller's own words.
#[inline]
pub(crate) fn http2<B>(request: &mut Request<B>, fallback: &str, secured: bool) {
    *request.version_mut() = Version::HTTP_2;
    // One name only, and the header wins as it does in HTTP/1.1.
    let host = request.headers_mut().remove(HOST);
    if host.is_none()
        && request.uri().authority().is_some()
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
    parts.authority = host
        .and_then(|host| host.parse().ok())
        .or(parts.authority)
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
    fn under_tls_the_scheme_is_https() {
        for uri in ["/a", "http://10.0.0.1:80/a", "https://10.0.0.1:80/a"] {
            let mut request = request(uri);
            http2(&mut request, "10.0.0.1:80", true);
            assert_eq!(request.uri(), "https://10.0.0.1:80/a");
        }
    }
}
