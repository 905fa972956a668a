//! Rules of authorisation before a call is made: who may call what.
//!
//! [`AuthorizeLayer`] judges each request by a [`config::Authorization`]: by the identity and the labels
//! that the layer was given, the service that it was made for, and the request's method, path,
//! authority and headers. What the rules mean is told in `docs/AUTHORIZATION.md`.
//!
//! A denial is an [`Error`] of kind [`Denied`](crate::ErrorKind::Denied) from the call,
//! never from `poll_ready`; the service below is not called.
//!
//! **Order.** Outermost: it costs nothing that is not called.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::{
//!     config::{Authorization, AuthorizationRule, PathMatch, Permission},
//!     resilience::AuthorizeLayer,
//! };
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     Ok(http::Response::new(()))
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut rules = Authorization::default();
//! let admin = Permission::Path(PathMatch::Prefix("/admin".into()));
//! rules.rules = vec![AuthorizationRule::deny("no admin").permission(admin)];
//! let mut service = ServiceBuilder::new()
//!     .layer(AuthorizeLayer::new("users", &rules).unwrap())
//!     .service_fn(answer);
//! let request = http::Request::get("/admin/x").body(()).unwrap();
//! let error = service.ready().await.unwrap().call(request).await.unwrap_err();
//! let error: &tower_mesh::Error = error.downcast_ref().unwrap();
//! assert!(error.is_denied() && error.to_string().contains("rule `no admin` denies it"));
//! # });
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwapOption;
use http::StatusCode;
use tower_layer::Layer;
use tower_service::Service;

use super::{admitting::Admission, exchange::Exchange};
use crate::{
    authorize::{Caller, Facts, Rules, Who},
    config::{self, ConfigError, ConfigErrors},
    core::{BoxError, Error, ErrorKind, Phase, Refusal},
};

/// Judges requests before they are sent: see the [module](self).
#[derive(Clone)]
pub struct AuthorizeLayer {
    shared: Arc<Shared>,
}

/// A service that is called by those alone who may, by [`AuthorizeLayer`].
#[derive(Clone)]
pub struct Authorize<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// The response of [`Authorize`]. Dropping it drops the call below.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    state: Admission<F>,
}

struct Shared {
    rules: Arc<Rules>,
    status: Option<StatusCode>,
    service: Arc<str>,
    labels: BTreeMap<String, String>,
    own: Arc<ArcSwapOption<Who>>,
}

// === impl AuthorizeLayer ===

impl AuthorizeLayer {
    /// Judges the requests of a service of this name, of nobody in particular.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, with its value.
    pub fn new(
        service: impl Into<String>,
        authorization: &config::Authorization,
    ) -> Result<Self, ConfigErrors> {
        authorization.validate("authorize")?;
        let rules = Rules::new(authorization)
            .map_err(|reason| ConfigErrors(vec![ConfigError::new("authorize", "", reason)]))?;
        let status = authorization.status.and_then(|status| StatusCode::from_u16(status).ok());
        let shared = Shared {
            rules: Arc::new(rules),
            status,
            service: service.into().into(),
            labels: BTreeMap::new(),
            own: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A label of this process, for the rules that ask for it.
    #[must_use]
    pub fn label(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let mut labels = self.shared.labels.clone();
        labels.insert(name.into(), value.into());
        self.with(labels, Arc::clone(&self.shared.own))
    }

    fn with(&self, labels: BTreeMap<String, String>, own: Arc<ArcSwapOption<Who>>) -> Self {
        let Shared { rules, status, service, .. } = &*self.shared;
        let (rules, service) = (Arc::clone(rules), Arc::clone(service));
        Self { shared: Arc::new(Shared { rules, status: *status, service, labels, own }) }
    }

    /// Who this process is: a SPIFFE id, or the DNS names of its certificate; none: nobody.
    ///
    /// It holds from now on for every service that this layer has made and makes: call it again when
    /// the certificate changes.
    pub fn set_identity<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let who = Who::of_texts(names);
        let is_nobody = who.names().next().is_none();
        self.shared.own.store((!is_nobody).then(|| Arc::new(who)));
    }

    /// Says who this process is, while the layer is made: its clones, and the services that they have
    /// made, keep theirs.
    #[must_use]
    pub fn identity(self, name: &str) -> Self {
        let layer = self.with(self.shared.labels.clone(), Arc::default());
        layer.set_identity([name]);
        layer
    }
}

impl Shared {
    /// Why the request may not be sent, if it may not.
    fn denial<R: Exchange>(&self, request: &R) -> Option<Error> {
        let own = self.own.load();
        let caller = match &*own {
            Some(who) => Caller::Known(who),
            None => Caller::Nobody,
        };
        let who = (caller, &self.labels);
        let what = (request.method(), request.authority());
        let path = (request.path(), request.query());
        let facts = Facts::new(who, &self.service, what, path, request.headers());
        let decision = self.rules.decide(&facts);
        if decision.allowed {
            return None;
        }
        let error = Error::new(ErrorKind::Denied, Phase::Authorize)
            .service(&self.service)
            .refused(Refusal::Denied)
            .detail(decision.words(&facts));
        Some(match self.status {
            Some(status) => error.with_status(status),
            None => error,
        })
    }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize { inner, shared: Arc::clone(&self.shared) }
    }
}

impl<S, R> Service<R> for Authorize<S>
where
    R: Exchange,
    S: Service<R>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let state = match self.shared.denial(&request) {
            Some(error) => Admission::Refused { error },
            None => Admission::Admitted { inner: self.inner.call(request), pass: () },
        };
        ResponseFuture { state }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx).map(|(result, ())| result)
    }
}

impl fmt::Debug for AuthorizeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeLayer").field("rules", &self.shared.rules).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for Authorize<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("denied", &self.state.is_refused())
            .finish_non_exhaustive()
    }
}
