//! haproxy before nginx and C-core.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use tempfile::TempDir;

use crate::program::{Program, find, folder, free_port};

/// A running haproxy.
pub(crate) struct Haproxy {
    program: Program,
    /// HTTP/1.1, to the web servers.
    pub(crate) http1: u16,
    /// HTTP/2 by prior knowledge, to the web servers.
    pub(crate) http2: u16,
    /// HTTP/2 by prior knowledge, to the greeters.
    pub(crate) grpc: u16,
    dir: TempDir,
}

impl Haproxy {
    /// Starts it before these web servers (HTTP/1.1) and greeters.
    pub(crate) async fn start(web: &[u16], greeters: &[u16]) -> Self {
        let (dir, http1, http2, grpc) = (folder(), free_port(), free_port(), free_port());
        let servers = |ports: &[u16], options: &str| {
            let line =
                |(n, port): (usize, &u16)| format!("    server s{n} 127.0.0.1:{port} {options}\n");
            ports.iter().enumerate().map(line).collect::<String>()
        };
        let conf = format!(
            "global
    stats socket {dir}/haproxy.sock mode 600 level admin expose-fd listeners
    hard-stop-after 20s
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    option idle-close-on-response
    retries 3
    option redispatch
frontend http1
    bind 127.0.0.1:{http1}
    http-response set-header x-proxy %pid
    default_backend web
frontend http2
    bind 127.0.0.1:{http2} proto h2
    http-response set-header x-proxy %pid
    default_backend web
frontend grpc
    bind 127.0.0.1:{grpc} proto h2
    http-response set-header x-proxy %pid
    default_backend greeters
backend web
{web}backend greeters
    balance roundrobin
{greeters}",
            dir = dir.path().display(),
            web = servers(web, ""),
            greeters = servers(greeters, "proto h2"),
        );
        fs::write(dir.path().join("haproxy.cfg"), conf).unwrap();
        let mut program = Program::start("haproxy", command(&dir), dir.path());
        for port in [http1, http2, grpc] {
            program.listens(port).await;
        }
        Self { program, http1, http2, grpc, dir }
    }

    /// A new process takes over the listeners, and the old one ends with its connections.
    pub(crate) async fn reload(&mut self) {
        let mut command = command(&self.dir);
        command.arg("-x").arg(socket(&self.dir)).args(["-sf", &self.program.id().to_string()]);
        let new = Program::start("haproxy", command, self.dir.path());
        let mut old = std::mem::replace(&mut self.program, new);
        old.ended().await;
        self.program.listens(self.http1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn socket(dir: &TempDir) -> PathBuf {
    dir.path().join("haproxy.sock")
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(find("haproxy"));
    command.arg("-db").arg("-f").arg(dir.path().join("haproxy.cfg"));
    command
}
