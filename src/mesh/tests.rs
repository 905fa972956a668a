//! What a mesh keeps: bounded by what its sources say, however often they say it.

mod compiling;
mod forgotten;
mod mirrors;
#[cfg(feature = "xds")]
mod reported;
mod timed;
mod two_sources;

use std::{net::SocketAddr, pin::Pin};

use super::Mesh;
use crate::{
    config::Address,
    discover::{Discover, Publisher},
};

/// A source that hands its publisher out.
struct Own(tokio::sync::oneshot::Sender<Publisher>);

impl Discover for Own {
    fn name(&self) -> String {
        "own".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            drop(self.0.send(publish));
            std::future::pending::<()>().await;
        })
    }
}

pub(super) async fn mesh() -> (Mesh, Publisher) {
    let (give, take) = tokio::sync::oneshot::channel();
    let mesh = Mesh::builder().source(Own(give)).build().unwrap();
    (mesh, take.await.unwrap())
}

fn address() -> Address {
    SocketAddr::from(([127, 0, 0, 1], 1)).into()
}
