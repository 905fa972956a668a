//! Mutual TLS with nginx, with haproxy, and with gRPC C-core on either side; certificates rotated
//! under load.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use http::Version;
use tempfile::TempDir;
use tonic::{Request, Response, Status};
use tower_mesh::{
    Client, ErrorKind, Mesh, MeshBuilder, Phase,
    config::Transport,
    security::{KeyPair, Trust},
};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::Decode,
};

use crate::{
    grpcio::{count, say},
    nginx::at,
    program::{Program, find, folder, free_port, python, scale},
    support::{
        Ca, GreeterClient, HelloRequest, Issued, Tls, fetch, get,
        greeter::{BoxFuture, Greeter, HelloReply, Replies},
        over, patience, storm, swap,
    },
};

const USERS: &str = "users.prod";
const CALLER: &str = "spiffe://prod.example/ns/shop/sa/cart";
const POLL: Duration = Duration::from_millis(100);

/// A folder with `ca.crt`, and `tls.crt` and `tls.key` of this name.
fn keys(ca: &Ca, name: &str) -> TempDir {
    let dir = folder();
    swap(&dir.path().join("ca.crt"), ca.pem());
    ca.issue(&[name]).write(dir.path());
    dir
}

/// A mesh of the one service at these ports, with the keys of this folder.
fn mesh_of(ports: &[u16], keys: &Path) -> MeshBuilder {
    let mut transport = Transport::default();
    transport.max_age = Some(2 * POLL);
    Mesh::builder()
        .endpoints(USERS, ports.iter().map(|port| at(*port)))
        .identity(
            KeyPair::pem_files(keys.join("tls.crt"), keys.join("tls.key")).poll_interval(POLL),
        )
        .trust(Trust::pem_file(keys.join("ca.crt")).poll_interval(POLL))
        // Connections are made all the time, and so is who calls shown.
        .service(USERS, |s| s.mutual_tls().transport(transport))
}

/// Calls in parallel while the own certificate is renewed, once where the run is short; what they came to,
/// and the last certificate.
async fn rotated(client: &Client, ca: &Ca, own: &Path, version: Version) -> (Vec<String>, Issued) {
    let (mut last, renewals) = (None, scale() as usize);
    let calls = storm(16, 600 * renewals, |number| {
        if number % 600 == 200 {
            let issued = ca.issue(&[CALLER]);
            issued.write(own);
            last = Some(issued);
        }
        let call = fetch(client, over(version, get("/")));
        async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            match call.await {
                Ok(answer) => String::from_utf8(answer.into_body().to_vec()).unwrap(),
                Err(error) => format!("failed: {}", error.chain()),
            }
        }
    });
    let calls = calls.await;
    (calls, last.unwrap())
}

/// The serial number of the first certificate of a chain, as OpenSSL writes it.
fn serial(issued: &Issued) -> String {
    let certificate = CertificateInner::<Raw>::from_der(&issued.chain[0]).unwrap();
    let bytes = certificate.tbs_certificate().serial_number().as_bytes();
    let text: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    text.trim_start_matches('0').to_owned()
}

/// All of them have succeeded, with these words before the serial number of who called; so has each
/// further call, and one of those has been made with the last certificate.
async fn renewed(client: &Client, version: Version, came_to: (Vec<String>, Issued), words: &str) {
    let (answers, last) = came_to;
    let last = serial(&last);
    let shown = |answer: &str| {
        let serial = answer.strip_prefix(words).unwrap_or_else(|| panic!("{answer}: not {words}"));
        serial.trim().trim_start_matches('0').to_owned()
    };
    let mut all: BTreeSet<String> = answers.iter().map(|answer| shown(answer)).collect();
    let arrives = async {
        while !all.contains(&last) {
            let answer = fetch(client, over(version, get("/"))).await.unwrap();
            all.insert(shown(&String::from_utf8_lossy(answer.body())));
        }
    };
    patience(arrives).await;
    assert!(all.len() > 1, "an earlier one was shown, too: {all:?}");
}

async fn nginx(dir: &TempDir) -> (Program, u16) {
    let port = free_port();
    let path = dir.path().display();
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let user = if root { "user root;" } else { "" };
    let conf = format!(
        "daemon off; {user} pid {path}/nginx.pid; events {{}}
http {{
    access_log off;
    client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f;
    uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {path}/tls.crt; ssl_certificate_key {path}/tls.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_client_certificate {path}/ca.crt; ssl_verify_client on;
        location / {{
            return 200 \"$ssl_client_verify $ssl_protocol $server_protocol $ssl_client_serial\";
        }}
    }}
}}"
    );
    fs::write(dir.path().join("nginx.conf"), conf).unwrap();
    let mut command = Command::new(find("nginx"));
    command.arg("-p").arg(dir.path()).arg("-c").arg(dir.path().join("nginx.conf"));
    command.arg("-e").arg(dir.path().join("error.log"));
    let mut program = Program::start("nginx", command, dir.path());
    program.listens(port).await;
    (program, port)
}

#[tokio::test]
async fn nginx_sees_who_calls_and_a_renewed_certificate_costs_no_call() {
    let ca = Ca::new("ca");
    let (server, own) = (keys(&ca, USERS), keys(&ca, CALLER));
    let (_nginx, port) = nginx(&server).await;
    for (alpn, told) in [("h2", "HTTP/2.0"), ("http/1.1", "HTTP/1.1")] {
        let mut security = tower_mesh::config::ClusterSecurity::mutual();
        security.alpn = vec![alpn.to_owned()];
        let mesh =
            mesh_of(&[port], own.path()).service(USERS, |s| s.security(security)).build().unwrap();
        mesh.ready().await.unwrap();
        let client = mesh.client(USERS).unwrap();
        let came_to = rotated(&client, &ca, own.path(), Version::HTTP_11).await;
        renewed(&client, Version::HTTP_11, came_to, &format!("SUCCESS TLSv1.3 {told} ")).await;
    }
}

#[tokio::test]
async fn haproxy_asks_for_a_certificate_and_chooses_the_protocol() {
    let ca = Ca::new("ca");
    let (server, own) = (keys(&ca, USERS), keys(&ca, CALLER));
    let path = server.path();
    let both = ["tls.crt", "tls.key"].map(|name| fs::read_to_string(path.join(name)).unwrap());
    fs::write(path.join("both.pem"), both.concat()).unwrap();
    for (alpn, told) in [("h2,http/1.1", "2.0"), ("http/1.1", "1.1")] {
        let port = free_port();
        let dir = folder();
        let conf = format!(
            "defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
frontend users
    bind 127.0.0.1:{port} ssl crt {path}/both.pem ca-file {path}/ca.crt verify required alpn {alpn}
    http-request return status 200 content-type text/plain lf-string \"%[ssl_c_used] %[req.ver] %[ssl_c_serial,hex]\"
",
            path = path.display()
        );
        fs::write(dir.path().join("haproxy.cfg"), conf).unwrap();
        let mut command = Command::new(find("haproxy"));
        command.arg("-db").arg("-f").arg(dir.path().join("haproxy.cfg"));
        let mut program = Program::start("haproxy", command, dir.path());
        program.listens(port).await;
        let mesh = mesh_of(&[port], own.path()).build().unwrap();
        mesh.ready().await.unwrap();
        let client = mesh.client(USERS).unwrap();
        let came_to = rotated(&client, &ca, own.path(), Version::HTTP_2).await;
        renewed(&client, Version::HTTP_2, came_to, &format!("1 {told} ")).await;
        // Who shows none is refused, and told so.
        let plain = Mesh::builder()
            .endpoints(USERS, [at(port)])
            .trust(Trust::pem(ca.pem()))
            .service(USERS, |s| s.tls())
            .build()
            .unwrap();
        let call = fetch(&plain.client(USERS).unwrap(), get("/"));
        let error = patience(call).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Identity, Phase::Tls), "{error}");
    }
}

/// A greeter on C-core with the keys of this folder.
async fn grpcio(keys: &Path) -> (Program, u16, TempDir) {
    let (port, dir) = (free_port(), folder());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/greeter.py");
    let mut command = Command::new(python());
    command.arg(script).args(["one", &port.to_string(), "10"]);
    tls_files(&mut command, keys);
    let mut program = Program::start("greeter", command, dir.path());
    program.listens(port).await;
    (program, port, dir)
}

fn tls_files(command: &mut Command, keys: &Path) {
    command
        .env("TLS_CERTIFICATE", keys.join("tls.crt"))
        .env("TLS_KEY", keys.join("tls.key"))
        .env("TLS_ROOTS", keys.join("ca.crt"));
}

#[tokio::test]
async fn a_c_core_server_sees_who_calls() {
    let ca = Ca::new("ca");
    let (server, own) = (keys(&ca, USERS), keys(&ca, CALLER));
    let (_program, port, _dir) = grpcio(server.path()).await;
    let mesh = mesh_of(&[port], own.path()).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(USERS).unwrap();
    assert_eq!(say(client.clone(), "caller".into()).await.unwrap(), CALLER);
    assert_eq!(count(client.clone(), 1000 * scale() as usize, 0).await.unwrap(), "one");
    let answers = storm(16, 400 * scale() as usize, |number| {
        if number % 400 == 100 {
            ca.issue(&[CALLER]).write(own.path());
        }
        say(client.clone(), "who".into())
    })
    .await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("one")), "{answers:?}");
}

#[tokio::test]
async fn a_c_core_server_of_another_name_is_refused_and_named() {
    let ca = Ca::new("ca");
    let (server, own) = (keys(&ca, "orders.prod"), keys(&ca, CALLER));
    let (_program, port, _dir) = grpcio(server.path()).await;
    let mesh = mesh_of(&[port], own.path()).build().unwrap();
    let error = say(mesh.client(USERS).unwrap(), "who".into()).await.unwrap_err();
    assert!(error.contains("orders.prod") && error.contains("Unavailable"), "{error}");
}

/// Answers by calling on through a mesh.
struct Onward(Client);

impl Greeter for Onward {
    fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> BoxFuture<Result<Response<HelloReply>, Status>> {
        let mut client = GreeterClient::new(self.0.clone());
        Box::pin(async move {
            let asked = request.into_inner().name;
            let reply = client.say_hello(HelloRequest { name: "caller".into() }).await?;
            let message = format!("{asked}: {}", reply.into_inner().message);
            Ok(Response::new(HelloReply { message }))
        })
    }

    fn count(&self, _: Request<HelloRequest>) -> BoxFuture<Result<Response<Replies>, Status>> {
        Box::pin(async { Err(Status::unimplemented("it only says hello")) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_c_core_client_calls_on_through_the_mesh() {
    let ca = Ca::new("ca");
    let (server, own) = (keys(&ca, USERS), keys(&ca, CALLER));
    let (_program, port, _dir) = grpcio(server.path()).await;
    let mesh = mesh_of(&[port], own.path()).build().unwrap();
    mesh.ready().await.unwrap();
    let front = Tls::new(ca.issue(&["front.prod"]))
        .clients_of(&ca)
        .grpc(Onward(mesh.client(USERS).unwrap()))
        .await;
    let (caller, calls) = (keys(&ca, "client.prod"), 50 * scale() as usize);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/caller.py");
    let mut command = Command::new(python());
    command.arg(script).args([
        &front.socket().port().to_string(),
        "front.prod",
        &calls.to_string(),
    ]);
    tls_files(&mut command, caller.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), calls);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("call {number}: {CALLER}"));
    }
    assert_eq!(front.met()[0].certificates, 1);
}
