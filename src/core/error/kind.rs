//! The kinds, phases and origins of failures, and the one table to gRPC codes and HTTP statuses.

use std::fmt;

use http::StatusCode;

/// What happened.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No source names this service, and unknown names are refused.
    UnknownService,
    /// The configuration of the service or its cluster cannot be used, or has not come.
    Config,
    /// No route of the service matches the request.
    NoRoute,
    /// The cluster has no endpoint that may be called.
    NoEndpoints,
    /// A limit of this client was reached.
    Overloaded,
    /// A policy forbids the call.
    Denied,
    /// A deadline or timeout passed.
    Timeout,
    /// No connection could be made.
    Connect,
    /// The endpoint did not prove to be who it should be, or refused who we are.
    Identity,
    /// The endpoint refused the request without working on it.
    Refused,
    /// The connection was lost, reset or violated its protocol.
    Transport,
    /// The caller's own request body failed.
    RequestBody,
    /// A user's layer or leaf returned an error.
    Layer,
    /// The request cannot be sent: its authority, scheme or body does not fit.
    InvalidRequest,
    /// The answer is not what its caller asked for: an error status that was to be an error, or
    /// content that cannot be read. Only of what reads answers, such as the adapter of reqwest.
    InvalidResponse,
    /// The endpoint answered with a redirect that is not followed.
    Redirect,
    /// The mesh is shut down.
    Shutdown,
}

/// In which phase of the call a failure happened.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Phase {
    /// Name to service, and waiting for its first configuration.
    Resolve,
    /// Request to route and cluster.
    Route,
    /// Client-side authorisation.
    Authorize,
    /// Limits and throttling.
    Admission,
    /// Choosing an endpoint.
    Pick,
    /// Opening or waiting for a connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending the request.
    Request,
    /// Waiting for the response head.
    Headers,
    /// Reading the response body or trailers.
    Body,
    /// Waiting between two attempts.
    Backoff,
}

/// Whose failure it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Origin {
    /// This client decided it.
    Local,
    /// The endpoint or its connection.
    Endpoint,
    /// The control plane or provider.
    Control,
    /// A user's layer or leaf.
    Layer,
}

impl ErrorKind {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 17] = [
        Self::UnknownService,
        Self::Config,
        Self::NoRoute,
        Self::NoEndpoints,
        Self::Overloaded,
        Self::Denied,
        Self::Timeout,
        Self::Connect,
        Self::Identity,
        Self::Refused,
        Self::Transport,
        Self::RequestBody,
        Self::Layer,
        Self::InvalidRequest,
        Self::InvalidResponse,
        Self::Redirect,
        Self::Shutdown,
    ];

    /// As the value of the attribute `error.type`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::UnknownService => "unknown_service",
            Self::Config => "config",
            Self::NoRoute => "no_route",
            Self::NoEndpoints => "no_endpoints",
            Self::Overloaded => "overloaded",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Identity => "identity",
            Self::Refused => "refused",
            Self::Transport => "transport",
            Self::RequestBody => "request_body",
            Self::Layer => "layer",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidResponse => "invalid_response",
            Self::Redirect => "redirect",
            Self::Shutdown => "shutdown",
        }
    }

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::UnknownService => "unknown service",
            Self::Config => "unusable configuration",
            Self::NoRoute => "no route matches the request",
            Self::NoEndpoints => "no endpoint to call",
            Self::Overloaded => "limit reached",
            Self::Denied => "denied by policy",
            Self::Timeout => "deadline exceeded",
            Self::Connect => "cannot connect",
            Self::Identity => "identity refused",
            Self::Refused => "refused by the endpoint before it was worked on",
            Self::Transport => "connection failed",
            Self::RequestBody => "the request's own body failed",
            Self::Layer => "a layer of the application failed",
            Self::InvalidRequest => "request cannot be sent",
            Self::InvalidResponse => "response is not what was asked for",
            Self::Redirect => "redirect not followed",
            Self::Shutdown => "the mesh is shut down",
        }
    }

    pub(super) fn check(self, phase: Phase) -> &'static str {
        match self {
            Self::UnknownService => {
                "the name's spelling, and that a source of the mesh defines the service"
            }
            Self::Config => "what mesh.describe() says is refused, or the event ConfigRefused",
            Self::NoRoute => "the routes of the service in mesh.describe()",
            Self::NoEndpoints => "that the source lists endpoints for the cluster",
            Self::Overloaded => "the limits of the service, or whether its endpoints are slow",
            Self::Denied => "the authorisation policy of the service",
            Self::Timeout => match phase {
                Phase::Resolve => "that the source has delivered the service's configuration",
                Phase::Connect | Phase::Tls => "that the endpoint is reachable",
                Phase::Body => {
                    "whether the endpoint stalls, or the timeout is too short for its stream"
                }
                Phase::Route
                | Phase::Authorize
                | Phase::Admission
                | Phase::Pick
                | Phase::Request
                | Phase::Headers
                | Phase::Backoff => "whether the endpoint is slow, or the timeout too short",
            },
            Self::Connect => "that the endpoint listens at this address and is reachable",
            Self::Identity => "the certificates and roots of both sides",
            Self::Refused => "whether the endpoint is shutting down or overloaded",
            Self::Transport => "the endpoint's log, and that it speaks the expected protocol",
            Self::RequestBody => "the stream that feeds the request body",
            Self::Layer => "the source of this error",
            Self::InvalidRequest => "the request's URI, headers and body",
            Self::InvalidResponse => "the endpoint's answer, and the source of this error",
            Self::Redirect => "where the endpoint redirects to, and the client's redirect policy",
            Self::Shutdown => "that the mesh outlives its callers",
        }
    }

    /// The code that a gRPC caller sees.
    ///
    /// Never `Unknown` (2): see the table in `docs/ERRORS.md`.
    #[must_use]
    pub fn grpc_code(self) -> i32 {
        match self {
            Self::InvalidRequest
            | Self::InvalidResponse
            | Self::Redirect
            | Self::RequestBody
            | Self::Layer => 13,
            Self::Overloaded => 8,
            Self::Denied => 7,
            Self::Timeout => 4,
            Self::UnknownService
            | Self::Config
            | Self::NoRoute
            | Self::NoEndpoints
            | Self::Connect
            | Self::Identity
            | Self::Refused
            | Self::Transport
            | Self::Shutdown => 14,
        }
    }

    /// The flag of Envoy's access logs for it, or `-`. Source: Envoy `%RESPONSE_FLAGS%`.
    #[must_use]
    pub fn response_flag(self) -> &'static str {
        match self {
            Self::UnknownService | Self::Config => "NC",
            Self::NoRoute => "NR",
            Self::NoEndpoints => "UH",
            Self::Overloaded => "UO",
            Self::Denied => "AZ",
            Self::Timeout => "UT",
            Self::Connect | Self::Identity => "UF",
            Self::Refused => "UR",
            Self::Transport => "UC",
            Self::RequestBody => "DR",
            Self::InvalidRequest => "DPE",
            Self::InvalidResponse => "UPE",
            Self::Layer | Self::Redirect | Self::Shutdown => "-",
        }
    }

    /// The status that an HTTP gateway would answer.
    #[must_use]
    pub fn http_status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::RequestBody | Self::Layer => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Transport | Self::InvalidResponse | Self::Redirect => StatusCode::BAD_GATEWAY,
            Self::UnknownService
            | Self::Config
            | Self::NoEndpoints
            | Self::Overloaded
            | Self::Connect
            | Self::Identity
            | Self::Refused
            | Self::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolve",
            Self::Route => "route",
            Self::Authorize => "authorize",
            Self::Admission => "admission",
            Self::Pick => "pick",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Request => "request",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Backoff => "backoff",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_in_their_order() {
        assert!(ErrorKind::ALL.iter().enumerate().all(|(place, kind)| *kind as usize == place));
        assert_eq!(ErrorKind::Shutdown as usize + 1, ErrorKind::ALL.len());
    }
}
