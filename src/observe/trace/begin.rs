//! What the endpoints of a call are told of its trace, and whether it is recorded.

use std::{fmt, sync::Arc};

use http::{Extensions, HeaderMap, Request};

use super::{
    CallStart, TraceContext,
    context::{BAGGAGE, Named, TRACEPARENT, TRACESTATE},
    recorder::{Pair, Parent, Recorder, Started, Tracer},
    traceparent::Ids,
};
use crate::core::{Outgoing, Random};

/// How endpoints learn which trace a request is a part of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Propagation {
    /// By `traceparent`, `tracestate` and `baggage`
    /// ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
    #[default]
    W3c,
    /// Not at all, and no header of a request is the parent of its call. What the application has
    /// written there goes out as it is.
    None,
}

/// How the calls of a mesh are traced.
#[derive(Clone, Default)]
pub(crate) struct Tracing {
    /// What the code says.
    pub(crate) propagation: Option<Propagation>,
    /// Decides about sampling, and what endpoints are told.
    pub(crate) tracer: Option<Arc<dyn Tracer>>,
    /// Records beside it.
    pub(crate) spans: Option<Arc<dyn Tracer>>,
}

// === impl Tracing ===

impl Tracing {
    /// Whether anything may be recorded.
    pub(crate) fn may_record(&self) -> bool {
        self.tracer.is_some() || self.spans.is_some()
    }

    pub(crate) fn is_told(&self) -> bool {
        self.propagation.unwrap_or_default() == Propagation::W3c
    }

    /// Passes on the context of a call that nobody may record.
    #[inline]
    pub(crate) fn carry(&self, request: &mut Request<Outgoing>) {
        if !self.is_told() {
            return;
        }
        if request.headers().contains_key(TRACEPARENT) {
            mark(request.headers_mut());
        } else if let Some(context) = take(request.extensions_mut()) {
            //= W3C Trace Context §"Mutating the traceparent Field": unmodified header propagation
            //= may be implemented in a service which does not collect tracing information
            context.write_owned(request.headers_mut());
        }
    }

    /// Begins what is recorded of a call, and tells its endpoints of the trace.
    pub(crate) fn begin(
        &self,
        call: &CallStart<'_>,
        request: &mut Request<Outgoing>,
        random: &Random,
    ) -> Option<Box<dyn Recorder>> {
        let recorder = match &self.tracer {
            None => {
                self.carry(request);
                None
            }
            Some(tracer) => self.ask(&**tracer, call, request, random),
        };
        let spans = self.spans.as_ref().and_then(|spans| {
            match spans.start(call, request, Parent::Nobody) {
                Started::Recorded(recorder) => Some(recorder),
                Started::Unsampled(_) => None,
            }
        });
        match (recorder, spans) {
            (Some(one), Some(other)) => Some(Box::new(Pair(one, other))),
            (one, other) => one.or(other),
        }
    }

    fn ask(
        &self,
        tracer: &dyn Tracer,
        call: &CallStart<'_>,
        request: &mut Request<Outgoing>,
        random: &Random,
    ) -> Option<Box<dyn Recorder>> {
        let is_told = self.is_told();
        let named = if is_told { Named::of(request.headers()) } else { Named::default() };
        let ids = named.parent.and_then(|parent| Ids::parse(parent.as_bytes()));
        let has_state = named.has_state;
        if ids.is_some_and(|ids| !ids.is_sampled()) {
            mark(request.headers_mut());
            return None;
        }
        let given = match ids {
            Some(_) => TraceContext::from_headers(request.headers()),
            None if is_told => take(request.extensions_mut()),
            None => request.extensions().get::<TraceContext>().cloned(),
        };
        let current = match given {
            Some(_) => None,
            None => tracer.current(request.extensions()),
        };
        let is_sampled = |parent: &TraceContext| parent.is_sampled();
        if !given.as_ref().or(current.as_ref()).is_none_or(is_sampled) {
            // Its caller has decided for the whole trace; a child that is recorded has no parent.
            if let (Some(parent), true) = (given.or(current), is_told) {
                parent.write_over(request.headers_mut(), has_state);
            }
            return None;
        }
        let parent = given.as_ref().or(current.as_ref());
        let is_wanted = call.rules.is_none_or(|rules| rules.may_trace(parent.is_some(), random));
        let started = if is_wanted {
            let parent = match (&given, &current) {
                (Some(given), _) => Parent::Remote(given),
                (None, Some(_)) => Parent::Current,
                (None, None) => Parent::Nobody,
            };
            tracer.start(call, request, parent)
        } else {
            let next = || random.next();
            //= W3C Trace Context §"Mutating the traceparent Field": vendors are expected to generate
            //= the header even when not sampling, to propagate the decision downstream
            Started::Unsampled(Some(match parent {
                Some(parent) => parent.with_ids(parent.ids().unsampled(next())),
                None => TraceContext::of(Ids::unsampled_root([next(), next(), next()])),
            }))
        };
        match started {
            Started::Recorded(recorder) => Some(recorder),
            Started::Unsampled(context) => {
                if let (Some(context), true) = (context, is_told) {
                    context.write_over(request.headers_mut(), has_state);
                }
                None
            }
        }
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing").field("propagation", &self.propagation).finish_non_exhaustive()
    }
}

/// Takes the context that is written into the headers from here on: a copy of the request's head would
/// copy both.
fn take(extensions: &mut Extensions) -> Option<TraceContext> {
    let context = extensions.remove::<TraceContext>()?;
    if extensions.is_empty() {
        // So is what is left of it.
        *extensions = Extensions::new();
    }
    Some(context)
}

/// Keeps what differs from call to call out of HTTP/2's header table.
#[cold]
pub(crate) fn mark(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if [TRACEPARENT, TRACESTATE, BAGGAGE].contains(name) {
            value.set_sensitive(true);
        }
    }
}
