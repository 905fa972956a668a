//! Whose a name is: the mesh's, or nobody's as far as every source has said.
//!
//! For front doors that may call a name elsewhere if the mesh does not have it. In doubt a name
//! is the mesh's, whose answer is then an error: nothing is sent past the mesh because a source
//! is late, lost, or was refused.

use std::sync::Arc;

use super::{Client, UnknownNames, call};
use crate::{
    config::name::Name,
    core::{BoxFuture, Error, Instant, earliest},
};

/// Whose a name is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whose {
    /// It is called through the mesh, which may refuse it.
    Mesh,
    /// Every source has spoken, and none of it; those that look names up have been asked for it.
    Nobody,
    /// A source has still to speak: see [`Client::settled`].
    Unsaid,
}

// === impl Client ===

impl Client {
    /// Whose the name in this authority is.
    pub(crate) fn whose(&self, authority: &str) -> Whose {
        let inner = &self.inner;
        // What is no name is the mesh's to refuse.
        let Ok(name) = Name::parse(authority) else { return Whose::Mesh };
        let name = name.to_string();
        if inner.find(&name).is_some() || inner.is_closing() {
            return Whose::Mesh;
        }
        if !inner.is_synced() {
            return Whose::Unsaid;
        }
        let state = inner.state();
        if !state.asking.is_settled(&name) {
            return Whose::Unsaid;
        }
        let may_be = inner.unknown_names == UnknownNames::Refuse;
        if may_be && inner.is_nobodys(&state, &name) { Whose::Nobody } else { Whose::Mesh }
    }

    /// The same front door for calls that are not to go in clear where nobody has said that they may.
    pub(crate) fn secured(&self) -> Self {
        Self { https: true, ..self.clone() }
    }

    /// Whether calls to the name in this authority are secured, some of them at least.
    pub(crate) fn secures(&self, authority: &str) -> bool {
        let service = self.inner.find(authority).and_then(|cell| cell.current.load_full());
        service.is_some_and(|service| {
            let mut clusters = service.table.iter().flat_map(|route| route.clusters.iter());
            clusters.any(|(_, target)| target.is_secured())
        })
    }

    /// Waits until it is known whose the name is, at most the mesh's `resolve_timeout`.
    pub(crate) fn settled(
        &self,
        authority: &str,
        deadline: Option<Instant>,
    ) -> BoxFuture<Result<(), Error>> {
        let (inner, authority) = (Arc::clone(&self.inner), authority.to_owned());
        Box::pin(async move {
            let cell = Name::parse(&authority).ok().and_then(|name| inner.lookup(&name).ok());
            // Otherwise every source has spoken by now, or the call will tell what is wrong.
            let Some(cell) = cell else { return Ok(()) };
            let own = Instant::now().checked_add(inner.resolve_timeout);
            let is_callers = deadline.is_some_and(|at| own.is_none_or(|own| at <= own));
            let changed = inner.changed(&cell);
            let Some(until) = earliest(own, deadline) else {
                changed.await;
                return Ok(());
            };
            tokio::time::timeout_at(until, changed).await.map_err(|_elapsed| {
                call::undelivered(is_callers)
                    .service(&cell.name)
                    .detail("no source said in time whether the name is the mesh's")
            })
        })
    }
}
