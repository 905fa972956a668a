//! What calls do of what istiod says. The YAML is beside this file; what is expected is the same of the real one and of
//! what was recorded.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http::StatusCode;
use tokio::time::Instant;
use tower_mesh::{Error, Mesh};

use crate::{
    bed::{CALLER, How, Istiod, WAYS, until},
    support::{Ca, Server, Tls, TlsServer, fetch, get, patience, reply, status},
};

async fn send(mesh: &Mesh, uri: &str) -> Result<(StatusCode, String), Error> {
    let answer = patience(fetch(&mesh.http(), get(uri))).await?;
    Ok((answer.status(), String::from_utf8_lossy(answer.body().as_ref()).into_owned()))
}

/// What is answered, or why nothing is.
pub(crate) async fn body(mesh: &Mesh, uri: &str) -> Result<String, Error> {
    send(mesh, uri).await.map(|(_, text)| text)
}

/// Who answers so many calls, all of them.
pub(crate) async fn shares(mesh: &Mesh, uri: &str, calls: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..calls {
        let who = body(mesh, uri).await.unwrap_or_else(|error| panic!("{error}"));
        *shares.entry(who).or_default() += 1;
    }
    shares
}

/// Callers of a load.
const CALLERS: usize = 2;

/// All calls are answered well that callers make without a pause until this is over.
async fn under_load(mesh: &Mesh, uri: &'static str, meanwhile: impl Future<Output = ()>) {
    let over = Arc::new(AtomicBool::new(false));
    let call = |_: usize| {
        let (mesh, over) = (mesh.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            let mut calls = 0_usize;
            while !over.load(Ordering::Relaxed) {
                let answer = send(&mesh, uri).await;
                let is_well = answer.as_ref().is_ok_and(|(code, _)| *code == StatusCode::OK);
                assert!(is_well, "call {calls}: {answer:?}");
                calls += 1;
            }
            calls
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(call).collect();
    meanwhile.await;
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > 0, "nothing was called");
    }
}

fn nothing_was_refused(istiod: &impl Istiod, how: How) {
    assert_eq!(istiod.refusals(), Vec::<String>::new(), "{how:?}");
}

/// A split over two subsets, a route by header to one of them; other weights; and the service is gone.
pub(crate) async fn a_split_over_subsets_that_shifts_and_ends<I: Istiod>() {
    const URI: &str = "http://reviews.shop:8080/";
    let servers = [Server::named("v1").await, Server::named("v2").await];
    let at: Vec<SocketAddr> = servers.iter().map(Server::socket).collect();
    for how in WAYS {
        let mut istiod = I::start("split", how).await;
        istiod.says(1, &at).await;
        let mesh = how.mesh(&istiod);
        let told = shares(&mesh, URI, 400).await;
        println!("{how:?}: 80 : 20 {told:?}");
        assert!((280..=360).contains(&told["v1"]), "{how:?}: {told:?}");
        for _ in 0..20 {
            let mut request = get(URI);
            request.headers_mut().insert("x-canary", "yes".parse().unwrap());
            let answer = patience(fetch(&mesh.http(), request)).await.unwrap();
            assert_eq!(answer.body().as_ref(), b"v2", "{how:?}");
        }

        let shift = Box::pin(async {
            istiod.says(2, &at).await;
            until("the other weights", async || shares(&mesh, URI, 100).await["v2"] > 60).await;
        });
        under_load(&mesh, URI, shift).await;
        nothing_was_refused(&istiod, how);

        istiod.says(3, &at).await;
        // What is taken back is kept (gRFC A88), but nobody is left to be called.
        let mut last = None;
        until("its end", async || {
            last = send(&mesh, URI).await.err();
            last.is_some()
        })
        .await;
        let last = last.unwrap();
        println!("{how:?}: after its end: {last}");
        assert!(!last.is_timeout(), "{how:?}: {last}");
        let told = mesh.describe().to_string();
        assert!(told.contains("does not exist: the server no longer has it"), "{how:?}: {told}");
        // To a sidecar the rest of the world is reached by the connection's original address.
        let others = |why: &String| !why.contains("`PassthroughCluster`");
        assert!(!istiod.refusals().iter().any(others), "{how:?}: {:?}", istiod.refusals());
    }
}

/// Retries, timeouts, faults; and outlier detection, which only sidecars are told of.
pub(crate) async fn retries_timeouts_and_faults<I: Istiod>() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let server = Server::start(move |request| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match request.uri().path() {
                "/short" => std::future::pending().await,
                "/half" | "/delayed" => reply("well"),
                // The fourth of each four is well.
                "/retried" if number % 4 == 3 => reply("well"),
                _ => status(StatusCode::INTERNAL_SERVER_ERROR),
            }
        }
    })
    .await;
    let uri = |path: &str| format!("http://flaky.shop:8080/{path}");
    for how in WAYS {
        let mut istiod = I::start("calls", how).await;
        istiod.says(1, &[server.socket()]).await;
        let mesh = how.mesh(&istiod);

        seen.store(0, Ordering::Relaxed);
        for calls in 1..=10 {
            let answer = send(&mesh, &uri("retried")).await.unwrap();
            assert_eq!(answer, (StatusCode::OK, "well".to_owned()), "{how:?}");
            assert_eq!(seen.load(Ordering::Relaxed), 4 * calls, "{how:?}");
        }
        let (code, _) = send(&mesh, &uri("once")).await.unwrap();
        assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{how:?}");
        assert_eq!(seen.load(Ordering::Relaxed), 41, "{how:?}: it was retried");

        let began = Instant::now();
        let short = send(&mesh, &uri("short")).await.unwrap_err();
        let took = began.elapsed();
        assert!(short.is_timeout(), "{how:?}: {short}");
        assert!((280..9000).contains(&took.as_millis()), "{how:?}: {took:?}");

        let began = Instant::now();
        assert_eq!(body(&mesh, &uri("delayed")).await.unwrap(), "well", "{how:?}");
        let took = began.elapsed();
        assert!((400..9000).contains(&took.as_millis()), "{how:?}: {took:?}");

        let mut aborted = 0;
        for _ in 0..200 {
            let (code, _) = send(&mesh, &uri("half")).await.unwrap();
            aborted += usize::from(code == StatusCode::IM_A_TEAPOT);
        }
        println!("{how:?}: {aborted} of 200 aborted");
        assert!((70..=130).contains(&aborted), "{how:?}: {aborted} of 200");

        let told = mesh.describe().to_string();
        for words in ["outlier_detection.consecutive_5xx = 7", "connect_timeout = 3s"] {
            assert_eq!(told.contains(words), how.is_sidecar(), "{how:?}: {words}\n{told}");
        }
        nothing_was_refused(&istiod, how);
    }
}

/// A pod of Kubernetes by mutual TLS; then TLS of a mode that clients of gRPC are not told of; then none.
pub(crate) async fn tls_as_it_is_said_and_never_less<I: Istiod>() {
    const URI: &str = "http://users.prod.svc.cluster.local:8080/";
    const SERVER: &str = "spiffe://cluster.local/ns/prod/sa/users";
    const SNI: &str = "outbound_.8080_._.users.prod.svc.cluster.local";
    for how in WAYS {
        let ca = Ca::new("istio");
        let server = Tls::new(ca.issue(&[SERVER])).clients_of(&ca).or_plain().named("users");
        let server = server.start().await;
        let other = "spiffe://cluster.local/ns/prod/sa/other";
        let other = Tls::new(ca.issue(&[other])).clients_of(&ca).or_plain().start().await;
        let mut istiod = I::start("tls", how).await;
        let own = ca.issue(&[CALLER]);
        let write = |name: &str, text: &str| fs::write(istiod.folder().join(name), text).unwrap();
        write("cert-chain.pem", &own.chain_pem);
        write("key.pem", &own.key_pem);
        write("root-cert.pem", ca.pem());
        let strict = || Mesh::builder().source(how.source(&istiod)).build().unwrap();
        let meshes = [strict(), strict(), strict()];
        let at = [server.socket()];

        istiod.says(1, &at).await;
        assert_eq!(body(&meshes[0], URI).await.unwrap(), "users", "{how:?}");
        let met = &server.met()[0];
        // Who asks as gRPC does is told no name to ask for.
        let sni = how.is_sidecar().then_some(SNI);
        assert_eq!((met.sni.as_deref(), met.certificates), (sni, 1), "{how:?}");
        istiod.says(1, &[other.socket()]).await;
        until("the other server", async || {
            body(&meshes[0], URI).await.is_err_and(|error| error.to_string().contains("cert"))
        })
        .await;
        assert_eq!(other.requests(), 0, "{how:?}");
        istiod.says(1, &at).await;
        until("the server again", async || body(&meshes[0], URI).await.is_ok()).await;
        nothing_was_refused(&istiod, how);

        // SIMPLE: by public authorities, of whom none vouches for this server. Who asks as gRPC does is told nothing of it.
        istiod.says(2, &at).await;
        let error = body(&meshes[1], URI).await.unwrap_err().to_string();
        println!("{how:?}, SIMPLE: {error}");
        if how.is_sidecar() {
            assert!(error.contains("cert"), "{how:?}: {error}");
            until("SIMPLE", async || body(&meshes[0], URI).await.is_err()).await;
        } else {
            assert!(error.contains("`Xds::plaintext`"), "{how:?}: {error}");
            // Who had mutual TLS keeps it.
            assert_eq!(body(&meshes[0], URI).await.unwrap(), "users", "{how:?}");
        }
        assert_eq!(in_plaintext(&server), 0, "{how:?}");

        // DISABLE: in clear, if that is certain.
        istiod.says(3, &at).await;
        let disabled = body(&meshes[2], URI).await;
        println!("{how:?}, DISABLE: {disabled:?}");
        if how.is_sidecar() {
            assert_eq!(disabled.unwrap(), "users", "{how:?}");
        } else {
            assert!(disabled.unwrap_err().to_string().contains("`Xds::plaintext`"), "{how:?}");
            assert_eq!(in_plaintext(&server), 0, "{how:?}");
            assert_eq!(body(&how.mesh(&istiod), URI).await.unwrap(), "users", "{how:?}");
        }
        assert!(in_plaintext(&server) > 0, "{how:?}");
        nothing_was_refused(&istiod, how);
    }
}

/// How many requests came without TLS.
fn in_plaintext(server: &TlsServer) -> usize {
    let secured: Vec<usize> = server.met().iter().map(|met| met.number).collect();
    server.served().iter().filter(|number| !secured.contains(number)).count()
}

/// Services outside of the mesh: by DNS, of which clients of gRPC are not told, and by addresses, one of which moves.
pub(crate) async fn entries_by_name_and_by_address<I: Istiod>() {
    const NAMED: &str = "http://named.example.com:8080/";
    const LISTED: &str = "http://listed.example.com:8080/";
    let servers =
        [Server::named("named").await, Server::named("listed").await, Server::named("moved").await];
    let at: Vec<SocketAddr> = servers.iter().map(Server::socket).collect();
    for how in WAYS {
        let mut istiod = I::start("entries", how).await;
        istiod.says(1, &at).await;
        let mesh = how.mesh(&istiod);
        assert_eq!(body(&mesh, LISTED).await.unwrap(), "listed", "{how:?}");
        let named = body(&mesh, NAMED).await;
        println!("{how:?}: by name {named:?}");
        assert_eq!(named.is_ok_and(|who| who == "named"), how.is_sidecar(), "{how:?}");
        istiod.says(2, &at).await;
        until("the move", async || body(&mesh, LISTED).await.unwrap() == "moved").await;
        nothing_was_refused(&istiod, how);
    }
}
