//! One hop of a request: a call through the mesh, its response in reqwest's body.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project::pin_project;

use super::client::Settings;
#[cfg(feature = "_unpack")]
use super::packing::Packing;
use crate::{
    core::{Body, Error},
    mesh,
};

#[cfg(feature = "_unpack")]
type Unpacking = tower_http::decompression::Decompression<mesh::Client>;

/// Sends the hops of a client's requests.
pub(super) struct Sender {
    mesh: mesh::Client,
    /// The same for what must not go in clear by default.
    secured: mesh::Client,
    #[cfg(feature = "_unpack")]
    unpacking: Option<Unpacking>,
    #[cfg(feature = "_unpack")]
    secured_unpacking: Option<Unpacking>,
}

/// The response of one hop.
#[pin_project(project = SentProj)]
pub(super) enum Sent {
    Plain(#[pin] mesh::CallFuture),
    #[cfg(feature = "_unpack")]
    Unpacking(#[pin] tower_http::decompression::ResponseFuture<mesh::CallFuture>),
}

// === impl Sender ===

impl Sender {
    #[cfg_attr(
        not(feature = "_unpack"),
        expect(unused_variables, reason = "what there is to know of them is behind a feature")
    )]
    pub(super) fn new(mesh: mesh::Client, settings: &Settings) -> Self {
        let secured = mesh.secured();
        #[cfg(feature = "_unpack")]
        let unpacks = |client: &mesh::Client| {
            let packings = &settings.packings;
            (!packings.is_empty()).then(|| unpacking(client.clone(), packings))
        };
        Self {
            #[cfg(feature = "_unpack")]
            unpacking: unpacks(&mesh),
            #[cfg(feature = "_unpack")]
            secured_unpacking: unpacks(&secured),
            mesh,
            secured,
        }
    }

    /// Sends it; where it must not go in clear by default, as what asks for `https`.
    pub(super) fn send(&self, request: Request<Body>, is_secured: bool) -> Sent {
        #[cfg(feature = "_unpack")]
        let unpacking = if is_secured { &self.secured_unpacking } else { &self.unpacking };
        #[cfg(feature = "_unpack")]
        if let Some(unpacking) = unpacking {
            return Sent::Unpacking(tower_service::Service::call(&mut unpacking.clone(), request));
        }
        Sent::Plain(if is_secured { &self.secured } else { &self.mesh }.send(request))
    }
}

impl Future for Sent {
    type Output = Result<Response<reqwest::Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project() {
            SentProj::Plain(call) => {
                ready!(call.poll(cx)).map(|response| response.map(reqwest::Body::wrap))
            }
            #[cfg(feature = "_unpack")]
            SentProj::Unpacking(call) => {
                ready!(call.poll(cx)).map(|response| response.map(reqwest::Body::wrap))
            }
        })
    }
}

/// Asks for these alone, and leaves alone what comes packed otherwise.
#[cfg(feature = "_unpack")]
fn unpacking(mesh: mesh::Client, packings: &[Packing]) -> Unpacking {
    // Another crate may have turned on what is not of a feature here.
    let mut unpacking = Unpacking::new(mesh).no_gzip().no_br().no_zstd().no_deflate();
    for packing in packings {
        unpacking = match packing {
            #[cfg(feature = "reqwest-013-gzip")]
            Packing::Gzip => unpacking.gzip(true),
            #[cfg(feature = "reqwest-013-brotli")]
            Packing::Brotli => unpacking.br(true),
            #[cfg(feature = "reqwest-013-zstd")]
            Packing::Zstd => unpacking.zstd(true),
            #[cfg(feature = "reqwest-013-deflate")]
            Packing::Deflate => unpacking.deflate(true),
            // Without its feature nothing asks for it.
            #[allow(unreachable_patterns, reason = "with all of the features there is no other")]
            _ => unpacking,
        };
    }
    unpacking
}
