//! Prometheus: its `promtool` finds nothing to complain of in the text, and it scrapes a mesh.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use http::Request;
use hyper::body::Incoming;
use tower_mesh::{Mesh, config::Endpoint};

use crate::{
    program::{Program, find, folder, free_port, scale},
    support::{
        BoxError, GreeterClient, HelloRequest, Server, dead_address, fetch, get, greeters::hello,
        patience, reply,
    },
};

/// How many calls of each kind.
fn calls() -> u32 {
    20 * scale()
}

/// A mesh that has called a service whose name is awkward to write down, and what not.
async fn busy() -> (Mesh, Server) {
    let server = Server::grpc(hello(|_| async { Ok("hello".into()) })).await;
    let (dead, _socket) = dead_address();
    let mesh = Mesh::builder()
        .endpoints("greeter", [server.address(), dead].map(Endpoint::from))
        .endpoints("nobody", Vec::<Endpoint>::new())
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    for _ in 0..calls() {
        greeter.say_hello(HelloRequest::default()).await.unwrap();
        fetch(&mesh.client("greeter").unwrap(), get("/")).await.unwrap();
    }
    mesh.client("nobody").unwrap().send(get("/")).await.unwrap_err();
    mesh.http().send(get("http://unknown/")).await.unwrap_err();
    (mesh, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_no_complaint() {
    let (mesh, _server) = busy().await;
    let text = mesh.prometheus();
    let mut command = Command::new(find("promtool"));
    command.args(["check", "metrics"]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = piped.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
    println!("promtool: no complaint of {} lines", text.lines().count());
}

/// What Prometheus answers to a query: the values, by their labels.
async fn ask(port: u16, query: &str) -> Result<Vec<(serde_json::Value, f64)>, BoxError> {
    let url = format!("http://127.0.0.1:{port}/api/v1/query");
    let answer = reqwest::Client::new().get(url).query(&[("query", query)]).send().await?;
    let answer: serde_json::Value = answer.error_for_status()?.json().await?;
    let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let value = |result: serde_json::Value| {
        let value = result["value"][1].as_str()?.parse().ok()?;
        Some((result["metric"].clone(), value))
    };
    Ok(results.into_iter().filter_map(value).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_a_mesh_in_both_formats() {
    let (mesh, _server) = busy().await;
    for is_open in [false, true] {
        let told = mesh.clone();
        // Prometheus would like OpenMetrics, and takes what it is answered.
        let target = Server::start(move |_: Request<Incoming>| {
            let metrics = told.metrics();
            let (text, kind) = if is_open {
                (metrics.to_open_metrics(), tower_mesh::observe::Metrics::OPEN_METRICS)
            } else {
                (metrics.to_prometheus(), tower_mesh::observe::Metrics::PROMETHEUS)
            };
            async move {
                let mut response = reply(text);
                let kind = http::HeaderValue::from_static(kind);
                response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
                response
            }
        })
        .await;
        let (dir, port) = (folder(), free_port());
        let scraped: SocketAddr = target.socket();
        let config = format!(
            "scrape_configs:\n- job_name: mesh\n  scrape_interval: 2s\n  \
             static_configs:\n  - targets: ['{scraped}']\n"
        );
        fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let mut command = Command::new(find("prometheus"));
        command.arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut program = Program::start("prometheus", command, dir.path());
        program.listens(port).await;
        let sum = "sum(rpc_client_call_duration_seconds_count)";
        patience(async {
            // Not before its first scrape.
            while !ask(port, sum).await.is_ok_and(|found| !found.is_empty()) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        assert_eq!(ask(port, "up").await.unwrap()[0].1, 1.0);
        assert_eq!(ask(port, sum).await.unwrap()[0].1, f64::from(calls()));
        let attempts = "http_client_request_duration_seconds_bucket{le=\"+Inf\",\
                        http_response_status_code!=\"\",mesh_cluster=\"greeter\"}";
        let found = ask(port, attempts).await.unwrap();
        let count = found.iter().map(|(_, count)| count).sum::<f64>();
        assert_eq!(count, f64::from(calls()), "{found:?}");
        assert_eq!(found[0].0["http_request_method"], "GET");
        let unavailable = "mesh_client_call_duration_seconds_count{error_type=\"no_endpoints\"}";
        assert_eq!(ask(port, unavailable).await.unwrap()[0].1, 1.0);
        let quantile = "histogram_quantile(0.99, http_client_request_duration_seconds_bucket)";
        assert!(!ask(port, quantile).await.unwrap().is_empty());
    }
}
