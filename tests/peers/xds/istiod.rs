//! istiod's own generators (`istiod/main.go`) tell a pod's mesh what to call: the scenarios of `tests/istiod`, in both
//! dialects and by both protocols. `.ci/peers full` builds it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use tempfile::TempDir;

use super::plane::go;
use crate::{
    bed::{self, FIRST_PORT, How, Istiod, WAYS},
    program::{Program, folder},
    recorded::{self, Step, is_whole},
    scenarios,
    support::swap,
};

/// The steps of each scenario, and what is called in it.
const SCENARIOS: [(&str, usize, &[&str]); 4] = [
    ("split", 3, &["reviews.shop:8080"]),
    ("calls", 1, &["flaky.shop:8080"]),
    ("tls", 3, &["users.prod.svc.cluster.local:8080"]),
    ("entries", 2, &["named.example.com:8080", "listed.example.com:8080"]),
];

/// Has the one of this folder say what comes of a step's YAML, with these servers in place of those at 9001, 9002 and so on.
pub(crate) fn say(folder: &Path, scenario: &str, step: usize, servers: &[SocketAddr]) {
    let mut text = fs::read_to_string(bed::yaml(scenario, step)).unwrap();
    for (port, server) in (FIRST_PORT..).zip(servers) {
        text = text.replace(&port.to_string(), &server.port().to_string());
    }
    swap(&folder.join("state.yaml"), &text);
}

/// The real one.
struct Real {
    folder: TempDir,
    scenario: &'static str,
    program: Program,
}

/// A line of `wire.jsonl`: a request, or, if `sent`, an answer.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    type_url: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    sent: bool,
    #[serde(default)]
    resources: Vec<Resource>,
    /// What an answer by delta says is gone.
    #[serde(default)]
    removed: Vec<String>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    value: String,
}

impl Real {
    fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.folder.path().join("wire.jsonl")).unwrap_or_default();
        // The last one may be on its way.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until something is answered after so many lines, and nothing is said any more.
    async fn until_quiet(&self, before: usize) -> usize {
        bed::until("an answer", async || self.lines()[before..].iter().any(|line| line.sent)).await;
        let mut heard = self.lines().len();
        loop {
            tokio::time::sleep(Duration::from_secs(4)).await;
            let now = self.lines().len();
            if now == heard {
                return now;
            }
            heard = now;
        }
    }
}

impl Istiod for Real {
    async fn start(scenario: &'static str, _: How) -> Self {
        let folder = folder();
        let socket = folder.path().join("XDS");
        let mut command = Command::new(go("istiod"));
        command.arg(folder.path());
        let program = Program::start("istiod", command, folder.path());
        bed::until("its socket", async || socket.exists()).await;
        Self { folder, scenario, program }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn says(&mut self, step: usize, servers: &[SocketAddr]) {
        let folder = self.folder.path();
        say(folder, self.scenario, step, servers);
        let said = fs::read_to_string(folder.join("state.yaml")).unwrap();
        let applied = folder.join("applied");
        bed::until("the step", async || {
            fs::read_to_string(&applied).is_ok_and(|text| text == said)
        })
        .await;
        // By then it answers of no other services and routes. Of what else is in its rules nothing says so.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(self.program.id() > 0);
    }

    fn refusals(&self) -> Vec<String> {
        let lines = self.lines().into_iter();
        lines.map(|line| line.error).filter(|error| !error.is_empty()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn a_split_over_subsets_that_shifts_and_ends() {
    scenarios::a_split_over_subsets_that_shifts_and_ends::<Real>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn retries_timeouts_and_faults() {
    scenarios::retries_timeouts_and_faults::<Real>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn tls_as_it_is_said_and_never_less() {
    scenarios::tls_as_it_is_said_and_never_less::<Real>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn entries_by_name_and_by_address() {
    scenarios::entries_by_name_and_by_address::<Real>().await;
}

/// What istiod says now is what was recorded. With `ISTIOD_RECORD=1` it is recorded.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn the_recordings_are_what_it_says() {
    let records = std::env::var_os("ISTIOD_RECORD").is_some();
    let mut stale: Vec<PathBuf> = Vec::new();
    for (scenario, steps, names) in SCENARIOS {
        for how in WAYS {
            let mut istiod = Real::start(scenario, how).await;
            let mut said = Vec::new();
            // Those of the YAML itself: nobody is called.
            istiod.says(1, &[]).await;
            let mesh = how.mesh(&istiod);
            let clients: Vec<_> = names.iter().map(|name| mesh.client(name).unwrap()).collect();
            let mut heard = 0;
            for step in 1..=steps {
                if step > 1 {
                    istiod.says(step, &[]).await;
                }
                let now = istiod.until_quiet(heard).await;
                said.push(merged(how, &istiod.lines()[heard..now]));
                heard = now;
            }
            drop(clients);
            let path = bed::recording(scenario, how);
            if records {
                recorded::write(&path, &said);
            } else if recorded::read(&path) != said {
                stale.push(path);
            }
        }
    }
    assert!(stale.is_empty(), "run this with ISTIOD_RECORD=1, and look at what is new: {stale:?}");
}

/// What these answers come to.
fn merged(how: How, lines: &[Line]) -> Step {
    let mut step = Step::new();
    for line in lines.iter().filter(|line| line.sent) {
        let named = step.entry(line.type_url.clone()).or_default();
        if !how.delta && is_whole(&line.type_url) {
            named.clear();
        }
        for resource in &line.resources {
            let value = BASE64_STANDARD.decode(&resource.value).unwrap();
            named.insert(resource.name.clone(), Some(value));
        }
        named.extend(line.removed.iter().map(|name| (name.clone(), None)));
    }
    step.retain(|kind, _| recorded::KINDS.iter().any(|(_, it)| it == kind));
    step
}
