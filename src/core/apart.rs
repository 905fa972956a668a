//! Headers that differ from call to call. They are marked sensitive, which HTTP/2 sends as literals that
//! are never indexed: each would drive a stable one out of the peer's header table.

use http::{
    HeaderName,
    header::{
        AGE, AUTHORIZATION, CONTENT_LENGTH, COOKIE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        LOCATION, SET_COOKIE,
    },
};

use super::error::grpc::{GRPC_TIMEOUT, HTTP_TIMEOUT};

/// The id of a request, as Envoy and most gateways name it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What h2 never indexes, whatever its values are marked as, and what proxies and tracers write per call.
const APART: [HeaderName; 15] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    REQUEST_ID,
    GRPC_TIMEOUT,
    HTTP_TIMEOUT,
    AGE,
    AUTHORIZATION,
    CONTENT_LENGTH,
    COOKIE,
    ETAG,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    LOCATION,
    SET_COOKIE,
];

/// Whether the values of a header differ from call to call.
pub(crate) fn differs_per_call(name: &HeaderName) -> bool {
    APART.contains(name)
}
