//! Calls by the mesh, as it is told line by line.

use tower_mesh::{Mesh, control::xds::Xds};

#[tokio::main]
async fn main() {
    // Made when something is first called: that is a cold start.
    let mut made: Option<Mesh> = None;
    xds_callers::serve(|target| {
        let mesh = made.get_or_insert_with(|| {
            Mesh::builder().source(Xds::from_env().unwrap()).build().unwrap()
        });
        mesh.client(target).unwrap()
    })
    .await;
}
