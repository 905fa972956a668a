//! One hop of a request: a call through the mesh, its response in reqwest's body.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project::pin_project;

use super::client::Settings;
use crate::{
    core::{Body, Error},
    mesh,
};

#[cfg(feature = "reqwest-013-gzip")]
type Gunzip = tower_http::decompression::Decompression<mesh::Client>;

/// Sends the hops of a client's requests.
pub(super) struct Sender {
    mesh: mesh::Client,
    #[cfg(feature = "reqwest-013-gzip")]
    gunzip: Option<Gunzip>,
}

/// The response of one hop.
#[pin_project(project = SentProj)]
pub(super) enum Sent {
    Plain(#[pin] mesh::CallFuture),
    #[cfg(feature = "reqwest-013-gzip")]
    Gunzip(#[pin] tower_http::decompression::ResponseFuture<mesh::CallFuture>),
}

// === impl Sender ===

impl Sender {
    #[cfg_attr(
        not(feature = "reqwest-013-gzip"),
        expect(unused_variables, reason = "what there is to know of them is behind a feature")
    )]
    pub(super) fn new(mesh: mesh::Client, settings: &Settings) -> Self {
        Self {
            #[cfg(feature = "reqwest-013-gzip")]
            gunzip: settings.gzip.then(|| {
                // Another crate may have turned the others on.
                Gunzip::new(mesh.clone()).gzip(true).no_br().no_deflate().no_zstd()
            }),
            mesh,
        }
    }

    pub(super) fn send(&self, request: Request<Body>) -> Sent {
        #[cfg(feature = "reqwest-013-gzip")]
        if let Some(gunzip) = &self.gunzip {
            return Sent::Gunzip(tower_service::Service::call(&mut gunzip.clone(), request));
        }
        Sent::Plain(self.mesh.send(request))
    }
}

impl Future for Sent {
    type Output = Result<Response<reqwest::Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project() {
            SentProj::Plain(call) => {
                ready!(call.poll(cx)).map(|response| response.map(reqwest::Body::wrap))
            }
            #[cfg(feature = "reqwest-013-gzip")]
            SentProj::Gunzip(call) => {
                ready!(call.poll(cx)).map(|response| response.map(reqwest::Body::wrap))
            }
        })
    }
}
