//! The small parts of resources: times, shares, wrappers, structs, packed messages.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{
            DataSource, Metadata, RuntimeFractionalPercent, data_source::Specifier,
        },
        r#type::v3::{FractionalPercent, Percent, fractional_percent::DenominatorType},
    },
    google::protobuf::{self, Any, value::Kind},
};
use prost::Message;

use super::walk::{Result, Walk};
use crate::config::Value;

/// The longest time that protobuf has. Unit: seconds. Source: google/protobuf/duration.proto.
const LONGEST: i64 = 315_576_000_000;
/// The longest time of the model: what is longer has no effect anyway.
pub(super) const YEAR: Duration = Duration::from_secs(86_400 * 365);
/// How deep structs and lists may be nested.
const DEEPEST: usize = 32;
/// What a value says at most. Unit: items, in all.
const MOST_VALUES: usize = 10_000;

/// A message for extensions without a message of their own (`xds.type.v3.TypedStruct` and its
/// predecessor of `udpa`).
#[derive(Clone, PartialEq, Message)]
pub(super) struct TypedStruct {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<protobuf::Struct>,
}

// === impl TypedStruct ===

impl TypedStruct {
    /// Whether a type is this one.
    pub(super) fn is_type(name: &str) -> bool {
        matches!(name, "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct")
    }
}

impl Walk {
    /// A time that is not below 0.
    pub(super) fn time(
        &self,
        field: &str,
        time: Option<&protobuf::Duration>,
    ) -> Result<Option<Duration>> {
        let Some(time) = time else { return Ok(None) };
        let shown = || format!("{}s {}ns", time.seconds, time.nanos);
        match (u64::try_from(time.seconds), u32::try_from(time.nanos)) {
            (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 && time.seconds <= LONGEST => {
                Ok(Some(Duration::new(seconds, nanos)))
            }
            _ => self.refuse(field, shown(), "is not a time: must be at least 0, in order"),
        }
    }

    /// A time that the model takes: over 0, and a year at most. None where it is 0.
    pub(super) fn bound(
        &mut self,
        field: &str,
        time: Option<&protobuf::Duration>,
    ) -> Result<Option<Duration>> {
        let time = self.time(field, time)?;
        Ok(time.filter(|time| !time.is_zero()).map(|time| time.min(YEAR)))
    }

    /// A time that must be over 0.
    pub(super) fn positive(
        &mut self,
        field: &str,
        time: Option<&protobuf::Duration>,
    ) -> Result<Option<Duration>> {
        match self.time(field, time)? {
            Some(time) if time.is_zero() => self.refuse(field, "0s", "must be over 0"),
            time => Ok(time.map(|time| time.min(YEAR))),
        }
    }

    /// A share. Unit: percent.
    pub(super) fn percent(&self, field: &str, percent: Option<&Percent>) -> Result<Option<f64>> {
        let Some(Percent { value }) = percent else { return Ok(None) };
        if (0.0..=100.0).contains(value) {
            Ok(Some(*value))
        } else {
            self.refuse(field, value, "must be in 0..=100")
        }
    }

    /// A share; what is over 100 is 100. Unit: percent.
    pub(super) fn fraction(
        &self,
        field: &str,
        fraction: Option<&FractionalPercent>,
    ) -> Result<Option<f64>> {
        let Some(fraction) = fraction else { return Ok(None) };
        let parts = match DenominatorType::try_from(fraction.denominator) {
            Ok(DenominatorType::Hundred) => 100.0,
            Ok(DenominatorType::TenThousand) => 10_000.0,
            Ok(DenominatorType::Million) => 1_000_000.0,
            Err(_) => {
                let reason = "must be HUNDRED, TEN_THOUSAND or MILLION";
                return self.refuse(&format!("{field}.denominator"), fraction.denominator, reason);
            }
        };
        Ok(Some((f64::from(fraction.numerator) * 100.0 / parts).min(100.0)))
    }

    /// A share whose key of a runtime counts for nothing.
    pub(super) fn runtime_fraction(
        &mut self,
        field: &str,
        fraction: Option<&RuntimeFractionalPercent>,
    ) -> Result<Option<f64>> {
        let Some(RuntimeFractionalPercent { default_value, runtime_key }) = fraction else {
            return Ok(None);
        };
        self.within(field, |walk| {
            walk.no_runtime("runtime_key", runtime_key);
            walk.fraction("default_value", default_value.as_ref())
        })
    }

    /// A share, and the key that sets it where the application or a source does.
    pub(super) fn keyed_fraction(
        &mut self,
        field: &str,
        fraction: Option<&RuntimeFractionalPercent>,
    ) -> Result<Option<(f64, Option<String>)>> {
        let Some(RuntimeFractionalPercent { default_value, runtime_key }) = fraction else {
            return Ok(None);
        };
        self.within(field, |walk| {
            let percent = walk.fraction("default_value", default_value.as_ref())?;
            Ok(percent.map(|percent| (percent, said(runtime_key))))
        })
    }

    /// There is no runtime whose keys could override anything.
    pub(super) fn no_runtime(&mut self, field: &str, key: &str) {
        self.note_if(!key.is_empty(), field, "there is no runtime: the default value counts");
    }

    /// A share of 0..=100. Unit: percent.
    pub(super) fn whole_percent(
        &self,
        field: &str,
        percent: Option<&protobuf::UInt32Value>,
    ) -> Result<Option<u32>> {
        match percent {
            Some(percent) if percent.value > 100 => {
                self.refuse(field, percent.value, "must be in 0..=100")
            }
            percent => Ok(u32s(percent)),
        }
    }

    /// A message out of an `Any` of its type.
    pub(super) fn unpack<M: Message + Default>(&self, field: &str, any: &Any) -> Result<M> {
        M::decode(any.value.as_slice()).map_err(|error| {
            self.bad(field, type_name(&any.type_url), format!("cannot be read: {error}"))
        })
    }

    /// Text that stands in the resource itself.
    pub(super) fn inline_text(
        &self,
        field: &str,
        source: Option<&DataSource>,
    ) -> Result<Option<String>> {
        let Some(source) = source else { return Ok(None) };
        match &source.specifier {
            None => Ok(None),
            Some(Specifier::InlineString(text)) => Ok(Some(text.clone())),
            Some(Specifier::InlineBytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(_) => self.lacks(field, "inline_bytes", "not supported yet: is not text"),
            },
            Some(Specifier::Filename(name)) => {
                self.lacks(field, name, "not supported yet: must be inline")
            }
            Some(Specifier::EnvironmentVariable(name)) => {
                self.lacks(field, name, "not supported yet: must be inline")
            }
        }
    }

    /// What a source says about something, by namespace.
    pub(super) fn metadata(
        &mut self,
        field: &str,
        metadata: Option<&Metadata>,
    ) -> Result<BTreeMap<String, Value>> {
        let Some(metadata) = metadata else { return Ok(BTreeMap::new()) };
        let Metadata { filter_metadata, typed_filter_metadata: _ } = metadata;
        let mut all = BTreeMap::new();
        for (name, fields) in filter_metadata {
            all.insert(name.clone(), Value::Map(self.fields(&format!("{field}.{name}"), fields)?));
        }
        Ok(all)
    }

    pub(super) fn fields(
        &self,
        field: &str,
        fields: &protobuf::Struct,
    ) -> Result<BTreeMap<String, Value>> {
        let mut left = MOST_VALUES;
        match map(fields, DEEPEST, &mut left) {
            Some(map) => Ok(map),
            None => self.refuse(
                field,
                "struct",
                format!(
                    "is nested more than {DEEPEST} deep, or has more than {MOST_VALUES} values"
                ),
            ),
        }
    }

    /// What of a namespace of metadata is told by text.
    pub(super) fn labels(
        &mut self,
        field: &str,
        fields: Option<&protobuf::Struct>,
    ) -> Result<BTreeMap<String, String>> {
        let Some(fields) = fields else { return Ok(BTreeMap::new()) };
        let mut labels = BTreeMap::new();
        for (name, value) in self.fields(field, fields)? {
            match text(&value) {
                Some(text) => {
                    labels.insert(name, text);
                }
                None => self.note(
                    &format!("{field}.{name}"),
                    "is neither text, number nor yes or no: counts for nothing here",
                ),
            }
        }
        Ok(labels)
    }
}

fn map(
    fields: &protobuf::Struct,
    deeper: usize,
    left: &mut usize,
) -> Option<BTreeMap<String, Value>> {
    let deeper = deeper.checked_sub(1)?;
    fields
        .fields
        .iter()
        .map(|(name, value)| Some((name.clone(), value_of(value, deeper, left)?)))
        .collect()
}

fn value_of(value: &protobuf::Value, deeper: usize, left: &mut usize) -> Option<Value> {
    *left = left.checked_sub(1)?;
    Some(match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(it)) => Value::Bool(*it),
        Some(Kind::NumberValue(number)) => number_of(*number),
        Some(Kind::StringValue(text)) => Value::Text(text.clone()),
        Some(Kind::StructValue(fields)) => Value::Map(map(fields, deeper, left)?),
        Some(Kind::ListValue(list)) => {
            let deeper = deeper.checked_sub(1)?;
            let items = list.values.iter().map(|value| value_of(value, deeper, left));
            Value::List(items.collect::<Option<_>>()?)
        }
    })
}

/// Structs have no whole numbers: what is one counts as one.
fn number_of(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and in range")]
        Value::Integer(number as i64)
    } else {
        Value::Number(number)
    }
}

/// A label's text of a value.
pub(super) fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Text(text) => text.clone(),
        Value::Bool(it) => it.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => return None,
    })
}

/// The name of a type in its URL: `envoy.config.cluster.v3.Cluster`.
pub(super) fn type_name(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

pub(super) fn u32s(value: Option<&protobuf::UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

pub(super) fn bools(value: Option<&protobuf::BoolValue>) -> Option<bool> {
    value.map(|value| value.value)
}

/// Text that is said.
pub(super) fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A map of typed parts, in the order of their names: notes and errors are the same each time.
pub(super) fn in_order<V>(map: &HashMap<String, V>) -> Vec<(&String, &V)> {
    let mut all: Vec<_> = map.iter().collect();
    all.sort_by_key(|(name, _)| *name);
    all
}
