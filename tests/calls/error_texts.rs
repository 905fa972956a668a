//! What errors say: what happened, how much was allowed and by whom, and what to check.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use http::Version;
use tower_mesh::{
    Body, Call, Error, ErrorKind, Mesh, MeshBuilder, Retry, config, discover::Static,
};

use crate::support::{
    BoxError, Leaves, SERVICE, cluster, dead_address, fetch, get, over, patience, post, within,
};

/// Endpoints that lose every request.
fn losing(retry: Retry) -> MeshBuilder {
    Leaves::new(1)
        .mesh(|_, _| async { Err::<http::Response<Body>, BoxError>("cut off".into()) })
        .service(SERVICE, |s| {
            s.retry(retry.backoff(Duration::from_millis(1), Duration::from_millis(1)))
        })
}

/// Endpoints that never answer.
fn silent() -> MeshBuilder {
    Leaves::new(1).mesh(|_, _| std::future::pending::<Result<http::Response<Body>, BoxError>>())
}

async fn failure(mesh: &Mesh, request: http::Request<Body>) -> Error {
    mesh.client(SERVICE).unwrap().send(request).await.unwrap_err()
}

fn asking(mut request: http::Request<Body>, call: Call) -> http::Request<Body> {
    request.extensions_mut().insert(call);
    request
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_not_retried_says_why_whatever_the_reason() {
    let standard = || Retry::standard().attempts(3);
    let inherited = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("x-mesh-attempt"),
        http::HeaderValue::from_static("1"),
    )]);
    for (retry, request, why) in [
        (standard(), post("/", "a"), "not declared idempotent"),
        (standard(), over(Version::HTTP_2, post("/", "a")), "not declared idempotent"),
        (standard(), asking(get("/"), Call::new().idempotent(false)), "declared not idempotent"),
        (Retry::safe_only().attempts(3), get("/"), "declared not idempotent"),
        (standard(), asking(get("/"), Call::new().no_retry()), "the call asks for none"),
        (standard(), asking(get("/"), Call::new().inherit(&inherited)), "part of a retry itself"),
        (standard().attempts(1), get("/"), "the policy allows 1 attempt"),
        (standard(), get("/"), "all 3 attempts are used"),
    ] {
        let error = failure(&losing(retry).build().unwrap(), request).await;
        let text = error.to_string();
        assert_eq!(text.matches("not retried: ").count(), 1, "{text}");
        assert!(text.contains(&format!("{why} (")), "{why}: {text}");
    }
    let mut off = Retry::default();
    off.on_reset = Some(false);
    let error = failure(&losing(off).build().unwrap(), get("/")).await;
    assert!(error.to_string().contains("not retried: `retry.on_reset` is false"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_says_how_long_it_was_and_who_set_it() {
    let by_code = silent()
        .service(SERVICE, |s| s.timeout(Duration::from_secs(2)).retry(Retry::standard()))
        .build()
        .unwrap();
    let error = failure(&by_code, get("/")).await;
    assert!(error.to_string().contains("call passed: 2s, `timeout` by the code ("), "{error}");
    let error = failure(&by_code, within(Duration::from_millis(50), get("/"))).await;
    let own = "call passed: 50ms, said by the call or inherited (";
    assert!(error.to_string().contains(own), "{error}");

    let mut service = config::Service::default();
    service.policy.timeout = Some(Duration::from_secs(3));
    service.policy.attempt_timeout = Some(Duration::from_secs(1));
    let mut retry = Retry::default();
    retry.on_timeout = Some(false);
    service.policy.retry = Some(retry);
    let by_source = silent().source(Static::default().service(SERVICE, service)).build().unwrap();
    by_source.ready().await.unwrap();
    let error = failure(&by_source, get("/")).await;
    let attempt = "the attempt timeout passed: 1s, `attempt_timeout` by source static; \
                   not retried: `retry.on_timeout` is false (";
    assert!(error.to_string().contains(attempt), "{error}");
    let error = failure(&by_source, within(Duration::from_millis(500), get("/"))).await;
    assert!(error.to_string().contains("500ms, said by the call"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_to_check_fits_why_no_endpoint_is_called() {
    let mut draining = config::Endpoint::new("10.0.0.1:80".parse::<config::Address>().unwrap());
    draining.health = config::Health::Draining;
    let source = "that the source lists endpoints for the cluster";
    let standing = "how its endpoints stand in mesh.describe(), and mesh.explain(&request)";
    for (endpoints, what, check) in [
        (vec![], "has no endpoints (pick phase", source),
        (vec![draining], "may be called (pick phase", standing),
    ] {
        let mesh = Mesh::builder().endpoints(SERVICE, endpoints).build().unwrap();
        mesh.ready().await.unwrap();
        let error = failure(&mesh, get("/")).await;
        assert_eq!(error.kind(), ErrorKind::NoEndpoints, "{error}");
        let text = error.to_string();
        assert!(text.contains(what) && text.ends_with(&format!("; check {check}")), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_reached_is_told() {
    let mesh = silent().service(SERVICE, |s| s.max_requests(1)).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let first = tokio::spawn(client.send(get("/")));
    tokio::task::yield_now().await;
    let error = failure(&mesh, get("/")).await;
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.to_string().contains("maximum of 1 calls in flight (`max_requests`"), "{error}");
    first.abort();
}

#[tokio::test]
async fn a_cluster_that_no_source_defines_is_told_as_that() {
    let mut service = config::Service::default();
    service.cluster = Some("okk.prod".to_owned());
    let source = Static::default().service(SERVICE, service).cluster("ok.prod", cluster([]));
    let mesh = Mesh::builder().source(source).build().unwrap();
    drop(mesh.ready().await);
    let error = failure(&mesh, get("/")).await;
    assert!(error.to_string().contains("no source defines cluster okk.prod"), "{error}");
    assert!(error.to_string().contains("check the cluster's name in the routes"), "{error}");
}

#[tokio::test]
async fn the_debug_text_of_an_error_says_what_its_text_says() {
    let (dead, _held) = dead_address();
    let mesh = Mesh::builder().endpoints("users.prod", [dead]).build().unwrap();
    let error = patience(fetch(&mesh.http(), get("http://users.prod/"))).await.unwrap_err();
    assert!(format!("{error:?}").contains(&error.to_string()), "{error:?}");
}

#[tokio::test]
async fn the_one_attempt_of_a_call_is_not_told_twice() {
    let (dead, _held) = dead_address();
    let mesh = Mesh::builder()
        .endpoints("users.prod", [dead])
        .service("users.prod", |s| s.retry(Retry::standard().attempts(1)))
        .build()
        .unwrap();
    let client = mesh.http();
    // The one more that a closing endpoint may need is told.
    let error = patience(fetch(&client, get("http://users.prod/"))).await.unwrap_err();
    assert_eq!(error.attempts().len(), 2);
    assert!(error.to_string().contains("; tried 127.0.0.1:"), "{error}");
    assert_eq!(error.chain().matches("connection attempt failed").count(), 1, "{}", error.chain());
}

/// Without what differs from run to run.
fn timeless(text: &str) -> String {
    let (before, after) = text.split_once(", after ").unwrap();
    let (_, after) = after.split_once(')').unwrap();
    format!("{before}, after a while){after}")
}

#[tokio::test]
async fn the_sample_of_the_document_is_what_is_printed() {
    let document = include_str!("../../docs/ERRORS.md");
    let sample = document.split("```text\n").nth(1).unwrap().split("\n```").next().unwrap();
    let ((one, _held), (two, _too)) = (dead_address(), dead_address());
    let addresses = [one.to_string(), two.to_string()];
    let mesh = Mesh::builder()
        .endpoints("users.prod", [one, two])
        .service("users.prod", |s| s.retry(Retry::standard().attempts(2)))
        .build()
        .unwrap();
    let error = patience(fetch(&mesh.http(), get("http://users.prod/"))).await.unwrap_err();
    let last = error.endpoint().unwrap();
    let first = addresses.iter().find(|address| *address != last).unwrap();
    let told = error.to_string().replace(last, "10.0.0.1:80").replace(first, "10.0.0.2:80");
    assert_eq!(timeless(&told), timeless(&sample.replace('\n', " ")));
}

#[cfg(feature = "tls-aws-lc-rs")]
mod tls {
    use tower_mesh::security::{KeyPair, Trust};

    use super::*;
    use crate::support::{Ca, Issued, Tls};

    async fn refused(certificate: Issued, ca: &Ca) -> Error {
        let server = Tls::new(certificate).start().await;
        let mesh = Mesh::builder()
            .endpoints("users", [server.address()])
            .trust(Trust::pem(ca.pem()))
            .service("users", |s| s.tls().retry(Retry::standard().attempts(1)))
            .build()
            .unwrap();
        patience(fetch(&mesh.http(), get("http://users/"))).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_name_that_does_not_match_is_told_once_and_so_is_what_to_check() {
        let ca = Ca::new("ca");
        let error = refused(ca.issue(&["orders"]), &ca).await;
        assert_eq!(error.kind(), ErrorKind::Identity);
        for text in [error.to_string(), error.chain()] {
            for words in ["the endpoint is somebody else", "expected users", "check "] {
                assert_eq!(text.matches(words).count(), 1, "{words}: {text}");
            }
        }
    }

    #[tokio::test]
    async fn an_expired_certificate_is_told_by_its_date_and_no_type_of_a_library() {
        let ca = Ca::new("ca");
        let error = refused(ca.issue_between(&["users"], 2020, 2021), &ca).await;
        for text in [error.to_string(), error.chain()] {
            assert!(text.contains("the certificate has expired: "), "{text}");
            assert!(!text.contains("UnixTime") && !text.contains("CertExpired"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_file_without_a_certificate_is_named() {
        let (ca, folder) = (Ca::new("ca"), tempfile::tempdir().unwrap());
        let (chain, key) = ca.issue(&["web"]).write(folder.path());
        for (file, text) in [(&chain, "no certificate in it"), (&key, "no private key in ")] {
            let good = std::fs::read(file).unwrap();
            std::fs::write(file, "").unwrap();
            let pair = KeyPair::pem_files(&chain, &key);
            let builder = Mesh::builder().endpoints("users", [Leaves::address(0)]);
            let mesh = builder.identity(pair).build().unwrap();
            let refused = mesh.ready().await.unwrap_err().to_string();
            let file_name = file.display();
            let named = [format!("{file_name}: {text}"), format!("{text}{file_name}")];
            // Beside the part, which names both.
            assert!(named.iter().any(|named| refused.contains(named)), "{refused}");
            std::fs::write(file, good).unwrap();
        }
    }
}

#[cfg(feature = "reqwest-013")]
#[tokio::test]
async fn a_url_that_is_none_is_told_by_its_cause_and_not_by_its_secrets() {
    let mesh =
        Leaves::new(1).mesh(|_, _| async { Ok(crate::support::leaf::ok("a")) }).build().unwrap();
    let http = mesh.reqwest(reqwest::Client::new()).no_proxy().no_gzip().build().unwrap();
    let error = http.get("/relative?secret=1").send().await.unwrap_err();
    assert!(error.to_string().contains("relative URL without a base"), "{error}");
    assert!(!error.chain().contains("secret"), "{}", error.chain());
}

#[cfg(feature = "testing")]
mod retryable {
    use tower_mesh::{
        LeafEndpoint,
        testing::{Fault, Network},
    };

    use super::*;

    /// Its endpoint refuses every call but the first, which meets this.
    fn refusing_after(first: &Fault) -> Mesh {
        let network = Network::new();
        let endpoint = network
            .endpoint("10.0.0.1:80")
            .script([Some(first.clone())])
            .fault(Fault::RefusedStream);
        Mesh::builder()
            .endpoints(SERVICE, [endpoint.address()])
            .service(SERVICE, |s| {
                s.retry(Retry::idempotent().attempts(2)).protocol(config::Protocol::Http2)
            })
            .connect_layer(network)
            .build()
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_mesh_below_says_of_its_attempts_stays_true() {
        for (first, is_retryable) in [(Fault::RefusedStream, true), (Fault::Reset, false)] {
            let below = refusing_after(&first);
            let client = below.client(SERVICE).unwrap();
            let mesh = Mesh::builder()
                .endpoints(SERVICE, ["10.0.0.9:80".parse::<config::Address>().unwrap()])
                .service(SERVICE, |s| s.retry(Retry::idempotent().attempts(1)))
                .leaf(move |_: &LeafEndpoint| client.clone())
                .build()
                .unwrap();
            let error = failure(&mesh, post("/", "a")).await;
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            assert_eq!(error.is_retryable(), is_retryable, "after {first:?}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_retryable_only_if_no_attempt_may_have_been_worked_on() {
        for (first, is_retryable) in [(Fault::RefusedStream, true), (Fault::Reset, false)] {
            let mesh = refusing_after(&first);
            let error = failure(&mesh, post("/", "a")).await;
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            assert!(error.attempts().len() > 1, "{error}");
            assert_eq!(error.is_retryable(), is_retryable, "after {first:?}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_of_attempts_beside_each_other() {
        for (first, is_retryable) in [(Fault::RefusedStream, true), (Fault::Reset, false)] {
            let mut seen = 0;
            for seed in 0..20 {
                let network = Network::new();
                let ends = ["10.0.0.1:80", "10.0.0.2:80"]
                    .map(|at| network.endpoint(at).fault(Fault::RefusedStream));
                let _same = ends[0].clone().script([Some(first.clone())]);
                let mesh = Mesh::builder()
                    .endpoints(SERVICE, ends.each_ref().map(|end| end.address()))
                    .service(SERVICE, |s| {
                        s.retry(Retry::idempotent().attempts(1))
                            .hedge(tower_mesh::Hedge::after(Duration::from_millis(10)))
                            .protocol(config::Protocol::Http2)
                    })
                    .connect_layer(network)
                    .seed(seed)
                    .build()
                    .unwrap();
                let error = failure(&mesh, post("/", "a")).await;
                // Where the other way round, the last one has reset it.
                if error.kind() == ErrorKind::Refused && error.attempts().len() > 1 {
                    seen += 1;
                    assert_eq!(error.is_retryable(), is_retryable, "after {first:?}: {error}");
                }
            }
            assert!(seen > 0, "never after {first:?}");
        }
    }
}
