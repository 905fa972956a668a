//! Bad configuration: reported with field, value and range; the last good state stays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, path::Path, time::Duration};

use tower_mesh::{Call, ErrorKind, Event, Mesh, Retry, config::Budget};

use support::{Recorder, Server, get, patience};

/// Replaces a file as editors and tools do.
fn rename_over(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

fn cluster(server: &Server) -> String {
    format!("users: {{endpoints: [{{address: \"{}\"}}]}}", server.address())
}

async fn answered(mesh: &Mesh) -> String {
    let answer = patience(mesh.http().send(get("http://users/"))).await.unwrap();
    answer.into_body().text().await.unwrap()
}

/// Builds a mesh over this file and returns what was refused.
async fn refused(text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    events.refused()
}

#[tokio::test]
async fn a_malformed_file_at_the_start_is_reported_and_may_be_mended() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, "clusters: {users: [").unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    let report = events.refused().remove(0);
    assert!(report.contains("mesh.yaml") && report.contains("line 1"), "{report}");

    assert!(mesh.ready().await.unwrap_err().to_string().contains("mesh.yaml"));
    rename_over(&path, &format!("clusters: {{{}}}", cluster(&server)));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
}

#[tokio::test]
async fn what_is_refused_fails_ready_and_is_returned_by_loaded_while_the_rest_works() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let bad = "orders: {endpoints: [{address: \"10.0.0.1:80\", weight: 0}]}";
    fs::write(&path, format!("clusters: {{{}, {bad}}}", cluster(&server))).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let refused = patience(mesh.loaded()).await.unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    let (part, reason) = &refused[0];
    assert!(part == "cluster orders" && reason.contains("weight = 0"), "{refused:?}");
    let failed = patience(mesh.ready()).await.unwrap_err().to_string();
    assert!(failed.contains(reason), "{failed}");
    assert_eq!(answered(&mesh).await, "hello");

    rename_over(&path, &format!("clusters: {{{}}}", cluster(&server)));
    patience(mended(&mesh)).await;
    assert_eq!(mesh.loaded().await.unwrap(), []);
    mesh.shutdown(Duration::ZERO).await;
    assert_eq!(mesh.loaded().await.unwrap_err().kind(), ErrorKind::Shutdown);
}

#[tokio::test]
async fn a_missing_file_is_reported_and_may_come_later() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    assert!(events.refused()[0].contains("mesh.yaml"), "{:?}", events.refused());
    assert!(mesh.ready().await.unwrap_err().to_string().contains("mesh.yaml"));
    rename_over(&path, &format!("clusters: {{{}}}", cluster(&server)));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
}

#[tokio::test]
async fn later_nonsense_leaves_the_last_good_state() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let good = format!("clusters: {{{}}}", cluster(&server));
    fs::write(&path, &good).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    patience(mesh.ready()).await.unwrap();
    let half = &good[..good.len() / 2];
    for nonsense in [half, "", "\0\u{1}binary", "- a\n- list", "clusters: 7", "just words"] {
        let reports = events.refused().len();
        rename_over(&path, nonsense);
        for _ in 0..100 {
            if events.refused().len() > reports {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(events.refused().len() > reports, "not reported: {nonsense:?}");
        assert_eq!(answered(&mesh).await, "hello", "lost by {nonsense:?}");
    }
    // And a deleted file takes nothing away either.
    fs::remove_file(&path).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(answered(&mesh).await, "hello");
}

#[tokio::test]
async fn a_file_that_is_cut_in_place_loses_no_call_and_is_reported() {
    let server = Server::named("hello").await;
    let address = server.address().to_string();
    let good = format!(
        "services:\n  users: {{}}\nclusters:\n  users:\n    endpoints:\n      - address: {address}\n"
    );
    let (_dir, path, mesh, mut events) = over(&good).await;
    // Another port, an empty cluster, no cluster at all.
    let port = good.len() - 2;
    let empty = good.find("    endpoints").unwrap();
    let none = good.find("clusters").unwrap();
    for (round, cut) in [port, empty, none + "clusters:\n".len(), none].into_iter().enumerate() {
        fs::write(&path, &good[..cut]).unwrap();
        patience(async {
            while events.refused().len() <= round {
                assert_eq!(answered(&mesh).await, "hello", "cut at {cut}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(answered(&mesh).await, "hello", "cut at {cut}");
        assert!(events.refused()[round].contains("half-written?"), "{:?}", events.refused());
        fs::write(&path, &good).unwrap();
        patience(mended(&mesh)).await;
    }
}

#[tokio::test]
async fn a_bad_part_leaves_the_good_ones() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let text = format!(
        "clusters:\n  {}\n  orders: {{endpoints: [{{address: nowhere at all}}]}}\n",
        cluster(&server)
    );
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    assert_eq!(answered(&mesh).await, "hello");
    let report = events.refused().remove(0);
    assert!(report.contains("orders") && report.contains("nowhere at all"), "{report}");
}

#[tokio::test]
async fn an_unknown_field_is_reported_by_name() {
    let reports = refused("services: {users: {policy: {timeuot: 1s}}}").await;
    assert!(reports[0].contains("users") && reports[0].contains("timeuot"), "{reports:?}");
    let reports = refused("servcies: {}").await;
    assert!(reports[0].contains("servcies"), "{reports:?}");
    let reports =
        refused("clusters: {users: {endpoints: [{address: \"1.2.3.4:5\", wieght: 2}]}}").await;
    assert!(reports[0].contains("wieght"), "{reports:?}");
}

/// What is refused of a policy of `users`.
async fn refused_policy(policy: &str) -> String {
    refused(&format!("services: {{users: {{policy: {{{policy}}}}}}}")).await.remove(0)
}

#[tokio::test]
async fn impossible_values_are_reported_with_field_value_and_range() {
    const TIME: &str = "must be over 0 and at most 365 days";
    for (policy, told, range) in [
        ("timeout: 0s", "timeout = 0", TIME),
        ("idle_timeout: 400d", "idle_timeout = ", TIME),
        ("max_requests: 0", "max_requests = 0", "must be at least 1"),
        ("retry: {attempts: 0}", "attempts = 0", "must be in 1..=100"),
        ("retry: {attempts: 101}", "attempts = 101", "must be in 1..=100"),
        ("retry: {on_status: [99]}", "on_status", "= 99: must be in 400..=599"),
        ("retry: {on_grpc: [17]}", "on_grpc", "= 17: must be in 1..=16"),
        ("retry: {budget: {ratio: -0.5}}", "ratio = -0.5", "must be in 0..=10"),
        ("retry: {budget: {ttl: 2m}}", "ttl = 120s", "must be in 1s..=60s"),
        ("retry: {backoff_jitter: 1.5}", "backoff_jitter = 1.5", "must be in 0..=1"),
        ("retry: {backoff_multiplier: 0}", "backoff_multiplier = 0", "must be in 1..=100"),
    ] {
        let report = refused_policy(policy).await;
        let is_told = report.contains("users") && report.contains(told) && report.contains(range);
        assert!(is_told, "{policy}: {report}");
    }
    // What is no value of the field at all.
    for (policy, field, value) in [
        ("timeout: -1s", "timeout", "-1s"),
        ("timeout: soon", "timeout", "soon"),
        ("max_requests: -4", "max_requests", "-4"),
        ("retry: {budget: {ratio: .nan}}", "ratio", "nan"),
    ] {
        let report = refused_policy(policy).await.to_lowercase();
        let is_told = report.contains("users") && report.contains(field) && report.contains(value);
        assert!(is_told, "{policy}: {report}");
    }
    for (endpoint, told, range) in [
        ("address: \"1.2.3.4:99999\"", "1.2.3.4:99999", "address"),
        ("address: \"1.2.3.4:5\", weight: 0", "weight = 0", "must be in 1..=65535"),
    ] {
        let report =
            refused(&format!("clusters: {{users: {{endpoints: [{{{endpoint}}}]}}}}")).await;
        let report = &report[0];
        let is_told = report.contains("users") && report.contains(told) && report.contains(range);
        assert!(is_told, "{endpoint}: {report}");
    }
}

#[tokio::test]
async fn bounds_that_cross_are_reported_with_both() {
    let of_cluster = |text: &str| format!("clusters: {{users: {{{text}}}}}");
    let of_service = |text: &str| format!("services: {{users: {{{text}}}}}");
    for (text, told, reason) in [
        (
            of_service("policy: {timeout: 1s, attempt_timeout: 2s}"),
            "attempt_timeout = 2s",
            "must be at most timeout (1s)",
        ),
        (
            of_service("policy: {retry: {backoff_base: 2s, backoff_max: 1s}}"),
            "backoff_base = 2s",
            "must be at most backoff_max (1s)",
        ),
        (
            of_service("policy: {hedge: {delay: 1s, initial_attempts: 3, max_attempts: 2}}"),
            "initial_attempts = 3",
            "must be at most max_attempts (2)",
        ),
        (
            of_service(
                "filters: [{adaptive_concurrency: {min_concurrency: 9, max_concurrency: 8}}]",
            ),
            "min_concurrency = 9",
            "must be at most max_concurrency (8)",
        ),
        (
            of_cluster("transport: {connect_backoff_base: 2s, connect_backoff_max: 1s}"),
            "connect_backoff_base = 2s",
            "must be at most connect_backoff_max (1s)",
        ),
        (
            of_cluster("balancer: {ring_hash: {minimum_ring_size: 2048, maximum_ring_size: 1024}}"),
            "minimum_ring_size = 2048",
            "must be at most maximum_ring_size (1024)",
        ),
        (
            of_cluster("security: {mode: tls, min_version: \"1.3\", max_version: \"1.2\"}"),
            "min_version = 1.3",
            "must be at most max_version (1.2)",
        ),
        (
            of_cluster("outlier_detection: {accrual: {min_penalty: 2s, max_penalty: 1s}}"),
            "max_penalty = 1s",
            "must be at least min_penalty (2s)",
        ),
        #[cfg(feature = "dns")]
        (
            of_cluster(
                "discovery: {dns: {name: users.test, failure_refresh: 20s, \
                 failure_refresh_max: 10s}}",
            ),
            "failure_refresh = 20s",
            "must be at most failure_refresh_max (10s)",
        ),
    ] {
        let reports = refused(&text).await;
        let is_told = reports[0].contains(told) && reports[0].contains(reason);
        assert!(is_told, "{text}: {reports:?}");
    }
}

#[tokio::test]
async fn what_the_model_says_and_the_stack_cannot_do_is_refused_by_name() {
    for (text, name) in [
        ("clusters: {users: {http: {http3: true}}}", "http"),
        ("clusters: {users: {endpoints: [{address: \"1.2.3.4:5\", network: a}]}}", "network"),
    ] {
        let reports = refused(text).await;
        assert!(reports[0].contains(name), "{text}: {reports:?}");
    }
}

#[tokio::test]
async fn impossible_values_in_code_fail_the_build() {
    let zero = Mesh::builder().service("users", |s| s.timeout(Duration::ZERO)).build().unwrap_err();
    assert_eq!(zero.kind(), ErrorKind::Config);
    let text = zero.chain();
    assert!(text.contains("users") && text.contains("timeout") && text.contains('0'), "{text}");

    let nan = Mesh::builder()
        .service("users", |s| s.retry(Retry::standard().budget(Budget::new(f64::NAN))))
        .build()
        .unwrap_err();
    let text = nan.chain();
    assert!(text.contains("ratio") && text.contains("NaN"), "{text}");

    for timeout in [Duration::ZERO, Duration::MAX] {
        let error = Mesh::builder().resolve_timeout(timeout).build().unwrap_err();
        let wanted = "must be over 0 and at most 365 days";
        let text = error.chain();
        assert!(text.contains("resolve_timeout = ") && text.contains(wanted), "{text}");
    }

    let none = Mesh::builder().service("users", |s| s.max_requests(0)).build().unwrap_err();
    assert!(none.chain().contains("max_requests"), "{}", none.chain());
}

#[test]
fn without_a_runtime_the_build_fails_and_does_not_panic() {
    let error = Mesh::builder().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.ends_with("check that `build` is called in a tokio runtime"), "{text}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
    let builder = Mesh::builder().endpoints("users", [address]);
    let mesh = builder.runtime(runtime.handle().clone()).build().unwrap();
    runtime.block_on(mesh.shutdown(Duration::from_secs(1)));
}

/// A runtime that nobody drives runs nothing: what is read or waited for, `build` does itself.
#[cfg(target_os = "linux")]
#[test]
fn building_opens_no_file_and_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["mesh.yaml", "tls.crt", "tls.key", "ca.crt"] {
        // Whoever opens it to read waits for somebody who writes.
        let made = std::process::Command::new("mkfifo").arg(path(name)).status().unwrap();
        assert!(made.success());
    }
    let folder = dir.path().to_owned();
    let opened = move || {
        let all = fs::read_dir("/proc/self/fd").unwrap();
        let targets = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|target| target.starts_with(&folder)).count()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let (done, wait) = std::sync::mpsc::channel();
    let files = ["mesh.yaml", "tls.crt", "tls.key", "ca.crt"].map(path);
    std::thread::spawn(move || {
        let [config, chain, key, roots] = files;
        let mut builder = Mesh::builder().config_file(config).runtime(handle.clone());
        #[cfg(feature = "tls-aws-lc-rs")]
        {
            use tower_mesh::security::{KeyPair, Trust};
            builder = builder
                .identity(KeyPair::pem_files(&chain, &key))
                .trust(Trust::pem_file(&roots))
                .service("users", |s| s.mutual_tls());
        }
        #[cfg(feature = "dns")]
        {
            use tower_mesh::discover::dns::Dns;
            builder = builder.source(Dns::system().service("orders", "dns:///orders.test:80"));
        }
        drop((chain, key, roots));
        let address: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mesh = builder.endpoints("users", [address]).build().unwrap();
        // Missing files are no more of its business.
        Mesh::builder().config_file("/nowhere/mesh.yaml").runtime(handle).build().unwrap();
        let mut client = mesh.client("users").unwrap();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let ready = tower::Service::<http::Request<tower_mesh::Body>>::poll_ready(
            &mut client,
            &mut context,
        );
        assert!(ready.is_ready());
        done.send((opened(), mesh)).unwrap();
    });
    let (opened, mesh) = wait.recv_timeout(Duration::from_secs(10)).expect("`build` waits");
    assert_eq!(opened, 0);
    drop((mesh, runtime));
}

#[tokio::test]
async fn a_call_with_no_time_at_all_fails_at_once() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let mut request = get("/");
    request.extensions_mut().insert(Call::new().timeout(Duration::ZERO));
    let error = patience(mesh.client("users").unwrap().send(request)).await.unwrap_err();
    assert!(error.is_timeout());
    let mut request = get("/");
    request.extensions_mut().insert(Call::new().timeout(Duration::MAX));
    assert!(patience(mesh.client("users").unwrap().send(request)).await.is_ok());
}

/// Ends when nothing is refused any more.
async fn mended(mesh: &Mesh) {
    while mesh.ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A file, a mesh over it that has read it, and its events.
async fn over(text: &str) -> (tempfile::TempDir, std::path::PathBuf, Mesh, Recorder) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let events = Recorder::of(&mesh);
    drop(patience(mesh.ready()).await);
    (dir, path, mesh, events)
}

#[tokio::test]
async fn a_service_refused_at_its_first_load_is_not_run_on_defaults() {
    let server = Server::named("hello").await;
    for bad in ["{timeuot: 1s}", "{timeout: 0s}"] {
        let services = format!("services: {{users: {{policy: {bad}}}}}\n");
        let good = format!("clusters: {{{}}}\n", cluster(&server));
        let (_dir, path, mesh, _) = over(&format!("{services}{good}")).await;
        let error = patience(mesh.http().send(get("http://users/"))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("service users was refused: "), "{error}");
        // Not by its name with a port either.
        let error = mesh.client("users:80").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");

        rename_over(&path, &good);
        patience(mended(&mesh)).await;
        assert_eq!(answered(&mesh).await, "hello");
    }
}

#[tokio::test]
async fn a_cluster_refused_at_its_first_load_is_not_run_on_defaults() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let bad = "services: {api: {cluster: users}}\nclusters: {users: {breakers: {max_requests: 0}}}";
    fs::write(&path, bad).unwrap();
    let mesh =
        Mesh::builder().config_file(&path).endpoints("users", [server.address()]).build().unwrap();
    drop(patience(mesh.ready()).await);
    for uri in ["http://users/", "http://api/"] {
        let error = patience(mesh.http().send(get(uri))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{uri}: {error}");
        assert!(error.to_string().contains("max_requests = 0"), "{error}");
    }
    rename_over(&path, &bad.replace("max_requests: 0", "max_requests: 9"));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
}

#[tokio::test]
async fn a_service_that_names_no_ones_cluster_is_reported_until_the_cluster_comes() {
    let server = Server::named("hello").await;
    let service = "services: {users: {cluster: V2}}\n";
    let (_dir, path, mesh, mut events) = over(service).await;
    let error = mesh.ready().await.unwrap_err().to_string();
    assert!(
        error.contains("service users: names cluster `v2`, which no source defines"),
        "{error}"
    );
    assert!(mesh.describe().refused.iter().any(|(part, _)| part == "service users"));
    assert_eq!(events.refused().len(), 1, "{:?}", events.refused());

    let v2 = cluster(&server).replace("users", "v2");
    rename_over(&path, &format!("{service}clusters: {{{v2}}}\n"));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
    let applied = |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if &**part == "service users");
    assert!(events.count(applied) > 0);

    rename_over(&path, service);
    events.until(|event| matches!(event, Event::EndpointRemoved { .. })).await;
    assert!(mesh.ready().await.unwrap_err().to_string().contains("`v2`"));
}

#[tokio::test]
async fn settings_in_code_for_a_service_that_no_source_defines_are_reported() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .service("usres", |s| s.timeout(Duration::from_secs(1)))
        .build()
        .unwrap();
    let error = patience(mesh.ready()).await.unwrap_err().to_string();
    assert!(error.contains("service usres") && error.contains("no source defines"), "{error}");
    assert!(mesh.describe().to_string().contains("refused: service usres"), "{}", mesh.describe());
    assert_eq!(answered(&mesh).await, "hello");
}

#[tokio::test]
async fn a_reverted_file_is_no_longer_refused_and_says_so() {
    let good = "clusters:\n  users: {endpoints: [{address: \"127.0.0.1:1\"}]}\n";
    let (_dir, path, mesh, mut events) = over(good).await;
    mesh.ready().await.unwrap();
    for bad in ["weight: 0", "wieght: 1"] {
        let refused = events.refused().len();
        let bad = good.replace("\"}", &format!("\", {bad}}}"));
        rename_over(&path, &bad);
        patience(async {
            while events.refused().len() == refused {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert!(mesh.ready().await.is_err(), "{bad}");
        let applied = |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if &**part == "cluster users");
        let before = events.count(applied);
        rename_over(&path, good);
        patience(mended(&mesh)).await;
        assert_eq!(events.count(applied), before + 1, "{bad}");
    }
}

#[tokio::test]
async fn a_part_that_is_deleted_after_a_refusal_is_no_longer_refused() {
    let server = Server::named("hello").await;
    let good = format!("clusters: {{{}}}\n", cluster(&server));
    for bad in ["{timeuot: 1s}", "{timeout: 0s}"] {
        let bad = format!("services: {{other: {{policy: {bad}}}}}\n{good}");
        let (_dir, path, mesh, _) = over(&bad).await;
        assert!(mesh.ready().await.is_err());
        rename_over(&path, &good);
        patience(mended(&mesh)).await;
    }
}

#[tokio::test]
async fn reports_are_one_line_in_the_words_of_the_file() {
    for (text, wanted) in [
        ("clusters: {users: [", "line 1 column 19: unclosed bracket"),
        ("clusters:\n  a: {}\n  a: {}\n", "line 3 column 3: duplicate mapping key: a"),
        ("a: 1\n---\nb: 2\n", "line 3 column 1: multiple YAML documents detected"),
        (
            "services: {u: {policy: {timeout: 2}}}",
            "policy.timeout: `2` is not a duration like `250ms` or `2s`: ",
        ),
        (
            "services: {u: {policy: {retry: 3}}}",
            "services.u.policy.retry: invalid type: integer `3`, expected a map of fields",
        ),
        ("services: {u: [1s]}", "services.u: must be a map of fields"),
        (
            "clusters: {u: {endpoints: [{address: \"localhost:80\"}]}}",
            "clusters.u.endpoints[0].address: `localhost:80`: expected an IP address",
        ),
        (
            "services: {u: {routes: [{clusters: [{name: v, weight: 0}]}]}}",
            "services.u.routes[0].clusters.weight = 0: the weights",
        ),
        ("clusters: {Users: {}, users: {}}", "clusters.users: is given twice"),
    ] {
        let report = refused(text).await.remove(0);
        assert!(report.contains(wanted), "{text}: {report}");
        for leak in ["\n", "<input>", "Option", "struct", "from_str"] {
            assert!(!report.contains(leak), "{text}: {leak} in {report}");
        }
    }
}

#[tokio::test]
async fn a_host_name_that_is_given_as_an_address_is_refused_with_the_way_to_dns() {
    let hint =
        "for a host name: `discovery: {dns: {name: \"dns:///users.example:80\"}}` of the cluster";
    for text in [
        "clusters: {u: {endpoints: [{address: \"users.example:80\"}]}}",
        "clusters: {u: {endpoints: [{address: \"dns:///users.example:80\"}]}}",
        "clusters: {u: {discovery: \"dns:///users.example:80\"}}",
        "clusters: {u: {discovery: \"users.example:80\"}}",
    ] {
        let report = refused(text).await.remove(0);
        assert!(report.contains(hint), "{text}: {report}");
    }
    for text in [
        "clusters: {u: {endpoints: [{address: \"10.0.0.1\"}]}}",
        "clusters: {u: {endpoints: [{address: \"nowhere at all\"}]}}",
        "clusters: {u: {discovery: \"http://users/\"}}",
        "clusters: {u: {balancer: \"users.example:80\"}}",
    ] {
        let report = refused(text).await.remove(0);
        assert!(!report.contains("for a host name"), "{text}: {report}");
    }
    let report = refused("clusters: {u: {discovery: dns}}").await.remove(0);
    assert!(report.contains("expected a map with its fields below it"), "{report}");
}

#[tokio::test]
async fn a_socket_address_without_a_port_is_refused() {
    let address: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mesh = Mesh::builder().endpoints("users", [address]).build().unwrap();
    let error = patience(mesh.ready()).await.unwrap_err().to_string();
    let wanted = "clusters.users.endpoints[0].address = 127.0.0.1:0: the port must be in 1..=65535";
    assert!(error.contains(wanted), "{error}");
    assert_eq!(mesh.client("users").unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_name_that_no_client_can_call_is_refused() {
    for (name, reason) in [
        ("users prod", "`users prod` is not a service name"),
        ("dns:///a:80", "scheme `dns`"),
        ("a/b", "has `/` after its name"),
        ("http://x", "as it is looked up: `x`"),
        ("a..b", "`a..b` is not a service name"),
        ("user@x", "has `@` after its name"),
        ("naïve", "`naïve` is not a service name"),
        ("a:0", "port `0` of `a:0` is not in 1..=65535"),
        ("users.", "as it is looked up: `users`"),
    ] {
        let endpoints = "{endpoints: [{address: \"127.0.0.1:1\"}]}";
        let one = format!("clusters: {{users: {endpoints}}}\n");
        for (text, part) in [
            (format!("{one}services: {{\"{name}\": {{cluster: users}}}}"), "no client can call it"),
            (format!("clusters: {{\"{name}\": {endpoints}}}"), "which no service names"),
        ] {
            let (_dir, _path, mesh, mut events) = over(&text).await;
            let error = mesh.ready().await.unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(part), "{text}: {error}");
            assert_eq!(events.refused().len(), 1, "{:?}", events.refused());
        }
        let code = Mesh::builder()
            .endpoints("users", ["127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap()])
            .service(name, |s| s.timeout(Duration::from_secs(1)))
            .build();
        let error = code.unwrap_err().chain();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_cluster_of_any_name_is_called_by_the_service_that_names_it() {
    let server = Server::named("hello").await;
    let name = "outbound|80||users.prod";
    let clusters = format!(
        "clusters: {{\"{name}\": {{endpoints: [{{address: \"{}\"}}]}}}}\n",
        server.address()
    );
    let service = format!("services: {{users: {{cluster: \"{name}\"}}}}\n");
    let (_dir, path, mesh, _) = over(&format!("{service}{clusters}")).await;
    mesh.ready().await.unwrap();
    assert_eq!(answered(&mesh).await, "hello");
    // The service goes, and comes back.
    rename_over(&path, &clusters);
    patience(async {
        while mesh.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(mesh.ready().await.unwrap_err().to_string().contains("which no service names"));
    rename_over(&path, &format!("{clusters}{service}"));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
}
