//! Everything at once: an HTTP and a gRPC service on loopback, called through one mesh while its
//! file is edited and its replicas die, slow down and fail. No call may fail.
//!
//! ```text
//! cargo run --example quickstart
//! ```
//!
//! It takes about 15 seconds, and ends with a non-zero code if a call failed.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

mod file;
#[path = "../support/greeter.rs"]
mod greeter;
mod load;
#[path = "../support/replica.rs"]
mod replica;
mod screen;

use std::{process::ExitCode, time::Duration};

use tokio::time::{Instant, sleep};
use tower_mesh::{Body, BoxError, Mesh};

use self::{
    file::{Content, MeshFile},
    load::{GREETER, Load, Notes, USERS},
    replica::Replica,
    screen::Screen,
};

const PHASES: usize = 8;
const PHASE: Duration = Duration::from_millis(1600);

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mesh.yaml");
    let mut file = MeshFile::new(path.clone());
    let (mut users, mut greeters) = (Vec::new(), Vec::new());
    for number in 1..=3 {
        users.push(Replica::start(&format!("u{number}")).await?);
        greeters.push(Replica::start(&format!("g{number}")).await?);
    }
    file.write(Content::of(&users[..], &greeters[..]).yaml())?;
    println!("Two services of three replicas each, and the file that the mesh follows:\n");
    print!("{}", file.text());

    // These three lines are all that an application needs.
    let mesh = Mesh::builder().config_file(&path).build()?;
    mesh.ready().await?;
    let load = Load::start(&mesh)?; // `mesh.http()` and `GreeterClient::new(mesh.client(…)?)`

    let screen = Screen::new(PHASES);
    let mut show =
        Show { mesh, users, greeters, file, load, screen, calls: 0, retries: 0, failed: 0 };
    let started = Instant::now();
    let surprises = show.run().await?;
    println!(
        "\n{:.1} s, {} calls, {} retries, {} failed",
        started.elapsed().as_secs_f64(),
        show.calls,
        show.retries,
        show.failed
    );
    for surprise in &surprises {
        println!("NOT AS PROMISED: {surprise}");
    }
    Ok(if show.failed == 0 && surprises.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The services, their callers, and the sums of what happened.
struct Show {
    mesh: Mesh,
    users: Vec<Replica>,
    greeters: Vec<Replica>,
    file: MeshFile,
    load: Load,
    screen: Screen,
    calls: usize,
    retries: u64,
    failed: usize,
}

impl Show {
    /// All phases; what did not happen as promised is returned.
    async fn run(&mut self) -> Result<Vec<String>, BoxError> {
        let mut surprises = Vec::new();
        let mut expect = |holds: bool, promise: &str| {
            if !holds {
                surprises.push(promise.to_owned());
            }
        };
        self.phase("steady", "calls go to all replicas", &[]).await;

        self.users[0].kill();
        self.greeters[0].kill();
        let meaning = "calls that they had, and calls that still pick them, are sent elsewhere";
        self.phase("u1 and g1 are killed while the file names them", meaning, &[]).await;

        self.users.push(Replica::start("u4").await?);
        self.greeters.push(Replica::start("g4").await?);
        let edit = self.file.write(Content::of(&self.users[1..], &self.greeters[1..]).yaml())?;
        let meaning = "the edit takes effect under load; what is called already stays connected";
        let notes = self.phase("the file drops them and names u4 and g4", meaning, &edit).await;
        expect(notes.answered("u4") && notes.answered("g4"), "new replicas are called");
        drop((self.users.remove(0), self.greeters.remove(0)));

        self.users[0].delay(50);
        self.greeters[0].delay(50);
        let meaning = "the balancer sees it by their latency, and calls the others";
        self.phase("u2 and g2 become slow: 50 ms per answer", meaning, &[]).await;
        self.users[0].delay(1);
        self.greeters[0].delay(1);

        self.users[1].fail(true);
        self.greeters[1].fail(true);
        let meaning =
            "what they fail is retried elsewhere; soon they only get a probe now and then";
        self.phase("u3 and g3 fail every request (503, UNAVAILABLE)", meaning, &[]).await;
        self.users[1].fail(false);
        self.greeters[1].fail(false);

        let bad = self.file.text().replacen("timeout: 2s", "timeout: soon", 1);
        let edit = self.file.write(bad)?;
        let meaning = "it is reported with its place and reason; the last good state stays";
        let notes = self.phase("a bad edit of the file", meaning, &edit).await;
        expect(!notes.refused.is_empty(), "a bad edit is reported");

        self.users.push(Replica::start("u5").await?);
        self.greeters.push(Replica::start("g5").await?);
        let mut content = Content::of(&self.users[..3], &self.greeters[..3]);
        content.canary = Some((&self.users[3], &self.greeters[3]));
        let edit = self.file.write(content.yaml())?;
        let meaning = "u5 and g5 get one call in five";
        let notes = self.phase("the edit is mended, and a new version added", meaning, &edit).await;
        expect(notes.answered("u5") && notes.answered("g5"), "a new route takes effect");

        let drained = self.shutdown().await;
        expect(drained, "a shutdown lets calls in flight end, and refuses new ones");
        Ok(surprises)
    }

    /// Lets the calls go on for a while, and shows what happened to them.
    async fn phase(&mut self, title: &str, meaning: &str, edit: &[String]) -> Notes {
        self.screen.heading(title, meaning, edit);
        let started = Instant::now();
        while started.elapsed() < PHASE {
            let part = started.elapsed().div_duration_f64(PHASE);
            self.screen.progress(part, self.load.so_far());
            sleep(Duration::from_millis(50)).await;
        }
        self.show()
    }

    /// Ends the mesh under load.
    async fn shutdown(&mut self) -> bool {
        let title = "shutdown, while every caller waits for a slow answer";
        self.screen.heading(title, "calls in flight end in peace, new ones are refused", &[]);
        for replica in self.users.iter().chain(&self.greeters) {
            replica.delay(200);
        }
        sleep(Duration::from_millis(300)).await;
        self.load.stop().await;
        let waiting = self.load.in_flight();
        let started = Instant::now();
        self.mesh.shutdown(Duration::from_secs(5)).await;
        let took = started.elapsed();
        self.load.join().await;
        let failed = self.show().failed();
        println!("    {waiting} calls were in flight, {failed} of them failed; done in {took:.0?}");
        let request = http::Request::get("http://users.prod/1").body(Body::empty()).unwrap();
        let refused = self.mesh.http().send(request).await.err();
        match &refused {
            Some(error) => println!("    a call after it: {error}"),
            None => println!("    a call after it was answered"),
        }
        failed == 0 && waiting > 0 && refused.is_some()
    }

    /// The table of what happened since the last one.
    fn show(&mut self) -> Notes {
        let mut notes = self.load.take();
        let fleet = [(USERS, &self.users[..]), (GREETER, &self.greeters[..])];
        self.screen.table(&mut notes, &fleet);
        self.calls += notes.calls();
        self.retries += notes.retries();
        self.failed += notes.failed();
        notes
    }
}
