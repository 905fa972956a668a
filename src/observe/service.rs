//! What is counted of the calls of a service and of each of its routes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    calls::Calls,
    durations::Durations,
    end::{End, Key, OTHER, Verb},
    family::{Label, Metric, server},
    hub::Hub,
    snapshot::{MetricSample, MetricValue},
};
use crate::core::{
    AuthorizationVerdict, BodyEnd, Error, ErrorKind, Event, HedgeRefusal, InjectedFault, Instant,
    Refusal, Reporter, RetryReason, RetryRefusal, nanos,
};

/// A service: what is known before a route is.
pub(crate) struct ServiceMeter {
    calls: Arc<Calls>,
    /// What rules of authorisation have said.
    verdicts: [AtomicU64; AuthorizationVerdict::ALL.len()],
    /// Faults that were injected.
    faults: [AtomicU64; InjectedFault::NAMES.len()],
    /// What rate limits have said.
    limited: [AtomicU64; RateLimited::NAMES.len()],
    /// Calls that met no route, or one without a name.
    pub(crate) plain: Arc<RouteMeter>,
}

/// A route, or a service's calls that met none.
pub(crate) struct RouteMeter {
    service: Arc<str>,
    route: Option<Arc<str>>,
    hub: Arc<Hub>,
    calls: Arc<Calls>,
    durations: Durations,
    retries: [AtomicU64; RetryReason::COUNT],
    refused: [AtomicU64; RetryRefusal::ALL.len()],
    hedges: AtomicU64,
    hedges_won: AtomicU64,
    hedges_refused: [AtomicU64; HedgeRefusal::ALL.len()],
    /// Bodies that failed.
    failed: AtomicU64,
    /// Calls that were refused on purpose.
    refusals: [AtomicU64; Refusal::ALL.len()],
}

/// What a rate limit says of a call, other than that there is a token for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RateLimited {
    /// It is over the limit of this process, and goes on.
    Over,
    /// It is refused by that.
    Refused,
    /// The service of shared limits lets it on.
    #[cfg_attr(not(feature = "rls"), expect(dead_code, reason = "the service's words"))]
    Ok,
    /// It refuses it.
    #[cfg_attr(not(feature = "rls"), expect(dead_code, reason = "the service's words"))]
    OverLimit,
    /// It does not answer.
    #[cfg_attr(not(feature = "rls"), expect(dead_code, reason = "the service's words"))]
    Error,
    /// It was not asked: it has granted a quota before.
    #[cfg_attr(not(feature = "rls"), expect(dead_code, reason = "the service's words"))]
    Quota,
}

impl RateLimited {
    pub(crate) const NAMES: [&'static str; 6] =
        ["over", "refused", "service_ok", "service_over_limit", "service_error", "service_quota"];
}

/// The end of a call, as its caller sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallEnd {
    /// Its number.
    pub(crate) call: u64,
    pub(crate) verb: Verb,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<ErrorKind>,
    /// What it is counted as; nothing while a gRPC status is still to come.
    pub(crate) end: Option<End>,
    pub(crate) attempts: u32,
    pub(crate) nanos: u64,
}

// === impl ServiceMeter ===

impl ServiceMeter {
    pub(crate) fn new(service: &Arc<str>, hub: &Arc<Hub>) -> Self {
        let calls = hub.calls();
        let plain = Arc::new(RouteMeter::new(service, None, hub, &calls));
        Self {
            calls,
            verdicts: Default::default(),
            faults: Default::default(),
            limited: Default::default(),
            plain,
        }
    }

    /// The meter of a route of this name.
    pub(crate) fn route(&self, name: &Arc<str>) -> RouteMeter {
        let plain = &self.plain;
        RouteMeter::new(&plain.service, Some(Arc::clone(name)), &plain.hub, &self.calls)
    }

    /// A call has begun; gives the number that its events have, and whether it may go on: not one that
    /// has begun after the end of its mesh.
    #[inline]
    pub(crate) fn call_started(&self) -> (u64, bool) {
        let may_go_on = self.calls.begin();
        let (service, events) = (&self.plain.service, &self.plain.hub.events);
        let call = events.number();
        events.emit(|| Event::CallStarted { service: Arc::clone(service), call });
        (call, may_go_on)
    }

    /// Layers of the application begin to work on a call; false if it may not go on.
    pub(crate) fn layers_entered(&self) -> bool {
        self.calls.open()
    }

    /// They have come to an end with it.
    pub(crate) fn layers_left(&self) {
        self.calls.close();
    }

    /// A call has ended on a route, or on none.
    #[inline]
    pub(crate) fn call_ended(&self, route: &RouteMeter, ended: CallEnd) {
        if let Some(end) = ended.end {
            route.record(ended.verb, end, ended.nanos);
        }
        self.plain.hub.events.emit(|| Event::CallEnded {
            service: Arc::clone(&self.plain.service),
            call: ended.call,
            status: ended.status,
            error: ended.error,
            attempts: ended.attempts,
            elapsed: Duration::from_nanos(ended.nanos),
        });
        // Last: a sink that panics has it ended once more, when the call is dropped.
        self.calls.end();
    }

    /// Rules of authorisation have said this of a call. `service` is as the caller named it.
    pub(crate) fn authorized(
        &self,
        (service, call): (&Arc<str>, u64),
        verdict: AuthorizationVerdict,
        rule: Option<&Arc<str>>,
    ) {
        self.verdicts[verdict.index()].fetch_add(1, Relaxed);
        self.plain.hub.events.emit(|| Event::Authorization {
            service: Arc::clone(service),
            call,
            verdict,
            rule: rule.map(Arc::clone),
        });
    }

    /// A fault was injected into a call. `service` is as the caller named it.
    pub(crate) fn fault(&self, (service, call): (&Arc<str>, u64), fault: InjectedFault) {
        self.faults[fault.index()].fetch_add(1, Relaxed);
        let events = &self.plain.hub.events;
        events.emit(|| Event::FaultInjected { service: Arc::clone(service), call, fault });
    }

    /// Calls without a response head so far.
    pub(crate) fn active(&self) -> i64 {
        self.calls.active().cast_signed()
    }

    /// A rate limit has said this of a call.
    pub(crate) fn rate_limited(&self, what: RateLimited) {
        self.limited[what as usize].fetch_add(1, Relaxed);
    }

    /// Tells what is counted per service.
    pub(crate) fn collect(&self, metric: Metric, samples: &mut Vec<MetricSample>) {
        let labels = || vec![("mesh.service", (&self.plain.service).into())];
        let mut count = |counted: &AtomicU64, name, value: &'static str| {
            if let count @ 1.. = counted.load(Relaxed) {
                let mut labels = labels();
                labels.push((name, value.into()));
                samples.push(MetricSample::new(labels, MetricValue::Count(count)));
            }
        };
        match metric {
            Metric::Verdicts => {
                for (counted, verdict) in self.verdicts.iter().zip(AuthorizationVerdict::ALL) {
                    count(counted, "mesh.authorization.verdict", verdict.code());
                }
            }
            Metric::Faults => {
                for (counted, name) in self.faults.iter().zip(InjectedFault::NAMES) {
                    count(counted, "mesh.fault", name);
                }
            }
            Metric::RateLimits => {
                for (counted, name) in self.limited.iter().zip(RateLimited::NAMES) {
                    count(counted, "mesh.rate_limit.result", name);
                }
            }
            _ => samples.push(MetricSample::new(labels(), MetricValue::Level(self.active()))),
        }
    }
}

// === impl RouteMeter ===

impl RouteMeter {
    fn new(
        service: &Arc<str>,
        route: Option<Arc<str>>,
        hub: &Arc<Hub>,
        calls: &Arc<Calls>,
    ) -> Self {
        Self {
            service: Arc::clone(service),
            route,
            hub: Arc::clone(hub),
            calls: Arc::clone(calls),
            durations: Durations::default(),
            retries: Default::default(),
            refused: Default::default(),
            hedges: AtomicU64::new(0),
            hedges_won: AtomicU64::new(0),
            hedges_refused: Default::default(),
            failed: AtomicU64::new(0),
            refusals: Default::default(),
        }
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.route.as_ref()
    }

    #[inline]
    fn record(&self, verb: Verb, end: End, nanos: u64) {
        self.durations.record(Key::new(verb, end), nanos, |key| {
            let metric = if key.is_grpc() { Metric::GrpcCall } else { Metric::HttpCall };
            self.hub.sink(metric, &self.call_labels(key))
        });
    }

    /// Another attempt was decided. `service` is as the caller named it.
    pub(crate) fn retry(
        &self,
        (service, call): (&Arc<str>, u64),
        reason: RetryReason,
        backoff: Duration,
    ) {
        self.retries[reason.index()].fetch_add(1, Relaxed);
        let events = &self.hub.events;
        events.emit(|| Event::Retry { service: Arc::clone(service), call, reason, backoff });
    }

    /// Another attempt was wanted, and is not made.
    pub(crate) fn retry_refused(&self, (service, call): (&Arc<str>, u64), reason: RetryRefusal) {
        self.refused[reason.index()].fetch_add(1, Relaxed);
        let events = &self.hub.events;
        events.emit(|| Event::RetryRefused { service: Arc::clone(service), call, reason });
    }

    /// A further attempt is sent beside others. `service` is as the caller named it.
    pub(crate) fn hedge(&self, (service, call): (&Arc<str>, u64), number: u32, after: Duration) {
        self.hedges.fetch_add(1, Relaxed);
        let events = &self.hub.events;
        events.emit(|| Event::Hedge { service: Arc::clone(service), call, number, after });
    }

    /// It has given its call the answer.
    pub(crate) fn hedge_won(&self) {
        self.hedges_won.fetch_add(1, Relaxed);
    }

    /// One was due, and is not sent.
    pub(crate) fn hedge_refused(&self, (service, call): (&Arc<str>, u64), reason: HedgeRefusal) {
        self.hedges_refused[reason.index()].fetch_add(1, Relaxed);
        let events = &self.hub.events;
        events.emit(|| Event::HedgeRefused { service: Arc::clone(service), call, reason });
    }

    /// A call was refused on purpose. `service` is as the caller named it.
    #[cold]
    pub(crate) fn call_refused(&self, (service, call): (&Arc<str>, u64), refusal: Refusal) {
        self.refusals[refusal.index()].fetch_add(1, Relaxed);
        let events = &self.hub.events;
        events.emit(|| Event::CallRefused { service: Arc::clone(service), call, refusal });
    }

    /// Tells of a limit of its route or service.
    pub(crate) fn level(
        &self,
        name: &'static str,
        value: MetricValue,
        samples: &mut Vec<MetricSample>,
    ) {
        let mut labels = self.labels();
        labels.push(("mesh.limit", name.into()));
        samples.push(MetricSample::new(labels, value));
    }

    fn labels(&self) -> Vec<Label> {
        let mut labels = vec![("mesh.service", (&self.service).into())];
        labels.extend(self.route.as_ref().map(|route| ("mesh.route", route.into())));
        labels
    }

    fn call_labels(&self, key: Key) -> Vec<Label> {
        let mut labels = self.labels();
        if key.is_grpc() {
            labels.push(("rpc.system.name", "grpc".into()));
            //= OTel attribute registry "rpc.method": `_OTHER`, where it cannot be detected whether a method
            //= is a predefined one
            labels.push(("rpc.method", OTHER.into()));
            server(&self.service, &mut labels);
            key.grpc("rpc.response.status_code", &mut labels);
        } else {
            key.http(&mut labels);
        }
        labels
    }

    /// Tells what is counted per route; `balance` is what is left in its budget.
    pub(crate) fn collect(
        &self,
        metric: Metric,
        balance: Option<u64>,
        samples: &mut Vec<MetricSample>,
    ) {
        let mut tell = |label: Option<Label>, value| {
            let mut labels = self.labels();
            labels.extend(label);
            samples.push(MetricSample::new(labels, value));
        };
        match metric {
            Metric::HttpCall | Metric::GrpcCall => {
                for (key, counts) in self.durations.read() {
                    if key.is_grpc() == (metric == Metric::GrpcCall) {
                        let value = MetricValue::durations(&counts);
                        samples.push(MetricSample::new(self.call_labels(key), value));
                    }
                }
            }
            Metric::Retries => {
                for (counted, reason) in self.retries.iter().zip(RetryReason::NAMES) {
                    if let count @ 1.. = counted.load(Relaxed) {
                        let reason = ("mesh.retry.reason", reason.into());
                        tell(Some(reason), MetricValue::Count(count));
                    }
                }
            }
            Metric::RetriesRefused => {
                for (counted, reason) in self.refused.iter().zip(RetryRefusal::ALL) {
                    if let count @ 1.. = counted.load(Relaxed) {
                        let reason = ("mesh.retry.refusal", reason.code().into());
                        tell(Some(reason), MetricValue::Count(count));
                    }
                }
            }
            Metric::Hedges | Metric::HedgesWon => {
                let counted =
                    if metric == Metric::Hedges { &self.hedges } else { &self.hedges_won };
                if let count @ 1.. = counted.load(Relaxed) {
                    tell(None, MetricValue::Count(count));
                }
            }
            Metric::HedgesRefused => {
                for (counted, reason) in self.hedges_refused.iter().zip(HedgeRefusal::ALL) {
                    if let count @ 1.. = counted.load(Relaxed) {
                        let reason = ("mesh.hedge.refusal", reason.code().into());
                        tell(Some(reason), MetricValue::Count(count));
                    }
                }
            }
            Metric::CallsRefused => {
                for (counted, why) in self.refusals.iter().zip(Refusal::ALL) {
                    if let count @ 1.. = counted.load(Relaxed) {
                        tell(Some(("mesh.refusal", why.code().into())), MetricValue::Count(count));
                    }
                }
            }
            Metric::BodiesFailed => {
                if let count @ 1.. = self.failed.load(Relaxed) {
                    tell(None, MetricValue::Count(count));
                }
            }
            Metric::BudgetBalance => {
                if let Some(balance) = balance {
                    #[expect(clippy::cast_precision_loss, reason = "a number of retries")]
                    tell(None, MetricValue::Number(balance as f64));
                }
            }
            _ => {}
        }
    }
}

impl Reporter for RouteMeter {
    fn service(&self) -> &Arc<str> {
        &self.service
    }

    fn failed(&self, error: &Error) {
        self.failed.fetch_add(1, Relaxed);
        self.hub.events.emit(|| Event::BodyFailed {
            service: Arc::clone(&self.service),
            error: error.kind(),
            phase: error.phase(),
        });
    }

    fn opened(&self) {
        self.calls.open();
    }

    fn closed(&self) {
        self.calls.close();
    }

    fn is_cut(&self) -> bool {
        self.hub.end.is_cut()
    }

    fn ended(&self, started: Instant, end: BodyEnd, now: Instant) {
        let elapsed = nanos(now.saturating_duration_since(started));
        self.record(Verb::GRPC, End::of_body(end), elapsed);
    }
}
