//! What becomes of names that no source defines: what the code says, and the sources that are there for
//! them.

use super::UnknownNames;
use crate::{
    config::{Cluster, Discovery, DnsDiscovery},
    core::{Error, ErrorKind, Origin, Phase},
    discover::Discover,
};

/// What becomes of names that no source defines.
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    pub(crate) names: UnknownNames,
    /// How DNS is asked for them; its name does not count.
    #[cfg_attr(not(feature = "dns"), allow(dead_code, reason = "nobody is asked"))]
    pub(crate) dns: DnsDiscovery,
    /// The place of the source that is there for them.
    pub(crate) source: Option<usize>,
}

impl Unknown {
    /// `said` is what the code says.
    pub(super) fn new(
        said: Option<UnknownNames>,
        sources: &[Box<dyn Discover>],
    ) -> Result<Self, Error> {
        let asked = sources.iter().enumerate().map(|(place, it)| (place, it.unknown_names()));
        let mut asked = asked.filter_map(|(place, dns)| Some((place, dns?)));
        let Some((place, dns)) = asked.next() else {
            let names = said.unwrap_or_default();
            if cfg!(not(feature = "dns")) && names == UnknownNames::Dns {
                return Err(without_feature("`unknown_names(UnknownNames::Dns)`"));
            }
            return Ok(Self { names, ..Self::default() });
        };
        let name = |place: usize| sources.get(place).map(|it| it.name()).unwrap_or_default();
        let own = format!("source `{}`", name(place));
        if cfg!(not(feature = "dns")) {
            return Err(without_feature(&format!(
                "{own}, which looks up names that nobody defines,"
            )));
        }
        if said == Some(UnknownNames::Refuse) {
            return Err(contrary(
                format!(
                    "{own} is there for names that no source defines, and \
                     `unknown_names(UnknownNames::Refuse)` refuses them"
                ),
                "which of the two is meant; `Dns::service` gives the source names of its own",
            ));
        }
        if let Some((other, _)) = asked.find(|(_, it)| *it != dns) {
            return Err(contrary(
                format!(
                    "{own} and source `{}` (numbers {} and {}) are both there for names that no source \
                     defines, and their settings differ",
                    name(other),
                    place + 1,
                    other + 1,
                ),
                "which of them is meant; `Dns::service` gives a source names of its own",
            ));
        }
        let dns = DnsDiscovery { name: "dns:///name:80".to_owned(), targets: Vec::new(), ..dns };
        let discovery = Some(Discovery::Dns(dns.clone()));
        let cluster = Cluster { discovery, ..Cluster::default() };
        cluster.validate("unknown names").map_err(|errors| {
            contrary(format!("{own}: {errors}"), "the settings that are given to the source")
        })?;
        Ok(Self { names: UnknownNames::Dns, dns, source: Some(place) })
    }
}

fn config_error() -> Error {
    Error::new(ErrorKind::Config, Phase::Resolve).with_origin(Origin::Local)
}

fn contrary(detail: String, check: &'static str) -> Error {
    config_error().detail(detail).check(check)
}

fn without_feature(who: &str) -> Error {
    config_error()
        .detail(format!("{who} needs the feature `dns`"))
        .check("the features of `tower-mesh` in Cargo.toml")
}
