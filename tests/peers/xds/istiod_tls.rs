//! istiod itself, asked by TLS and with the token of a pod's service account: its own generators (`istiod/main.go`) behind
//! its own checks of who asks. `.ci/peers full` builds it. The tokens are signed by OpenSSL.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, Dialect, Server as ControlPlane, ServerTls, Xds},
};

use super::{istiod::say, plane::go};
use crate::{
    bed::{How, WAYS, until},
    program::{Program, find, folder, free_port},
    scenarios::{body, shares},
    support::{Ca, Server, patience, swap},
};

const URI: &str = "http://reviews.shop:8080/";
/// As `istiod/main.go` has them.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const AUDIENCE: &str = "istio-ca";
const SUBJECT: &str = "system:serviceaccount:prod:orders";
const HOUR: i64 = 3600;

/// Who signs tokens: an RSA key of its own, as a Kubernetes cluster has.
struct Signer {
    folder: TempDir,
    key: PathBuf,
}

/// What a token says.
#[derive(Clone, Copy)]
struct Claims {
    issuer: &'static str,
    audience: &'static str,
    subject: &'static str,
    /// Seconds from now.
    expires: i64,
}

/// Those of the pod.
const OWN: Claims = Claims { issuer: ISSUER, audience: AUDIENCE, subject: SUBJECT, expires: HOUR };

/// What this prints.
fn printed(mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output.stdout
}

fn openssl(arguments: &[&str], key: &Path) -> Command {
    let mut command = Command::new(find("openssl"));
    command.args(arguments).arg(key);
    command
}

impl Signer {
    fn new() -> Self {
        let folder = folder();
        let key = folder.path().join("key.pem");
        let mut made = openssl(&["genrsa", "-out"], &key);
        made.arg("2048");
        drop(printed(made));
        Self { folder, key }
    }

    /// Its public key, as a JSON Web Key Set.
    fn keys(&self) -> String {
        let asked = openssl(&["rsa", "-noout", "-modulus", "-in"], &self.key);
        let told = String::from_utf8(printed(asked)).unwrap();
        let digits = told.trim().strip_prefix("Modulus=").unwrap();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let modulus: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let modulus = BASE64_URL_SAFE_NO_PAD.encode(modulus);
        let key = json!({"kty": "RSA", "alg": "RS256", "use": "sig", "n": modulus, "e": "AQAB"});
        json!({"keys": [key]}).to_string()
    }

    fn token(&self, claims: Claims) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        let Claims { issuer, audience, subject, expires } = claims;
        let claims = json!({
            "iss": issuer, "aud": [audience], "sub": subject, "iat": now - HOUR, "exp": now + expires,
        });
        let head = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let file = self.folder.path().join("signed");
        fs::write(&file, &signed).unwrap();
        let mut sign = openssl(&["dgst", "-sha256", "-binary", "-sign"], &self.key);
        sign.arg(&file);
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(printed(sign)))
    }
}

/// istiod at a port, and what a pod has of it.
struct Direct {
    program: Option<Program>,
    folder: TempDir,
    port: u16,
    signer: Signer,
}

impl Direct {
    /// One that says a step of the scenario `split`.
    async fn start(step: usize, servers: &[SocketAddr]) -> Self {
        let (folder, port, signer) = (folder(), free_port(), Signer::new());
        let ca = Ca::new("istiod");
        swap(&folder.path().join("root-cert.pem"), ca.pem());
        ca.issue(&["localhost"]).write(folder.path());
        swap(&folder.path().join("jwks.json"), &signer.keys());
        let mut direct = Self { program: None, folder, port, signer };
        direct.says(step, servers);
        direct.resume().await;
        direct
    }

    fn says(&self, step: usize, servers: &[SocketAddr]) {
        say(self.folder.path(), "split", step, servers);
    }

    /// Starts it again where it was.
    async fn resume(&mut self) {
        let mut command = Command::new(go("istiod"));
        command.arg(self.folder.path()).arg(self.port.to_string());
        let mut program = Program::start("istiod", command, self.folder.path());
        program.listens(self.port).await;
        self.program = Some(program);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it was asked, and what it answered.
    fn wire(&self) -> String {
        fs::read_to_string(self.path("wire.jsonl")).unwrap_or_default()
    }

    /// A pod with the token in this file.
    fn pod(&self, how: How, token: &str) -> Xds {
        xds(self.port, how, &self.path(token), &self.path("root-cert.pem"))
    }

    /// A token in a file of its own, whose name this is.
    fn token(&self, name: &'static str, claims: Claims) -> &'static str {
        swap(&self.path(name), &self.signer.token(claims));
        name
    }
}

/// A pod that asks istiod itself.
fn xds(port: u16, how: How, token: &Path, roots: &Path) -> Xds {
    let bootstrap = Bootstrap::istio()
        .dialect(how.dialect)
        .delta(how.delta)
        .istiod(format!("localhost:{port}"))
        .token_file(token)
        .roots_file(roots)
        // For the secret `default`, which istiod names for endpoints of the mesh.
        .certificates_dir(token.parent().unwrap())
        .ip([10, 0, 0, 1].into())
        .pod("orders-1")
        .namespace("prod")
        .service_account("orders")
        .build();
    Xds::new(bootstrap.unwrap()).plaintext(true)
}

fn mesh(xds: Xds) -> Mesh {
    Mesh::builder().source(xds).build().unwrap()
}

/// Why a call of a mesh that knows nothing fails: that names the server and the node.
async fn refusal(xds: Xds, port: u16) -> String {
    let error = body(&mesh(xds), URI).await.unwrap_err().to_string();
    println!("{error}");
    assert!(error.contains("the server cannot be reached"), "{error}");
    assert!(error.contains(&format!("`localhost:{port}`")), "{error}");
    assert!(error.contains("orders-1.prod"), "{error}");
    error
}

async fn replicas() -> ([Server; 2], [SocketAddr; 2]) {
    let servers = [Server::named("v1").await, Server::named("v2").await];
    let at = [servers[0].socket(), servers[1].socket()];
    (servers, at)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn a_token_of_the_pod_is_let_in_in_both_dialects_by_both_protocols() {
    let (_servers, at) = replicas().await;
    let istiod = Direct::start(1, &at).await;
    let token = istiod.token("token", OWN);
    for how in WAYS {
        let mesh = mesh(istiod.pod(how, token));
        let told = shares(&mesh, URI, 200).await;
        println!("{how:?}: 80 : 20 {told:?}");
        assert!((130..=185).contains(&told["v1"]), "{how:?}: {told:?}");
    }
    let wire = istiod.wire();
    assert!(wire.contains("orders-1.prod") && !wire.contains("\"error\""), "{wire}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn a_token_that_is_none_of_this_pod_is_refused_and_the_error_says_by_whom_and_why() {
    let (_servers, at) = replicas().await;
    let istiod = Direct::start(1, &at).await;
    let stranger = Signer::new();
    swap(&istiod.path("of-another-key"), &stranger.token(OWN));
    let cases = [
        // What is found before anything is sent.
        ("missing", "missing cannot be read"),
        (istiod.token("expired", Claims { expires: -60, ..OWN }), "it has expired"),
        // istiod tells nobody why it does not believe a token.
        ("of-another-key", "code 16: authentication failure"),
        (
            istiod.token("of-another-issuer", Claims { issuer: "https://elsewhere", ..OWN }),
            "code 16: authentication failure",
        ),
        (
            istiod.token("for-another", Claims { audience: "vault", ..OWN }),
            "code 16: authentication failure",
        ),
        (
            istiod.token("of-nobody", Claims { subject: "alice", ..OWN }),
            "code 16: authentication failure",
        ),
        (
            istiod.token(
                "of-another-account",
                Claims { subject: "system:serviceaccount:prod:users", ..OWN },
            ),
            "code 7: authorization failed: no identities ([spiffe://cluster.local/ns/prod/sa/users])",
        ),
        (
            istiod.token(
                "of-another-namespace",
                Claims { subject: "system:serviceaccount:shop:orders", ..OWN },
            ),
            "code 7: authorization failed",
        ),
    ];
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let how = How { dialect, delta: dialect == Dialect::Sidecar };
        for (token, why) in cases {
            let error = refusal(istiod.pod(how, token), istiod.port).await;
            assert!(error.contains(why), "{how:?}, {token}: {error}");
            if let Ok(token) = fs::read_to_string(istiod.path(token)) {
                let signature = token.rsplit('.').next().unwrap();
                assert!(!error.contains(signature), "{how:?}: a token in an error");
            }
        }
    }
    // No token at all.
    let tls = ServerTls::new().roots_file(istiod.path("root-cert.pem"));
    let bootstrap = Bootstrap::builder()
        .server(ControlPlane::tls(format!("localhost:{}", istiod.port), tls))
        .node_id("sidecar~10.0.0.1~orders-1.prod~prod.svc.cluster.local")
        .build();
    let error = refusal(Xds::new(bootstrap.unwrap()), istiod.port).await;
    assert!(error.contains("code 16: authentication failure"), "{error}");
    assert!(!istiod.wire().contains("\"sent\""), "somebody was answered: {}", istiod.wire());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn calls_outlive_a_token_that_is_refused_and_a_renewed_one_is_shown_by_the_next_stream() {
    let (_servers, at) = replicas().await;
    let mut istiod = Direct::start(1, &at).await;
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let how = How { dialect, delta: dialect == Dialect::Proxyless };
        istiod.says(1, &at);
        let token = istiod.token("token", OWN);
        let xds = istiod.pod(how, token);
        let mesh = mesh(xds.clone());
        until("the first weights", async || {
            shares(&mesh, URI, 50).await.get("v1").is_some_and(|calls| *calls > 25)
        })
        .await;

        // Of another account: who holds a stream keeps it, and the next one is refused.
        let other = "system:serviceaccount:prod:users";
        istiod.token(token, Claims { subject: other, ..OWN });
        istiod.program = None;
        istiod.says(2, &at);
        istiod.resume().await;
        until("the refusal", async || {
            drop(shares(&mesh, URI, 10).await);
            let status = xds.status().await;
            let reason = status.servers[0].reason.clone().unwrap_or_default();
            reason.contains("code 7: authorization failed")
        })
        .await;
        let old = shares(&mesh, URI, 100).await;
        assert!(old["v1"] > 60, "{how:?}: {old:?}");

        istiod.token(token, OWN);
        until("the other weights", async || {
            shares(&mesh, URI, 50).await.get("v2").is_some_and(|calls| *calls > 25)
        })
        .await;
        assert_eq!(xds.status().await.servers[0].reason, None, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn an_istiod_of_another_root_or_name_is_refused_before_it_hears_anything() {
    let (_servers, at) = replicas().await;
    let istiod = Direct::start(1, &at).await;
    let token = istiod.token("token", OWN);
    let other = istiod.path("other.pem");
    swap(&other, Ca::new("istiod").pem());
    for how in WAYS {
        let error = refusal(xds(istiod.port, how, &istiod.path(token), &other), istiod.port).await;
        assert!(error.contains("no trusted root vouches"), "{how:?}: {error}");
    }
    let named = Bootstrap::istio()
        .istiod(format!("localhost:{}", istiod.port))
        .server_name("istiod.istio-system.svc")
        .token_file(istiod.path(token))
        .roots_file(istiod.path("root-cert.pem"))
        .ip([10, 0, 0, 1].into())
        .pod("orders-1")
        .namespace("prod")
        .build();
    let error = refusal(Xds::new(named.unwrap()), istiod.port).await;
    assert!(error.contains("istiod.istio-system.svc"), "{error}");
    assert_eq!(istiod.wire(), "");
}

/// Whoever listens there in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_told_to_who_speaks_no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dir = folder();
    let (token, roots) = (dir.path().join("token"), dir.path().join("root-cert.pem"));
    let signer = Signer::new();
    swap(&token, &signer.token(OWN));
    swap(&roots, Ca::new("istiod").pem());
    for how in WAYS {
        let mesh = mesh(xds(port, how, &token, &roots));
        let call = tokio::spawn(async move { body(&mesh, URI).await });
        let (mut stream, _) = patience(listener.accept()).await.unwrap();
        let mut heard = vec![0; 4096];
        let length = patience(stream.read(&mut heard)).await.unwrap();
        // A handshake of TLS, not the preface of HTTP/2.
        assert_eq!(heard[0], 22, "{how:?}");
        // It answers as a server in plaintext does.
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        // A reset is as good as an end.
        drop(tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await);
        heard.truncate(length);
        heard.extend(rest);
        let text = fs::read_to_string(&token).unwrap();
        for part in text.split('.') {
            let has = heard.windows(part.len()).any(|it| it == part.as_bytes());
            assert!(!has, "{how:?}: the token was told");
        }
        let error = patience(call).await.unwrap().unwrap_err().to_string();
        assert!(error.contains(&format!("`localhost:{port}`")), "{how:?}: {error}");
    }
}
