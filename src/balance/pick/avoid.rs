//! What a further attempt avoids beside what its call has met, as far as there is anything else.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    balance::endpoint::{Endpoint, Upstream},
    config::{AvoidEndpoint, Retry},
};

/// After so many attempts of a call each time, the priorities of what it has met are left (Envoy).
const FREQUENCY: u32 = 2;

/// Endpoints that retries avoid, by what is said of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Avoid {
    /// Those that carry all labels of one of these.
    labels: Vec<BTreeMap<String, String>>,
    /// Those of the priorities that were met, which are looked at again after so many attempts.
    priorities: Option<usize>,
}

impl Avoid {
    /// What a policy says; nothing, if it says nothing.
    pub(crate) fn new(retry: &Retry) -> Option<Self> {
        let mut avoid = Self::default();
        for it in &retry.avoid {
            match it {
                AvoidEndpoint::Canaries => {
                    avoid.labels.push(BTreeMap::from([("canary".to_owned(), "true".to_owned())]));
                }
                AvoidEndpoint::Labels(labels) => avoid.labels.push(labels.clone()),
                AvoidEndpoint::Tried
                | AvoidEndpoint::TriedLocalities
                | AvoidEndpoint::Extension(_) => {}
            }
        }
        if let Some(priority) = &retry.priority {
            let every = priority.update_frequency.unwrap_or(FREQUENCY).max(1);
            avoid.priorities = Some(usize::try_from(every).unwrap_or(usize::MAX));
        }
        (!avoid.labels.is_empty() || avoid.priorities.is_some()).then_some(avoid)
    }

    /// Of what a call has met, in order: what was there when its priorities were last looked at.
    //= Envoy previous_priorities: with 2, the third and fourth attempt leave the priorities of the first
    //= two, the fifth and sixth those of the first four
    pub(super) fn left<'a, X>(&self, tried: &'a [Arc<Endpoint<X>>]) -> &'a [Arc<Endpoint<X>>] {
        let Some(every) = self.priorities else { return &[] };
        tried.get(..tried.len() / every * every).unwrap_or(&[])
    }

    /// Whether an endpoint is one that is avoided, or of a priority that is left.
    pub(super) fn avoids<X: Upstream>(
        &self,
        endpoint: &Endpoint<X>,
        left: &[Arc<Endpoint<X>>],
    ) -> bool {
        let spec = endpoint.spec();
        let priority = spec.priority();
        left.iter().any(|met| met.spec().priority() == priority)
            || self.labels.iter().any(|labels| {
                labels.iter().all(|(name, value)| spec.label(name) == Some(value.as_str()))
            })
    }
}
