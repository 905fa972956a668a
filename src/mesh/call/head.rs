//! The head of a request: its copy, its authority, and the header that counts attempts.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::core::{Outgoing, grpc};

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
pub(crate) fn set_authority(request: &mut Request<Outgoing>, authority: &Authority) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = Some(authority.clone());
    if parts.scheme.is_none() {
        parts.scheme = Some(Scheme::HTTP);
    }
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    // All three parts are there, which is what makes a URI whole.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// Tells the endpoint that this is a retry, so that it does not multiply it.
pub(crate) fn write_attempts(headers: &mut HeaderMap, is_grpc: bool, earlier: u32) {
    let name = if is_grpc { grpc::GRPC_ATTEMPTS } else { grpc::HTTP_ATTEMPTS };
    let mut value = HeaderValue::from(earlier);
    // Rare, and different every time: it would drive what is stable out of HTTP/2's header table.
    value.set_sensitive(true);
    headers.insert(name, value);
}
