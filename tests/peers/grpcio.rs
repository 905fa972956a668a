//! gRPC servers on C-core.

use std::{path::Path, process::Command};

use tempfile::TempDir;
use tower_mesh::Client;

use crate::{
    program::{Program, folder, free_port, python},
    support::{GreeterClient, HelloRequest},
};

/// A running `greeter.py`.
pub(crate) struct Grpcio {
    program: Program,
    pub(crate) port: u16,
    _dir: TempDir,
}

impl Grpcio {
    /// Starts it under this name, with these channel arguments of C-core.
    pub(crate) async fn start(name: &str, options: &[&str]) -> Self {
        Self::start_at(free_port(), name, options).await
    }

    /// The same at this port.
    pub(crate) async fn start_at(port: u16, name: &str, options: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/greeter.py");
        let mut command = Command::new(python());
        command.arg(script).args([name, &port.to_string(), "10"]).args(options);
        let dir = folder();
        let mut program = Program::start("greeter", command, dir.path());
        program.listens(port).await;
        Self { program, port, _dir: dir }
    }

    /// Stops it gracefully: GOAWAY, the calls in flight, the end of the process.
    pub(crate) async fn stop(mut self) {
        self.program.signal("TERM");
        self.program.ended().await;
    }
}

/// Says `command` to a server, and returns what it answers.
pub(crate) async fn say(client: Client, command: String) -> Result<String, String> {
    let mut client = GreeterClient::new(client);
    let reply = client.say_hello(HelloRequest { name: command.clone() }).await;
    reply.map(|reply| reply.into_inner().message).map_err(|status| format!("{command}: {status:?}"))
}

/// Asks for a stream of `number` replies, and says who sent them.
pub(crate) async fn count(client: Client, number: usize, pause: u64) -> Result<String, String> {
    let mut client = GreeterClient::new(client);
    let request = HelloRequest { name: format!("{number} {pause}") };
    let failed = |status| format!("stream: {status:?}");
    let mut replies = client.count(request).await.map_err(failed)?.into_inner();
    let (mut seen, mut who) = (0, String::new());
    while let Some(reply) = replies.message().await.map_err(failed)? {
        let (name, index) = reply.message.split_once(' ').unwrap();
        if index != seen.to_string() {
            return Err(format!("reply {index} after {seen}"));
        }
        seen += 1;
        name.clone_into(&mut who);
    }
    if seen == number { Ok(who) } else { Err(format!("{seen} replies of {number}")) }
}
