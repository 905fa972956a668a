//! What endpoints have told of their load, and what becomes of it: weights, or reports in
//! Prequal's pool.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwapOption;
use http::HeaderMap;

use super::{
    balancer::Balancer,
    endpoint::{Endpoint, Live, Upstream},
    policy::Policy,
    prequal::{Pool, Settings},
    probing::Probes,
    report::{Report, Rules, Scale, Signal, Weight, read, signal_of},
    set::Set,
};
use crate::{
    config,
    core::{Instant, nanos},
};

/// What an endpoint has told, and who is told of more. Made where a policy asks for it.
#[derive(Debug, Default)]
pub(super) struct Told {
    weight: Weight,
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

/// Weights from reports, and when they are computed (gRFC A58).
#[derive(Debug)]
pub(super) struct Weighted {
    rules: Rules,
    /// How often. Nanoseconds.
    period: u64,
    /// How often reports are asked for beside the traffic, if they are. Nanoseconds.
    pub(super) out_of_band: Option<u64>,
    computed: AtomicU64,
    /// A report has come since.
    told: AtomicBool,
    /// The turns of an endpoint without a weight; 0: all are equal.
    mean: AtomicU32,
}

/// The pool of a cluster's reports.
#[derive(Debug)]
pub(super) struct Prequal {
    pub(super) pool: Pool,
    pub(super) settings: Settings,
    pub(super) probes: Option<Arc<Probes>>,
}

// === impl Weighted ===

impl Weighted {
    pub(super) fn new(config: &config::ClientWeighted) -> Self {
        let metrics = config.metrics.iter().filter_map(|name| super::report::Metric::parse(name));
        Self {
            rules: Rules {
                blackout: nanos(config.blackout()),
                expiration: nanos(config.expiration()),
                penalty: config.error_penalty(),
                metrics: metrics.collect(),
            },
            period: nanos(config.update()),
            out_of_band: config.is_out_of_band().then(|| nanos(config.out_of_band_period())),
            computed: AtomicU64::new(0),
            told: AtomicBool::new(false),
            mean: AtomicU32::new(0),
        }
    }

    fn report(&self, told: &Told, now: u64, report: &Report) {
        if let Some(weight) = self.rules.weight(report) {
            told.weight.report(now, weight);
            self.told.store(true, Relaxed);
        }
    }

    /// Whether all take turns alike.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.mean.load(Relaxed) == 0
    }

    /// The turns of an endpoint against 65535.
    #[inline]
    pub(super) fn turns<X>(&self, endpoint: &Endpoint<X>) -> u16 {
        let turns = match endpoint.live().map_or(0, |live| live.turns.load(Relaxed)) {
            0 => self.mean.load(Relaxed),
            turns => turns,
        };
        // 0 only while the weights go: then anybody may have the turn.
        u16::try_from(turns).unwrap_or(u16::MAX).max(1)
    }

    /// Computes the weights anew, once a period at most. While calls are made it is asked again;
    /// while none are, no weight is needed.
    pub(super) fn keep<X>(&self, now: u64, set: &Set<X>) -> Option<u64> {
        let due = self.computed.load(Relaxed).saturating_add(self.period);
        if now < due && self.computed.load(Relaxed) > 0 {
            return Some(due);
        }
        self.computed.store(now.max(1), Relaxed);
        let told = self.told.swap(false, Relaxed);
        let each = || {
            let lives = set.iter().filter_map(|endpoint| endpoint.live());
            lives.filter_map(|live| Some((&live.turns, &**live.told.get()?)))
        };
        let weight = |told: &Told| told.weight.get(now, &self.rules);
        match Scale::of(each().filter_map(|(_, told)| weight(told))) {
            None => self.mean.store(0, Relaxed),
            Some(scale) => {
                for (place, told) in each() {
                    let turns = weight(told).map_or(0, |weight| scale.turns(Some(weight)));
                    place.store(u32::from(turns), Relaxed);
                }
                self.mean.store(u32::from(scale.mean), Relaxed);
            }
        }
        told.then(|| now.saturating_add(self.period))
    }
}

// === impl Prequal ===

impl Prequal {
    pub(super) fn new(config: &config::Prequal) -> Self {
        let settings = Settings::new(config);
        Self { pool: Pool::new(settings.pool_size), settings, probes: Probes::of(config) }
    }
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

impl<X> Endpoint<X> {
    /// Reads what a response's head or trailers tell of the endpoint's load, if anybody asks.
    #[inline]
    pub(crate) fn heard(&self, headers: &HeaderMap) {
        if let Some(told) = self.live().and_then(|live| live.told.get()) {
            self.hear(told, headers);
        }
    }

    fn hear(&self, told: &Told, headers: &HeaderMap) {
        told.with_sink(|sink| match sink {
            Sink::Prequal(prequal) => {
                if let Some(signal) = signal_of(headers) {
                    self.signal(prequal, signal, None);
                }
            }
            //= gRFC A58: with out-of-band reports, those of calls are never read
            Sink::Weighted(weighted) if weighted.out_of_band.is_none() => {
                if let Some(live) = self.live()
                    && let Some(report) = read(headers)
                {
                    weighted.report(told, live.epoch.nanos(Instant::now()), &report);
                }
            }
            Sink::Weighted(_) => {}
        });
    }

    /// Takes a report, however it came.
    pub(crate) fn reported(&self, now: u64, report: &Report) {
        let Some(told) = self.live().and_then(|live| live.told.get()) else { return };
        told.with_sink(|sink| match sink {
            Sink::Weighted(weighted) => weighted.report(told, now, report),
            Sink::Prequal(prequal) => {
                if let Some(signal) = Signal::of(report) {
                    self.signal(prequal, signal, Some(now));
                }
            }
        });
    }

    /// Takes Prequal's signals.
    pub(crate) fn signalled(&self, now: u64, signal: Signal) {
        let Some(told) = self.live().and_then(|live| live.told.get()) else { return };
        told.with_sink(|sink| {
            if let Sink::Prequal(prequal) = sink {
                self.signal(prequal, signal, Some(now));
            }
        });
    }

    /// The same, at this time or now.
    fn signal(&self, prequal: &Prequal, signal: Signal, now: Option<u64>) {
        let Some(live) = self.live() else { return };
        let now = now.unwrap_or_else(|| live.epoch.nanos(Instant::now()));
        let load = (signal.in_flight, signal.latency);
        prequal.pool.offer(now, (live.who(), self.place()), load, &prequal.settings);
    }

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
