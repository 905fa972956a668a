//! What rules are asked about.

use std::collections::BTreeMap;

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

// === impl Facts ===

impl<'a> Facts<'a> {
    /// A call of this path, as it is written.
    pub(crate) fn new(
        (caller, labels): (Caller<'a>, &'a BTreeMap<String, String>),
        service: &'a str,
        (method, host, path): (&'a Method, Option<&'a str>, &'a str),
        headers: &'a HeaderMap,
    ) -> Self {
        let host = match host {
            Some(host) => Hosts::Written(host),
            None if headers.contains_key(HOST) => Hosts::Illegible,
            None => Hosts::Missing,
        };
        Self { caller, labels, service, method, host, headers, path: Paths::new(path) }
    }
}
