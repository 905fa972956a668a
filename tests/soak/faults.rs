//! What goes wrong: one replica stays well and in the file, anything may happen to the others.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::replica::{Mode, Replica};

const REPLICAS: usize = 6;

pub(crate) struct Chaos {
    path: PathBuf,
    random: fastrand::Rng,
    replicas: Vec<Replica>,
    struck: [usize; 6],
}

const NAMES: [&str; 6] = ["ill", "killed", "restarted", "closed", "revived", "edits"];

// === impl Chaos ===

impl Chaos {
    pub(crate) async fn new(path: PathBuf, seed: u64) -> Self {
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            replicas.push(Replica::start().await);
        }
        let mut chaos =
            Self { path, random: fastrand::Rng::with_seed(seed), replicas, struck: [0; 6] };
        chaos.edit();
        chaos
    }

    pub(crate) fn file(&self) -> &Path {
        &self.path
    }

    /// One more fault, and some time to live with it.
    pub(crate) async fn strike(&mut self) {
        let kind = self.random.usize(..NAMES.len());
        self.struck[kind] += 1;
        // The first is spared.
        let number = self.random.usize(1..REPLICAS);
        let modes = [Mode::Well, Mode::Slow, Mode::Failing, Mode::Hung];
        let mode = modes[self.random.usize(..modes.len())];
        let replica = &mut self.replicas[number];
        match kind {
            0 => replica.set(mode),
            1 => replica.kill().await,
            2 => {
                replica.kill().await;
                replica.revive().await;
            }
            3 => {
                replica.close().await;
                replica.revive().await;
            }
            4 => {
                replica.set(Mode::Well);
                replica.revive().await;
            }
            _ => self.edit(),
        }
        tokio::time::sleep(Duration::from_millis(self.random.u64(20..400))).await;
    }

    /// Heals everybody.
    pub(crate) async fn calm(&mut self) {
        for replica in &mut self.replicas {
            replica.set(Mode::Well);
            replica.kill().await;
            replica.revive().await;
        }
    }

    /// Writes the file anew, atomically or not, now and then as nonsense.
    fn edit(&mut self) {
        let mut endpoints = format!("{{address: \"{}\"}}", self.replicas[0].address);
        for replica in &self.replicas[1..] {
            if self.random.u8(..4) > 0 {
                let weight = if self.random.bool() { 1 } else { self.random.u8(1..5) };
                endpoints
                    .push_str(&format!(", {{address: \"{}\", weight: {weight}}}", replica.address));
            }
        }
        let retry = "retry: {attempts: 5, idempotent: true}";
        let policy = format!("policy: {{timeout: 10s, attempt_timeout: 300ms, {retry}}}");
        let text = format!(
            "services:\n  users: {{policy: {{timeout: 10s, attempt_timeout: 300ms, retry: \
             {{attempts: 5}}}}}}\n  greeter: {{{policy}}}\nclusters:\n  users: {{endpoints: \
             [{endpoints}]}}\n  greeter: {{protocol: http2, endpoints: [{endpoints}]}}\n"
        );
        let first = !self.path.exists();
        match self.random.u8(..8) {
            0 if !first => fs::write(&self.path, "clusters: {users: {endpoints: [").unwrap(),
            1 if !first => fs::write(&self.path, text).unwrap(),
            _ => {
                let next = self.path.with_extension("next");
                fs::write(&next, text).unwrap();
                fs::rename(next, &self.path).unwrap();
            }
        }
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults", self.struck.iter().sum::<usize>())?;
        for (count, name) in self.struck.iter().zip(NAMES) {
            write!(f, ", {count} {name}")?;
        }
        Ok(())
    }
}
