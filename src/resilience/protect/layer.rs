//! What the layers of the three protections share.

use std::sync::Arc;

use super::{Protect, ResponseFuture, Ticket};
use crate::{
    config::Criticality,
    core::{Epoch, Instant, Random},
    resilience::exchange::Exchange,
};

/// What the calls of a layer have in common.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// None: it is not enabled.
    by: Option<Arc<dyn Protect>>,
    epoch: Epoch,
    random: Arc<Random>,
    /// Of calls that do not say it themselves.
    criticality: Criticality,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn of(by: Option<impl Protect + 'static>) -> Self {
        Self {
            by: by.map(|by| Arc::new(by) as Arc<dyn Protect>),
            epoch: Epoch::now(),
            random: Arc::default(),
            criticality: Criticality::default(),
        }
    }

    pub(crate) fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = criticality;
        self
    }

    pub(crate) fn call<R: Exchange, F>(
        &self,
        request: R,
        call: impl FnOnce(R) -> F,
    ) -> ResponseFuture<F> {
        let Some(by) = &self.by else { return ResponseFuture::admitted(call(request), None) };
        let said = request.call().and_then(|call| call.criticality);
        let now = self.epoch.nanos(Instant::now());
        let criticality = said.unwrap_or(self.criticality);
        match Ticket::enter(by, self.epoch, now, criticality, &self.random) {
            Ok(ticket) => ResponseFuture::admitted(call(request), Some(ticket)),
            Err(error) => ResponseFuture::refused(error),
        }
    }
}

/// The layer and the service of a protection.
macro_rules! layer {
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

pub(crate) use layer;
