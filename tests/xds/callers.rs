//! Callers whose names control planes know, and what they are answered.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::AdsServer,
};

use crate::support::{fetch, get, patience};

pub(crate) fn bootstrap(planes: &[&AdsServer], node: &str, delta: bool) -> Bootstrap {
    let mut bootstrap = Bootstrap::builder().node_id(node);
    for plane in planes {
        bootstrap = bootstrap.server(Plane::insecure(plane.uri()).delta(delta));
    }
    bootstrap.build().unwrap()
}

pub(crate) fn mesh(plane: &AdsServer, node: &str) -> Mesh {
    Mesh::builder().source(Xds::new(bootstrap(&[plane], node, false))).build().unwrap()
}

pub(crate) async fn body(mesh: &Mesh, name: &str) -> Result<String, tower_mesh::Error> {
    let response = patience(fetch(&mesh.http(), get(&format!("http://{name}/")))).await?;
    Ok(String::from_utf8_lossy(response.body().as_ref()).into_owned())
}

/// Waits until this is what calls of a name are answered.
pub(crate) async fn until(mesh: &Mesh, name: &str, wanted: &str) {
    patience(async {
        while body(mesh, name).await.unwrap() != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
