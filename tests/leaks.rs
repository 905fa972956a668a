//! Ten thousand meshes come and go: no task, socket, thread or memory stays behind. Those that are filled
//! by files, DNS and control planes, and those of mutual TLS, among them.
//!
//! One test only, for it measures the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its figures"
)]

#[path = "../benches/support/counting.rs"]
#[allow(dead_code, reason = "shared: this test counts what is still allocated")]
mod counting;
mod support;

use std::{fs, future::Future, time::Duration};

use counting::{Counting, counted};
use tokio::runtime::{Builder, Handle, Runtime};
use tower_mesh::Mesh;

use support::{Pipes, Server, VERSIONS, fetch, get, over, reply};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CYCLES: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);

fn entries(path: &str) -> usize {
    fs::read_dir(path).unwrap().count()
}

/// What a mesh could leave behind: tasks, file descriptors, threads.
fn footprint(runtime: &Handle) -> [usize; 3] {
    [runtime.metrics().num_alive_tasks(), entries("/proc/self/fd"), entries("/proc/self/task")]
}

/// Waits until no more is left than there was, for at most five seconds.
async fn settled(before: [usize; 3]) -> [usize; 3] {
    for _ in 0..500 {
        let now = footprint(&Handle::current());
        if now.iter().zip(before).all(|(now, before)| *now <= before) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    footprint(&Handle::current())
}

/// Runs so many cycles after some that warm up; nothing of them stays, but for so many bytes each
/// and so many threads that are tokio's own.
fn nothing_stays<F: Future<Output = ()>>(
    runtime: &Runtime,
    what: &str,
    cycles: usize,
    (bytes, threads): (i64, usize),
    cycle: impl Fn(usize) -> F,
) {
    let run = |from: usize, to: usize| {
        runtime.block_on(async {
            for n in from..to {
                cycle(n).await;
            }
            // What was spawned to end with it has ended.
            tokio::time::sleep(Duration::from_millis(50)).await;
        });
    };
    let warm = (cycles / 10).max(20);
    run(0, warm);
    let before = footprint(runtime.handle());
    let ((), counted) = counted(|| run(warm, warm + cycles));
    let after = runtime.block_on(settled(before));
    assert!(after[0] <= before[0], "{what}: tasks: {before:?}, {after:?}");
    assert!(after[1] <= before[1], "{what}: file descriptors: {before:?}, {after:?}");
    assert!(after[2] <= before[2] + threads, "{what}: threads: {before:?}, {after:?}");
    let each = counted.live / i64::try_from(cycles).unwrap();
    println!("{what}: {} bytes of {cycles} cycles", counted.live);
    assert!(each <= bytes, "{what}: {} bytes of {cycles} cycles, {each} each", counted.live);
}

#[test]
fn nothing_stays_behind() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::named("hello"));
    let pipes = Pipes::http(|_, _| async { reply("hello") });
    // Each is shut down; every fourth has made a call, over HTTP/1.1 and HTTP/2 in turn, and some of
    // these over a socket.
    nothing_stays(&runtime, "plain", CYCLES - 1000, (16, 0), |n| {
        let mut builder = Mesh::builder()
            .endpoints("users.prod", [server.address()])
            .endpoints("orders.prod", [server.address()]);
        if n % 10 != 0 {
            builder = builder.connect_layer(pipes.clone());
        }
        async move {
            let mesh = builder.build().unwrap();
            let client = mesh.client("users.prod").unwrap();
            if n % 4 == 0 {
                fetch(&client, over(VERSIONS[n / 4 % 2], get("/"))).await.unwrap();
            }
            mesh.shutdown(SECOND).await;
        }
    });
    // Those that are only dropped end as well.
    nothing_stays(&runtime, "dropped", 500, (16, 0), |n| {
        let builder = Mesh::builder()
            .endpoints("users.prod", [server.address()])
            .connect_layer(pipes.clone());
        async move {
            let mesh = builder.build().unwrap();
            let mut events = mesh.events();
            let client = mesh.client("users.prod").unwrap();
            fetch(&client, over(VERSIONS[n % 2], get("/"))).await.unwrap();
            assert!(events.try_recv().is_some());
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mesh.yaml");
    fs::write(&file, "clusters: {a: {endpoints: []}}\n").unwrap();
    // Tokio keeps the threads of its blocking pool for ten seconds; they are not ours.
    nothing_stays(&runtime, "watched files", 200, (16, 4), |_| {
        let builder = Mesh::builder().config_file(&file);
        async move {
            let mesh = builder.build().unwrap();
            mesh.ready().await.unwrap();
            mesh.shutdown(SECOND).await;
        }
    });
    #[cfg(feature = "dns")]
    names(&runtime);
    #[cfg(feature = "tls-aws-lc-rs")]
    mutual_tls(&runtime);
    #[cfg(feature = "xds")]
    control_plane(&runtime, &server);
}

/// Endpoints that DNS finds, and finds anew.
#[cfg(feature = "dns")]
fn names(runtime: &Runtime) {
    use tower_mesh::discover::dns::Dns;

    let zone = runtime.block_on(support::zone::Zone::serve("users.test."));
    runtime.block_on(zone.set("users.test.", "A", 60, &["127.0.0.1"]));
    let pipes = Pipes::http(|_, _| async { reply("hello") });
    nothing_stays(runtime, "names", 200, (16, 4), |n| {
        let dns = Dns::servers([zone.address]).service("users", "dns:///users.test.:80");
        let builder = Mesh::builder().source(dns).connect_layer(pipes.clone());
        async move {
            let mesh = builder.build().unwrap();
            let client = mesh.client("users").unwrap();
            fetch(&client, over(VERSIONS[n % 2], get("/"))).await.unwrap();
            mesh.shutdown(SECOND).await;
        }
    });
}

/// Connections of mutual TLS, whose own certificate is rotated while they are there.
#[cfg(feature = "tls-aws-lc-rs")]
fn mutual_tls(runtime: &Runtime) {
    use support::{Ca, Recorder, Tls};
    use tower_mesh::{
        Event,
        security::{KeyPair, Trust},
    };

    const POLL: Duration = Duration::from_millis(100);

    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let (own, users) = ([ca.issue(&["caller"]), ca.issue(&["caller"])], ca.issue(&["users"]));
    let (chain, key) = own[0].write(dir.path());
    let roots = dir.path().join("ca.crt");
    support::swap(&roots, ca.pem());
    nothing_stays(runtime, "mutual TLS", 60, (16, 4), |n| {
        // It remembers whom it has met: each has one of its own.
        let server = Tls::new(users.clone()).clients_of(&ca).start();
        let next = own[(n + 1) % 2].clone();
        let (chain, key, roots, folder) = (&chain, &key, &roots, dir.path());
        async move {
            let server = server.await;
            let mesh = Mesh::builder()
                .endpoints("users", [server.address()])
                .identity(KeyPair::pem_files(chain, key).poll_interval(POLL))
                .trust(Trust::pem_file(roots).poll_interval(POLL))
                .service("users", |s| s.mutual_tls())
                .build()
                .unwrap();
            mesh.ready().await.unwrap();
            let client = mesh.client("users").unwrap();
            fetch(&client, over(VERSIONS[n % 2], get("/"))).await.unwrap();
            let mut events = Recorder::of(&mesh);
            next.write(folder);
            let is_applied = |event: &Event| match event {
                Event::ConfigApplied { part, .. } => part.starts_with("identity "),
                _ => false,
            };
            events.until(is_applied).await;
            fetch(&client, over(VERSIONS[n % 2], get("/"))).await.unwrap();
            mesh.shutdown(SECOND).await;
        }
    });
}

/// Everything from a control plane, which says something new meanwhile.
#[cfg(feature = "xds")]
fn control_plane(runtime: &Runtime, server: &Server) {
    use tower_mesh::{
        control::xds::{Bootstrap, Server as Plane, Xds},
        testing::xds::{AdsServer, Resource},
    };

    let socket = server.socket();
    nothing_stays(runtime, "xDS", 100, (16, 4), |n| async move {
        // It remembers what it was asked: each has one of its own.
        let plane = AdsServer::start().await.unwrap();
        plane.set(Resource::chain("users", [socket]));
        let plain = Plane::insecure(plane.uri()).delta(n % 2 == 0);
        let bootstrap = Bootstrap::builder().node_id("leaks").server(plain).build().unwrap();
        let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
        let client = mesh.client("users").unwrap();
        fetch(&client, over(VERSIONS[n % 2], get("/"))).await.unwrap();
        plane.set([Resource::endpoints("users-cluster", [socket])]);
        fetch(&client, over(VERSIONS[n % 2], get("/"))).await.unwrap();
        mesh.shutdown(SECOND).await;
    });
}
