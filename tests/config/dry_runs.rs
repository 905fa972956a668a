//! A dry run tells what becomes of a request: what is sent, copied and answered, by which policies; and
//! needs neither a network nor an endpoint.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking, and some shares are whole"
)]

#[path = "../../examples/support/dry_run.rs"]
mod dry_run;
use std::{fs, path::PathBuf, time::Duration};

use http::Request;
use tower_mesh::{ErrorKind, Mesh, SettingOrigin};

use crate::support::{Server, fetch, get, patience};

struct Written {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn written(text: &str) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    Written { path, _dir: dir }
}

async fn dry(text: &str) -> (Mesh, Written) {
    let file = written(text);
    let mesh = Mesh::builder().config_file(&file.path).dry_run().build().unwrap();
    patience(mesh.ready()).await.unwrap();
    (mesh, file)
}

const SHOP: &str = "
services:
  shop:
    policy: {timeout: 2s}
    filters: [{request_headers: {set: {x-via: mesh}, remove: [x-secret]}}]
    routes:
      - name: moved
        matches: [{path: {prefix: /old}}]
        filters: [{redirect: {path: {prefix: /new}, status: 308}}]
      - name: closed
        matches: [{path: {exact: /closed}}]
        filters: [{direct_response: {status: 503, body: closed for the night, headers: {retry-after: \"9\"}}}]
      - name: api
        matches: [{path: {prefix: /api}}]
        policy: {attempt_timeout: 500ms}
        filters:
          - rewrite: {path: {prefix: /v2}, host: {literal: shop.internal}}
          - mirror: {cluster: next, percent: 25}
        clusters:
          - {name: one, weight: 3, filters: [{request_headers: {set: {x-version: \"1\"}}}]}
          - {name: two, weight: 1}
      - name: wrong
        matches: [{path: {prefix: /wrong}}]
        filters: [{rewrite: {host: {header: x-host}}}]
        clusters: [{name: one}]
clusters:
  one: {endpoints: [{address: \"127.0.0.1:1\"}], breakers: {max_requests: 9}}
  two: {endpoints: [{address: \"127.0.0.1:2\"}]}
  next: {endpoints: [{address: \"127.0.0.1:3\"}]}
";

#[tokio::test]
async fn what_is_sent_and_copied_is_told_as_it_is_after_edits_and_rewrites() {
    let (mesh, _file) = dry(SHOP).await;
    let request = Request::get("http://shop/api/cart?q=sesame")
        .header("x-secret", "1")
        .header("authorization", "sesame")
        .body(())
        .unwrap();
    let said = mesh.explain(&request).unwrap();
    assert_eq!(said.route.name.as_deref(), Some("api"));
    assert_eq!(said.route.filters, ["request_headers", "rewrite", "mirror"]);
    let [one, two] = &*said.clusters else { panic!("{said}") };
    assert_eq!((one.share, two.share), (0.75, 0.25));
    let head = one.head.as_ref().unwrap();
    assert_eq!(head.uri, "http://shop.internal/v2/cart?q=sesame");
    assert_eq!(head.headers["x-version"], "1");
    assert_eq!(head.headers["x-via"], "mesh");
    // Of the two bounds the nearer one is told.
    assert_eq!(head.headers["x-envoy-expected-rq-timeout-ms"], "500");
    assert!(!head.headers.contains_key("x-secret"));
    assert!(!two.head.as_ref().unwrap().headers.contains_key("x-version"));
    let [mirror] = &*one.mirrors else { panic!("{said}") };
    assert_eq!((&*mirror.cluster, mirror.share), ("next", 0.25));
    assert_eq!(mirror.head.uri.authority().unwrap(), "shop.internal-shadow");
    let text = said.to_string();
    for words in [
        "not route moved, if path is under /old: path is another",
        "sent as GET http://shop.internal/v2/cart?…\n",
        "    x-version: 1\n",
        "    authorization, which is not shown\n",
        "copied to cluster next, 25 % of the calls: GET http://shop.internal-shadow/v2/cart?…\n",
        "cluster two, 25 % of the route's calls",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(!text.contains("sesame"), "{text}");
}

/// Over real servers: the head is the one that a server is sent.
#[tokio::test]
async fn a_server_sees_the_head_that_is_told() {
    let server = Server::start(|request| async move {
        let mut seen: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        seen.push(format!("{} {}", request.method(), request.uri()));
        crate::support::reply(seen.join("\n"))
    })
    .await;
    let text = SHOP.replace("127.0.0.1:1", &server.address().to_string());
    let text = text.replace("127.0.0.1:2", &server.address().to_string());
    let file = written(&text);
    let mesh = Mesh::builder().config_file(&file.path).build().unwrap();
    patience(mesh.ready()).await.unwrap();
    let request = || {
        let request = Request::put("http://shop/wrong/a").header("x-host", "elsewhere");
        request.header("x-a", "1").body(tower_mesh::Body::empty()).unwrap()
    };
    let said = mesh.explain(&request()).unwrap();
    let head = said.clusters[0].head.clone().unwrap();
    let met = fetch(&mesh.http(), request()).await.unwrap();
    let met = String::from_utf8(met.body().to_vec()).unwrap();
    assert!(met.contains("PUT /wrong/a") && met.contains("host: elsewhere"), "{met}");
    assert_eq!(
        (head.method.as_str(), head.uri.to_string()),
        ("PUT", "http://elsewhere/wrong/a".into())
    );
    for name in ["x-a", "x-via", "x-envoy-expected-rq-timeout-ms"] {
        let told = head.headers[name].to_str().unwrap();
        // What is left of the deadline is less by the time it is sent.
        let told = if name.starts_with("x-envoy") { "" } else { told };
        assert!(met.contains(&format!("{name}: {told}")), "{name} in {met}");
    }
}

#[tokio::test]
async fn redirects_direct_responses_and_rewrites_that_fail_are_told() {
    let (mesh, _file) = dry(SHOP).await;
    let said = mesh.explain(&get("http://shop/old/a")).unwrap();
    let answer = said.answer.as_ref().unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["location"]),
        (308, &"http://shop/new/a".parse().unwrap())
    );
    assert!(said.clusters.is_empty());
    assert!(said.to_string().contains("answered here: 308"), "{said}");
    let said = mesh.explain(&get("http://shop/closed")).unwrap();
    let answer = said.answer.as_ref().unwrap();
    assert_eq!(answer.body.as_deref(), Some("closed for the night"));
    assert_eq!(answer.headers["retry-after"], "9");

    let request = Request::get("http://shop/wrong").header("x-host", "a@b").body(()).unwrap();
    let said = mesh.explain(&request).unwrap();
    assert!(said.clusters[0].head.is_none());
    let fails = said.clusters[0].fails.as_ref().unwrap();
    assert!(fails.contains("made no valid host"), "{fails}");
    let error = mesh.explain(&get("http://shop/else")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRoute);
}

#[tokio::test]
async fn every_policy_is_told_with_its_origin() {
    let (mesh, file) = dry(SHOP).await;
    let said = mesh.explain(&get("http://shop/api/a")).unwrap();
    let path = file.path.to_string_lossy().into_owned();
    let all = || said.route.settings.iter().chain(&said.clusters[0].settings);
    for (name, value, origin) in [
        ("timeout", "2s", SettingOrigin::ControlPlane),
        ("attempt_timeout", "500ms", SettingOrigin::ControlPlane),
        ("breakers.max_requests", "9", SettingOrigin::ControlPlane),
        ("retry.attempts", "3", SettingOrigin::Default),
    ] {
        let setting = all().find(|it| it.name == name).unwrap();
        assert_eq!((&*setting.value, setting.origin), (value, origin), "{name}");
        let is_file = setting.source.as_ref().is_some_and(|it| it.contains(&path));
        assert_eq!(is_file, origin == SettingOrigin::ControlPlane, "{name}");
    }
    let text = said.to_string();
    assert!(text.contains("  timeout = 2s (file") && !text.contains("(default)"), "{text}");
}

#[cfg(feature = "dns")]
const NETWORKED: &str = "
clusters:
  users:
    discovery: {dns: {name: \"users.invalid:80\", resolvers: [\"127.0.0.1:1\"]}}
  checked:
    health_checks: [{probe: {http: {path: /}}, interval: 20ms}]
    endpoints: [{address: \"ADDRESS\"}]
";

#[cfg(feature = "dns")]
#[tokio::test]
async fn nothing_of_a_network_is_touched() {
    let server = Server::named("hello").await;
    let text = NETWORKED.replace("ADDRESS", &server.address().to_string());
    let (mesh, _file) = dry(&text).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let said = mesh.explain(&get("http://users/")).unwrap();
    assert!(said.to_string().contains("a dry run asks no DNS for them"), "{said}");
    let said = mesh.explain(&get("http://checked/")).unwrap();
    assert_eq!(said.clusters.len(), 1);
    let error = patience(mesh.http().send(get("http://checked/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.chain().contains("a dry run connects to nobody"), "{}", error.chain());
    assert_eq!((server.requests(), server.connections()), (0, 0));
}

async fn command(arguments: &[&str]) -> (String, u8) {
    let arguments: Vec<_> = arguments.iter().map(|&it| it.to_owned()).collect();
    patience(dry_run::run(&arguments)).await
}

#[tokio::test]
async fn the_command_checks_what_is_expected() {
    let file = written(SHOP);
    let path = file.path.to_str().unwrap();
    let good = [
        path,
        "-X",
        "POST",
        "-H",
        "x-a: 1",
        "http://shop/api/a",
        "--expect",
        "route=api",
        "--expect",
        "cluster=two",
        "--expect",
        "cluster=one:75",
        "--expect",
        "header:x-version=1",
        "--expect",
        "mirror=next",
        "--expect",
        "timeout=2s",
        "--expect",
        "uri=http://shop.internal/v2/a",
        "--expect",
        "breakers.max_requests=9",
    ];
    let (said, code) = command(&good).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("POST /api/a of service shop"), "{said}");
    let (said, code) = command(&[path, "http://shop/old", "--expect", "status=308"]).await;
    assert_eq!(code, 0, "{said}");

    for (expected, is) in [
        ("cluster=three", "expected cluster=three, it is one, two"),
        ("cluster=one:10", "expected cluster=one:10, it is one:75, two:25"),
        ("route=old", "expected route=old, it is api"),
        ("timeout=3s", "expected timeout=3s, it is 2s"),
        ("status=200", "expected status=200, it is nothing"),
    ] {
        let (said, code) = command(&[path, "http://shop/api", "--expect", expected]).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.ends_with(&format!("{is}\n")), "{said}");
    }
    let (said, code) = command(&[path, "http://shop/api", "--all"]).await;
    assert_eq!(code, 0);
    assert!(said.contains("settings of cluster one") || said.contains("settings of one"), "{said}");
    assert!(said.contains("retry.attempts = 3 (default)"), "{said}");
}

#[tokio::test]
async fn the_command_fails_where_no_route_takes_it_or_the_file_is_refused_with_its_line() {
    let file = written(SHOP);
    let path = file.path.to_str().unwrap();
    let (said, code) = command(&[path, "http://shop/else"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("route api, if path is under /api"), "{said}");
    let (said, code) = command(&[path, "http://nobody/"]).await;
    assert!(code == 1 && said.contains("nobody"), "{said}");

    let bad = written(&SHOP.replace("weight: 3", "weight: 3000000"));
    let (said, code) = command(&[bad.path.to_str().unwrap(), "http://shop/api"]).await;
    assert_eq!(code, 1);
    let words =
        format!("weight = 3000000: must be at most 1000000 (line 20 of {})", bad.path.display());
    assert!(said.starts_with("refused: service shop: ") && said.contains(&words), "{said}");

    for wrong in
        [&["a.yaml"][..], &["a.yaml", "b", "c"], &["a", "b", "--what"], &["a", "b", "-H", "x"]]
    {
        let (said, code) = command(wrong).await;
        assert!(code == 2 && said.contains("explain FILE"), "{said}");
    }
}

#[tokio::test]
async fn labels_of_the_caller_choose_routes_in_the_command() {
    let text = "
services:
  shop:
    routes:
      - {name: batch, matches: [{caller: {kind: batch}}], clusters: [{name: one}]}
      - {name: rest, clusters: [{name: one}]}
clusters: {one: {endpoints: [{address: \"127.0.0.1:1\"}]}}
";
    let file = written(text);
    let path = file.path.to_str().unwrap();
    let arguments = [path, "http://shop/", "--label", "kind=batch", "--expect", "route=batch"];
    assert_eq!(command(&arguments).await.1, 0);
    let (said, code) = command(&[path, "http://shop/", "--expect", "route=batch"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("labels of the caller is another"), "{said}");
}

#[tokio::test]
async fn the_command_explains_a_request_of_another_authority_by_the_client_of_a_service() {
    let text = "
services:
  shop:
    routes:
      - {name: outside, hosts: [www.example.com], clusters: [{name: one}]}
      - {name: inside, clusters: [{name: one}]}
clusters: {one: {endpoints: [{address: \"127.0.0.1:1\"}]}}
";
    let file = written(text);
    let path = file.path.to_str().unwrap();
    let url = "http://www.example.com/";
    let arguments = [path, "--service", "shop", url, "--expect", "route=outside"];
    let (said, code) = command(&arguments).await;
    assert_eq!(code, 0, "{said}");
    let (said, code) = command(&[path, url]).await;
    assert!(code == 1 && said.contains("www.example.com"), "{said}");
    let (said, code) = command(&[path, "--service", "nobody", url]).await;
    assert!(code == 1 && said.contains("nobody"), "{said}");
}
