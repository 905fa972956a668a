//! A mesh that nobody calls wakes nobody, but for what it has to look at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};
use tower_mesh::Mesh;

use crate::support::{GreeterClient, HelloRequest, Server, get, hello, storm};

const MINUTE: Duration = Duration::from_secs(60);

/// The moments at which the one worker was woken. Whatever is done at one moment of paused time, in
/// however many steps, is one: how the machine deals out the answers of other threads does not count.
#[derive(Clone, Default)]
struct Wakes(Arc<Mutex<BTreeSet<Instant>>>);

impl Wakes {
    /// How many there are in a minute of paused time.
    async fn in_a_minute(&self) -> usize {
        tokio::time::pause();
        self.0.lock().unwrap().clear();
        tokio::time::sleep(MINUTE).await;
        let wakes = self.0.lock().unwrap().len();
        tokio::time::resume();
        wakes
    }
}

fn runtime() -> (Runtime, Wakes) {
    let wakes = Wakes::default();
    let noted = wakes.clone();
    let note = move || {
        noted.0.lock().unwrap().insert(Instant::now());
    };
    let runtime = Builder::new_current_thread().enable_all().on_thread_unpark(note).build();
    (runtime.unwrap(), wakes)
}

#[test]
fn no_wake_ups_while_idle() {
    let (runtime, wakes) = runtime();
    runtime.block_on(async {
        let http = Server::named("hello").await;
        let grpc = Server::grpc(hello(|_| async { Ok("hello".into()) })).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            format!("clusters: {{spare: {{endpoints: [{{address: \"{}\"}}]}}}}", http.address()),
        )
        .unwrap();
        let baseline = wakes.in_a_minute().await;

        let mesh = Mesh::builder()
            .config_file(file.path())
            .endpoints("users.prod", [http.address()])
            .endpoints("greeter.prod", [grpc.address()])
            .build()
            .unwrap();
        mesh.ready().await.unwrap();
        let users = mesh.client("users.prod").unwrap();
        let answers =
            storm(4, 100, |_| async { users.send(get("/")).await?.into_body().bytes().await })
                .await;
        assert!(answers.iter().all(Result::is_ok));
        let mut greeter = GreeterClient::new(mesh.client("greeter.prod").unwrap());
        for _ in 0..100 {
            greeter.say_hello(HelloRequest::default()).await.unwrap();
        }
        // Let the last frames and the watcher's first events pass.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let idle = wakes.in_a_minute().await;
        // The file is looked at twice. The rest is the wheel's, for the timers that are farther away.
        eprintln!("{idle} moments in an idle minute, {baseline} without a mesh");
        assert!(idle <= baseline + 8, "{idle} moments, {baseline} without a mesh");
    });
}

#[test]
fn an_ejected_endpoint_wakes_nobody() {
    use crate::support::{
        Leaves, fetch,
        leaf::{answer, ok},
    };
    use tower_mesh::{
        Event,
        config::{Balancer, OutlierDetection, SuccessRate},
    };

    let (runtime, wakes) = runtime();
    runtime.block_on(async {
        let baseline = wakes.in_a_minute().await;
        let mut rules = OutlierDetection::default();
        rules.success_rate = Some(SuccessRate::default());
        let mesh = Leaves::new(5)
            .mesh(
                |number, _| async move { Ok(if number == 0 { answer(500) } else { ok("hello") }) },
            )
            .service(crate::support::SERVICE, |s| {
                s.outlier_detection(rules).balancer(Balancer::RoundRobin)
            })
            .build()
            .unwrap();
        let mut events = mesh.events();
        let client = mesh.client(crate::support::SERVICE).unwrap();
        let mut is_ejected = false;
        tokio::time::pause();
        for _ in 0..2_000 {
            drop(fetch(&client, get("/")).await);
            tokio::time::advance(Duration::from_millis(10)).await;
            while let Some(event) = events.try_recv() {
                is_ejected |= matches!(event, Event::EndpointEjected { .. });
            }
        }
        assert!(is_ejected);
        tokio::time::resume();
        // The window of the calls ends in the first one, and is compared once; after that nothing is left to do.
        let (first, then) = (wakes.in_a_minute().await, wakes.in_a_minute().await);
        eprintln!("{first} and {then} moments in idle minutes, {baseline} without a mesh");
        assert!(first <= baseline + 10, "{first} moments, {baseline} without a mesh");
        assert!(then <= baseline + 2, "{then} moments, {baseline} without a mesh");
    });
}

#[cfg(feature = "tls-aws-lc-rs")]
#[test]
fn keys_and_roots_are_looked_at_every_five_seconds_and_nothing_else_wakes() {
    use crate::support::{Ca, Tls, fetch};
    use tower_mesh::security::{KeyPair, Trust};

    let (runtime, wakes) = runtime();
    runtime.block_on(async {
        let ca = Ca::new("ca");
        let server = Tls::new(ca.issue(&["users"])).clients_of(&ca).start().await;
        let dir = tempfile::tempdir().unwrap();
        let (chain, key) = ca.issue(&["caller"]).write(dir.path());
        crate::support::swap(&dir.path().join("ca.crt"), ca.pem());
        let baseline = wakes.in_a_minute().await;
        let mesh = Mesh::builder()
            .endpoints("users", [server.address()])
            .identity(KeyPair::pem_files(chain, key))
            .trust(Trust::pem_file(dir.path().join("ca.crt")))
            .service("users", |s| s.mutual_tls())
            .build()
            .unwrap();
        let client = mesh.client("users").unwrap();
        fetch(&client, get("/")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let idle = wakes.in_a_minute().await;
        // Twelve looks at each, and the wheel's moments on the way to each: at most two for five seconds.
        // A ticker of half a second would add 120.
        eprintln!("{idle} moments in an idle minute, {baseline} without a mesh");
        assert!(idle <= baseline + 2 * 12 * 3, "{idle} moments, {baseline} without a mesh");
        assert!(idle >= baseline + 12, "{idle} moments, {baseline} without a mesh");
    });
}

#[cfg(feature = "dns")]
#[test]
fn a_name_wakes_its_mesh_when_its_ttl_is_over_and_not_in_between() {
    use crate::support::zone::Zone;
    use tower_mesh::{config::DnsFamily, discover::dns::Dns};

    let (runtime, wakes) = runtime();
    runtime.block_on(async {
        // It answers at the moment at which it is asked, and so adds none.
        let zone = Zone::serve("users.test.").await;
        zone.set("users.test.", "A", 10, &["127.0.0.1"]).await;
        let baseline = wakes.in_a_minute().await;
        let name = "dns:///users.test.:80";
        let dns = Dns::servers([zone.address]).family(DnsFamily::V4Only).service("users", name);
        let mesh = Mesh::builder().source(dns).build().unwrap();
        mesh.ready().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let idle = wakes.in_a_minute().await;
        // Five or six questions, each at its moment and the wheel's on the way to it: at most two for ten
        // seconds. A ticker of 250 ms would add 240, one of five seconds 12.
        eprintln!("{idle} moments in an idle minute, {baseline} without a mesh");
        assert!(idle <= baseline + 6 * 3, "{idle} moments, {baseline} without a mesh");
        assert!(idle >= baseline + 5, "{idle} moments, {baseline} without a mesh");
    });
}
