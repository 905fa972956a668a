//! The programs of gRPC's interop tests as processes, started by their flags; a control plane of others, and a driver on
//! gRPC C-core that asks and tells them (`interop_driver.py`).

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    time::Instant,
};

use super::{
    bed::bootstrap,
    plane::{Kind, Plane},
};
use crate::{
    interop::messages::RpcType,
    program::{Program, folder, free_port, python},
};

/// A script beside this file.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/xds").join(name)
}

/// One of the two programs, built as this suite is, and where it is.
pub(crate) fn example(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // TARGET/PROFILE/deps/peers-HASH
        let own = std::env::current_exe().unwrap();
        let profile = own.ancestors().nth(2).unwrap();
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--quiet", "--all-features"]);
        command.args(["--example", "xds_interop_client", "--example", "xds_interop_server"]);
        command.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        command.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            command.arg("--release");
        }
        let status = command.status().unwrap();
        assert!(status.success(), "{command:?}: {status}");
        profile.join("examples")
    });
    folder.join(name)
}

/// The server, in a process of its own.
pub(crate) struct Backend {
    name: &'static str,
    port: u16,
    /// Where its health is asked and told.
    pub(crate) maintenance: u16,
    program: Option<Program>,
    folder: TempDir,
}

impl Backend {
    /// Starts one that says that this is its name.
    pub(crate) async fn start(name: &'static str) -> Self {
        let (port, maintenance) = (free_port(), free_port());
        let mut backend = Self { name, port, maintenance, program: None, folder: folder() };
        backend.resume().await;
        backend
    }

    /// Starts it again where it was.
    pub(crate) async fn resume(&mut self) {
        let mut command = Command::new(example("xds_interop_server"));
        command.arg(format!("--port={}", self.port));
        command.arg(format!("--maintenance_port={}", self.maintenance));
        command.arg(format!("--server_id=id-{}", self.name));
        command.arg(format!("--host_name_override={}", self.name));
        let mut program = Program::start("backend", command, self.folder.path());
        program.listens(self.port).await;
        program.listens(self.maintenance).await;
        self.program = Some(program);
    }

    /// Has it end, as a platform does.
    pub(crate) async fn stop(&mut self) {
        let mut program = self.program.take().unwrap();
        program.signal("TERM");
        let status = program.ended().await;
        assert_eq!(status.code(), Some(0), "{}: {status}", self.name);
    }

    /// Where it is called.
    pub(crate) fn at(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

/// Who asks and tells both.
pub(crate) struct Driver {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    pub(crate) async fn start() -> Self {
        let mut command = tokio::process::Command::new(python());
        command.arg(script("interop_driver.py")).env("GRPC_VERBOSITY", "ERROR");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut driver = Self { _child: child, input, output: BufReader::new(output).lines() };
        assert_eq!(driver.line().await, "ready");
        driver
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(60), self.output.next_line()).await;
        line.expect("it answers").unwrap().expect("it lives")
    }

    /// What comes of a call: `answer` and `initial`, or `code` and `text`.
    pub(crate) async fn call(&mut self, port: u16, method: &str, more: &[(&str, Value)]) -> Value {
        let mut asked = json!({"port": port, "method": method});
        for (name, value) in more {
            asked[*name] = value.clone();
        }
        let line = format!("{asked}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
        serde_json::from_str(&self.line().await).unwrap()
    }
}

/// The plane, the client in a process of its own, and its driver.
pub(crate) struct Scene {
    pub(crate) plane: Plane,
    pub(crate) client: Program,
    /// Where the client is asked and told.
    pub(crate) stats: u16,
    pub(crate) driver: Driver,
    _folder: TempDir,
}

impl Scene {
    /// A client with these flags too, under a plane that says these resources.
    pub(crate) async fn start(flags: &str, resources: &[Value]) -> Self {
        Self::start_with(flags, resources, |port| bootstrap(&[port], &[])).await
    }

    /// The same with a bootstrap for a plane at a port.
    pub(crate) async fn start_with(
        flags: &str,
        resources: &[Value],
        bootstrap: impl FnOnce(u16) -> String,
    ) -> Self {
        let plane = Plane::start(Kind::Scripted, resources).await;
        let (folder, stats) = (folder(), free_port());
        let file = folder.path().join("bootstrap.json");
        fs::write(&file, bootstrap(plane.port).replace("NODE", "ours")).unwrap();
        let mut command = Command::new(example("xds_interop_client"));
        command.arg("--server=xds:///test").arg(format!("--stats_port={stats}"));
        command.args(flags.split_whitespace()).env("GRPC_XDS_BOOTSTRAP", file);
        let mut client = Program::start("client", command, folder.path());
        client.listens(stats).await;
        Self { plane, client, stats, driver: Driver::start().await, _folder: folder }
    }

    /// What the client answers.
    pub(crate) async fn ask(&mut self, method: &str, request: Value) -> Value {
        let mut told = self.driver.call(self.stats, method, &[("request", request)]).await;
        assert!(told["code"].is_null(), "{method}: {told}");
        told["answer"].take()
    }

    /// Who answers the next calls.
    pub(crate) async fn next(&mut self, count: u32) -> Told {
        self.next_with(count, &[]).await
    }

    /// The same, with this metadata of their responses.
    pub(crate) async fn next_with(&mut self, count: u32, keys: &[&str]) -> Told {
        let request = json!({"numRpcs": count, "timeoutSec": 15, "metadataKeys": keys});
        Told(self.ask("grpc.testing.LoadBalancerStatsService/GetClientStats", request).await)
    }

    /// What became of all calls of this kind so far.
    pub(crate) async fn all(&mut self, kind: &str) -> Sums {
        let method = "grpc.testing.LoadBalancerStatsService/GetClientAccumulatedStats";
        let told = self.ask(method, json!({})).await;
        Sums(told["statsPerMethod"][kind].clone())
    }

    /// Has the client make these calls, with this `rpc-behavior` each, from now on.
    pub(crate) async fn configure(&mut self, calls: &[(RpcType, &str)], seconds: u32) {
        let types: Vec<i32> = calls.iter().map(|(kind, _)| (*kind).into()).collect();
        let metadata: Vec<Value> = calls
            .iter()
            .filter(|(_, behaviour)| !behaviour.is_empty())
            .map(|(kind, behaviour)| {
                json!({"type": i32::from(*kind), "key": "rpc-behavior", "value": behaviour})
            })
            .collect();
        let request = json!({"types": types, "metadata": metadata, "timeoutSec": seconds});
        drop(self.ask("grpc.testing.XdsUpdateClientConfigureService/Configure", request).await);
    }

    /// Looks at blocks of 20 calls until it holds.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Told) -> bool) {
        let began = Instant::now();
        loop {
            let told = self.next(20).await;
            if holds(&told) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}; last: {}", told.0);
        }
    }

    /// Looks at the sums of a kind until it holds.
    pub(crate) async fn until_all(
        &mut self,
        kind: &str,
        what: &str,
        holds: impl Fn(&Sums) -> bool,
    ) -> Sums {
        let began = Instant::now();
        loop {
            let sums = self.all(kind).await;
            if holds(&sums) {
                return sums;
            }
            assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}; last: {}", sums.0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until these answer all calls.
    pub(crate) async fn until_peers(&mut self, peers: &[&str]) {
        self.until(&format!("{peers:?}"), |told| told.failures() == 0 && told.peers() == peers)
            .await;
    }
}

/// Who answered a block of calls.
#[derive(Debug)]
pub(crate) struct Told(pub(crate) Value);

impl Told {
    /// How many nobody answered.
    pub(crate) fn failures(&self) -> i64 {
        self.0["numFailures"].as_i64().unwrap_or_default()
    }

    /// How many this one answered.
    pub(crate) fn of(&self, peer: &str) -> i64 {
        self.0["rpcsByPeer"][peer].as_i64().unwrap_or_default()
    }

    /// Who answered any, by name.
    pub(crate) fn peers(&self) -> Vec<&str> {
        names(&self.0["rpcsByPeer"])
    }

    /// Who answered any of this method.
    pub(crate) fn peers_of(&self, method: &str) -> Vec<&str> {
        names(&self.0["rpcsByMethod"][method]["rpcsByPeer"])
    }
}

fn names(of: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        of.as_object().map_or_else(Vec::new, |of| of.keys().map(String::as_str).collect());
    names.sort_unstable();
    names
}

/// What became of all calls of a kind.
#[derive(Debug)]
pub(crate) struct Sums(pub(crate) Value);

impl Sums {
    /// How many ended with this status.
    pub(crate) fn ended(&self, code: i32) -> i64 {
        self.0["result"][code.to_string()].as_i64().unwrap_or_default()
    }

    /// How many have not ended.
    pub(crate) fn open(&self) -> i64 {
        let ended = self.0["result"].as_object().into_iter().flat_map(|of| of.values());
        let ended: i64 = ended.filter_map(Value::as_i64).sum();
        self.0["rpcsStarted"].as_i64().unwrap_or_default() - ended
    }
}

/// For what is to come: a busy machine may be slow.
const PATIENCE: Duration = Duration::from_secs(30);
