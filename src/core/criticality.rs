//! How much a call matters.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// How much a call matters when load is shed (Google SRE's levels).
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Criticality {
    /// Shed first.
    Sheddable,
    /// May wait or fail for some time.
    SheddablePlus,
    /// An outage would be seen.
    #[default]
    Critical,
    /// Shed last.
    CriticalPlus,
}

/// Where a call says it to whom it calls.
const HEADER: HeaderName = HeaderName::from_static("x-mesh-criticality");

// === impl Criticality ===

impl Criticality {
    /// As the file and the header have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::SheddablePlus => "sheddable_plus",
            Self::Critical => "critical",
            Self::CriticalPlus => "critical_plus",
        }
    }

    /// What the caller of a request has said; nothing if that is no word for it.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let said = headers.get(HEADER)?.as_bytes();
        [Self::Sheddable, Self::SheddablePlus, Self::Critical, Self::CriticalPlus]
            .into_iter()
            .find(|it| it.as_str().as_bytes() == said)
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert(HEADER, HeaderValue::from_static(self.as_str()));
    }
}

impl fmt::Display for Criticality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let mut headers = HeaderMap::new();
        assert_eq!(Criticality::read(&headers), None);
        for level in [Criticality::Sheddable, Criticality::SheddablePlus, Criticality::CriticalPlus]
        {
            level.write(&mut headers);
            assert_eq!(Criticality::read(&headers), Some(level));
        }
        headers.insert(HEADER, HeaderValue::from_static("most"));
        assert_eq!(Criticality::read(&headers), None);
    }
}
