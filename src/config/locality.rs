//! Places, and their share of the load.

/// Where an endpoint runs.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Locality {
    /// The largest unit.
    pub region: String,
    /// A part of the region.
    pub zone: String,
    /// A part of the zone.
    pub sub_zone: String,
}

/// Where the caller runs: what endpoints are near is by this.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Place {
    /// Its region, zone and part of the zone; what is empty is not known.
    pub locality: Locality,
    /// The node that it runs on.
    pub node: Option<String>,
}

impl Locality {
    /// A zone of a region.
    #[must_use]
    pub fn new(region: impl Into<String>, zone: impl Into<String>) -> Self {
        Self { region: region.into(), zone: zone.into(), sub_zone: String::new() }
    }
}

impl Place {
    /// What OpenTelemetry's resource attributes say: `cloud.region`, `cloud.availability_zone` and
    /// `k8s.node.name` of a list `key=value,key=value` with percent-encoded values. A list with an
    /// error says nothing.
    #[must_use]
    pub fn of_resource_attributes(list: &str) -> Self {
        let mut place = Self::default();
        for pair in list.split(',').filter(|pair| !pair.trim().is_empty()) {
            let Some((key, value)) = pair.split_once('=') else { return Self::default() };
            let Some(value) = decoded(value.trim()) else { return Self::default() };
            match key.trim() {
                "cloud.region" => place.locality.region = value,
                "cloud.availability_zone" => place.locality.zone = value,
                "k8s.node.name" => place.node = Some(value),
                _ => {}
            }
        }
        place
    }
}

/// Text in which `%2F` stands for a byte.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The weight of one locality at one priority.
///
/// Endpoints name their locality and priority; this list says what a locality gets: together
/// they are priorities → localities → endpoints.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct LocalityWeight {
    /// The place. Default: that of endpoints that name none.
    pub locality: Locality,
    /// The priority. Default: 0.
    pub priority: u32,
    /// Its share relative to the other localities of the priority. Default: 0: it gets nothing.
    pub weight: u32,
    /// How far away it is. Default: unknown. Not supported yet. Source: xDS `proximity`.
    pub proximity: Option<u32>,
}

#[cfg(test)]
mod place_tests {
    use super::*;

    #[test]
    fn resource_attributes_say_where_the_caller_is() {
        let list = "service.name=a,cloud.region=eu-west-1, cloud.availability_zone=eu%2D1a,\
                    k8s.node.name=n1";
        let place = Place::of_resource_attributes(list);
        assert_eq!(place.locality, Locality::new("eu-west-1", "eu-1a"));
        assert_eq!(place.node.as_deref(), Some("n1"));
    }

    #[test]
    fn a_list_with_an_error_says_nothing() {
        for list in ["cloud.region=a,b", "cloud.region=%2", "cloud.region=%zz", "cloud.region=%ff"]
        {
            assert_eq!(Place::of_resource_attributes(list), Place::default(), "{list}");
        }
        assert_eq!(Place::of_resource_attributes(""), Place::default());
    }
}
