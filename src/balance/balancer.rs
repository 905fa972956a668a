//! The balancer of a cluster: picks from the published view.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::{
    ask::Ask,
    endpoint::{Endpoint, Live, Upstream},
    flight::InFlight,
    health::{Health, Rules},
    keep::Keeper,
    pick::{Avoid, Drawn, Over, Picked, Picker, Pinned},
    subset::labels::Wanted,
    update::Updater,
    view::{Group, View},
};
use crate::{
    config,
    core::{Epoch, Random},
};

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
        let (updater, keeper) = (Mutex::default(), Keeper::default());
        let health = Arc::<Health>::default();
        let view = ArcSwap::from_pointee(View::empty(cluster, &context, Arc::clone(&health)));
        health.set(cluster.outlier_detection.as_ref().map(Rules::new), &X::random(&context));
        health.set_ramps(view.load().ramps());
        #[cfg(feature = "orca")]
        keeper.settle(&view.load().policy);
        Self { view, updater, context, epoch, keeper, health }
    }

    pub(crate) fn context(&self) -> &X::Context {
        &self.context
    }

    /// Picks an endpoint and counts a call in flight to it.
    ///
    /// The question is taken apart: a call that finds a good endpoint keeps what it needs of it in
    /// registers.
    #[inline(always)]
    pub(crate) fn pick(&self, ask: Ask<'_, X>) -> Result<InFlight<X>, PickError> {
        let Ask { now, random, tried, over, wanted, hash, apart, avoid, .. } = ask;
        let view = self.view.load();
        if over.is_some() || wanted.is_some() || !tried.is_empty() || view.placed.is_some() {
            return self.pick_specially(
                &view,
                (now, random),
                (tried, apart, avoid),
                (over, wanted),
                hash,
            );
        }
        let picker = Picker::untried(&view.all.set, now, random);
        match view.policy.plain(&view.all, picker, hash) {
            Ok((endpoint, live)) => Ok(self.begin(&view, endpoint, live, now)),
            Err(drawn) => self.pick_drawn(&view, (now, random), hash, drawn),
        }
    }

    /// Picks where more is asked than any good endpoint.
    #[inline(never)]
    fn pick_specially(
        &self,
        view: &View<X>,
        (now, random): (u64, &Random),
        (tried, apart, avoid): (&[Arc<Endpoint<X>>], bool, Option<&Avoid>),
        (over, wanted): (Option<&Over>, Option<&Wanted>),
        hash: Option<u64>,
    ) -> Result<InFlight<X>, PickError> {
        let ask = Ask { now, random, tried, over, wanted, hash, apart, avoid, well: false };
        self.pick_in(view, ask).or_else(|error| self.pick_again(view, ask, error))
    }

    /// Picks where what was drawn is not plainly good.
    #[cold]
    #[inline(never)]
    fn pick_drawn(
        &self,
        view: &View<X>,
        (now, random): (u64, &Random),
        hash: Option<u64>,
        drawn: Option<Drawn<'_, X>>,
    ) -> Result<InFlight<X>, PickError> {
        let ask = Ask::any(now, random, &[]).hashed(hash);
        self.pick_ranked(view, ask, drawn).or_else(|error| self.pick_again(view, ask, error))
    }

    /// Whom a pick has looked at may have left meanwhile, all of them: then others are there.
    #[cold]
    #[inline(never)]
    pub(super) fn pick_again(
        &self,
        view: &View<X>,
        ask: Ask<'_, X>,
        error: PickError,
    ) -> Result<InFlight<X>, PickError> {
        if std::ptr::eq(&raw const **self.view.load(), view) {
            return Err(error);
        }
        if ask.well { self.pick_well(ask) } else { self.pick(ask) }
    }

    pub(super) fn pick_in(
        &self,
        view: &View<X>,
        ask: Ask<'_, X>,
    ) -> Result<InFlight<X>, PickError> {
        if let Some(over) = ask.over
            && let Some(pinned) = self.pinned(view, over, (ask.now, ask.random, ask.tried))
        {
            return pinned;
        }
        if view.placed.is_some() {
            return self.planned(view, ask);
        }
        if is_of_labels(ask.wanted) {
            return Err(PickError::NoPart);
        }
        let (group, now) = (&view.all, ask.now);
        let picker = Picker::new(&group.set, &ask);
        match view.policy.plain_elsewhere(group, picker, ask.hash) {
            Ok((endpoint, live)) => Ok(self.begin(view, endpoint, live, now)),
            Err(drawn) => self.pick_ranked(view, ask, drawn),
        }
    }

    fn pick_ranked(
        &self,
        view: &View<X>,
        ask: Ask<'_, X>,
        drawn: Option<Drawn<'_, X>>,
    ) -> Result<InFlight<X>, PickError> {
        if (ask.apart || ask.avoid.is_some() || ask.well)
            && let Some(drawn) = drawn
            && let Some(picked) = self.chosen(view, ask, drawn)
        {
            return picked;
        }
        let (endpoint, live) = self.ranked(view, ask, drawn)?;
        Ok(self.begin(view, endpoint, live, ask.now).perhaps_probing(ask.now))
    }

    #[inline(always)]
    pub(super) fn begin(
        &self,
        view: &View<X>,
        endpoint: &Arc<Endpoint<X>>,
        live: &Live<X>,
        now: u64,
    ) -> InFlight<X> {
        live.load.begin(now);
        self.called();
        if view.bounded {
            live.crowd.enter();
        }
        InFlight::begun(Arc::clone(endpoint), now, view.decay, view.bounded)
    }

    /// The endpoint that the call names; `None`: any other.
    #[cold]
    #[inline(never)]
    fn pinned(
        &self,
        view: &View<X>,
        over: &Over,
        (now, random, tried): (u64, &Random, &[Arc<Endpoint<X>>]),
    ) -> Option<Result<InFlight<X>, PickError>> {
        let group = &view.all;
        let picker = Picker::new(&group.set, &Ask::any(now, random, tried));
        match picker.pinned(&view.pins, over) {
            Pinned::To(endpoint) => Some(Ok(self
                .begin(view, endpoint, self.live(endpoint, group), now)
                .perhaps_probing(now))),
            Pinned::Free => None,
            Pinned::Nowhere => Some(Err(PickError::Unavailable)),
        }
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
        let is_new = endpoint.live().is_none();
        let (crowd, health) = (&group.crowd, &self.health);
        let live = endpoint.live_or_build(&self.context, self.epoch, crowd, health);
        if is_new {
            self.connects(live);
        }
        live
    }
}

/// Whether labels are asked for: where there is no plan, nobody is known to carry them.
pub(super) fn is_of_labels(wanted: Option<&Wanted>) -> bool {
    wanted.is_some_and(|wanted| !wanted.is_empty())
}

/// Nobody tells anything without the feature `orca`.
#[cfg(not(feature = "orca"))]
impl<X: Upstream> Balancer<X> {
    #[expect(clippy::unused_self, reason = "it is used with the feature `orca`")]
    fn connects(&self, _live: &Live<X>) {}

    #[expect(clippy::unused_self, reason = "it is used with the feature `orca`")]
    pub(super) fn reconnect(&self) {}
}
