//! Injected faults as a guard: of a whole call, or, where that is asked for, of each attempt.

use std::{sync::Arc, time::Duration};

use http::Request;

use super::{Asked, Dry, Ended, Entry, Foretold, Guard, Holding, Pass, Then};
use crate::{
    config,
    core::{Body, Error, ErrorKind, Held, InjectedFault, Instant, Phase, Refusal, earliest, grpc},
    mesh::{call::Caller, describe::Setting, inner::Inner, settings::By},
    resilience::fault::{self, Draw, Drawn, FaultBody, Faults, Slow},
};

#[derive(Debug)]
pub(super) struct Fault {
    faults: Faults,
    per_attempt: bool,
    told: String,
}

/// The response of a call is to be slow.
struct Throttled {
    rate: u64,
    held: Held,
}

// === impl Fault ===

impl Fault {
    /// Of validated settings; what cannot be compiled injects nothing.
    pub(super) fn new(said: &config::Fault) -> Option<Self> {
        let per_attempt = said.per_attempt == Some(true);
        Some(Self { faults: Faults::new(said).ok()?, per_attempt, told: told(said) })
    }

    fn asked<'a, B>(
        inner: &'a Inner,
        cluster: Option<&'a str>,
        request: &'a Request<B>,
    ) -> fault::Asked<'a> {
        fault::Asked { headers: request.headers(), cluster, node: inner.place.node.as_deref() }
    }

    /// For which of the clusters of its route it says something to a call that is tried out.
    fn dry<'a>(dry: &'a Dry<'a>) -> impl Iterator<Item = fault::Asked<'a>> {
        let clusters = dry.route.clusters.iter().map(|(_, target)| Some(&*target.name));
        let clusters: Vec<_> = clusters.collect();
        let clusters = if clusters.is_empty() { vec![None] } else { clusters };
        clusters.into_iter().map(|cluster| Self::asked(dry.inner, cluster, dry.request))
    }
}

impl Guard for Fault {
    fn enter(self: Arc<Self>, asked: Asked<'_>) -> Entry {
        let caller = asked.caller;
        let inner = &caller.inner;
        let cluster = asked.cluster.map(|cluster| &*cluster.name);
        let draw = self.faults.draw(&Self::asked(inner, cluster, asked.request), &inner.random);
        let drawn = match draw {
            Draw::Nothing => return Entry::Pass,
            Draw::Overflow => {
                tell(caller, InjectedFault::Overflow);
                return Entry::Pass;
            }
            Draw::Fault(drawn) => drawn.of(asked.request.method()),
        };
        let Some(delay) = drawn.delay else { return inject(caller, drawn) };
        tell(caller, InjectedFault::Delay(delay));
        let now = Instant::now();
        let until = now.checked_add(delay);
        // What ends it earlier, so that the error can say what the call has waited for.
        let bound = asked.bound.filter(|_| !self.per_attempt);
        let (caller, started) = (caller.clone(), asked.started);
        Entry::Wait(Box::pin(async move {
            match earliest(until, bound) {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
            let late = bound.filter(|bound| until.is_none_or(|until| *bound < until));
            let then: Then = Box::new(move |_| match late {
                Some(bound) => {
                    Entry::Refuse(late_by(delay, bound.saturating_duration_since(started)))
                }
                None => inject(&caller, drawn),
            });
            then
        }))
    }

    fn explain(&self, dry: &Dry<'_>) -> Foretold {
        let is_grpc = grpc::is_grpc(dry.request.headers());
        let words = Self::dry(dry).find_map(|asked| self.faults.words(&asked, is_grpc));
        let Some(words) = words else { return Foretold::default() };
        let of = if self.per_attempt { " of each attempt" } else { "" };
        let aborts =
            !self.per_attempt && Self::dry(dry).all(|asked| self.faults.aborts_all(&asked));
        Foretold::said(format!("fault{of}: {words}"), aborts)
    }

    fn settings(&self, by: By<'_>) -> Vec<Setting> {
        vec![by.says("fault".into(), self.told.clone())]
    }
}

/// What follows the delay.
fn inject(caller: &Caller, drawn: Drawn) -> Entry {
    let Drawn { abort, rate, held, delay: _ } = drawn;
    if let Some(abort) = abort {
        tell(caller, abort.fault(caller.grpc));
        return Entry::Answer(Box::new(abort.response(caller.grpc).map(Body::from)));
    }
    match rate {
        Some(rate) => {
            tell(caller, InjectedFault::ResponseRate(rate));
            Entry::Hold(Holding::of(Throttled { rate, held }))
        }
        None => Entry::Pass,
    }
}

fn tell(caller: &Caller, fault: InjectedFault) {
    caller.cell.meter.fault((&caller.cell.name, caller.number), fault);
}

/// The deadline of a call has passed in an injected delay.
fn late_by(delay: Duration, allowed: Duration) -> Error {
    Error::new(ErrorKind::Timeout, Phase::Admission)
        .refused(Refusal::Delay)
        .detail(format!(
            "the deadline of the call ({allowed:?}) passed in an injected delay of {delay:?}"
        ))
        .check("the faults of the service in mesh.describe()")
}

// === impl Throttled ===

impl Pass for Throttled {
    fn ended(self: Box<Self>, ended: Ended<'_>) -> Held {
        if let Ok(response) = ended.result {
            let slow = Slow::new(self.rate, self.held);
            response.body_mut().within(|body| Body::new(FaultBody::new(body, Some(slow))));
        }
        Held::Nothing
    }
}

/// The settings in words.
fn told(said: &config::Fault) -> String {
    let mut parts = Vec::new();
    let share = |percent: Option<f64>| match percent {
        Some(percent) if percent < 100.0 => format!(" for {percent} %"),
        _ => String::new(),
    };
    if let Some(delay) = &said.delay {
        let what = delay.fixed.map_or_else(|| "by header".to_owned(), |it| format!("of {it:?}"));
        parts.push(format!("delay {what}{}", share(delay.percent)));
    }
    if let Some(abort) = &said.abort {
        let status = abort.status.map(|status| format!("by status {status}"));
        let grpc = abort.grpc.map(|code| format!("by grpc {code}"));
        let what: Vec<_> = status.into_iter().chain(grpc).collect();
        let what = if what.is_empty() { "by header".to_owned() } else { what.join(" or ") };
        parts.push(format!("abort {what}{}", share(abort.percent)));
    }
    if let Some(rate) = &said.response_rate {
        let what = rate.bytes_per_second;
        let what = what.map_or_else(|| "by header".to_owned(), |it| format!("of {it} B/s"));
        parts.push(format!("response rate {what}{}", share(rate.percent)));
    }
    if said.per_attempt == Some(true) {
        parts.push("for each attempt".to_owned());
    }
    parts.extend(said.max_active.map(|most| format!("at most {most} at once")));
    parts.extend(said.cluster.as_ref().map(|name| format!("to cluster {name}")));
    if !said.callers.is_empty() {
        parts.push(format!("of callers on {}", said.callers.join(", ")));
    }
    if !said.headers.is_empty() {
        let names: Vec<_> = said.headers.iter().map(|header| &*header.name).collect();
        parts.push(format!("by headers {}", names.join(", ")));
    }
    parts.join(", ")
}
