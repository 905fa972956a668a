//! The suite's echo servers: each says who it is and what it was sent.

use std::fs;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tower_mesh::{Body, Error, ErrorKind, Mesh};

use crate::support::{Server, fetch, reply, server::Reply};

/// Three echo servers, and a mesh of this configuration before them.
pub(crate) struct World {
    pub(crate) mesh: Mesh,
    _dir: tempfile::TempDir,
    _servers: Vec<Server>,
}

/// What came of a request.
pub(crate) struct Seen {
    pub(crate) head: Response<()>,
    /// What the server says; nothing, where it was not one of ours that answered.
    said: Value,
}

/// The services, as the mesh file has them; the clusters are `echo-v1`, `echo-v2` and `echo-v3`.
pub(crate) async fn world(services: &str) -> World {
    let mut text = format!("services:\n{services}\nclusters:\n");
    let mut servers = Vec::new();
    for name in ["echo-v1", "echo-v2", "echo-v3"] {
        let server = Server::start(move |request| async move { echo(name, &request) }).await;
        text += &format!("  {name}: {{endpoints: [{{address: \"{}\"}}]}}\n", server.address());
        servers.push(server);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, &text).unwrap();
    let mesh = Mesh::builder().config_file(&path).seed(5).build().unwrap();
    mesh.ready().await.unwrap_or_else(|error| panic!("{error}\n{text}"));
    World { mesh, _dir: dir, _servers: servers }
}

/// Says what it was sent. With a header `x-fail-first` the first attempt fails; a header `x-answer: name:value` asks for a header of the response.
fn echo(name: &str, request: &Request<Incoming>) -> Reply {
    let of = |header: &HeaderName| {
        let values = request.headers().get_all(header).iter().map(|it| it.to_str().unwrap());
        values.collect::<Vec<_>>().join(",")
    };
    let headers: serde_json::Map<_, _> =
        request.headers().keys().map(|it| (it.to_string(), json!(of(it)))).collect();
    let host = request.uri().authority().map(ToString::to_string);
    let host = host.unwrap_or_else(|| of(&http::header::HOST));
    let (path, query) = (request.uri().path(), request.uri().query());
    let said = json!({
        "backend": name, "path": path, "query": query, "host": host, "headers": headers,
    });
    let is_first = !request.headers().contains_key("x-mesh-attempt");
    if is_first && request.headers().contains_key("x-fail-first") {
        return crate::support::status(StatusCode::SERVICE_UNAVAILABLE);
    }
    let is_grpc = of(&http::header::CONTENT_TYPE) == "application/grpc";
    let mut answer = reply(if is_grpc { String::new() } else { said.to_string() });
    if is_grpc {
        let headers = answer.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        headers.insert("x-said", said.to_string().parse().unwrap());
    }
    for asked in request.headers().get_all("x-answer") {
        let (name, value) = asked.to_str().unwrap().split_once(':').unwrap();
        let name: HeaderName = name.parse().unwrap();
        answer.headers_mut().append(name, value.parse().unwrap());
    }
    answer
}

/// A GET with these headers.
pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    with("GET", path, headers)
}

pub(crate) fn with(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

/// A gRPC call.
pub(crate) fn grpc(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = with("POST", path, headers);
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request
}

impl World {
    /// The service `echo` is called.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Result<Seen, Error> {
        self.call("echo", request).await
    }

    pub(crate) async fn call(&self, name: &str, request: Request<Body>) -> Result<Seen, Error> {
        let answer = fetch(&self.mesh.client(name).unwrap(), request).await?;
        let (head, body) = answer.into_parts();
        let said =
            head.headers.get("x-said").map_or(body, |said| Bytes::copy_from_slice(said.as_bytes()));
        let said = serde_json::from_slice(&said).unwrap_or(Value::Null);
        Ok(Seen { head: Response::from_parts(head, ()), said })
    }

    /// The backend that a request goes to; 404 is that of a request which no route takes.
    pub(crate) async fn backend(&self, request: Request<Body>) -> String {
        match self.ask(request).await {
            Ok(seen) => seen.backend(),
            Err(error) if error.kind() == ErrorKind::NoRoute => "404".to_owned(),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Seen {
    pub(crate) fn backend(&self) -> String {
        self.said["backend"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn path(&self) -> &str {
        self.said["path"].as_str().unwrap_or_default()
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.said["query"].as_str()
    }

    pub(crate) fn host(&self) -> &str {
        self.said["host"].as_str().unwrap_or_default()
    }

    /// A header of the request as the server saw it, its values joined.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.said["headers"][name.to_ascii_lowercase()].as_str()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status()
    }

    /// A header of the response, its values joined.
    pub(crate) fn answered(&self, name: &str) -> Option<String> {
        let headers: &HeaderMap = self.head.headers();
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
}
