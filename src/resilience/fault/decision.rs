//! Whether a request is made faulty, and how: without I/O.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::{
    config::{self, FaultAbort, FaultDelay, FaultRate, header::Header, share::below},
    core::{Held, InjectedFault, Random, Refusal, grpc},
    resilience::limit::Limiter,
};

/// A compiled fault.
#[derive(Debug)]
pub(crate) struct Faults {
    delay: Option<Part<Duration>>,
    abort: Option<Part<Abort>>,
    rate: Option<Part<u64>>,
    /// Those that may be active at once.
    active: Option<Arc<Limiter>>,
    headers: Vec<Header>,
    cluster: Option<String>,
    callers: Vec<String>,
    message: Bytes,
}

/// One thing that it does.
#[derive(Debug)]
struct Part<T> {
    /// None: a header says it.
    fixed: Option<T>,
    /// The share of the requests. Unit: percent.
    percent: f64,
}

/// What a call is answered with instead of being sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Abort {
    status: Option<u16>,
    grpc: Option<i32>,
}

/// A request, as far as faults look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) headers: &'a HeaderMap,
    /// The cluster that it goes to.
    pub(crate) cluster: Option<&'a str>,
    /// The node of this process.
    pub(crate) node: Option<&'a str>,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Draw {
    Nothing,
    /// A fault is due, and too many are active.
    Overflow,
    Fault(Drawn),
}

/// A fault of one request: its delay first, then its end or what becomes of its response.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) delay: Option<Duration>,
    pub(crate) abort: Option<Aborted>,
    /// Unit: bytes per second.
    pub(crate) rate: Option<u64>,
    /// Its place among those that are active.
    pub(crate) held: Held,
}

/// The answer that is made instead of a call.
#[derive(Clone, Debug)]
pub(crate) struct Aborted {
    how: Abort,
    message: Bytes,
    /// Its request is a HEAD, whose answer has no body.
    is_bare: bool,
}

const DELAY: &str = "x-envoy-fault-delay-request";
const DELAY_PERCENT: &str = "x-envoy-fault-delay-request-percentage";
const ABORT: &str = "x-envoy-fault-abort-request";
const ABORT_GRPC: &str = "x-envoy-fault-abort-grpc-request";
const ABORT_PERCENT: &str = "x-envoy-fault-abort-request-percentage";
const RATE: &str = "x-envoy-fault-throughput-response";
const RATE_PERCENT: &str = "x-envoy-fault-throughput-response-percentage";

const MESSAGE: &str = "injected fault";
/// The longest delay that a header may ask for. Unit: milliseconds.
const LONGEST: u64 = 24 * 3_600 * 1_000;

// === impl Faults ===

impl Faults {
    /// Compiles a validated fault.
    ///
    /// # Errors
    ///
    /// What cannot be compiled.
    pub(crate) fn new(said: &config::Fault) -> Result<Self, String> {
        let share = |percent: Option<f64>| percent.unwrap_or(100.0);
        let headers = said.headers.iter().map(Header::new).collect::<Result<_, _>>()?;
        let message = said.abort.as_ref().and_then(|abort| abort.message.clone());
        Ok(Self {
            delay: said.delay.as_ref().map(|FaultDelay { fixed, percent, .. }| Part {
                fixed: *fixed,
                percent: share(*percent),
            }),
            abort: said.abort.as_ref().map(|FaultAbort { status, grpc, percent, .. }| Part {
                fixed: Abort::of(*status, *grpc),
                percent: share(*percent),
            }),
            rate: said.response_rate.as_ref().map(
                |FaultRate { bytes_per_second, percent, .. }| Part {
                    fixed: *bytes_per_second,
                    percent: share(*percent),
                },
            ),
            active: said.max_active.map(|most| Arc::new(Limiter::new(most))),
            headers,
            cluster: said.cluster.as_ref().map(|name| name.to_ascii_lowercase()),
            callers: said.callers.clone(),
            message: message.map_or_else(|| Bytes::from_static(MESSAGE.as_bytes()), Bytes::from),
        })
    }

    /// Whether a request may be made faulty at all.
    pub(crate) fn concerns(&self, asked: &Asked<'_>) -> bool {
        let is_caller = |node: &str| self.callers.iter().any(|caller| caller == node);
        self.cluster.as_ref().is_none_or(|name| asked.cluster == Some(name.as_str()))
            && (self.callers.is_empty() || asked.node.is_some_and(is_caller))
            && self.headers.iter().all(|header| header.matches(asked.headers))
    }

    /// What becomes of a request: each part by a word of its own.
    //= gRFC A33: each feature is checked with a random number of its own
    pub(crate) fn draw(&self, asked: &Asked<'_>, random: &Random) -> Draw {
        if !self.concerns(asked) {
            return Draw::Nothing;
        }
        let Parts { delay, abort, rate } = self.parts(asked);
        let delay = delay.and_then(|(delay, percent)| drawn(percent, random).then_some(delay));
        let abort = abort.and_then(|(how, percent)| drawn(percent, random).then_some(how));
        let rate = rate.and_then(|(rate, percent)| drawn(percent, random).then_some(rate));
        if delay.is_none() && abort.is_none() && rate.is_none() {
            return Draw::Nothing;
        }
        let held = match &self.active {
            None => Held::Nothing,
            Some(active) => match Limiter::hold(active) {
                Some(held) => held,
                None => return Draw::Overflow,
            },
        };
        let abort = abort.map(|how| Aborted { how, message: self.message.clone(), is_bare: false });
        // What is not sent has no response to be slow.
        let rate = rate.filter(|_| abort.is_none());
        Draw::Fault(Drawn { delay, abort, rate, held })
    }

    /// What might be done to a request, each with its share in percent.
    fn parts(&self, asked: &Asked<'_>) -> Parts {
        let headers = asked.headers;
        let delay = |part: &Part<Duration>| match part.fixed {
            Some(fixed) => Some((fixed, part.percent)),
            None => {
                let millis = number(headers, DELAY)?.min(LONGEST);
                Some((Duration::from_millis(millis), part.capped(headers, DELAY_PERCENT)))
            }
        };
        let abort = |part: &Part<Abort>| match part.fixed {
            Some(fixed) => Some((fixed, part.percent)),
            None => Some((Abort::asked(headers)?, part.capped(headers, ABORT_PERCENT))),
        };
        let rate = |part: &Part<u64>| match part.fixed {
            Some(fixed) => Some((fixed, part.percent)),
            None => {
                let kib = number(headers, RATE).filter(|kib| *kib > 0)?;
                Some((kib.saturating_mul(1024), part.capped(headers, RATE_PERCENT)))
            }
        };
        Parts {
            delay: self.delay.as_ref().and_then(delay),
            abort: self.abort.as_ref().and_then(abort),
            rate: self.rate.as_ref().and_then(rate),
        }
    }

    /// What might be done to a request, in words; nothing, where nothing is.
    pub(crate) fn words(&self, asked: &Asked<'_>, is_grpc: bool) -> Option<String> {
        if !self.concerns(asked) {
            return None;
        }
        let Parts { delay, abort, rate } = self.parts(asked);
        let told = [
            delay.map(|(delay, percent)| (InjectedFault::Delay(delay), percent)),
            abort.map(|(how, percent)| (how.fault(is_grpc), percent)),
            rate.map(|(rate, percent)| (InjectedFault::ResponseRate(rate), percent)),
        ];
        let told = told.into_iter().flatten().filter(|(_, percent)| *percent > 0.0);
        let told: Vec<_> = told
            .map(|(fault, percent)| match percent {
                100.0.. => fault.to_string(),
                percent => format!("{fault}, for {percent} %"),
            })
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Whether every request like this one is aborted.
    pub(crate) fn aborts_all(&self, asked: &Asked<'_>) -> bool {
        let aborts = || self.parts(asked).abort.is_some_and(|(_, percent)| percent >= 100.0);
        self.concerns(asked) && aborts() && self.active.as_ref().is_none_or(|it| !it.is_full())
    }
}

struct Parts {
    delay: Option<(Duration, f64)>,
    abort: Option<(Abort, f64)>,
    rate: Option<(u64, f64)>,
}

impl<T> Part<T> {
    /// The share that a header asks for: never more than what is configured.
    fn capped(&self, headers: &HeaderMap, name: &str) -> f64 {
        match number(headers, name) {
            #[expect(clippy::cast_precision_loss, reason = "at most 100 of it matter")]
            Some(percent) => self.percent.min(percent as f64),
            None => self.percent,
        }
    }
}

/// A number that a header says; one that is none is no header.
//= gRFC A33: invalid headers are ignored
fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Whether a request is of a share. No word is drawn where that is sure.
fn drawn(percent: f64, random: &Random) -> bool {
    match below(percent) {
        None => true,
        Some(0) => false,
        Some(below) => random.next() < below,
    }
}

// === impl Drawn ===

impl Drawn {
    /// The same of a request of this method.
    pub(crate) fn of(mut self, method: &Method) -> Self {
        if let Some(abort) = &mut self.abort {
            abort.is_bare = method == Method::HEAD;
        }
        self
    }
}

// === impl Abort ===

impl Abort {
    fn of(status: Option<u16>, grpc: Option<i32>) -> Option<Self> {
        (status.is_some() || grpc.is_some()).then_some(Self { status, grpc })
    }

    /// What headers ask for.
    //= Envoy: of both headers, that of gRPC is ignored
    fn asked(headers: &HeaderMap) -> Option<Self> {
        let status = number(headers, ABORT).filter(|status| (200..600).contains(status));
        if let Some(status) = status.and_then(|status| u16::try_from(status).ok()) {
            return Self::of(Some(status), None);
        }
        let code = number(headers, ABORT_GRPC).filter(|code| *code <= 16);
        Self::of(None, code.and_then(|code| i32::try_from(code).ok()))
    }

    fn fault(self, is_grpc: bool) -> InjectedFault {
        if is_grpc {
            InjectedFault::Grpc(self.code())
        } else {
            InjectedFault::Status(self.status().as_u16())
        }
    }

    //= gRFC A33: an HTTP status is what it means to gRPC, 200 without a gRPC status UNKNOWN
    fn code(self) -> i32 {
        self.grpc.unwrap_or_else(|| grpc::of_http(self.status.unwrap_or(200)))
    }

    fn status(self) -> StatusCode {
        let status = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        status.unwrap_or_else(|| http_of(self.grpc.unwrap_or(2)))
    }
}

/// What a gRPC code means to HTTP.
//= google.rpc.Code: the mapping that stands at each code
fn http_of(code: i32) -> StatusCode {
    match code {
        0 => StatusCode::OK,
        1 => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

// === impl Aborted ===

impl Aborted {
    /// What it is to the caller.
    pub(crate) fn fault(&self, is_grpc: bool) -> InjectedFault {
        self.how.fault(is_grpc)
    }

    /// The answer. That it was injected stands in its extensions.
    pub(crate) fn response(self, is_grpc: bool) -> Response<Bytes> {
        let mut response = if is_grpc {
            let text = String::from_utf8_lossy(&self.message);
            grpc::answer(self.how.code(), &text).map(|_| Bytes::new())
        } else {
            let status = self.how.status();
            let without =
                [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
            let has_body = !self.is_bare && !without.contains(&status);
            let mut response = Response::new(if has_body { self.message } else { Bytes::new() });
            *response.status_mut() = status;
            response
        };
        response.extensions_mut().insert(Refusal::Fault);
        response
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
