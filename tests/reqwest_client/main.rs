//! The front door in the shape of reqwest: its requests, redirects, cookies and errors, through the
//! mesh, over real servers.
#![cfg(all(
    feature = "reqwest-013-brotli",
    feature = "reqwest-013-cookies",
    feature = "reqwest-013-deflate",
    feature = "reqwest-013-gzip",
    feature = "reqwest-013-zstd"
))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod building;
mod cookies;
#[path = "../support/documents.rs"]
mod documents;
mod errors;
mod outside;
mod packed;
mod redirects;
mod requests;
mod responses;
#[path = "../support/mod.rs"]
mod support;
mod surface;
mod time;
#[cfg(feature = "tls-aws-lc-rs")]
mod tls;

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tower_mesh::{Mesh, adapt::reqwest::Client};

use support::{Reply, Server};

/// A client of reqwest that sees no proxy of the environment, and asks for nothing packed.
fn plain() -> reqwest::Client {
    bare().build().unwrap()
}

/// What such a client is made by.
fn bare() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().no_gzip().no_brotli().no_zstd().no_deflate()
}

/// A mesh of one service, `users.prod`.
fn mesh(server: &Server) -> Mesh {
    Mesh::builder().endpoints("users.prod", [server.address()]).build().unwrap()
}

/// The front door of a mesh, as it is by default.
fn client(mesh: &Mesh) -> Client {
    mesh.reqwest(plain()).build().unwrap()
}

/// An answer that leads elsewhere.
fn redirect(status: u16, location: &str) -> Reply {
    let mut reply = support::reply("moved");
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply.headers_mut().insert(header::LOCATION, location.parse().unwrap());
    reply
}

/// What a request looked like to its server: method, target, and some headers, by line.
fn seen(request: &Request<Incoming>, names: &[&str]) -> Reply {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for name in names {
        for value in request.headers().get_all(*name) {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
    }
    Response::map(support::reply(text), std::convert::identity)
}
