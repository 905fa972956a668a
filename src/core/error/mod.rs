//! The one error of the crate: what, where, probable cause and what to check.

pub(crate) mod grpc;
mod kind;
mod reply;

use std::{fmt, sync::Arc, time::Duration};

use http::{Request, StatusCode};

use super::{BoxError, Outgoing, Refusal};

pub use self::kind::{ErrorKind, Origin, Phase};
pub(crate) use self::reply::Reply;

/// Why a call through the mesh failed.
///
/// Its text is one line: the service, what happened and where, the endpoint and the attempts,
/// the probable cause and what to check. It never prints header values, queries or its source:
/// walk [`source`](std::error::Error::source), or print [`Error::chain`]. Its `Debug` begins with the same
/// text.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    phase: Phase,
    origin: Origin,
    context: Context,
    detail: Option<Box<str>>,
    /// What to check, where the kind's own advice does not fit.
    check: Option<&'static str>,
    /// Why it was refused on purpose, and the status that says so where it is not the kind's.
    refusal: Option<Refusal>,
    status: Option<StatusCode>,
    /// What the answer of a refusal has, beyond that.
    reply: Option<Box<Reply>>,
    source: Option<BoxError>,
    /// The request, if it never left this process: on its way back through the user's layers.
    unsent: Option<Box<Request<Outgoing>>>,
}

/// Where a failure happened.
#[derive(Clone, Default)]
pub(crate) struct Context {
    pub(crate) service: Option<Arc<str>>,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) elapsed: Option<Duration>,
    /// An endpoint may have worked on an attempt before the last.
    pub(crate) worked_on: bool,
}

/// What one attempt of a failed call met.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The endpoint's address.
    pub endpoint: Arc<str>,
    /// `status 503`, `grpc 14`, `connection refused`, …
    pub met: Arc<str>,
    /// From the attempt's start.
    pub elapsed: Duration,
}

// === impl Error ===

impl Error {
    /// A local failure of this kind in this phase.
    pub(crate) fn new(kind: ErrorKind, phase: Phase) -> Self {
        Self(Arc::new(Inner {
            kind,
            phase,
            origin: Origin::Local,
            context: Context::default(),
            detail: None,
            check: None,
            refusal: None,
            status: None,
            reply: None,
            source: None,
            unsent: None,
        }))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Inner)) -> Self {
        self.change(edit);
        self
    }

    fn change(&mut self, edit: impl FnOnce(&mut Inner)) {
        if Arc::get_mut(&mut self.0).is_none() {
            // The source cannot be cloned: the shared error becomes it.
            let shared = Self(Arc::clone(&self.0));
            self.0 = Arc::new(Inner {
                kind: shared.0.kind,
                phase: shared.0.phase,
                origin: shared.0.origin,
                context: shared.0.context.clone(),
                detail: shared.0.detail.clone(),
                check: shared.0.check,
                refusal: shared.0.refusal,
                status: shared.0.status,
                reply: shared.0.reply.clone(),
                source: shared.0.source.is_some().then(|| Box::new(shared) as BoxError),
                unsent: None,
            });
        }
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            edit(inner);
        }
    }

    /// What exactly happened, in own words.
    pub(crate) fn detail(self, detail: impl Into<Box<str>>) -> Self {
        let detail = detail.into();
        self.edit(|inner| inner.detail = Some(detail))
    }

    /// What to check, where the kind's own advice does not fit: `that …`, `the …`.
    pub(crate) fn check(self, what: &'static str) -> Self {
        self.edit(|inner| inner.check = Some(what))
    }

    /// It was refused on purpose.
    pub(crate) fn refused(self, why: Refusal) -> Self {
        self.edit(|inner| inner.refusal = Some(why))
    }

    /// The status that says it to HTTP, where a rule or a limit names one.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        self.edit(|inner| inner.status = Some(status))
    }

    /// Adds to what is said already.
    pub(crate) fn noted(self, note: &str) -> Self {
        let detail = match &self.0.detail {
            Some(detail) => format!("{detail}; {note}"),
            None => note.to_owned(),
        };
        self.detail(detail)
    }

    pub(crate) fn caused_by(self, source: impl Into<BoxError>) -> Self {
        let source = source.into();
        self.edit(|inner| inner.source = Some(source))
    }

    /// Gives the request back that never left this process.
    pub(crate) fn unsent(self, request: Option<Box<Request<Outgoing>>>) -> Self {
        if request.is_none() { self } else { self.edit(|inner| inner.unsent = request) }
    }

    /// The request that never left this process; nothing if a layer has cloned the error.
    pub(crate) fn take_unsent(&mut self) -> Option<Box<Request<Outgoing>>> {
        Arc::get_mut(&mut self.0)?.unsent.take()
    }

    pub(crate) fn with_origin(self, origin: Origin) -> Self {
        self.edit(|inner| inner.origin = origin)
    }

    pub(crate) fn set_context(&mut self, context: Context) {
        self.change(|inner| {
            // What a mesh below has said of its own attempts stays true.
            let worked_on = inner.context.worked_on || context.worked_on;
            inner.context = Context { worked_on, ..context };
        });
    }

    /// An endpoint may have worked on an attempt before the last.
    pub(crate) fn worked_on(self) -> Self {
        self.edit(|inner| inner.context.worked_on = true)
    }

    pub(crate) fn is_worked_on(&self) -> bool {
        self.0.context.worked_on
    }

    /// Names the service, unless it is named already.
    pub(crate) fn service(self, service: &Arc<str>) -> Self {
        if self.0.context.service.is_some() {
            return self;
        }
        let service = Arc::clone(service);
        self.edit(|inner| inner.context.service = Some(service))
    }

    /// Names the endpoint, unless it is named already.
    pub(crate) fn endpoint_named(self, endpoint: &Arc<str>) -> Self {
        if self.0.context.endpoint.is_some() {
            return self;
        }
        let endpoint = Arc::clone(endpoint);
        self.edit(|inner| inner.context.endpoint = Some(endpoint))
    }

    /// What a user's layer or leaf returned, unfolded when it is one of ours; else `whose` it is.
    pub(crate) fn from_layer(error: BoxError, whose: &str) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => Self::new(ErrorKind::Layer, Phase::Headers)
                .with_origin(Origin::Layer)
                .detail(whose)
                .caused_by(error),
        }
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// In which phase of the call.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// Why this client refused it on purpose: a rule, a limit, an injected fault. None for every
    /// other failure.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.0.refusal
    }

    /// The status that an HTTP gateway would answer: that of the rule or limit that refused the call,
    /// else the kind's.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        self.0.status.unwrap_or_else(|| self.kind().http_status())
    }

    /// The failure as a short flag for access logs, by Envoy's names where Envoy has one
    /// (`%RESPONSE_FLAGS%`), else `-`.
    #[must_use]
    pub fn response_flag(&self) -> &'static str {
        self.0.refusal.map_or_else(|| self.kind().response_flag(), Refusal::flag)
    }

    /// Whose failure it is.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The service that was called.
    #[must_use]
    pub fn service_name(&self) -> Option<&str> {
        self.0.context.service.as_deref()
    }

    /// The address of the endpoint that the last attempt met.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.0.context.endpoint.as_deref()
    }

    /// What each attempt met, in order.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.context.attempts
    }

    /// From the start of the call to its failure.
    #[must_use]
    pub fn elapsed(&self) -> Option<Duration> {
        self.0.context.elapsed
    }

    /// A deadline or timeout passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::Timeout
    }

    /// No connection could be made.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.kind() == ErrorKind::Connect
    }

    /// The call is not allowed.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.kind() == ErrorKind::Denied
    }

    /// A limit of ours was reached.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        self.kind() == ErrorKind::Overloaded
    }

    /// The same call may succeed later, and no endpoint has worked on this one, in none of its attempts.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let is_unworked = matches!(
            self.kind(),
            ErrorKind::Connect
                | ErrorKind::NoEndpoints
                | ErrorKind::Overloaded
                | ErrorKind::Refused
        );
        is_unworked && !self.is_worked_on()
    }

    /// This error and its sources on one line, outermost first; of a source that is told already,
    /// nothing.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let said = error.to_string();
            let cause = said.split(ADVICE).next().unwrap_or_default();
            if !text.contains(cause) {
                text.push_str(": ");
                text.push_str(&said);
            }
            source = error.source();
        }
        text
    }
}

/// What stands before what to check, in this crate's errors.
const ADVICE: &str = "; check ";

impl Inner {
    /// What the attempts met; of a single one only what is not said before.
    fn tried(&self) -> &[Attempt] {
        match self.context.attempts.as_slice() {
            // Its endpoint and its end are told.
            [_] if self.kind == ErrorKind::Timeout => &[],
            [one] if self.detail.as_ref().is_some_and(|said| said.contains(&*one.met)) => &[],
            attempts => attempts,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, phase, context, detail, check, .. } = &*self.0;
        if let Some(service) = &context.service {
            write!(f, "{service}: ")?;
        }
        f.write_str(kind.what())?;
        if let Some(detail) = detail {
            write!(f, ": {detail}")?;
        }
        write!(f, " ({phase} phase")?;
        if let Some(endpoint) = &context.endpoint {
            write!(f, ", endpoint {endpoint}")?;
        }
        if context.attempts.len() > 1 {
            write!(f, ", {} attempts", context.attempts.len())?;
        }
        if let Some(elapsed) = context.elapsed {
            write!(f, ", after {elapsed:.1?}")?;
        }
        f.write_str(")")?;
        for (number, attempt) in self.0.tried().iter().enumerate() {
            let sign = if number == 0 { "; tried " } else { ", " };
            write!(f, "{sign}{} ({})", attempt.endpoint, attempt.met)?;
        }
        write!(f, "{ADVICE}{}", check.unwrap_or_else(|| kind.check(*phase)))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text first: a `main` that returns it shows no more than this.
        f.debug_struct("Error")
            .field("text", &self.to_string())
            .field("kind", &self.0.kind)
            .field("phase", &self.0.phase)
            .field("origin", &self.0.origin)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}
