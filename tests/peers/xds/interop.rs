//! The programs of gRPC's interop tests of xDS and those of others: C-core calls our server; grpc-go, with the stubs
//! that it ships, calls it, drives our client, and is called by it.

use std::{net::SocketAddr, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tower_mesh::{
    control::xds::{Bootstrap, Server as Plane},
    testing::xds::{AdsServer, Resource},
};

use super::plane::go;
use crate::{
    client::Client,
    options::Options,
    program::{Program, folder, free_port, python},
    server::{self, Server},
};

fn words(line: &str) -> impl Iterator<Item = String> {
    line.split_whitespace().map(str::to_owned)
}

async fn backend(name: &str) -> Server {
    let line = format!("--port=0 --host_name_override={name} --server_id=id-{name}");
    Server::start([127, 0, 0, 1], server::Options::parse(words(&line)).unwrap()).await.unwrap()
}

/// A client that calls these two in turn.
async fn client(one: SocketAddr, other: SocketAddr) -> (AdsServer, Client) {
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("test", [one, other]));
    let bootstrap =
        Bootstrap::builder().node_id("ours").server(Plane::insecure(plane.uri())).build();
    let line = "--server=xds:///test --qps=100 --stats_port=0 --rpc=UnaryCall,EmptyCall";
    let options = Options::parse(words(line)).unwrap();
    (plane, Client::start([127, 0, 0, 1], options, Some(bootstrap.unwrap())).await.unwrap())
}

/// What a program prints, by lines.
async fn said(mut command: Command) -> Vec<Value> {
    let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {complaint}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What grpc-go's side of it prints.
pub(crate) async fn interop(what: &str, at: SocketAddr, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(go("interop"));
    command.arg(what).arg(at.to_string()).args(arguments);
    said(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn c_core_calls_our_server() {
    let server = backend("ours").await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/xds/interop_caller.py");
    let mut command = Command::new(python());
    command.arg(script).arg(server.address.port().to_string());
    command.args(["sleep-1", "error-code-9", "hostname=other error-code-9", "keep-open"]);
    let told = said(command).await;
    let codes: Vec<_> = told.iter().map(|it| it["code"].as_i64().unwrap()).collect();
    assert_eq!(codes[..6], [0, 0, 9, 9, 0, 0], "{told:?}");
    // Its deadline passes in both at the same time: the caller's word is DEADLINE_EXCEEDED, the server's CANCELLED.
    assert!(codes[6..].iter().all(|code| [1, 4].contains(code)) && codes.len() == 8, "{told:?}");
    for answered in told.iter().filter(|it| it["code"] == 0) {
        assert_eq!(answered["hostname"], "ours", "{answered}");
    }
    // Fields 4 and 6 of SimpleResponse.
    let answer = told[1]["answer"].as_str().unwrap();
    assert!(answer.contains("220769642d6f757273") && answer.contains("32046f757273"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn grpc_go_calls_our_server() {
    let server = backend("ours").await;
    let told = interop("call", server.address, &["sleep-1"]).await;
    assert_eq!(told[0]["hostname"], "ours", "{told:?}");
    assert_eq!(told[1]["server_id"], "id-ours", "{told:?}");
    assert_eq!((&told[1]["hostname"], &told[1]["size"]), (&"ours".into(), &9.into()), "{told:?}");
    let told = interop("call", server.address, &["error-code-7"]).await;
    assert_eq!((&told[0]["code"], &told[1]["code"]), (&7.into(), &7.into()), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn grpc_go_drives_our_client_which_calls_it() {
    let (dir, port): (TempDir, u16) = (folder(), free_port());
    let mut command = Command::new(go("interop"));
    command.args(["serve", &port.to_string(), "go"]);
    let mut theirs = Program::start("interop", command, dir.path());
    theirs.listens(port).await;
    let ours = backend("ours").await;
    let (_plane, client) = client(ours.address, ([127, 0, 0, 1], port).into()).await;

    let told = interop("next", client.stats, &["100"]).await.remove(0);
    let of = |peer: &str| told["rpcsByPeer"][peer].as_i64().unwrap_or_default();
    assert!(of("ours") > 30 && of("go") > 30 && of("ours") + of("go") == 100, "{told}");
    assert!(told["rpcsByMethod"]["EmptyCall"]["rpcsByPeer"]["go"].as_i64() > Some(5), "{told}");
    let entry = &told["metadatasByPeer"]["go"]["rpcMetadata"][0]["metadata"][0];
    assert_eq!((&entry["value"], &entry["type"]), (&"go".into(), &"INITIAL".into()), "{told}");

    drop(interop("configure", client.stats, &["rpc-behavior", "error-code-11"]).await);
    // Their server asks nobody how to behave.
    let began = tokio::time::Instant::now();
    let all = loop {
        let all = interop("all", client.stats, &[]).await.remove(0);
        if all["statsPerMethod"]["UNARY_CALL"]["result"]["11"].as_i64() > Some(10) {
            break all;
        }
        assert!(began.elapsed().as_secs() < 20, "{all}");
    };
    let started = all["numRpcsStartedByMethod"]["UNARY_CALL"].as_i64();
    assert_eq!(started, all["statsPerMethod"]["UNARY_CALL"]["rpcsStarted"].as_i64(), "{all}");
    assert!(all["statsPerMethod"]["EMPTY_CALL"]["result"]["11"].is_null(), "{all}");
}
