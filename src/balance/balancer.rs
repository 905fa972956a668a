//! The balancer of a cluster: picks from the published view.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::SeqCst, fence},
};

use arc_swap::ArcSwap;

use super::{
    ask::Ask,
    bias::Bias,
    decide::Chosen,
    endpoint::{Endpoint, Environment, Live, Upstream},
    flight::{InFlight, Marks},
    health::{Checked, Health, Rules},
    keep::Keeper,
    pick::{Avoid, Over, Picker},
    shelf::Shelves,
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
    /// The same view, for picks that find what they look for at once.
    shelves: Shelves<View<X>>,
    /// Locked by updates only, never by a pick.
    pub(super) updater: Mutex<Updater<X>>,
    pub(super) context: X::Context,
    pub(super) epoch: Epoch,
    pub(super) keeper: Keeper,
    pub(super) health: Arc<Health>,
    pub(super) bias: Arc<Bias>,
    /// Who checks the endpoints, by number. Locked by checks only.
    pub(super) checks: Mutex<u64>,
    /// Somebody does.
    pub(super) checking: AtomicBool,
}

impl<X: Upstream> Balancer<X> {
    /// One without endpoints.
    pub(crate) fn new(cluster: &config::Cluster, context: X::Context, epoch: Epoch) -> Self {
        let (updater, keeper) = (Mutex::default(), Keeper::default());
        let health = Arc::<Health>::default();
        let view = Arc::new(View::empty(cluster, &context, Arc::clone(&health)));
        let (shelves, view) = (Shelves::new(&view), ArcSwap::new(view));
        health.set(cluster.outlier_detection.as_ref().map(Rules::new), &context.random());
        health.set_ramps(view.load().ramps());
        let bias = Arc::<Bias>::default();
        bias.set(cluster.balancer.as_ref());
        #[cfg(feature = "orca")]
        keeper.settle(&view.load().policy);
        let (checks, checking) = (Mutex::default(), AtomicBool::new(false));
        Self { view, shelves, updater, context, epoch, keeper, health, bias, checks, checking }
    }

    /// Replaces the view; gives the one before.
    pub(super) fn publish(&self, view: &Arc<View<X>>) -> Arc<View<X>> {
        self.health.called_by(Arc::<View<X>>::downgrade(view));
        let before = self.view.swap(Arc::clone(view));
        self.shelves.replace(view);
        before
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
        if over.is_none()
            && wanted.is_none()
            && tried.is_empty()
            && let Some(shelf) = self.shelves.read()
        {
            let view: &View<X> = &shelf;
            let picker = Picker::untried(&view.all.set, now, random);
            match view.policy.plain(view.form, &view.all, picker, hash) {
                Ok((endpoint, live)) => {
                    let (endpoint, decay, marks) = (Arc::clone(endpoint), view.decay, view.marks);
                    count(marks, live, now);
                    // Only now: who is woken is a stranger.
                    drop(shelf);
                    self.called();
                    return Ok(InFlight::begun(endpoint, now, decay, marks));
                }
                Err(Some((one, other))) => {
                    let drawn = (Arc::clone(one), Arc::clone(other));
                    drop(shelf);
                    return self.pick_drawn((now, random), hash, &drawn);
                }
                Err(None) => {}
            }
        }
        self.pick_specially((now, random), (tried, apart, avoid), (over, wanted), hash)
    }

    /// Picks where more is asked than any good endpoint, or the view is just being replaced.
    #[inline(never)]
    fn pick_specially(
        &self,
        (now, random): (u64, &Random),
        (tried, apart, avoid): (&[Arc<Endpoint<X>>], bool, Option<&Avoid>),
        (over, wanted): (Option<&Over>, Option<&Wanted>),
        hash: Option<u64>,
    ) -> Result<InFlight<X>, PickError> {
        let ask = Ask { now, random, tried, over, wanted, hash, apart, avoid, well: false };
        let view = self.view.load();
        if over.is_none() && wanted.is_none() && tried.is_empty() {
            match view.straight(Picker::untried(&view.all.set, now, random), hash) {
                Ok((endpoint, live)) => return Ok(self.begin(&view, endpoint, live, now)),
                Err(Some(drawn)) => {
                    return view
                        .choose_drawn(&ask, &|| self.wake(), drawn, |it| self.take(&view, it, now))
                        .or_else(|error| self.pick_again(&view, ask, error));
                }
                Err(None) => {}
            }
        }
        self.pick_in(&view, ask).or_else(|error| self.pick_again(&view, ask, error))
    }

    /// Picks where what was drawn is not plainly good. It may be of the view before.
    #[cold]
    #[inline(never)]
    fn pick_drawn(
        &self,
        (now, random): (u64, &Random),
        hash: Option<u64>,
        (one, other): &(Arc<Endpoint<X>>, Arc<Endpoint<X>>),
    ) -> Result<InFlight<X>, PickError> {
        let ask = Ask::any(now, random, &[]).hashed(hash);
        let view = self.view.load();
        view.decide_drawn(&ask, Some((one, other)), |chosen| self.take(&view, chosen, now))
            .or_else(|error| self.pick_again(&view, ask, error))
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

    #[inline(never)]
    pub(super) fn pick_in(
        &self,
        view: &View<X>,
        ask: Ask<'_, X>,
    ) -> Result<InFlight<X>, PickError> {
        view.decide(&ask, &|| self.wake(), |chosen| self.take(view, chosen, ask.now))
    }

    /// Counts a call in flight to who was chosen.
    #[inline]
    pub(super) fn take(
        &self,
        view: &View<X>,
        (endpoint, live): Chosen<'_, X>,
        now: u64,
    ) -> InFlight<X> {
        match live {
            Some(live) => self.begin(view, endpoint, live, now),
            None => {
                let live = self.live(endpoint, &view.all);
                self.begin(view, endpoint, live, now).perhaps_probing(now)
            }
        }
    }

    #[inline(always)]
    fn begin(
        &self,
        view: &View<X>,
        endpoint: &Arc<Endpoint<X>>,
        live: &Live<X>,
        now: u64,
    ) -> InFlight<X> {
        count(view.marks, live, now);
        self.called();
        InFlight::begun(Arc::clone(endpoint), now, view.decay, view.marks)
    }

    /// The state of an endpoint, made if this is its first pick.
    pub(super) fn live<'a>(&self, endpoint: &'a Endpoint<X>, group: &Group<X>) -> &'a Live<X> {
        let is_new = endpoint.live().is_none();
        let cluster = (&group.crowd, &self.bias);
        let live = endpoint.live_or_build(&self.context, self.epoch, cluster);
        if is_new {
            self.made(live);
        }
        live
    }
}

impl<X: Upstream> Balancer<X> {
    /// The state of an endpoint has just been made, perhaps while settings changed: who changes them
    /// looks for states after that, and this looks at the settings after the state is there.
    #[cold]
    fn made(&self, live: &Live<X>) {
        fence(SeqCst);
        if self.health.is_on() {
            live.watched(&self.health);
        }
        if live.load.state.is_unchecked() && !self.are_checked() {
            live.load.state.set_checked(Checked::Fit);
        }
        self.connects(live);
    }
}

/// Counts a call in flight.
#[inline(always)]
fn count<X: Upstream>(marks: Marks, live: &Live<X>, now: u64) {
    live.load.begin(now);
    if marks.is_crowded() {
        live.crowd.enter();
    }
}

/// Nobody tells anything without the feature `orca`.
#[cfg(not(feature = "orca"))]
impl<X: Upstream> Balancer<X> {
    #[expect(clippy::unused_self, reason = "it is used with the feature `orca`")]
    fn connects(&self, _live: &Live<X>) {}

    #[expect(clippy::unused_self, reason = "it is used with the feature `orca`")]
    pub(super) fn reconnect(&self) {}
}
