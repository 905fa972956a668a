//! Parts of a cluster by labels.

use envoy_types::pb::{
    envoy::{
        config::cluster::v3::cluster::{
            LbSubsetConfig, lb_subset_config::LbSubsetSelector as OldSelector,
        },
        extensions::load_balancing_policies::subset::v3::{
            Subset as Typed, subset::LbSubsetSelector as TypedSelector,
        },
    },
    google::protobuf::Struct,
};

use super::super::walk::{Result, Walk};
use crate::config::{self, SubsetFallback, SubsetSelector, Subsets};

/// What both messages say.
struct Said<'a> {
    fallback: i32,
    default: Option<&'a Struct>,
    selectors: Vec<Selector<'a>>,
    locality_weighted: bool,
    panic_any: bool,
    /// What is said and not done.
    not_done: [(bool, &'static str); 3],
}

struct Selector<'a> {
    keys: &'a [String],
    single: bool,
    fallback: i32,
    fallback_keys: &'a [String],
}

pub(super) fn old(
    walk: &mut Walk,
    pb: &LbSubsetConfig,
    config: &mut config::Cluster,
) -> Result<()> {
    let LbSubsetConfig {
        fallback_policy,
        default_subset,
        subset_selectors,
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
    } = pb;
    let said = Said {
        fallback: *fallback_policy,
        default: default_subset.as_ref(),
        selectors: subset_selectors
            .iter()
            .map(|it: &OldSelector| Selector {
                keys: &it.keys,
                single: it.single_host_per_subset,
                fallback: it.fallback_policy,
                fallback_keys: &it.fallback_keys_subset,
            })
            .collect(),
        locality_weighted: *locality_weight_aware,
        panic_any: *panic_mode_any,
        not_done: [
            (*scale_locality_weight, "scale_locality_weight"),
            (*list_as_any, "list_as_any"),
            (*metadata_fallback_policy != 0, "metadata_fallback_policy"),
        ],
    };
    walk.within("lb_subset_config", |walk| said.read(walk, config))
}

pub(super) fn typed(walk: &mut Walk, pb: &Typed, config: &mut config::Cluster) -> Result<()> {
    let Typed {
        fallback_policy,
        default_subset,
        subset_selectors,
        // The order of the keys makes no difference here.
        allow_redundant_keys: _,
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
        // Read by the caller.
        subset_lb_policy: _,
    } = pb;
    let said = Said {
        fallback: *fallback_policy,
        default: default_subset.as_ref(),
        selectors: subset_selectors
            .iter()
            .map(|it: &TypedSelector| Selector {
                keys: &it.keys,
                single: it.single_host_per_subset,
                fallback: it.fallback_policy,
                fallback_keys: &it.fallback_keys_subset,
            })
            .collect(),
        locality_weighted: *locality_weight_aware,
        panic_any: *panic_mode_any,
        not_done: [
            (*scale_locality_weight, "scale_locality_weight"),
            (*list_as_any, "list_as_any"),
            (*metadata_fallback_policy != 0, "metadata_fallback_policy"),
        ],
    };
    said.read(walk, config)
}

impl Said<'_> {
    fn read(self, walk: &mut Walk, config: &mut config::Cluster) -> Result<()> {
        let mut subsets = Subsets::default();
        subsets.fallback = match self.fallback {
            0 => SubsetFallback::None,
            1 => SubsetFallback::Any,
            2 => SubsetFallback::Default,
            other => return walk.refuse("fallback_policy", other, "is no fallback"),
        };
        subsets.default = walk.labels("default_subset", self.default)?;
        subsets.selectors = walk.each("subset_selectors", &self.selectors, |walk, it| {
            let mut read = SubsetSelector::default();
            read.keys = it.keys.to_vec();
            read.single = it.single.then_some(true);
            read.fallback_keys = it.fallback_keys.to_vec();
            read.fallback = match it.fallback {
                0 => None,
                1 => Some(SubsetFallback::None),
                2 => Some(SubsetFallback::Any),
                3 => Some(SubsetFallback::Default),
                4 => Some(SubsetFallback::Keys),
                other => return walk.refuse("fallback_policy", other, "is no fallback"),
            };
            Ok(read)
        })?;
        subsets.locality_weighted = self.locality_weighted.then_some(true);
        subsets.panic_any = self.panic_any.then_some(true);
        for (is_said, field) in self.not_done {
            walk.note_if(is_said, field, "not supported yet");
        }
        // Envoy: no selectors, no subsets.
        if !subsets.selectors.is_empty() {
            config.subsets = Some(subsets);
        }
        Ok(())
    }
}
