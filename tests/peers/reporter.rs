//! A server on gRPC C-core that reports its load.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use serde::Deserialize;
use tempfile::TempDir;

use crate::program::{Program, folder, free_port, python};

/// A running `reporter.py`.
pub(crate) struct Reporter {
    pub(crate) port: u16,
    _program: Program,
    dir: TempDir,
}

/// That a stream of reports was asked for.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Asked {
    /// How often. Seconds.
    pub(crate) interval: f64,
    /// The costs that were asked for by name.
    pub(crate) costs: Vec<String>,
}

impl Reporter {
    /// One of this name that tells of so much; the utilization may be a file that says it.
    pub(crate) async fn start(name: &str, utilization: &str, rps: &str, in_flight: &str) -> Self {
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/reporter.py");
        let mut command = Command::new(python());
        command.arg(script).args([name, &port.to_string(), utilization, rps, in_flight]);
        let dir = folder();
        let mut program = Program::start("reporter", command, dir.path());
        program.listens(port).await;
        Self { port, _program: program, dir }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The streams that it was asked for so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let said = fs::read_to_string(self.dir.path().join("reporter.log")).unwrap_or_default();
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
