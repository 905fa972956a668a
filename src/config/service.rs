//! A service: the logical name that an application calls.

use std::collections::BTreeMap;

use super::{Filter, FilterOverride, Policy, Route};

/// The logical name that an application calls, and where its requests go.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Service {
    /// What every route obeys unless it says otherwise.
    pub policy: Policy,
    /// The first that matches takes the request. None: everything goes to `cluster`.
    pub routes: Vec<Route>,
    /// The cluster of a service without routes. Default: the one of the service's name.
    pub cluster: Option<String>,
    /// Which route wins when several match. Default: the first in the list.
    pub order: RouteOrder,
    /// Steps on the way of every request, in order; routes and their clusters may override by name
    /// those that have one.
    pub filters: Vec<Filter>,
    /// Changes to filters of the service, by the filter's name, for all of its routes that say nothing
    /// of them. Source: xDS `VirtualHost.typed_per_filter_config`.
    pub overrides: BTreeMap<String, FilterOverride>,
    /// What the source says its callers speak. Default: HTTP. Others are not supported yet.
    pub protocol: ServiceProtocol,
    /// What its source says about it. Carried, not used.
    pub labels: BTreeMap<String, String>,
}

/// Which route wins when several match.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RouteOrder {
    /// The first in the list (xDS, Consul).
    #[default]
    Listed,
    /// The most specific: exact path, longest prefix, method, most headers, most query
    /// parameters, then list order (Gateway API, Linkerd); before all of it, the most specific
    /// host.
    Specificity,
}

/// What the callers of a service speak.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ServiceProtocol {
    /// HTTP of any version, gRPC too.
    #[default]
    Http,
    /// Bytes that nobody looks into (Linkerd `Opaque`, Consul `tcp`). Not supported yet.
    Opaque,
    /// TLS that nobody ends (Linkerd `Tls`, Gateway API `TLSRoute`). Not supported yet.
    Tls,
}
