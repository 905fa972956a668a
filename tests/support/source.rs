//! A source that the test feeds itself.

use std::{future::Future, pin::Pin};

use tokio::sync::oneshot;
use tower_mesh::{
    Discover, Mesh, MeshBuilder, Publisher,
    config::{Address, Cluster},
    discover::Static,
};

/// Hands its publisher to the test.
struct Held(oneshot::Sender<Publisher>);

impl Discover for Held {
    fn name(&self) -> String {
        "held by the test".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        drop(self.0.send(publish));
        Box::pin(std::future::pending())
    }
}

/// A mesh of one more source, which has published what `first` says and more whenever the test
/// does.
pub(crate) async fn published(
    builder: MeshBuilder,
    first: impl FnOnce(&Publisher),
) -> (Mesh, Publisher) {
    let (sender, receiver) = oneshot::channel();
    let mesh = builder.source(Held(sender)).build().unwrap();
    let publisher = receiver.await.unwrap();
    first(&publisher);
    publisher.synced();
    mesh.ready().await.unwrap();
    (mesh, publisher)
}

/// A cluster of these endpoints, without settings.
pub(crate) fn cluster(addresses: impl IntoIterator<Item = Address>) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints = addresses.into_iter().map(Into::into).collect();
    cluster
}

/// A mesh of this one cluster, named `users`.
pub(crate) fn one_cluster(cluster: Cluster) -> MeshBuilder {
    Mesh::builder().source(Static::default().cluster("users", cluster))
}
