//! What the layers that send calls again have in common: their shape, and what a further attempt says
//! of itself.

use std::mem;

use http::{HeaderMap, HeaderValue};

use super::{
    deadline::{self, Bounds, Scope},
    exchange::sealed::Exchange,
};
use crate::core::{BoxError, Error, ErrorKind, Instant, Origin, Phase, earliest, grpc};

/// The service that was made ready, for this call; its clone is readied for the next one.
pub(super) fn readied<S: Clone>(inner: &mut S) -> S {
    let next = inner.clone();
    mem::replace(inner, next)
}

/// When the call has to be over: its explicit bounds, or what a
/// [`Deadline`](crate::resilience::Deadline) outside wrote for the endpoint, or noted.
pub(super) fn bounds_of(request: &impl Exchange) -> Bounds {
    let now = Instant::now();
    let (headers, call) = (request.headers(), request.call());
    let Bounds { head, body } = deadline::of(headers, call, Scope::default(), now);
    let own = request.timeout().and_then(|left| now.checked_add(left));
    let told = grpc::timeout_of(headers).and_then(|left| now.checked_add(left));
    let head = earliest(head, request.head_by());
    Bounds { head: earliest(earliest(head, own), told), body: earliest(body, own) }
}

/// Marks an attempt for the endpoint: how many there were before it, and what is left of the time.
pub(super) fn mark(headers: &mut HeaderMap, earlier: u32, bounds: Bounds) {
    let is_grpc = grpc::is_grpc(headers);
    let name = if is_grpc { grpc::GRPC_ATTEMPTS } else { grpc::HTTP_ATTEMPTS };
    headers.insert(name, HeaderValue::from(earlier));
    let name = if is_grpc { grpc::GRPC_TIMEOUT } else { grpc::HTTP_TIMEOUT };
    if headers.contains_key(&name) {
        bounds.write(headers, is_grpc, Instant::now());
    }
}

/// The failure of a call of which no further attempt was made, for this reason. One of ours says so;
/// what the client below has said is the source of one of this kind, which does. `worked_on` says that an
/// attempt before the last may have been.
#[cold]
pub(super) fn not_repeated(
    error: BoxError,
    kind: ErrorKind,
    why: &str,
    worked_on: bool,
) -> BoxError {
    let note = format!("not retried: {why}");
    let error = match error.downcast::<Error>() {
        Ok(ours) => ours.noted(&note),
        Err(foreign) => {
            let phase = if kind == ErrorKind::Connect { Phase::Connect } else { Phase::Headers };
            Error::new(kind, phase).with_origin(Origin::Endpoint).detail(note).caused_by(foreign)
        }
    };
    if worked_on { error.worked_on().into() } else { error.into() }
}

/// The end of a call of which an earlier attempt may have been worked on: an error of ours says so.
#[cold]
pub(super) fn worked_on(error: BoxError) -> BoxError {
    match error.downcast::<Error>() {
        Ok(ours) => ours.worked_on().into(),
        Err(foreign) => foreign,
    }
}

/// The layer and the service of a policy that sends calls again; `Shared` and `ResponseFuture` are those
/// of the policy.
macro_rules! repeating {
    (
        $(#[$of_layer:meta])* $layer:ident,
        $(#[$of_service:meta])* $service:ident,
        $(#[$of_body:meta])* body
    ) => {
        $(#[$of_layer])*
        pub struct $layer<B = Body> {
            shared: Arc<Shared>,
            /// The bodies that the service below takes.
            into: fn(Body) -> B,
        }

        $(#[$of_service])*
        pub struct $service<S, B = Body> {
            inner: S,
            shared: Arc<Shared>,
            /// The bodies that the service below takes.
            into: fn(Body) -> B,
        }

        impl<B> $layer<B> {
            $(#[$of_body])*
            #[must_use]
            pub fn body<To>(self, into: fn(Body) -> To) -> $layer<To> {
                $layer { shared: self.shared, into }
            }
        }

        impl<S, B> Layer<S> for $layer<B> {
            type Service = $service<S, B>;

            fn layer(&self, inner: S) -> $service<S, B> {
                $service { inner, shared: Arc::clone(&self.shared), into: self.into }
            }
        }

        impl<B> Clone for $layer<B> {
            fn clone(&self) -> Self {
                Self { shared: Arc::clone(&self.shared), into: self.into }
            }
        }

        impl<S, R, B> Service<R> for $service<S, B>
        where
            R: Replay<B>,
            S: Service<<R as sealed::Replay<B>>::Sent> + Clone,
            S::Response: Answer,
            S::Error: Into<BoxError>,
        {
            type Response = S::Response;
            type Error = BoxError;
            type Future = ResponseFuture<S, R, B>;

            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
                self.inner.poll_ready(cx).map_err(Into::into)
            }

            fn call(&mut self, request: R) -> Self::Future {
                let ready = readied(&mut self.inner);
                ResponseFuture::new(ready, request, Arc::clone(&self.shared), self.into)
            }
        }

        impl<S: Clone, B> Clone for $service<S, B> {
            fn clone(&self) -> Self {
                Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared), into: self.into }
            }
        }
    };
}

pub(super) use repeating;
