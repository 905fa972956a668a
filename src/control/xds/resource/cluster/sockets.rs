//! How endpoints are secured, by what their metadata says (`transport_socket_matches`).

use crate::config::{Security, Value};

/// Matches on metadata, the first that is met decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sockets {
    pub(super) matches: Vec<SocketMatch>,
    /// Whether an endpoint's host name is the name asked for, and expected.
    pub(super) by_hostname: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct SocketMatch {
    pub(super) labels: Vec<(String, Value)>,
    pub(super) security: Option<Security>,
}
