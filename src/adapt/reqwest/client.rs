//! The client: reqwest's methods, and a tower service of its requests.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Method};
use reqwest::{IntoUrl, Request, Response};
use tower_service::Service;

use super::{
    future::ResponseFuture, outside::Outside, packing::Packing, redirect, request::RequestBuilder,
    send::Sender,
};
use crate::{
    core::{Call, Error},
    mesh,
};

/// reqwest's client, with every request sent through the mesh.
///
/// Cheap to clone and always ready. See [the module](super) for what it does and does not.
#[derive(Clone)]
pub struct Client(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) mesh: mesh::Client,
    pub(super) sender: Sender,
    /// Makes builders, and calls names outside of the mesh where that is allowed.
    pub(super) plain: reqwest::Client,
    pub(super) settings: Settings,
}

/// What holds for every request to a name of the mesh.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) headers: HeaderMap,
    pub(super) timeout: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
    pub(super) redirect: redirect::Policy,
    pub(super) referer: bool,
    pub(super) https_only: bool,
    #[cfg(feature = "reqwest-013-cookies")]
    pub(super) cookies: Option<Arc<dyn reqwest::cookie::CookieStore>>,
    /// What is asked for packed, and unpacked.
    pub(super) packings: Vec<Packing>,
    pub(super) outside: Option<Outside>,
}

// === impl Client ===

impl Client {
    pub(super) fn new(mesh: mesh::Client, plain: reqwest::Client, settings: Settings) -> Self {
        let sender = Sender::new(mesh.clone(), &settings);
        Self(Arc::new(Inner { mesh, sender, plain, settings }))
    }

    /// Begins a GET of this URL, whose authority names the service.
    pub fn get<U: IntoUrl>(&self, url: U) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Begins a POST.
    pub fn post<U: IntoUrl>(&self, url: U) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Begins a PUT.
    pub fn put<U: IntoUrl>(&self, url: U) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Begins a PATCH.
    pub fn patch<U: IntoUrl>(&self, url: U) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Begins a DELETE.
    pub fn delete<U: IntoUrl>(&self, url: U) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Begins a HEAD.
    pub fn head<U: IntoUrl>(&self, url: U) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Begins a request of this method and URL.
    ///
    /// A URL that is none is an error of [`RequestBuilder::send`] or [`RequestBuilder::build`], as
    /// in reqwest; a user in it becomes basic authentication.
    pub fn request<U: IntoUrl>(&self, method: Method, url: U) -> RequestBuilder {
        RequestBuilder::new(self.clone(), self.0.plain.request(method, url))
    }

    /// Sends a request.
    ///
    /// Nothing happens before the future is polled. A [`Call`] that the request was given as an
    /// extension (in the `http::Request` that it was made from) rules it.
    ///
    /// # Errors
    ///
    /// The future fails with an [`Error`]. An answer of the endpoint, whatever its status, is
    /// none.
    ///
    /// # Cancel safety
    ///
    /// As [`Client::send`](crate::Client::send): dropping the future, or the response, cancels the
    /// call.
    pub fn execute(&self, request: Request) -> ResponseFuture {
        self.start(request, None)
    }

    pub(super) fn start(&self, request: Request, call: Option<Call>) -> ResponseFuture {
        ResponseFuture::new(self.clone(), request, call)
    }
}

impl Service<Request> for Client {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        self.execute(request)
    }
}

impl Service<Request> for &Client {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        self.execute(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("timeout", &self.timeout)
            .field("read_timeout", &self.read_timeout)
            .field("redirect", &self.redirect)
            .field("referer", &self.referer)
            .field("https_only", &self.https_only)
            .field("outside", &self.outside.is_some())
            .finish_non_exhaustive()
    }
}
