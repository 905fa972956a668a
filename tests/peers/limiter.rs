//! A server of rate limits on gRPC C-core.

use std::{fs, path::Path, process::Command};

use serde_json::json;
use tempfile::TempDir;

use crate::program::{Program, folder, python};

/// A running `limiter.py`: 20 calls an hour for each `tenant`, and 5 for `shadow`, which are not enforced.
pub(crate) struct Limiter {
    pub(crate) port: u16,
    program: Program,
    dir: TempDir,
}

impl Limiter {
    pub(crate) async fn start(port: u16) -> Self {
        let limits = json!([
            {"key": "tenant", "value": "shadow", "requests": 5, "unit": "HOUR", "shadow": true},
            {"key": "tenant", "requests": 20, "unit": "HOUR"},
        ]);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/limiter.py");
        let dir = folder();
        let mut command = Command::new(python());
        command.arg(script).args([&port.to_string(), "shop", &limits.to_string()]);
        command.arg(dir.path().join("asked"));
        let mut program = Program::start("limiter", command, dir.path());
        program.listens(port).await;
        Self { port, program, dir }
    }

    /// What it was asked, question by question.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.dir.path().join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn stop(mut self) {
        self.program.signal("TERM");
        self.program.ended().await;
    }
}
