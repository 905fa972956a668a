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

/// The weight of one locality at one priority. Not supported yet.
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
    /// How far away it is. Default: unknown. Source: xDS `proximity`.
    pub proximity: Option<u32>,
}
