//! What is told of a call, an attempt and an endpoint.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode, Version};

use super::Rules;
use crate::{config::Address, core::ErrorKind};

/// A name with a port, apart: of a service, or of an endpoint. Made once, shared with every span.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: Arc<str>,
    pub(crate) port: Option<u16>,
}

/// A call at its start, as far as it is routed.
pub(crate) struct CallStart<'a> {
    pub(crate) service: &'a Arc<str>,
    /// The service's name as the address that the application calls.
    pub(crate) server: &'a Peer,
    pub(crate) route: Option<&'a Arc<str>>,
    pub(crate) cluster: Option<&'a Arc<str>>,
    pub(crate) rules: Option<&'a Rules>,
    pub(crate) grpc: bool,
    /// How long it has waited for its configuration.
    pub(crate) waited: Duration,
}

/// An attempt's response head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    /// gRPC's status, where the head has it.
    pub(crate) code: Option<i32>,
}

/// How a call ended.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// With a response; of gRPC's, the status that its head or its trailers carried.
    Answered(StatusCode, Option<i32>),
    /// With an error instead of a response, or its response broke off.
    /// A gRPC caller sees this code of it.
    Failed(ErrorKind, i32),
    /// The caller has left.
    Left,
}

// === impl Peer ===

impl Peer {
    pub(crate) fn of_endpoint(address: &Address) -> Self {
        match address {
            Address::Socket(socket) => {
                Self { address: socket.ip().to_string().into(), port: Some(socket.port()) }
            }
            Address::Unix(path) => Self { address: path.display().to_string().into(), port: None },
        }
    }

    pub(crate) fn of_service(name: &Arc<str>) -> Self {
        let (host, port) = match name.rsplit_once(':') {
            // A bracketed IPv6 literal has colons of its own.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (&**name, None),
        };
        match port {
            None => Self { address: Arc::clone(name), port },
            Some(_) => Self { address: host.into(), port },
        }
    }
}

/// `http.request.method`, if the conventions know it.
pub(crate) fn method_name(method: &Method) -> Option<&'static str> {
    //= OTel HTTP spans §"http.request.method": those of RFC 9110, PATCH and QUERY
    Some(match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        "QUERY" => "QUERY",
        _ => return None,
    })
}

/// `network.protocol.version`.
pub(crate) fn version_name(version: Version) -> Option<&'static str> {
    Some(match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_once() {
        for (name, address, port) in [
            ("orders.prod", "orders.prod", None),
            ("orders.prod:8080", "orders.prod", Some(8080)),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some(80)),
        ] {
            let peer = Peer::of_service(&name.into());
            assert_eq!((&*peer.address, peer.port), (address, port));
        }
        let peer = Peer::of_endpoint(&"[::1]:80".parse().unwrap());
        assert_eq!((&*peer.address, peer.port), ("::1", Some(80)));
        let peer = Peer::of_endpoint(&"unix:/run/a.sock".parse().unwrap());
        assert_eq!((&*peer.address, peer.port), ("/run/a.sock", None));
    }
}
