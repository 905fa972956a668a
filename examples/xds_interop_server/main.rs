//! The server of gRPC's interop tests of xDS: `TestService`, health, `XdsUpdateHealthService` and CSDS, with the flags of
//! gRPC's own programs. It is a plain server of tonic: the mesh has no server that a control plane configures,
//! and `--secure_mode` is refused. SIGTERM ends it when the calls on it are answered, or after five seconds.
//!
//! ```text
//! cargo run --example xds_interop_server --features testing,xds -- --port=8080 --host_name_override=one
//! ```
//!
//! Without arguments it calls itself once in each way, and ends.
#![allow(clippy::print_stdout, reason = "an example talks")]

mod behaviour;
#[path = "../support/interop/mod.rs"]
mod interop;
mod server;

use std::{process::ExitCode, time::Duration};

use tonic::{Request, transport::Channel};
use tower_mesh::BoxError;

use self::{
    interop::{
        EMPTY_CALL, Told, UNARY_CALL, called,
        messages::{Empty, SimpleRequest, SimpleResponse},
        program,
    },
    server::{Options, Server},
};

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        sample().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = program::options("xds_interop_server", server::FLAGS, arguments, Options::parse);
    let options = match options {
        Ok(options) => options,
        Err(code) => return Ok(code),
    };
    let ending = program::ending()?;
    let server = Server::start([0, 0, 0, 0], options).await?;
    println!("called at {}, health at {}", server.address, server.maintenance);
    ending.await;
    server.end(PATIENCE).await;
    Ok(ExitCode::SUCCESS)
}

/// For the calls that are under way when it is asked to end.
const PATIENCE: Duration = Duration::from_secs(5);

async fn sample() -> Result<(), BoxError> {
    let arguments = ["--port=0", "--host_name_override=one"].map(str::to_owned);
    let server = Server::start([127, 0, 0, 1], Options::parse(arguments)?).await?;
    let channel = Channel::from_shared(format!("http://{}", server.address))?.connect().await?;

    let told: Told<Empty> = called(channel.clone(), EMPTY_CALL, Request::new(Empty {})).await?;
    println!("EmptyCall: the hostname is {:?}", told.initial.get("hostname"));
    let behaviours = [
        "",
        "sleep-1",
        "error-code-14",
        "hostname=two error-code-14",
        "succeed-on-retry-attempt-1,error-code-14",
        "keep-open",
    ];
    for behaviour in behaviours {
        let mut request = Request::new(SimpleRequest::default());
        request.metadata_mut().insert("rpc-behavior", behaviour.parse()?);
        let call = called::<_, _, SimpleResponse>(channel.clone(), UNARY_CALL, request);
        let what = match tokio::time::timeout(Duration::from_secs(2), call).await {
            Ok(Ok(told)) => format!("answered by {}", told.message.hostname),
            Ok(Err(status)) => format!("{:?}", status.code()),
            Err(_) => "still open after 2 s".to_owned(),
        };
        println!("UnaryCall, rpc-behavior `{behaviour}`: {what}");
    }
    Ok(())
}
