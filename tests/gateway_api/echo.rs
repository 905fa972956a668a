//! The suite's echo servers: each says who it is and what it was sent.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tower_mesh::{Body, Error, ErrorKind, Mesh};

use crate::support::{Server, fetch, reply, server::Reply};

/// Three echo servers, and a mesh of this configuration before them.
pub(crate) struct World {
    pub(crate) mesh: Mesh,
    /// The address of each server, which is the name of a cluster, too: that of its pod.
    pub(crate) pods: BTreeMap<&'static str, String>,
    received: Received,
    _dir: tempfile::TempDir,
    _servers: Vec<Server>,
}

/// What the servers were sent, in order.
type Received = Arc<Mutex<Vec<Value>>>;

/// What came of a request.
pub(crate) struct Seen {
    pub(crate) head: Response<()>,
    /// What the server says; nothing, where it was not one of ours that answered.
    said: Value,
}

/// The services, as the mesh file has them; the clusters are `echo-v1`, `echo-v2`, `echo-v3`, one for
/// each of their pods, and `dead`.
pub(crate) async fn world(services: &str) -> World {
    world_of("namespace", "gateway-conformance-mesh", services).await
}

/// The same, for a caller that carries this label.
pub(crate) async fn world_of(label: &str, value: &str, services: &str) -> World {
    let mut text = format!("services:\n{services}\nclusters:\n");
    let (mut servers, received) = (Vec::new(), Received::default());
    let mut pods = BTreeMap::new();
    for name in ["echo-v1", "echo-v2", "echo-v3"] {
        let heard = Arc::clone(&received);
        let server = Server::start(move |request| echo(name, request, Arc::clone(&heard))).await;
        let pod = server.address().to_string();
        for cluster in [name, &pod] {
            text += &format!("  \"{cluster}\": {{endpoints: [{{address: \"{pod}\"}}]}}\n");
        }
        pods.insert(name, pod);
        servers.push(server);
    }
    text += "  dead: {endpoints: [{address: \"127.0.0.1:1\"}]}\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, &text).unwrap();
    let mesh = Mesh::builder().config_file(&path).seed(5).label("app", "web");
    let mesh = mesh.label(label, value).build().unwrap();
    mesh.ready().await.unwrap_or_else(|error| panic!("{error}\n{text}"));
    World { mesh, pods, received, _dir: dir, _servers: servers }
}

/// Says what it was sent. With a header `x-fail-first` the first attempt fails; a header `x-answer: name:value` asks for a header of the response.
///
/// One with `x-hang` is heard, and never answered.
async fn echo(name: &'static str, request: Request<Incoming>, received: Received) -> Reply {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let body = body.map(|body| String::from_utf8_lossy(&body).into_owned()).unwrap_or_default();
    let request = Request::from_parts(head, ());
    let of = |header: &HeaderName| {
        let values = request.headers().get_all(header).iter();
        let values = values.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        values.collect::<Vec<_>>().join(",")
    };
    let headers: serde_json::Map<_, _> =
        request.headers().keys().map(|it| (it.to_string(), json!(of(it)))).collect();
    let host = request.uri().authority().map(ToString::to_string);
    let host = host.unwrap_or_else(|| of(&http::header::HOST));
    let (path, query) = (request.uri().path(), request.uri().query());
    let said = json!({
        "backend": name, "path": path, "query": query, "host": host, "headers": headers,
        "method": request.method().as_str(), "body": body,
        "version": format!("{:?}", request.version()),
    });
    received.lock().unwrap().push(said.clone());
    if request.headers().contains_key("x-hang") {
        std::future::pending::<()>().await;
    }
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

    /// What a server was sent, once it was sent so many requests.
    pub(crate) async fn received(&self, backend: &str, count: usize) -> Vec<Value> {
        let mine = || {
            let received = self.received.lock().unwrap();
            received.iter().filter(|it| it["backend"] == backend).cloned().collect::<Vec<_>>()
        };
        let wait = async {
            while mine().len() < count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        crate::support::patience(wait).await;
        mine()
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

    pub(crate) fn version(&self) -> &str {
        self.said["version"].as_str().unwrap_or_default()
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
