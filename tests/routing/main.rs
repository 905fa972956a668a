//! What routes can say beyond paths and weights, over loopback servers: choices of a cluster, filters
//! with names, values that each call fills in, runtime keys.
#![cfg(feature = "file")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod choices;
mod filters;
mod idle;
mod keys;
mod values;

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Request, Response};
use tower_mesh::{Body, Error, Mesh, MeshBuilder};

use support::{Server, get, reply};

/// Clusters `a`, `b` and `c` of one endpoint each, which tells what it got.
struct World {
    mesh: Mesh,
    file: PathBuf,
    text: String,
    servers: BTreeMap<&'static str, Server>,
    _dir: tempfile::TempDir,
}

/// An endpoint that says its name, and its request's path, host and headers that begin with `x-`.
async fn endpoint(name: &'static str) -> Server {
    Server::start(move |request| async move {
        let headers = request.headers();
        let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
        let host = headers.get("host").map(text).unwrap_or_default();
        let mut told = format!("{name} {} host={host}", request.uri());
        let mut said: Vec<_> =
            headers.iter().filter(|it| it.0.as_str().starts_with("x-")).collect();
        said.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in said {
            told += &format!(" {name}={}", text(value));
        }
        let mut reply = reply(told);
        reply.headers_mut().insert("server-name", HeaderValue::from_static(name));
        reply
    })
    .await
}

impl World {
    /// `text` is the file, in which `A`, `B` and `C` in brackets are addresses.
    async fn new(text: &str) -> Self {
        Self::with(text, |builder| builder).await
    }

    async fn with(text: &str, more: impl FnOnce(MeshBuilder) -> MeshBuilder) -> Self {
        let mut servers = BTreeMap::new();
        for name in ["a", "b", "c"] {
            servers.insert(name, endpoint(name).await);
        }
        let mut text = text.to_owned();
        for (name, server) in &servers {
            let mark = format!("<{}>", name.to_uppercase());
            text = text.replace(&mark, &server.address().to_string());
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mesh.yaml");
        fs::write(&file, &text).unwrap();
        let mesh = more(Mesh::builder().config_file(&file).seed(5)).build().unwrap();
        let world = Self { mesh, file, text, servers, _dir: dir };
        world.mesh.ready().await.unwrap();
        world
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        self.mesh.client("shop").unwrap().send(request).await
    }

    /// What the endpoint says that it got.
    async fn said(&self, request: Request<Body>) -> String {
        self.send(request).await.unwrap().into_body().text().await.unwrap()
    }

    /// The name of the cluster that answers.
    async fn who(&self, request: Request<Body>) -> String {
        let said = self.said(request).await;
        said.split(' ').next().unwrap().to_owned()
    }

    /// Edits the file.
    fn edit(&mut self, old: &str, new: &str) {
        assert!(self.text.contains(old), "{old}");
        self.text = self.text.replace(old, new);
        fs::write(&self.file, &self.text).unwrap();
    }

    /// Waits until such calls go to this cluster.
    async fn until(&self, who: &str, request: impl Fn() -> Request<Body>) {
        eventually(async || self.who(request()).await == who).await;
    }
}

/// The clusters of every file here.
const CLUSTERS: &str = "
clusters:
  a: {endpoints: [{address: \"<A>\"}]}
  b: {endpoints: [{address: \"<B>\"}]}
  c: {endpoints: [{address: \"<C>\"}]}
";

/// Waits until it is so.
async fn eventually(is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time");
}

fn with(path: &str, headers: &[(&'static str, &'static str)]) -> Request<Body> {
    let mut request = get(path);
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        request.headers_mut().append(HeaderName::from_static(name), value);
    }
    request
}

/// The message of the one part that is refused.
async fn refusal(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mesh.yaml");
    fs::write(&file, text).unwrap();
    let mesh = Mesh::builder().config_file(&file).dry_run().build().unwrap();
    mesh.ready().await.unwrap_err().to_string()
}
