//! Routes: which host and route a request finds, where it leads, and how the call is made.

mod attempts;
mod ends;
mod hosts;
mod matches;

use envoy_types::pb::envoy::{
    config::route::v3::{WeightedCluster as PbWeighted, weighted_cluster::ClusterWeight},
    r#type::matcher::v3::RegexMatcher,
};

use super::*;

fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.into(), ..RegexMatcher::default() }
}

pub(super) fn by(path: PathSpecifier) -> RouteMatch {
    RouteMatch { path_specifier: Some(path), ..RouteMatch::default() }
}

pub(super) fn weighted(list: &[(&str, u32)]) -> RouteAction {
    let clusters = list
        .iter()
        .map(|(name, weight)| ClusterWeight {
            name: (*name).into(),
            weight: wrapped(*weight),
            ..ClusterWeight::default()
        })
        .collect();
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(PbWeighted {
            clusters,
            ..PbWeighted::default()
        })),
        ..RouteAction::default()
    }
}
