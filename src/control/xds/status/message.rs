//! The JSON of CSDS: protobuf's own form of its messages.

use std::time::{Duration, SystemTime};

use envoy_types::pb::{
    envoy::{
        admin::v3::{ClientResourceStatus, UpdateFailureState},
        config::core::v3::{Node, node::UserAgentVersionType},
        service::status::v3::{ClientConfig, client_config::GenericXdsConfig},
    },
    google::protobuf::{Struct, Timestamp, Value as Pb, value::Kind},
};
use serde_json::{Map, Value, json};

use crate::config::format::Clock;

/// `ClientStatusResponse`. What is empty is left out, as protobuf does.
pub(super) fn json(clients: &[ClientConfig]) -> Value {
    json!({ "config": clients.iter().map(client).collect::<Vec<_>>() })
}

fn client(it: &ClientConfig) -> Value {
    let mut fields = Fields::default();
    fields.value("node", it.node.as_ref().map(node));
    let resources: Vec<Value> = it.generic_xds_configs.iter().map(resource).collect();
    fields.value("genericXdsConfigs", (!resources.is_empty()).then_some(resources.into()));
    fields.text("clientScope", &it.client_scope);
    fields.done()
}

fn resource(it: &GenericXdsConfig) -> Value {
    let mut fields = Fields::default();
    fields.text("typeUrl", &it.type_url);
    fields.text("name", &it.name);
    fields.text("versionInfo", &it.version_info);
    fields.value("lastUpdated", it.last_updated.as_ref().map(time));
    let status = ClientResourceStatus::try_from(it.client_status).unwrap_or_default();
    fields.text("clientStatus", status.as_str_name());
    fields.value("errorState", it.error_state.as_ref().map(error));
    fields.done()
}

fn error(it: &UpdateFailureState) -> Value {
    let mut fields = Fields::default();
    fields.value("lastUpdateAttempt", it.last_update_attempt.as_ref().map(time));
    fields.text("details", &it.details);
    fields.text("versionInfo", &it.version_info);
    fields.done()
}

fn node(it: &Node) -> Value {
    let mut fields = Fields::default();
    fields.text("id", &it.id);
    fields.text("cluster", &it.cluster);
    fields.value("metadata", it.metadata.as_ref().map(object));
    let locality = it.locality.as_ref().map(|place| {
        let mut fields = Fields::default();
        fields.text("region", &place.region);
        fields.text("zone", &place.zone);
        fields.text("subZone", &place.sub_zone);
        fields.done()
    });
    fields.value("locality", locality);
    fields.text("userAgentName", &it.user_agent_name);
    if let Some(UserAgentVersionType::UserAgentVersion(version)) = &it.user_agent_version_type {
        fields.text("userAgentVersion", version);
    }
    let features = &it.client_features;
    fields.value("clientFeatures", (!features.is_empty()).then(|| json!(features)));
    fields.done()
}

fn time(at: &Timestamp) -> Value {
    let seconds = u64::try_from(at.seconds).unwrap_or_default();
    let at = Duration::new(seconds, u32::try_from(at.nanos).unwrap_or_default());
    let at = SystemTime::UNIX_EPOCH.checked_add(at).unwrap_or(SystemTime::UNIX_EPOCH);
    Clock::new(None).map(|clock| clock.tell(at)).unwrap_or_default().into()
}

fn object(it: &Struct) -> Value {
    Value::Object(it.fields.iter().map(|(name, it)| (name.clone(), value(it))).collect())
}

/// The parser of the bootstrap has bounded how deep it goes.
fn value(it: &Pb) -> Value {
    match &it.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(it)) => (*it).into(),
        Some(Kind::NumberValue(it)) => (*it).into(),
        Some(Kind::StringValue(it)) => it.as_str().into(),
        Some(Kind::ListValue(it)) => it.values.iter().map(value).collect(),
        Some(Kind::StructValue(it)) => object(it),
    }
}

/// Those that are not empty.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, name: &str, text: &str) {
        self.value(name, (!text.is_empty()).then(|| text.into()));
    }

    fn value(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value);
        }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}
