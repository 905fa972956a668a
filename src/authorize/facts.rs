//! What rules are asked about.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use http::{HeaderMap, Method, header::HOST};

use super::{host::Hosts, path::Paths, who::Who};

/// A call, as far as rules look at it.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Who calls.
    pub(crate) caller: Caller<'a>,
    /// What the caller carries.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// The service that is called.
    pub(crate) service: &'a str,
    pub(crate) method: &'a Method,
    /// The authority of the request.
    pub(super) host: Hosts<'a>,
    pub(crate) headers: &'a HeaderMap,
    pub(super) path: Paths<'a>,
    /// How it came in; none: where it is made, that is not known.
    pub(super) connection: Option<&'a Connection<'a>>,
}

/// Who calls, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller<'a> {
    /// It has an identity, and which one is not known yet.
    Unknown,
    /// It has none.
    Nobody,
    Known(&'a Who),
}

/// The connection that a call came in by.
#[cfg_attr(
    not(all(test, feature = "xds")),
    allow(dead_code, reason = "what serves calls is built on it")
)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    /// Where it came in.
    pub(crate) local: SocketAddr,
    /// Whom it came from.
    pub(crate) peer: SocketAddr,
    /// Who calls, as proxies that are trusted in that have told it; none: that is not known.
    pub(crate) remote: Option<IpAddr>,
    /// The name that the handshake asked for.
    pub(crate) server_name: Option<&'a str>,
    /// Whether it is TLS, with a certificate of the caller or without.
    pub(crate) is_secured: bool,
}

// === impl Facts ===

impl<'a> Facts<'a> {
    /// A call of this path, as it is written, with what follows its question mark.
    pub(crate) fn new(
        (caller, labels): (Caller<'a>, &'a BTreeMap<String, String>),
        service: &'a str,
        (method, host): (&'a Method, Option<&'a str>),
        (path, query): (&'a str, Option<&'a str>),
        headers: &'a HeaderMap,
    ) -> Self {
        let host = match host {
            Some(host) => Hosts::Written(host),
            None if headers.contains_key(HOST) => Hosts::Illegible,
            None => Hosts::Missing,
        };
        Self {
            caller,
            labels,
            service,
            method,
            host,
            headers,
            path: Paths::new(path, query),
            connection: None,
        }
    }

    /// The same of a call that came in.
    #[cfg_attr(
        not(all(test, feature = "xds")),
        allow(dead_code, reason = "what serves calls is built on it")
    )]
    pub(crate) fn over(self, connection: &'a Connection<'a>) -> Self {
        Self { connection: Some(connection), ..self }
    }

    pub(super) fn is_secured(&self) -> bool {
        self.connection.is_some_and(|it| it.is_secured)
    }
}
