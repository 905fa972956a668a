//! reqwest's request builder, method by method, whose `send` goes through the mesh.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use reqwest::{Body, Request, multipart};
use serde::Serialize;

use super::{client::Client, future::ResponseFuture, trip};
use crate::core::{Call, Error};

/// Builds a request to be sent through the mesh; made by [`Client::get`] and its siblings.
///
/// It has every method of `reqwest::RequestBuilder`, which do what they do there, and
/// [`call`](Self::call) for what the call asks for beyond its service's policy.
#[must_use = "a request builder does nothing until it is sent"]
pub struct RequestBuilder {
    client: Client,
    inner: reqwest::RequestBuilder,
    call: Option<Call>,
}

// === impl RequestBuilder ===

impl RequestBuilder {
    pub(super) fn new(client: Client, inner: reqwest::RequestBuilder) -> Self {
        Self { client, inner, call: None }
    }

    /// A builder that goes on from an existing request.
    pub fn from_parts(client: Client, request: Request) -> Self {
        let inner = reqwest::RequestBuilder::from_parts(client.0.plain.clone(), request);
        Self::new(client, inner)
    }

    fn map(self, with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        Self { inner: with(self.inner), ..self }
    }

    /// Says what this call asks for beyond its service's policy.
    ///
    /// A timeout in it, and one by [`timeout`](Self::timeout), both hold: the earlier rules. It
    /// holds for every hop of a redirect.
    pub fn call(mut self, call: Call) -> Self {
        self.call = Some(call);
        self
    }

    /// Adds a header.
    pub fn header<K, V>(self, key: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.map(|inner| inner.header(key, value))
    }

    /// Sets these headers, over those of the same names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.map(|inner| inner.headers(headers))
    }

    /// Authenticates by user and password (HTTP basic authentication).
    pub fn basic_auth<U, P>(self, username: U, password: Option<P>) -> Self
    where
        U: fmt::Display,
        P: fmt::Display,
    {
        self.map(|inner| inner.basic_auth(username, password))
    }

    /// Authenticates by a bearer token.
    pub fn bearer_auth<T: fmt::Display>(self, token: T) -> Self {
        self.map(|inner| inner.bearer_auth(token))
    }

    /// Sets the body.
    ///
    /// One in memory is sent again by a retry, and by a redirect that keeps it. One that streams
    /// is sent again by a retry up to the cap of the policy, and not by a redirect: its answer
    /// is returned as it is.
    pub fn body<T: Into<Body>>(self, body: T) -> Self {
        self.map(|inner| inner.body(body))
    }

    /// Bounds this request to the end of its response body, all hops of its redirects together.
    ///
    /// Unit: time. Default: [the client's](super::ClientBuilder::timeout). It is a deadline of the
    /// call: the endpoint is told what is left of it.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|inner| inner.timeout(timeout))
    }

    /// Sends a form with files (`multipart/form-data`): a body that streams.
    pub fn multipart(self, multipart: multipart::Form) -> Self {
        self.map(|inner| inner.multipart(multipart))
    }

    /// Adds these pairs to the query of the URL.
    pub fn query<T: Serialize + ?Sized>(self, query: &T) -> Self {
        self.map(|inner| inner.query(query))
    }

    /// Sets the HTTP version, for endpoints that have no protocol of their own: HTTP/2 means prior
    /// knowledge, anything else HTTP/1.1.
    pub fn version(self, version: Version) -> Self {
        self.map(|inner| inner.version(version))
    }

    /// Sends these pairs as a form.
    pub fn form<T: Serialize + ?Sized>(self, form: &T) -> Self {
        self.map(|inner| inner.form(form))
    }

    /// Sends this as JSON.
    pub fn json<T: Serialize + ?Sized>(self, json: &T) -> Self {
        self.map(|inner| inner.json(json))
    }

    /// The request, to be inspected, changed and sent by [`Client::execute`].
    ///
    /// What [`call`](Self::call) said goes with it.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`](crate::ErrorKind::InvalidRequest) for what was given and is no URL, no
    /// header, or cannot be written as JSON, a form or a query.
    pub fn build(self) -> Result<Request, Error> {
        self.build_split().1
    }

    /// The request as [`build`](Self::build) gives it, and the client.
    pub fn build_split(self) -> (Client, Result<Request, Error>) {
        let Self { client, inner, call } = self;
        let request = inner.build().map_err(Error::from);
        let request = request.and_then(|request| match call {
            Some(call) => trip::carry(request, call),
            None => Ok(request),
        });
        (client, request)
    }

    /// Sends the request.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build), and of [`Client::execute`].
    ///
    /// # Cancel safety
    ///
    /// As [`Client::execute`].
    pub fn send(self) -> ResponseFuture {
        match self.inner.build() {
            Ok(request) => self.client.start(request, self.call),
            Err(error) => ResponseFuture::failed(self.client, error.into()),
        }
    }

    /// A copy, unless the body streams.
    pub fn try_clone(&self) -> Option<Self> {
        let inner = self.inner.try_clone()?;
        Some(Self { client: self.client.clone(), inner, call: self.call.clone() })
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("request", &self.inner)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}
