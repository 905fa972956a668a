//! What the layers that let calls in, or do not, have in common: their shape, and a call that asked.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::core::{BoxError, Error};

/// A call that was let in with what is kept for it meanwhile, or was not.
#[pin_project::pin_project(project = AdmissionProj)]
pub(crate) enum Admission<F, P = ()> {
    Admitted {
        #[pin]
        inner: F,
        pass: P,
    },
    Refused {
        error: Error,
    },
}

// === impl Admission ===

impl<F, P> Admission<F, P> {
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// What the call comes to, and what was kept for it.
    pub(crate) fn poll<T, E>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<T, BoxError>, P)>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
        P: Default,
    {
        Poll::Ready(match self.project() {
            AdmissionProj::Admitted { inner, pass } => {
                let result = ready!(inner.poll(cx)).map_err(Into::into);
                (result, std::mem::take(pass))
            }
            AdmissionProj::Refused { error } => (Err(error.clone().into()), P::default()),
        })
    }
}

/// The layer and the service of what lets calls in by how much they matter; `Shared` and
/// `ResponseFuture` are its own.
macro_rules! admitting {
    (
        $(#[$of_layer:meta])* $layer:ident,
        $(#[$of_service:meta])* $service:ident
    ) => {
        $(#[$of_layer])*
        #[derive(Clone, Debug)]
        pub struct $layer {
            shared: Shared,
        }

        $(#[$of_service])*
        #[derive(Clone, Debug)]
        pub struct $service<S> {
            inner: S,
            shared: Shared,
        }

        impl $layer {
            /// How much calls matter that do not say it themselves
            /// ([`Call::criticality`](crate::Call::criticality)). Default: critical.
            #[must_use]
            pub fn criticality(self, criticality: Criticality) -> Self {
                Self { shared: self.shared.criticality(criticality) }
            }
        }

        impl<S> Layer<S> for $layer {
            type Service = $service<S>;

            fn layer(&self, inner: S) -> $service<S> {
                $service { inner, shared: self.shared.clone() }
            }
        }

        impl<S, R> Service<R> for $service<S>
        where
            R: Exchange,
            S: Service<R>,
            S::Response: Answer,
            S::Error: Into<BoxError>,
        {
            type Response = <S::Response as crate::resilience::exchange::sealed::Answer>::Held;
            type Error = BoxError;
            type Future = ResponseFuture<S::Future>;

            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
                self.inner.poll_ready(cx).map_err(Into::into)
            }

            fn call(&mut self, request: R) -> Self::Future {
                let inner = &mut self.inner;
                self.shared.call(request, |request| inner.call(request))
            }
        }
    };
}

pub(super) use admitting;
