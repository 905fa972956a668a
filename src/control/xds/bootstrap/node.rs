//! Who asks: the node that control planes are told of.

use std::net::IpAddr;

use envoy_types::pb::{
    envoy::config::core::v3::{Locality, Node as Message, node::UserAgentVersionType},
    google::protobuf::{ListValue, Struct, Value as Any, value::Kind},
};
use serde_json::{Map, Value};

use super::Dialect;

/// Who asks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) cluster: String,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) sub_zone: String,
    pub(crate) metadata: Map<String, Value>,
}

impl Node {
    /// Whether all addresses are of IPv6 that a sidecar's node says of itself: in Istio's metadata, else in
    /// its id.
    pub(crate) fn is_ipv6(&self) -> bool {
        let said = self.metadata.get("INSTANCE_IPS").and_then(Value::as_str).unwrap_or_default();
        let own = self.id.split('~').nth(1).unwrap_or_default();
        let listed = if said.is_empty() { own } else { said };
        let mut addresses = listed.split(',').filter_map(|it| it.trim().parse::<IpAddr>().ok());
        addresses.next().is_some_and(|it| it.is_ipv6()) && addresses.all(|it| it.is_ipv6())
    }

    /// The trust domain of the mesh, which Istio's injector knows.
    pub(crate) fn trust_domain(&self) -> Option<&str> {
        let said = self.metadata.get(TRUST_DOMAIN).and_then(Value::as_str);
        said.map(str::trim).filter(|domain| !domain.is_empty())
    }

    /// Takes out what would be answered by what is not spoken here, and says so.
    pub(super) fn without_unspoken(&mut self) -> Option<String> {
        if !self.id.starts_with("sidecar~") {
            return None;
        }
        let value = self.metadata.remove(HBONE)?;
        let is_off = match &value {
            Value::Bool(on) => !on,
            Value::String(text) => {
                !matches!(text.as_str(), "1" | "t" | "T" | "TRUE" | "true" | "True")
            }
            _ => false,
        };
        (!is_off).then(|| {
            format!(
                "node.metadata.{HBONE}: is not told, as HBONE is not spoken: workloads of Istio's ambient \
                 mode are reached without it, or refuse"
            )
        })
    }

    /// As the first request of a stream carries it.
    pub(crate) fn message(&self, dialect: Dialect) -> Message {
        let locality = Locality {
            region: self.region.clone(),
            zone: self.zone.clone(),
            sub_zone: self.sub_zone.clone(),
        };
        let metadata = (!self.metadata.is_empty()).then(|| object(&self.metadata));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Message {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata,
            locality: (locality != Locality::default()).then_some(locality),
            user_agent_name: "tower-mesh".to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(version)),
            client_features: features(dialect).iter().map(|&it| it.to_owned()).collect(),
            ..Message::default()
        }
    }
}

/// The node's word that it speaks HBONE, which Istio answers with tunnels.
const HBONE: &str = "ENABLE_HBONE";
/// Where Istio's injector says the trust domain.
pub(super) const TRUST_DOMAIN: &str = "TRUST_DOMAIN";

/// What is done and what is not. As to gRPC, a priority is left when nothing of it works, whatever an
/// assignment says of its reserve.
//= gRFC A27: what a client fills in, whatever the bootstrap says
fn features(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Proxyless => &[NO_OVERPROVISIONING, IN_WRAPPER],
        Dialect::Sidecar | Dialect::Envoy => &[IN_WRAPPER],
    }
}

const NO_OVERPROVISIONING: &str = "envoy.lb.does_not_support_overprovisioning";
const IN_WRAPPER: &str = "xds.config.resource-in-sotw";

fn object(map: &Map<String, Value>) -> Struct {
    Struct { fields: map.iter().map(|(name, value)| (name.clone(), any(value))).collect() }
}

/// The parser has bounded how deep it goes.
fn any(value: &Value) -> Any {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Value::String(value) => Kind::StringValue(value.clone()),
        Value::Array(list) => Kind::ListValue(ListValue { values: list.iter().map(any).collect() }),
        Value::Object(map) => Kind::StructValue(object(map)),
    };
    Any { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_node_is_told_with_what_we_can_do() {
        let metadata = json!({"a": [1, true, null, {"b": "c"}]}).as_object().unwrap().clone();
        let node = Node { id: "n".into(), zone: "z".into(), metadata, ..Node::default() };
        let message = node.message(Dialect::Sidecar);
        assert_eq!((message.id.as_str(), message.user_agent_name.as_str()), ("n", "tower-mesh"));
        assert_eq!(message.client_features, ["xds.config.resource-in-sotw"]);
        assert_eq!(message.locality.unwrap().zone, "z");
        let fields = message.metadata.unwrap().fields;
        let Some(Kind::ListValue(list)) = &fields["a"].kind else { panic!("{fields:?}") };
        assert_eq!(list.values[0].kind, Some(Kind::NumberValue(1.0)));
        assert_eq!(list.values[2].kind, Some(Kind::NullValue(0)));
    }

    /// gRFC A20: a plane that knows it says of priorities what gRPC does.
    #[test]
    fn whoever_is_as_grpc_says_that_it_knows_no_overprovisioning() {
        let no = "envoy.lb.does_not_support_overprovisioning".to_owned();
        for dialect in [Dialect::Proxyless, Dialect::Sidecar, Dialect::Envoy] {
            let features = Node::default().message(dialect).client_features;
            assert_eq!(features.contains(&no), dialect == Dialect::Proxyless, "{dialect:?}");
            assert!(features.contains(&"xds.config.resource-in-sotw".to_owned()), "{dialect:?}");
        }
    }

    #[test]
    fn tunnels_are_not_asked_for() {
        let node = |id: &str, value: Value| {
            let metadata = json!({"ENABLE_HBONE": value, "A": 1}).as_object().unwrap().clone();
            let mut node = Node { id: id.into(), metadata, ..Node::default() };
            let note = node.without_unspoken();
            (note.is_some(), node.metadata.contains_key("ENABLE_HBONE"), node.metadata.len())
        };
        for on in [json!(true), json!("true"), json!("1"), json!({})] {
            assert_eq!(node("sidecar~10.0.0.1~a.b~b.svc", on.clone()), (true, false, 1), "{on}");
            // To another control plane it may mean something else.
            assert_eq!(node("orders-1", on), (false, true, 2));
        }
        for off in [json!(false), json!("false")] {
            assert_eq!(node("sidecar~10.0.0.1~a.b~b.svc", off), (false, false, 1));
        }
    }

    #[test]
    fn what_is_not_said_is_not_sent() {
        let message = Node::default().message(Dialect::default());
        assert_eq!((message.locality, message.metadata), (None, None));
    }
}
