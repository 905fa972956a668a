//! The policies of a service's routes: layers, and what they come to.

use std::sync::Arc;

use super::{
    inner::Inner,
    overlay::{self, Laid, LeftOut, Whose},
    service::PolicyLayer,
};
use crate::{
    config::{Overlay, Policy},
    discover::SourceId,
};

/// What the code and the sources say of a service's policy.
pub(super) struct Layered {
    code: Policy,
    sources: Vec<(SourceId, Policy)>,
    /// Whose routes they are.
    routed_by: Option<SourceId>,
}

/// What several routes share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) merged: Arc<Policy>,
    pub(super) layers: Arc<[PolicyLayer]>,
}

impl Layered {
    pub(super) fn new(
        code: Policy,
        sources: Vec<(SourceId, Policy)>,
        routed_by: Option<SourceId>,
    ) -> Self {
        Self { code, sources, routed_by }
    }

    /// Of a route that says nothing of its own.
    pub(super) fn of_service(&self, name: &str) -> Laid<Policy> {
        let sources = self.sources.iter().map(|(source, it)| (Whose::Source(*source), it.clone()));
        let layers = std::iter::once((Whose::Code, self.code.clone())).chain(sources);
        overlay::policies(layers.collect(), &format!("services.{name}.policy"))
    }

    /// Of a route that does: its policy stands before that of the service of the same source.
    pub(super) fn of_route(&self, name: &str, index: usize, policy: &Policy) -> Laid<Policy> {
        let mut layers = vec![(Whose::Code, self.code.clone())];
        for (source, of_service) in &self.sources {
            let whose = Whose::Source(*source);
            if self.routed_by == Some(*source) {
                layers.push((whose, policy.clone()));
            }
            layers.push((whose, of_service.clone()));
        }
        let path = format!("services.{name}.routes[{index}].policy");
        let mut laid = overlay::policies(layers, &path);
        let mut own = Vec::new();
        if !laid.left_out.is_empty() {
            policy.told("", &mut own);
        }
        for LeftOut { error, .. } in &mut laid.left_out {
            // What the route does not say stands at its service.
            let Some(field) = error.path.strip_prefix(&path) else { continue };
            if !own.iter().any(|(told, _)| field.strip_prefix('.') == Some(told)) {
                error.path = format!("services.{name}.policy{field}");
            }
        }
        laid
    }
}

impl Shared {
    /// Layers that say nothing are not kept.
    pub(super) fn new(inner: &Inner, laid: Laid<Policy>) -> Self {
        let layers = laid.layers.into_iter().filter(|(_, it)| *it != Policy::default());
        let layers = layers.map(|(whose, policy)| {
            let source = match whose {
                Whose::Code => None,
                Whose::Source(source) => Some(inner.source_name(source).into()),
            };
            PolicyLayer { source, policy }
        });
        Self { merged: Arc::new(laid.merged), layers: layers.collect() }
    }
}
