//! nginx, serving a file, an answer of its own, and a proxied sink that reads request bodies.

use std::{
    fmt::Write as _, fs, os::unix::fs::MetadataExt, path::PathBuf, process::Command, time::Duration,
};

use http::{Request, Version};
use tempfile::TempDir;
use tower_mesh::{Body, Client};

use crate::program::{Program, find, folder, free_port};

/// The size of `/page`.
pub(crate) const PAGE: usize = 100_000;

/// A running nginx with two workers.
pub(crate) struct Nginx {
    program: Program,
    /// HTTP/1.1.
    pub(crate) http1: u16,
    /// HTTP/2 by prior knowledge.
    pub(crate) http2: u16,
    dir: TempDir,
}

impl Nginx {
    /// Starts it with these settings of its servers.
    pub(crate) async fn start(settings: &str) -> Self {
        let (dir, http1, http2) = (folder(), free_port(), free_port());
        fs::create_dir(dir.path().join("www")).unwrap();
        fs::write(dir.path().join("www/page"), vec![b'x'; PAGE]).unwrap();
        fs::write(dir.path().join("nginx.conf"), conf(&dir, settings, http1, http2)).unwrap();
        let mut program = Program::start("nginx", command(&dir), dir.path());
        program.listens(http1).await;
        program.listens(http2).await;
        Self { program, http1, http2, dir }
    }

    /// Reloads it gracefully, and waits until the old workers take no more connections.
    pub(crate) async fn reload(&self) {
        let before = self.workers();
        let status = command(&self.dir).args(["-s", "reload"]).status().unwrap();
        assert!(status.success());
        for _ in 0..500 {
            if self.workers().iter().any(|worker| !before.contains(worker)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nginx started no new worker");
    }

    /// The ids of its workers.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.program.id());
        let children = fs::read_to_string(children).unwrap();
        children.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(find("nginx"));
    command.arg("-p").arg(dir.path()).arg("-c").arg(dir.path().join("nginx.conf"));
    command.arg("-e").arg(dir.path().join("error.log"));
    command
}

fn conf(dir: &TempDir, settings: &str, http1: u16, http2: u16) -> String {
    let sink: PathBuf = dir.path().join("sink.sock");
    let (dir, sink) = (dir.path().display(), sink.display());
    // Workers of a root's nginx are somebody else, who may not look into our folder.
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let user = if root { "user root;" } else { "" };
    format!(
        r#"
daemon off;
{user}
pid {dir}/nginx.pid;
worker_processes 2;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    {settings}
    server {{
        add_header x-worker $pid;
        add_header x-connection $connection;
        listen 127.0.0.1:{http1};
        listen 127.0.0.1:{http2} http2;
        root {dir}/www;
        location = /own {{ return 200 "$content_length"; }}
        location = /sink {{ proxy_pass http://unix:{sink}:/; }}
    }}
    server {{
        listen unix:{sink};
        location / {{ return 200 "$content_length"; }}
    }}
}}
"#
    )
}

/// The address of a port.
pub(crate) fn at(port: u16) -> std::net::SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// What the `number`th caller asks for: pages, answers and bodies to swallow in turn.
pub(crate) fn request(number: usize, version: Version) -> Request<Body> {
    let builder = Request::builder().version(version);
    match number % 4 {
        0 => builder.uri("/own").body(Body::empty()),
        1 => builder.uri("/page").body(Body::empty()),
        2 => builder.method("POST").uri("/own").body(Body::from("hello")),
        _ => builder.method("POST").uri("/sink").body(Body::from("hello")),
    }
    .unwrap()
}

/// Makes a call, checks its whole answer, and says `worker connection`.
pub(crate) async fn call(client: Client, request: Request<Body>) -> Result<String, String> {
    let what = format!("{} {}", request.method(), request.uri());
    let failed = |error: tower_mesh::Error| {
        let mut text = format!("{what}: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let _ = write!(text, ": {cause:?}");
            source = cause.source();
        }
        text
    };
    let expected = match (request.uri().path(), request.method().as_str()) {
        ("/page", _) => PAGE,
        (_, "POST") => 1,
        _ => 0,
    };
    let (head, body) = client.send(request).await.map_err(failed)?.into_parts();
    let body = body.bytes().await.map_err(failed)?;
    if head.status != 200 || body.len() != expected {
        return Err(format!("{what}: {head:?}, {} bytes", body.len()));
    }
    let say = |name: &str| head.headers[name].to_str().unwrap();
    Ok(format!("{} {}", say("x-worker"), say("x-connection")))
}
