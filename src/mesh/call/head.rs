//! The head of a request: its copy, its authority, and the header that counts attempts.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::HOST,
    uri::{Authority, Scheme},
};

use crate::core::{Call, Outgoing, grpc, uri};

/// A copy of a request's head, made only when a retry is armed.
///
/// Its headers are a list: half the allocations of a `HeaderMap`, which only another attempt needs.
pub(crate) struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
    extensions: http::Extensions,
}

impl Head {
    pub(crate) fn of(request: &Request<Outgoing>) -> Self {
        let mut headers = Vec::with_capacity(request.headers().len());
        headers.extend(request.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers,
            extensions: request.extensions().clone(),
        }
    }

    /// What the call asks for beyond its policy.
    pub(crate) fn call(&self) -> Option<&Call> {
        self.extensions.get()
    }

    /// The request of one more attempt.
    pub(crate) fn request(&self, body: Outgoing) -> Request<Outgoing> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        request.headers_mut().reserve(self.headers.len());
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

/// Gives the request an authority, replacing one that it has.
pub(crate) fn set_authority<B>(request: &mut Request<B>, authority: &Authority) {
    let uri = std::mem::take(request.uri_mut());
    *request.uri_mut() = uri::with_authority(uri, authority.clone());
}

/// Gives a request that was in its form on the wire its scheme again, and the authority that it needs
/// with it.
#[cold]
pub(crate) fn restore_scheme(request: &mut Request<Outgoing>, https: bool) {
    let scheme = if https { Scheme::HTTPS } else { Scheme::HTTP };
    if request.uri().scheme() == Some(&scheme) {
        return;
    }
    let mut parts = request.uri().clone().into_parts();
    if parts.authority.is_none() {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        parts.authority = host.and_then(|host| host.parse().ok());
    }
    parts.scheme = Some(scheme);
    // Without an authority it has no scheme.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// Tells the endpoint that this is a retry, so that it does not multiply it.
pub(crate) fn write_attempts(headers: &mut HeaderMap, is_grpc: bool, earlier: u32) {
    let name = if is_grpc { grpc::GRPC_ATTEMPTS } else { grpc::HTTP_ATTEMPTS };
    let mut value = HeaderValue::from(earlier);
    // Rare, and different every time: it would drive what is stable out of HTTP/2's header table.
    value.set_sensitive(true);
    headers.insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::prepare;

    fn request(uri: &str) -> Request<Outgoing> {
        let mut request = Request::new(Outgoing::default());
        *request.uri_mut() = uri.parse().unwrap();
        request
    }

    #[test]
    fn https_is_not_forgotten_when_http1_gives_a_request_back() {
        let mut request = request("https://users/1?a=b");
        prepare::http1(&mut request, "10.0.0.1:80");
        restore_scheme(&mut request, true);
        assert_eq!(request.uri(), "https://users/1?a=b");
    }

    #[test]
    fn http_is_not_called_https_when_a_secured_endpoint_gives_a_request_back() {
        let mut request = request("http://users/1?a=b");
        assert!(prepare::http2(&mut request, "10.0.0.1:80", true));
        assert_eq!(request.uri(), "https://users/1?a=b");
        restore_scheme(&mut request, false);
        assert_eq!(request.uri(), "http://users/1?a=b");
    }

    #[test]
    fn a_request_without_an_authority_comes_back_as_it_was() {
        let mut request = request("/1");
        restore_scheme(&mut request, false);
        assert_eq!(request.uri(), "/1");
    }
}
