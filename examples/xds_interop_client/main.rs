//! The client of gRPC's interop tests of xDS, on the mesh: it calls at a constant rate, says who answered
//! (`LoadBalancerStatsService`), can be told what to call (`XdsUpdateClientConfigureService`) and what it knows of the
//! control plane (CSDS), with the flags of gRPC's own programs.
//!
//! ```text
//! GRPC_XDS_BOOTSTRAP=bootstrap.json \
//!   cargo run --example xds_interop_client --features testing,xds -- --server=xds:///orders --qps=100 --stats_port=8081
//! ```
//!
//! How it is secured is what the control plane says, with `--secure_mode` or without it. SIGTERM ends it. Without
//! arguments it starts two servers and a control plane of its own, splits the calls, and ends.
#![allow(clippy::print_stdout, reason = "an example talks")]

#[path = "../xds_interop_server/behaviour.rs"]
mod behaviour;
mod client;
#[path = "../support/interop/mod.rs"]
mod interop;
mod ledger;
mod options;
#[allow(dead_code, reason = "shared: its program uses all of it")]
#[path = "../xds_interop_server/server.rs"]
mod server;

use std::{process::ExitCode, time::Duration};

use tonic::{Request, transport::Channel};
use tower_mesh::{
    BoxError,
    control::xds::{Bootstrap, Server as Plane},
    testing::xds::{AdsServer, Resource},
};

use self::{
    client::Client,
    interop::{
        ACCUMULATED_STATS, CLIENT_STATS, CONFIGURE, called,
        messages::{
            CallMetadata, ClientConfigureRequest, ClientConfigureResponse,
            LoadBalancerAccumulatedStatsRequest, LoadBalancerAccumulatedStatsResponse,
            LoadBalancerStatsRequest, LoadBalancerStatsResponse, RpcType,
        },
        program,
    },
    options::Options,
    server::Server,
};

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        sample().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = program::options("xds_interop_client", options::FLAGS, arguments, Options::parse);
    let options = match options {
        Ok(options) => options,
        Err(code) => return Ok(code),
    };
    let ending = program::ending()?;
    let mut client = Client::start([0, 0, 0, 0], options, None).await?;
    println!("asked and told at {}", client.stats);
    tokio::select! {
        () = ending => Ok(ExitCode::SUCCESS),
        // A call that must not.
        why = client.failed() => Err(why.into()),
    }
}

fn flags(line: &str) -> impl Iterator<Item = String> {
    line.split_whitespace().map(str::to_owned)
}

async fn sample() -> Result<(), BoxError> {
    let start = async |name: &str| {
        let options =
            server::Options::parse(flags(&format!("--port=0 --host_name_override={name}")));
        Server::start([127, 0, 0, 1], options?).await
    };
    let (one, two) = (start("one").await?, start("two").await?);
    let plane = AdsServer::start().await?;
    plane.set([
        Resource::listener("test", "routes"),
        Resource::split("routes", "test", [("a", 80), ("b", 20)]),
        Resource::cluster("a"),
        Resource::endpoints("a", [one.address]),
        Resource::cluster("b"),
        Resource::endpoints("b", [two.address]),
    ]);
    let bootstrap =
        Bootstrap::builder().node_id("client").server(Plane::insecure(plane.uri())).build()?;
    let line =
        "--server=xds:///test --qps=200 --num_channels=2 --stats_port=0 --rpc=UnaryCall,EmptyCall";
    println!("xds_interop_client {line}");
    let client =
        Client::start([127, 0, 0, 1], Options::parse(flags(line))?, Some(bootstrap)).await?;

    let stats = Channel::from_shared(format!("http://{}", client.stats))?.connect().await?;
    let next =
        LoadBalancerStatsRequest { num_rpcs: 400, timeout_sec: 20, metadata_keys: Vec::new() };
    let told =
        called::<_, _, LoadBalancerStatsResponse>(stats.clone(), CLIENT_STATS, Request::new(next));
    let LoadBalancerStatsResponse { rpcs_by_peer, num_failures, .. } = told.await?.message;
    println!("the next 400 of a split of 80 : 20: {rpcs_by_peer:?}, {num_failures} failed");

    let kind = RpcType::UnaryCall.into();
    let asks = CallMetadata { kind, key: "rpc-behavior".into(), value: "error-code-14".into() };
    let configure =
        ClientConfigureRequest { types: vec![kind], metadata: vec![asks], timeout_sec: 1 };
    let done =
        called::<_, _, ClientConfigureResponse>(stats.clone(), CONFIGURE, Request::new(configure));
    done.await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told = called::<_, _, LoadBalancerAccumulatedStatsResponse>(
        stats,
        ACCUMULATED_STATS,
        Request::new(LoadBalancerAccumulatedStatsRequest {}),
    );
    for (method, stats) in told.await?.message.stats_per_method {
        println!("{method}: {} begun, by status {:?}", stats.rpcs_started, stats.result);
    }
    Ok(())
}
