//! Everything at once: two HTTP services and a gRPC service on loopback, mutual TLS between
//! everybody, called through one mesh by `mesh.http()`, reqwest and tonic while the mesh file, the
//! records in DNS, the certificates and their authority change, and while replicas die, slow down
//! and fail. No call may fail.
//!
//! ```text
//! cargo run --example quickstart
//! ```
//!
//! It takes about 20 seconds, and ends with a non-zero code if a call failed.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/door.rs"]
mod door;
mod excerpt;
mod file;
mod fleet;
#[path = "../support/greeter.rs"]
mod greeter;
mod keys;
mod load;
mod notes;
mod records;
#[path = "../support/replica.rs"]
mod replica;
mod screen;
#[path = "../support/zone.rs"]
mod zone;

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use tokio::time::{Instant, sleep};
use tower_mesh::{Body, BoxError, DisconnectReason, Mesh};

use self::{
    excerpt::excerpt,
    file::MeshFile,
    fleet::{Fleet, GREETER_NEXT, USERS_NEXT},
    keys::Keys,
    load::{GREETER, Load, ORDERS, USERS},
    notes::Notes,
    screen::Screen,
};

const PHASES: usize = 13;
const PHASE: Duration = Duration::from_millis(1500);
/// What a phase promises must have come by then.
const LATEST: Duration = Duration::from_secs(10);
/// So long nothing has come of those that are gone.
const SOON: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mesh.yaml");
    let mut file = MeshFile::new(path.clone());
    let fleet = Fleet::start(Keys::new(folder.path())?).await?;
    file.write(fleet.yaml(0..3, false))?;
    println!("Three services, mutual TLS between everybody, and the file that the mesh follows:\n");
    print!("{}", file.text());

    // This is all that an application needs.
    let mesh = Mesh::builder().config_file(&path).build()?;
    mesh.ready().await?;
    let load = Load::start(&mesh)?; // `mesh.http()`, `mesh.reqwest(…)`, `GreeterClient::new(…)`

    let screen = Screen::new(PHASES);
    let mut show = Show { mesh, fleet, file, load, screen, sums: Sums::default() };
    let started = Instant::now();
    show.faults().await?;
    show.edits().await?;
    show.rotation().await?;
    let folder = format!("{}/", folder.path().display());
    let excerpt = excerpt(&show.mesh, &[USERS, ORDERS], &folder);
    show.shutdown().await;

    println!("\n{}", excerpt.join("\n"));
    let Sums { calls, clients, retries, failed, surprises } = show.sums;
    let clients: Vec<String> =
        clients.iter().map(|(client, calls)| format!("{calls} by {client}")).collect();
    println!(
        "\n{:.1} s, {calls} calls ({}), {retries} retries, {failed} failed",
        started.elapsed().as_secs_f64(),
        clients.join(", "),
    );
    for surprise in &surprises {
        println!("NOT AS PROMISED: {surprise}");
    }
    Ok(if failed == 0 && surprises.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What happened in all.
#[derive(Default)]
struct Sums {
    calls: usize,
    clients: BTreeMap<&'static str, usize>,
    retries: u64,
    failed: usize,
    /// What did not happen as promised.
    surprises: Vec<String>,
}

/// The services, their callers, and what can be changed.
struct Show {
    mesh: Mesh,
    fleet: Fleet,
    file: MeshFile,
    load: Load,
    screen: Screen,
    sums: Sums,
}

impl Show {
    /// Replicas die, slow down and fail.
    async fn faults(&mut self) -> Result<(), BoxError> {
        let meaning = "calls go to all replicas";
        self.phase("steady", meaning, &[], |n| n.answered(&["u1", "g1", "o1", "o2"])).await;

        self.fleet.kill(0);
        let meaning = "calls that they had, and calls that still pick them, are sent elsewhere";
        let kept =
            |n: &Notes| n.silent(&["u1", "g1"], SOON) && n.answered(&["u2", "u3", "g2", "g3"]);
        self.phase("u1 and g1 are killed while the file names them", meaning, &[], kept).await;

        self.fleet.add((USERS, GREETER), 4).await?;
        let edit = self.file.write(self.fleet.yaml(1..4, false))?;
        let meaning = "the edit takes effect under load; what is called already stays connected";
        let kept = |n: &Notes| n.answered(&["u4", "g4"]);
        self.phase("the file drops them and names u4 and g4", meaning, &edit, kept).await;
        self.fleet.forget(0);

        self.fleet.delay(0, 250);
        let meaning = "the balancer sees it by their latency, and calls the others";
        // Without that each would get a third.
        let kept = |n: &Notes| n.share(USERS, "u2") < 0.2 && n.share(GREETER, "g2") < 0.2;
        self.phase("u2 and g2 become slow: 250 ms per answer", meaning, &[], kept).await;
        self.fleet.delay(0, 1);

        self.fleet.fail(1, true);
        let meaning =
            "what they fail is retried elsewhere; soon they only get a probe now and then";
        // Without that a third of all calls would be retried.
        let is_few = |retries: f64| retries > 0.0 && retries < 0.15;
        let kept = |n: &Notes| is_few(n.retried(USERS)) && is_few(n.retried(GREETER));
        self.phase("u3 and g3 fail every request (503, UNAVAILABLE)", meaning, &[], kept).await;
        self.fleet.fail(1, false);
        Ok(())
    }

    /// The file and the records in DNS change.
    async fn edits(&mut self) -> Result<(), BoxError> {
        let bad = self.file.text().replacen("timeout: 10s", "timeout: soon", 1);
        let edit = self.file.write(bad)?;
        let meaning = "it is reported with its place and reason; the last good state stays";
        self.phase("a bad edit of the file", meaning, &edit, |n| !n.refused.is_empty()).await;

        self.fleet.add((USERS_NEXT, GREETER_NEXT), 5).await?;
        let edit = self.file.write(self.fleet.yaml(0..3, true))?;
        let meaning = "u5 and g5 get one call in five";
        let kept = |n: &Notes| n.answered(&["u5", "g5"]);
        self.phase("the edit is mended, and a new version added", meaning, &edit, kept).await;

        let edit = self.fleet.change_records().await;
        let meaning = "it is seen within their TTL of a second";
        let kept = |n: &Notes| n.answered(&["o3"]) && n.told("left orders.prod");
        self.phase("DNS: a record comes, and one goes", meaning, &edit, kept).await;
        Ok(())
    }

    /// Certificates are renewed, and their authority is replaced.
    async fn rotation(&mut self) -> Result<(), BoxError> {
        self.fleet.keys.renew()?;
        let meaning = "the mesh and all replicas get new keys; connections that stand stay";
        let kept = |n: &Notes| n.told("identity");
        let notes = self.phase("certificates are renewed", meaning, &[], kept).await;
        self.expect(
            notes.ended(DisconnectReason::IdentityChanged) == 0,
            "a renewed certificate ends no connection",
        );

        self.fleet.keys.add_authority()?;
        let meaning = "a second authority is believed beside the first, by everybody";
        let kept = |n: &Notes| n.told("trust");
        self.phase("the authority is replaced, step 1 of 3", meaning, &[], kept).await;

        self.fleet.keys.renew()?;
        let meaning = "everybody gets a certificate of the second authority";
        let kept = |n: &Notes| n.told("identity");
        let notes = self.phase("the authority is replaced, step 2 of 3", meaning, &[], kept).await;
        self.expect(
            notes.ended(DisconnectReason::RootRemoved) == 0,
            "what an authority vouches for stays while it is believed",
        );

        self.fleet.keys.remove_first_authority()?;
        let meaning = "the first goes; what it vouched for is drained and made anew";
        let kept = |n: &Notes| n.told("trust") && n.ended(DisconnectReason::RootRemoved) > 0;
        self.phase("the authority is replaced, step 3 of 3", meaning, &[], kept).await;
        Ok(())
    }

    /// Lets the calls go on for a while, and until the promise is kept; shows what happened.
    async fn phase(
        &mut self,
        title: &str,
        meaning: &str,
        edit: &[String],
        kept: impl Fn(&Notes) -> bool,
    ) -> Notes {
        self.screen.heading(title, meaning, edit);
        let started = Instant::now();
        let waits = |load: &Load| !load.look(&kept) && started.elapsed() < LATEST;
        while started.elapsed() < PHASE || waits(&self.load) {
            let part = started.elapsed().div_duration_f64(PHASE);
            self.screen.progress(part, self.load.look(|notes| (notes.calls(), notes.failed())));
            sleep(Duration::from_millis(50)).await;
        }
        let mut notes = self.load.take();
        self.show(&mut notes);
        self.expect(kept(&notes), &format!("{title}: {meaning}"));
        notes
    }

    /// Ends the mesh under load.
    async fn shutdown(&mut self) {
        let title = "shutdown, while every caller waits for a slow answer";
        self.screen.heading(title, "calls in flight end in peace, new ones are refused", &[]);
        self.fleet.delay_all(200);
        sleep(Duration::from_millis(300)).await;
        self.load.stop().await;
        let waiting = self.load.in_flight();
        let started = Instant::now();
        self.mesh.shutdown(Duration::from_secs(5)).await;
        let took = started.elapsed();
        self.load.join().await;
        let mut notes = self.load.take();
        // Every endpoint leaves a mesh that ends.
        notes.told.clear();
        let failed = self.show(&mut notes).failed();
        let metrics = self.mesh.metrics();
        let counted = ["mesh.client.call.duration", "rpc.client.call.duration"]
            .map(|name| metrics.total(name, &[]));
        let counted = counted.iter().sum::<f64>().to_string();
        println!("    {waiting} calls were in flight, {failed} of them failed; done in {took:.0?}");
        let request = http::Request::get("http://users.prod/1").body(Body::empty()).unwrap();
        let refused = self.mesh.http().send(request).await.err();
        match &refused {
            Some(error) => println!("    a call after it: {error}"),
            None => println!("    a call after it was answered"),
        }
        let drained = failed == 0 && waiting > 0 && refused.is_some();
        self.expect(drained, "a shutdown lets calls in flight end, and refuses new ones");
        self.expect(counted == self.sums.calls.to_string(), "the metrics count every call");
    }

    /// The table of these notes, which are added to the sums.
    fn show<'a>(&mut self, notes: &'a mut Notes) -> &'a Notes {
        self.screen.table(notes, &self.fleet.services());
        self.sums.calls += notes.calls();
        for (client, calls) in &notes.clients {
            *self.sums.clients.entry(client).or_default() += calls;
        }
        self.sums.retries += notes.retries();
        self.sums.failed += notes.failed();
        self.expect(notes.unsecured == 0, "no connection is in clear");
        notes
    }

    fn expect(&mut self, holds: bool, promise: &str) {
        if !holds {
            self.sums.surprises.push(promise.to_owned());
        }
    }
}
