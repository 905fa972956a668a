//! What a client has asked.

use std::collections::BTreeMap;

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    },
    google::rpc::Status,
};
use http::HeaderMap;

/// A request as a control plane has received it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// The number of its stream; the first is 1.
    pub stream: u64,
    /// Whether it is of the delta protocol.
    pub delta: bool,
    /// The headers of its stream.
    pub headers: HeaderMap,
    /// The id of the node, if the request names it.
    pub node: Option<String>,
    /// What the client can do, if the request names its node.
    pub client_features: Vec<String>,
    /// The type that it is about.
    pub type_url: String,
    /// State of the world: all that is subscribed to. Delta: what is subscribed to from now on.
    pub names: Vec<String>,
    /// Delta: what is not subscribed to any more.
    pub unsubscribed: Vec<String>,
    /// Delta: what the client has of earlier streams.
    pub initial_versions: BTreeMap<String, String>,
    /// State of the world: the version that is in force at the client.
    pub version: String,
    /// Of the answer that it answers.
    pub nonce: String,
    /// Why that answer is refused, if it is.
    pub error: Option<String>,
}

impl Request {
    /// Whether it accepts an answer.
    #[must_use]
    pub fn is_ack(&self) -> bool {
        !self.nonce.is_empty() && self.error.is_none()
    }

    /// Whether it refuses an answer.
    #[must_use]
    pub fn is_nack(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn sotw(stream: u64, headers: &HeaderMap, request: &DiscoveryRequest) -> Self {
        let DiscoveryRequest { version_info, node, resource_names, type_url, .. } = request;
        let (node, client_features) = told(node.as_ref());
        Self {
            stream,
            delta: false,
            headers: headers.clone(),
            node,
            client_features,
            type_url: type_url.clone(),
            names: resource_names.clone(),
            version: version_info.clone(),
            nonce: request.response_nonce.clone(),
            error: request.error_detail.as_ref().map(text),
            ..Self::default()
        }
    }

    pub(super) fn delta(stream: u64, headers: &HeaderMap, request: &DeltaDiscoveryRequest) -> Self {
        let (node, client_features) = told(request.node.as_ref());
        let versions = request.initial_resource_versions.iter();
        Self {
            stream,
            delta: true,
            headers: headers.clone(),
            node,
            client_features,
            type_url: request.type_url.clone(),
            names: request.resource_names_subscribe.clone(),
            unsubscribed: request.resource_names_unsubscribe.clone(),
            initial_versions: versions.map(|(name, it)| (name.clone(), it.clone())).collect(),
            nonce: request.response_nonce.clone(),
            error: request.error_detail.as_ref().map(text),
            ..Self::default()
        }
    }
}

fn told(node: Option<&Node>) -> (Option<String>, Vec<String>) {
    let features = node.map(|node| node.client_features.clone());
    (node.map(|node| node.id.clone()), features.unwrap_or_default())
}

fn text(status: &Status) -> String {
    format!("{}: {}", status.code, status.message)
}
