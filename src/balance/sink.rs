//! Where the load reports of an endpoint go: to the policy that picks by them.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use arc_swap::ArcSwapOption;
use http::HeaderMap;

use super::{
    balancer::Balancer,
    endpoint::{Endpoint, Live, Upstream},
    policy::Policy,
    prequal::Prequal,
    report::{Report, Signal, Weight, read, signal_of},
    weighted::Weighted,
};
use crate::core::Instant;

/// What an endpoint has told, and who is told of more. Made where a policy asks for it.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) weight: Weight,
    /// How often it had come back when it told of its weight.
    returns: AtomicU32,
    /// The first that it was told of, and whether that is the one: no report needs to look further
    /// as long as the policy stays.
    first: OnceLock<Arc<Sink>>,
    is_first: AtomicBool,
    sink: ArcSwapOption<Sink>,
}

impl Told {
    fn set(&self, sink: Option<&Arc<Sink>>) {
        let is_first =
            sink.is_some_and(|sink| Arc::ptr_eq(self.first.get_or_init(|| Arc::clone(sink)), sink));
        self.sink.store(sink.cloned());
        self.is_first.store(is_first, Relaxed);
    }

    /// What it told before it has come back so often is not of what it is now: its next report is the first.
    //= gRFC A58: `OnSubchannelBecomesReady`
    pub(super) fn since_return(&self, returns: u32) -> &Weight {
        if self.returns.load(Relaxed) != returns {
            self.weight.forget();
            self.returns.store(returns, Relaxed);
        }
        &self.weight
    }

    /// Does this with who is told.
    #[inline]
    fn with_sink(&self, act: impl FnOnce(&Sink)) {
        if self.is_first.load(Relaxed)
            && let Some(sink) = self.first.get()
        {
            act(sink);
        } else if let Some(sink) = self.sink.load().as_deref() {
            act(sink);
        }
    }
}

/// The policy that reports go to.
#[derive(Debug)]
pub(super) enum Sink {
    Weighted(Arc<Weighted>),
    Prequal(Arc<Prequal>),
}

// === impl Balancer ===

impl<X: Upstream> Balancer<X> {
    /// The state of an endpoint has just been made: its reports go where the policy wants them.
    pub(super) fn connects(&self, live: &Live<X>) {
        let mut view = self.view.load();
        loop {
            live.tells(view.policy.sink().as_ref());
            let newest = self.view.load();
            if Arc::ptr_eq(&view, &newest) {
                return;
            }
            view = newest;
        }
    }

    /// How often reports are to come beside the traffic, if they are. Nanoseconds.
    pub(crate) fn out_of_band(&self) -> Option<u64> {
        match &self.view.load().policy {
            Policy::Weighted(weighted) => weighted.out_of_band,
            _ => None,
        }
    }

    /// The endpoints that have been called, each with what names its state.
    pub(crate) fn called_endpoints(&self) -> Vec<(usize, Arc<Endpoint<X>>)> {
        let view = self.view.load();
        let called =
            |endpoint: &Arc<Endpoint<X>>| Some((endpoint.live()?.who(), Arc::clone(endpoint)));
        view.all.set.iter().filter_map(called).collect()
    }

    /// The same of every endpoint that has a state.
    pub(super) fn reconnect(&self) {
        let view = self.view.load();
        let sink = view.policy.sink();
        for live in view.all.set.iter().filter_map(|endpoint| endpoint.live()) {
            live.tells(sink.as_ref());
        }
    }
}

// === impl Live ===

impl<X> Live<X> {
    /// What names it in a pool.
    #[inline]
    pub(super) fn who(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// From now on its reports go there.
    pub(super) fn tells(&self, sink: Option<&Arc<Sink>>) {
        if sink.is_some() || self.told.get().is_some() {
            self.told.get_or_init(Box::default).set(sink);
        }
    }
}

// === impl Endpoint ===

impl<X: Upstream> Endpoint<X> {
    /// Reads what a response's head or trailers tell of the endpoint's load, if anybody asks.
    #[inline]
    pub(crate) fn heard(&self, headers: &HeaderMap) {
        if let Some(live) = self.live()
            && let Some(told) = live.told.get()
        {
            self.hear(live, told, headers);
        }
    }

    fn hear(&self, live: &Live<X>, told: &Told, headers: &HeaderMap) {
        told.with_sink(|sink| match sink {
            Sink::Prequal(prequal) => {
                if let Some(signal) = signal_of(headers) {
                    self.signal(live, prequal, signal, None);
                }
            }
            //= gRFC A58: with out-of-band reports, those of calls are never read
            Sink::Weighted(weighted) if weighted.out_of_band.is_none() => {
                if let Some(report) = read(headers) {
                    weighted.report(live, told, live.epoch.nanos(Instant::now()), &report);
                }
            }
            Sink::Weighted(_) => {}
        });
    }

    /// Takes a report, however it came.
    pub(crate) fn reported(&self, now: u64, report: &Report) {
        let Some(live) = self.live() else { return };
        let Some(told) = live.told.get() else { return };
        told.with_sink(|sink| match sink {
            Sink::Weighted(weighted) => weighted.report(live, told, now, report),
            Sink::Prequal(prequal) => {
                if let Some(signal) = Signal::of(report) {
                    self.signal(live, prequal, signal, Some(now));
                }
            }
        });
    }

    /// Takes Prequal's signals.
    pub(crate) fn signalled(&self, now: u64, signal: Signal) {
        let Some(live) = self.live() else { return };
        let Some(told) = live.told.get() else { return };
        told.with_sink(|sink| {
            if let Sink::Prequal(prequal) = sink {
                self.signal(live, prequal, signal, Some(now));
            }
        });
    }

    /// The same, at this time or now.
    fn signal(&self, live: &Live<X>, prequal: &Prequal, signal: Signal, now: Option<u64>) {
        let now = now.unwrap_or_else(|| live.epoch.nanos(Instant::now()));
        let load = (signal.in_flight, signal.latency);
        prequal.pool.offer(now, (live.who(), self.place()), load, &prequal.settings);
    }
}

impl<X> Endpoint<X> {
    /// A call to it has failed, or it has left: what it said of its load is not believed.
    #[cold]
    pub(super) fn disbelieved(&self) {
        let Some(live) = self.live() else { return };
        let Some(told) = live.told.get() else { return };
        told.with_sink(|sink| {
            if let Sink::Prequal(prequal) = sink {
                prequal.pool.forget(live.who());
            }
        });
    }
}
