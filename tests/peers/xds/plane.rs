//! A control plane of others: a program that says what it is told to say.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    program::{Program, folder, free_port, python},
    support::swap,
};

/// Which one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `plane.py`.
    Scripted,
    /// go-control-plane with its snapshot cache; only where `.ci/peers full` has built it.
    Snapshot,
    /// The same with its linear caches.
    Linear,
}

/// What a plane was asked, or, if `sent`, what it answered.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) node: String,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) version: String,
    pub(crate) nonce: String,
    pub(crate) error: Option<String>,
    /// What was known before the stream, by version (delta).
    #[serde(default)]
    pub(crate) initial: BTreeMap<String, String>,
    /// The number of the stream; go-control-plane only.
    #[serde(default)]
    pub(crate) stream: u64,
    #[serde(default)]
    pub(crate) sent: bool,
}

/// A program that `.ci/peers full` builds.
pub(crate) fn go(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/go").join(name);
    assert!(program.is_file(), "{} is missing: run `.ci/peers full`", program.display());
    program
}

/// A running plane.
pub(crate) struct Plane {
    kind: Kind,
    pub(crate) port: u16,
    dir: TempDir,
    program: Option<Program>,
}

impl Plane {
    /// Starts one that says these resources.
    pub(crate) async fn start(kind: Kind, resources: &[Value]) -> Self {
        let mut plane = Self { kind, port: free_port(), dir: folder(), program: None };
        plane.set(resources);
        plane.resume().await;
        plane
    }

    /// Says these resources from now on, and no others.
    pub(crate) fn set(&self, resources: &[Value]) {
        swap(&self.dir.path().join("state.json"), &json!({"resources": resources}).to_string());
    }

    /// Starts it again where it was.
    pub(crate) async fn resume(&mut self) {
        let port = self.port.to_string();
        let mut command = match self.kind {
            Kind::Scripted => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/xds/plane.py");
                let mut command = Command::new(python());
                command.arg(script).arg(port).arg(self.dir.path());
                command
            }
            Kind::Snapshot | Kind::Linear => {
                let cache = if self.kind == Kind::Linear { "linear" } else { "snapshot" };
                let mut command = Command::new(go("plane"));
                command.arg(port).arg(self.dir.path()).arg(cache);
                command
            }
        };
        command.env("GRPC_VERBOSITY", "ERROR");
        let mut program = Program::start("plane", command, self.dir.path());
        program.listens(self.port).await;
        self.program = Some(program);
    }

    /// The folder that it reads and writes.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.program = None;
    }

    /// What it was asked so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.dir.path().join("requests.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What this node refused of this kind.
    pub(crate) fn refusals(&self, node: &str, kind: &str) -> Vec<Line> {
        let mut lines = self.lines();
        lines.retain(|line| line.node == node && line.kind == kind && line.error.is_some());
        lines
    }

    /// The versions that this node accepted of this kind.
    pub(crate) fn accepted(&self, node: &str, kind: &str) -> Vec<String> {
        let lines = self.lines().into_iter();
        let such = lines.filter(|line| {
            let answers = line.error.is_none() && !line.nonce.is_empty();
            line.node == node && line.kind == kind && answers
        });
        such.map(|line| line.version).collect()
    }

    /// Waits until it is so, for at most ten seconds.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not in 10 s: {what}; asked: {:#?}", self.lines());
    }
}
