//! The balancer of a cluster: picks from the published view.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::{
    ask::Ask,
    endpoint::{Endpoint, Live, Upstream},
    flight::InFlight,
    health::{Health, Rules},
    keep::Keeper,
    pick::{Drawn, Picked, Picker},
    update::Updater,
    view::{Group, View},
};
use crate::{config, core::Epoch};

/// Why nothing was picked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PickError {
    /// The cluster has no endpoints.
    Empty,
    /// None of them takes calls.
    Unavailable,
    /// The route asks for endpoints of labels that none has.
    NoPart,
    /// Those that there are are known to be bad, and the settings forbid to call them.
    Panic,
}

/// Picks among the endpoints of one cluster.
pub(crate) struct Balancer<X: Upstream> {
    pub(super) view: ArcSwap<View<X>>,
    /// Locked by updates only, never by a pick.
    pub(super) updater: Mutex<Updater<X>>,
    pub(super) context: X::Context,
    pub(super) epoch: Epoch,
    pub(super) keeper: Keeper,
    pub(super) health: Arc<Health>,
}

impl<X: Upstream> Balancer<X> {
    /// One without endpoints.
    pub(crate) fn new(cluster: &config::Cluster, context: X::Context, epoch: Epoch) -> Self {
        let view = ArcSwap::from_pointee(View::empty(cluster, &context));
        let (updater, keeper) = (Mutex::default(), Keeper::default());
        let health = Arc::<Health>::default();
        health.set(cluster.outlier_detection.as_ref().map(Rules::new), &X::random(&context));
        Self { view, updater, context, epoch, keeper, health }
    }

    pub(crate) fn context(&self) -> &X::Context {
        &self.context
    }

    /// Picks an endpoint and counts a call in flight to it.
    #[inline]
    pub(crate) fn pick(&self, ask: Ask<'_, X>) -> Result<InFlight<X>, PickError> {
        let view = self.view.load();
        if view.placed.is_some() {
            return self.planned(&view, ask);
        }
        let (group, now) = (&view.all, ask.now);
        let picker = Picker::new(&group.set, &ask);
        let plain = view.policy.plain(group, picker, &ask);
        let is_plain = plain.is_ok();
        let (endpoint, live) = match plain {
            Ok(picked) => picked,
            Err(drawn) => self.ranked(&view, ask, drawn)?,
        };
        live.load.begin(now);
        self.called();
        if view.bounded {
            live.crowd.enter();
        }
        let flight = InFlight::begun(Arc::clone(endpoint), now, view.decay, view.bounded);
        Ok(if is_plain { flight } else { flight.perhaps_probing(now) })
    }

    /// Picks when what was drawn is not plainly good.
    ///
    /// By value: a question that is answered plainly stays in registers.
    #[cold]
    #[inline(never)]
    fn ranked<'a>(
        &self,
        view: &'a View<X>,
        ask: Ask<'a, X>,
        drawn: Option<Drawn<'a, X>>,
    ) -> Result<Picked<'a, X>, PickError> {
        let group = &view.all;
        let drawn = drawn.ok_or(PickError::Empty)?;
        let picked = view.policy.ranked(group, Picker::new(&group.set, &ask), &ask, drawn);
        let endpoint = picked.ok_or(PickError::Unavailable)?;
        Ok((endpoint, self.live(endpoint, group)))
    }

    /// The state of an endpoint, made if this is its first pick.
    pub(super) fn live<'a>(&self, endpoint: &'a Endpoint<X>, group: &Group<X>) -> &'a Live<X> {
        endpoint.live_or_build(&self.context, self.epoch, &group.crowd, &self.health)
    }
}
