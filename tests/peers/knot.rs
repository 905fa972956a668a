//! knot with a zone that is updated while it runs, and unbound, which caches in front of it.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::program::{Program, find, folder, free_port};

/// The zone that knot serves.
pub(crate) const ZONE: &str = "users.test.";

/// A running knot.
pub(crate) struct Knot {
    program: Program,
    pub(crate) port: u16,
    dir: TempDir,
}

/// A running unbound.
pub(crate) struct Unbound {
    _program: Program,
    pub(crate) port: u16,
    _dir: TempDir,
}

impl Knot {
    pub(crate) async fn start() -> Self {
        let (dir, port) = (folder(), free_port());
        let path = dir.path().display();
        let conf = format!(
            "server:
    rundir: {path}
    listen: 127.0.0.1@{port}
log:
  - target: stderr
    any: warning
database:
    storage: {path}/db
acl:
  - id: update
    address: 127.0.0.1
    action: update
template:
  - id: default
    storage: {path}
    file: \"%s.zone\"
zone:
  - domain: {ZONE}
    acl: update
"
        );
        let zone = format!(
            "{ZONE} 1 SOA ns.{ZONE} admin.{ZONE} 1 60 60 3600 1\n{ZONE} 60 NS ns.{ZONE}\nns.{ZONE} 60 A 127.0.0.1\n"
        );
        fs::create_dir(dir.path().join("db")).unwrap();
        fs::write(dir.path().join("knot.conf"), conf).unwrap();
        fs::write(dir.path().join("users.test.zone"), zone).unwrap();
        let mut program = Program::start("knotd", command(&dir), dir.path());
        program.listens(port).await;
        let knot = Self { program, port, dir };
        knot.serves().await;
        knot
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Replaces the records of a name and kind, as in zone files.
    pub(crate) fn set(&self, owner: &str, kind: &str, ttl: u32, data: &[String]) {
        let said = self.try_set(owner, kind, ttl, data);
        assert!(said.contains("NOERROR"), "{said}");
    }

    fn try_set(&self, owner: &str, kind: &str, ttl: u32, data: &[String]) -> String {
        let mut lines = format!("server 127.0.0.1 {}\nzone {ZONE}\n", self.port);
        lines += &format!("update delete {owner} {kind}\n");
        for data in data {
            lines += &format!("update add {owner} {ttl} {kind} {data}\n");
        }
        lines += "send\nanswer\nquit\n";
        let mut update = Command::new(find("knsupdate"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        update.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = update.wait_with_output().unwrap();
        lines + &String::from_utf8_lossy(&output.stdout)
    }

    /// It listens before it has read its zone.
    async fn serves(&self) {
        for _ in 0..500 {
            let said = self.try_set(&format!("there.{ZONE}"), "A", 60, &["127.0.0.1".into()]);
            if said.contains("NOERROR") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("knot does not serve its zone");
    }

    /// It ends, and is started again later with the records that it had.
    pub(crate) async fn stop(&mut self) {
        self.program.signal("TERM");
        self.program.ended().await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.program = Program::start("knotd", command(&self.dir), self.dir.path());
        self.program.listens(self.port).await;
        self.serves().await;
    }
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(find("knotd"));
    command.arg("-c").arg(dir.path().join("knot.conf"));
    command
}

impl Unbound {
    /// Starts it in front of that knot.
    pub(crate) async fn start(knot: &Knot) -> Self {
        let (dir, port) = (folder(), free_port());
        let path = dir.path().display();
        let conf = format!(
            "server:
    interface: 127.0.0.1
    port: {port}
    do-daemonize: no
    username: \"\"
    chroot: \"\"
    directory: \"{path}\"
    pidfile: \"\"
    use-syslog: no
    do-not-query-localhost: no
    access-control: 127.0.0.0/8 allow
    local-zone: \"test.\" nodefault
    module-config: \"iterator\"
remote-control:
    control-enable: no
stub-zone:
    name: \"{ZONE}\"
    stub-addr: 127.0.0.1@{}
",
            knot.port
        );
        fs::write(dir.path().join("unbound.conf"), conf).unwrap();
        let mut command = Command::new(find("unbound"));
        command.arg("-d").arg("-c").arg(dir.path().join("unbound.conf"));
        let mut program = Program::start("unbound", command, dir.path());
        program.listens(port).await;
        Self { _program: program, port, _dir: dir }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}
