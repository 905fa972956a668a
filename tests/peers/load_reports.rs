//! Load reports between the mesh and gRPC C-core: its servers' reports steer our picks, our
//! layer's reports are read by its client and steer its picks.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use serde_json::Value;
use tokio::task::spawn_blocking;
use tower::{Layer as _, ServiceExt as _};
use tower_mesh::{
    Client, Mesh,
    config::{Balancer, ClientWeighted, Prequal},
    server::{LoadReportLayer, OutOfBand, ServerLoad},
};

use crate::{
    program::{python, scale},
    reporter::Reporter,
    support::{
        GreeterClient, GreeterServer, HelloReply, HelloRequest, Server, hello, server::body,
    },
};

/// A mesh whose service is at these ports.
pub(crate) fn mesh_of(ports: &[u16], balancer: Balancer) -> Mesh {
    let address = |port: &u16| std::net::SocketAddr::from(([127, 0, 0, 1], *port));
    Mesh::builder()
        .endpoints("greeter.prod", ports.iter().map(address))
        .service("greeter.prod", |service| service.balancer(balancer))
        .build()
        .unwrap()
}

/// Weights by reports, from the first report on.
pub(crate) fn weighted() -> ClientWeighted {
    let mut config = ClientWeighted::default();
    config.blackout = Some(Duration::ZERO);
    config.update = Some(Duration::from_millis(100));
    config
}

/// So many calls; who answered how many.
pub(crate) async fn answers(client: &Client, calls: usize) -> BTreeMap<String, usize> {
    let mut client = GreeterClient::new(client.clone());
    let mut answers = BTreeMap::new();
    for _ in 0..calls {
        let reply = client.say_hello(HelloRequest::default()).await.unwrap();
        *answers.entry(reply.into_inner().message).or_default() += 1;
    }
    answers
}

/// Of all answers, the share of this one.
pub(crate) fn share(answers: &BTreeMap<String, usize>, name: &str) -> f64 {
    let all: usize = answers.values().sum();
    answers.get(name).copied().unwrap_or(0) as f64 / all as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn c_cores_trailers_steer_our_weights() {
    // 400, 200 and 100: rate over utilisation; the processor's is there, and does not count.
    let servers = [
        Reporter::start("a", "0.25", "100", "0").await,
        Reporter::start("b", "0.5", "100", "0").await,
        Reporter::start("c", "0.5", "50", "0").await,
    ];
    let ports = servers.each_ref().map(|server| server.port);
    let mesh = mesh_of(&ports, Balancer::ClientWeighted(weighted()));
    let client = mesh.client("greeter.prod").unwrap();
    for _ in 0..4 {
        answers(&client, 10).await;
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    let answers = answers(&client, 700 * scale() as usize).await;
    println!("our weights by C-core's trailers: {answers:?}");
    for (name, expected) in [("a", 4.0 / 7.0), ("b", 2.0 / 7.0), ("c", 1.0 / 7.0)] {
        assert!((share(&answers, name) - expected).abs() < 0.01, "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c_cores_trailers_feed_our_prequal() {
    let mut servers = Vec::new();
    for number in 0..6 {
        let busy = if number < 2 { "90" } else { "1" };
        servers.push(Reporter::start(&format!("s{number}"), "0.5", "100", busy).await);
    }
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let shares = async |balancer: Balancer| {
        let mesh = mesh_of(&ports, balancer);
        let client = mesh.client("greeter.prod").unwrap();
        let answers = answers(&client, 2_400 * scale() as usize).await;
        println!("{answers:?}");
        ["s0", "s1", "s2", "s3", "s4", "s5"].map(|name| share(&answers, name))
    };
    // They answer as fast as the others: without reports they get as much, a third.
    let [s0, s1, ..] = shares(Balancer::LeastRequest).await;
    assert!(s0 + s1 > 0.25, "least request: {s0} and {s1}");
    // One of 32 calls looks beyond the reports, and every third of those meets them.
    let [s0, s1, idle @ ..] = shares(Balancer::Prequal(Prequal::default())).await;
    // A machine that stalls longer than a report is young sends some calls by chance, and an idle
    // one whose report has left the pool waits for such a look.
    assert!(s0 + s1 < 0.15, "prequal: {s0} and {s1}");
    assert!(idle.iter().all(|share| (0.02..0.6).contains(share)), "prequal: {idle:?}");
}

/// One of our servers behind the layer, which finds itself so loaded.
async fn ours(name: &'static str, utilization: f64) -> Server {
    let load = ServerLoad::builder()
        .application_utilization(move || utilization)
        .cpu_utilization(|| 0.5)
        .named_metric("queue", || 3.0)
        .build();
    let stream = OutOfBand::new(load.clone()).min_interval(Duration::from_millis(50));
    let name = name.to_owned();
    let greeter = GreeterServer::new(hello(move |_| std::future::ready(Ok(name.clone()))));
    let service = LoadReportLayer::new(load).out_of_band_by(stream).layer(greeter);
    Server::start(move |request| {
        let service = service.clone();
        async move {
            match service.oneshot(request).await {
                Ok(reply) => reply.map(body),
                Err(never) => match never {},
            }
        }
    })
    .await
}

/// What `report_caller.py` prints, by lines.
async fn caller(arguments: Vec<String>) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/report_caller.py");
    let mut command = Command::new(python());
    command.arg(script).args(arguments);
    let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "report_caller.py: {}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Two calls; the report in the trailers of the second.
async fn trailer(server: &Server) -> String {
    let mesh = mesh_of(&[server.socket().port()], Balancer::default());
    let client = mesh.client("greeter.prod").unwrap();
    let mut grpc = tonic::client::Grpc::new(client);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HelloRequest, HelloReply>::default();
    let path = http::uri::PathAndQuery::from_static("/helloworld.Greeter/SayHello");
    // What is answered counts from the next report on.
    let request = || tonic::Request::new(HelloRequest::default());
    grpc.unary(request(), path.clone(), codec).await.unwrap();
    let codec = tonic_prost::ProstCodec::<HelloRequest, HelloReply>::default();
    grpc.ready().await.unwrap();
    let reply = grpc.unary(request(), path, codec).await.unwrap();
    let headers = reply.metadata().clone().into_headers();
    headers["endpoint-load-metrics-bin"].to_str().unwrap().to_owned()
}

/// What a report says, as protobuf's own library read it.
fn checked(line: &str) {
    let report: Value = serde_json::from_str(line).unwrap();
    assert_eq!(report["application_utilization"], 0.25, "{line}");
    assert_eq!(report["cpu_utilization"], 0.5, "{line}");
    assert_eq!(report["named_metrics"]["queue"], 3.0, "{line}");
    assert_eq!(report["named_metrics"]["prequal_rif"], 0.0, "{line}");
    assert!(report["named_metrics"]["prequal_latency_us"].as_f64().unwrap() > 0.0, "{line}");
    assert!(report["rps_fractional"].as_f64().unwrap() > 0.0, "{line}");
    assert_eq!(report.get("eps"), None, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_reads_the_trailers_of_our_layer() {
    let server = ours("a", 0.25).await;
    let lines = caller(vec!["read".into(), trailer(&server).await]).await;
    println!("our trailer as protobuf has it: {lines:?}");
    assert_eq!(lines.len(), 1);
    checked(&lines[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn c_core_reads_the_stream_of_our_layer() {
    let server = ours("a", 0.25).await;
    let port = server.socket().port().to_string();
    // So that there is a rate and a latency to report.
    trailer(&server).await;
    let lines = caller(vec!["stream".into(), port, "3".into()]).await;
    assert_eq!(lines.len(), 3);
    lines.iter().for_each(|line| checked(line));
}

/// How C-core's `weighted_round_robin` shares calls among three of our servers.
async fn c_cores_shares(how: &str) -> BTreeMap<String, usize> {
    let servers = [ours("a", 0.2).await, ours("b", 0.4).await, ours("c", 0.8).await];
    let mut arguments = vec!["weighted".into(), (300 * scale()).to_string(), how.to_owned()];
    arguments.extend(servers.iter().map(|server| server.socket().port().to_string()));
    let mut answers = BTreeMap::new();
    for name in caller(arguments).await {
        *answers.entry(name).or_default() += 1;
    }
    println!("C-core's picks by our reports ({how}): {answers:?}");
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn our_reports_steer_c_cores_weights() {
    for how in ["calls", "oob"] {
        let answers = c_cores_shares(how).await;
        // The weight is a rate over a utilisation: who is picked more has the higher rate, and
        // is picked more still.
        let [a, b, c] = ["a", "b", "c"].map(|name| share(&answers, name));
        assert!(a > b && b > c && a > 0.5, "{how}: {answers:?}");
    }
}
