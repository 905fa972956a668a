//! The front door: one concrete type that goes into tonic, hyper and `http` code.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    Request, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use tower_service::Service;

use super::{
    call::CallFuture,
    explain::{self, Explanation},
    inner::Inner,
    service::ServiceCell,
};
use crate::{
    config::name::Name,
    core::{Body, BoxError, Error, ErrorKind, Outgoing, Phase, uri::bare},
};

/// Calls one service of a mesh, or (from [`Mesh::http`](super::Mesh::http)) the service that
/// each request's authority names.
///
/// Cheap to clone, and always ready: all waiting is in the call, under its deadline. It goes
/// into a generated tonic client as it is: `GreeterClient::new(mesh.client("greeter.prod")?)`.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
    /// Empty when the request's authority names the service.
    pub(super) cell: Option<Arc<ServiceCell>>,
    /// It was made by a name with `https`, or to go on where one was called, which then holds for every
    /// call.
    pub(super) https: bool,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(inner: Arc<Inner>, cell: Option<Arc<ServiceCell>>, https: bool) -> Self {
        Self { inner, cell, https }
    }

    /// Sends a request.
    ///
    /// Nothing happens before the future is polled. What the call asks for beyond its service's
    /// policy is a [`Call`](crate::Call) in the request's extensions.
    ///
    /// # Errors
    ///
    /// A gRPC request (`content-type: application/grpc*`) never fails: a failure is `Ok` of a response
    /// that carries it as its gRPC status, with the [`Error`] in its extensions
    /// (`response.extensions().get::<Error>()`). For any other request the future fails with an
    /// [`Error`] that says what happened, where, and what to check. An answer of the endpoint, whatever
    /// its status, is no error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the body of its response, cancels the call. The endpoint may have
    /// worked on it.
    #[inline]
    pub fn send<B>(&self, request: Request<B>) -> CallFuture
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut request = request.map(Outgoing::new);
        match &self.cell {
            Some(cell) if self.https => {
                ask_https(&mut request, cell);
                CallFuture::new(&self.inner, cell, request)
            }
            Some(cell) => CallFuture::new(&self.inner, cell, request),
            None => match self.resolve(&request) {
                // The scheme stays: `http` may name another service.
                Ok(cell) if self.https => CallFuture::asking(&self.inner, &cell, request, true),
                Ok(cell) => CallFuture::new(&self.inner, &cell, request),
                Err(error) => {
                    self.inner.hub.unresolved(error.kind());
                    CallFuture::failed(error, &request)
                }
            },
        }
    }

    /// Says where this client would send a request, and why nowhere else; sends nothing.
    ///
    /// It is [`Mesh::explain`](super::Mesh::explain) for the client's service: that of its name, whatever
    /// authority the request has, which the `hosts` of routes are matched with.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_mesh::Mesh;
    ///
    /// let address: std::net::SocketAddr = "127.0.0.1:8080".parse()?;
    /// let mesh = Mesh::builder().endpoints("shop", [address]).build()?;
    /// mesh.ready().await?;
    /// let request = http::Request::get("http://www.example.com/cart").body(())?;
    /// let explanation = mesh.client("shop")?.explain(&request)?;
    /// assert_eq!(explanation.service, "shop");
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Mesh::explain`](super::Mesh::explain).
    pub fn explain<B>(&self, request: &Request<B>) -> Result<Explanation, Error> {
        let Some(cell) = &self.cell else {
            return Explanation::of(&self.inner, request);
        };
        let mut head = explain::head_of(request);
        if self.https {
            ask_https(&mut head, cell);
        }
        Explanation::of_cell(&self.inner, cell, head)
    }

    /// The service that the request's authority (or `host` header) names.
    fn resolve(&self, request: &Request<Outgoing>) -> Result<Arc<ServiceCell>, Error> {
        match find(&self.inner, request)? {
            Found::Cell(cell) => Ok(cell),
            Found::Unknown(name) => self.inner.lookup(&name),
        }
    }
}

/// What a request's authority stands for.
pub(super) enum Found {
    Cell(Arc<ServiceCell>),
    /// Nothing that is defined.
    Unknown(Name),
}

/// The service that a request's authority (or `host` header) names, as far as it is defined.
pub(super) fn find<B>(inner: &Inner, request: &Request<B>) -> Result<Found, Error> {
    let host = request.headers().get(http::header::HOST);
    let authority = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => host.and_then(|host| host.to_str().ok()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidRequest, Phase::Resolve)
                .detail("the request names no authority, which is its service")
        })?,
    };
    if let Some(scheme) = request.uri().scheme_str()
        && !matches!(scheme, "http" | "https")
    {
        return Err(Error::new(ErrorKind::InvalidRequest, Phase::Resolve)
            .detail(format!("the scheme `{scheme}` is neither http nor https")));
    }
    let https = request.uri().scheme() == Some(&Scheme::HTTPS);
    let cell = |authority| {
        if https { inner.find_secured(authority) } else { inner.find(authority) }
    };
    if let Some(cell) = cell(authority) {
        return Ok(Found::Cell(cell));
    }
    // No service is called so; the wire is told of nobody either.
    let named = bare(authority);
    if named.len() < authority.len()
        && let Some(cell) = cell(named)
    {
        return Ok(Found::Cell(cell));
    }
    let authority = named;
    let mut name = Name::parse(authority).map_err(|reason| {
        Error::new(ErrorKind::InvalidRequest, Phase::Resolve)
            .detail(reason)
            .check("the request's authority")
    })?;
    name.https = https;
    Ok(Found::Unknown(name))
}

/// Says `https` in the request, whatever it says itself.
#[cold]
fn ask_https<B>(request: &mut Request<B>, cell: &ServiceCell) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    // With all three parts it is whole: the scheme cannot get lost.
    let named = || cell.authority.clone().unwrap_or(Authority::from_static("localhost"));
    parts.authority.get_or_insert_with(named);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

impl<B> Service<Request<B>> for Client
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = CallFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> CallFuture {
        self.send(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.cell.as_ref().map(|cell| &*cell.name);
        f.debug_struct("Client").field("service", &service).finish_non_exhaustive()
    }
}
