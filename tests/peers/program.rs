//! A foreign program: found, started on loopback, ended by its id.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::TcpStream;

const INSTALL: &str = "this suite runs against real programs and skips none: run `.ci/peers`, \
                       which installs them, or `apt-get install nginx-light haproxy openssl knot \
                       knot-dnsutils unbound prometheus` and \
                       `python3 -m venv .peers/venv && .peers/venv/bin/pip install grpcio==1.85.0`";

/// How many times longer than in a short run the loads last.
pub(crate) fn scale() -> u32 {
    std::env::var("PEERS_SCALE").map_or(1, |scale| scale.parse().expect("PEERS_SCALE is a number"))
}

/// So many seconds in a short run.
pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds) * scale()
}

/// A program on the path or in the folders of daemons.
pub(crate) fn find(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut places = folders.map(|folder| folder.join(name));
    places.find(|place| place.is_file()).unwrap_or_else(|| panic!("{name} is missing: {INSTALL}"))
}

/// The Python that has grpcio.
pub(crate) fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/venv/bin/python");
    let imports = Command::new(&python).args(["-c", "import grpc"]).stderr(Stdio::null()).status();
    assert!(
        imports.is_ok_and(|status| status.success()),
        "grpcio is missing in {}: {INSTALL}",
        python.display()
    );
    python
}

/// A port that was free just now, and that nobody else here was given.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// A running program; its drop ends it.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; what it says goes to a log in `dir`.
    pub(crate) fn start(name: &'static str, mut command: Command, dir: &Path) -> Self {
        let log = dir.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, child, log }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it listens at this port.
    pub(crate) async fn listens(&mut self, port: u16) {
        for _ in 0..3000 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status}: {}", self.name, self.said());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} does not listen at {port}: {}", self.name, self.said());
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success(), "{kill}");
    }

    /// Waits until it has ended by itself, and says how.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        for _ in 0..1500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} does not end: {}", self.name, self.said());
    }

    fn said(&self) -> String {
        let mut said = fs::read_to_string(&self.log).unwrap_or_default();
        if let Some(dir) = self.log.parent()
            && let Ok(errors) = fs::read_to_string(dir.join("error.log"))
        {
            let _ = write!(said, "\n{errors}");
        }
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{} said:\n{}", self.name, self.said());
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // nginx ends its workers on this; a kill would leave them behind.
        drop(Command::new("sh").args(["-c", &format!("kill -TERM {}", self.id())]).status());
        for _ in 0..250 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A folder of its own for a program.
pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new().prefix("peers-").tempdir().unwrap()
}
