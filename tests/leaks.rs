//! Ten thousand meshes come and go: no task, socket, thread or memory stays behind.
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
    // Each makes a call, over HTTP/1.1 and HTTP/2 in turn, and is shut down; every tenth over a socket.
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
            fetch(&client, over(VERSIONS[n % 2], get("/"))).await.unwrap();
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
    nothing_stays(&runtime, "watched files", 200, (64, 4), |_| {
        let builder = Mesh::builder().config_file(&file);
        async move {
            let mesh = builder.build().unwrap();
            mesh.ready().await.unwrap();
            mesh.shutdown(SECOND).await;
        }
    });
    #[cfg(feature = "dns")]
    {
        use tower_mesh::discover::dns::Dns;
        let zone = runtime.block_on(support::zone::Zone::serve("users.test."));
        runtime.block_on(zone.set("users.test.", "A", 60, &["127.0.0.1"]));
        nothing_stays(&runtime, "names", 200, (64, 4), |_| {
            let dns = Dns::servers([zone.address]).service("users", "dns:///users.test.:80");
            let builder = Mesh::builder().source(dns);
            async move {
                let mesh = builder.build().unwrap();
                mesh.ready().await.unwrap();
                mesh.shutdown(SECOND).await;
            }
        });
    }
    #[cfg(feature = "tls-aws-lc-rs")]
    {
        use support::{Ca, Tls};
        use tower_mesh::security::{KeyPair, Trust};
        let ca = Ca::new("ca");
        let server = runtime.block_on(Tls::new(ca.issue(&["users"])).clients_of(&ca).start());
        let (chain, key) = ca.issue(&["caller"]).write(dir.path());
        support::swap(&dir.path().join("ca.crt"), ca.pem());
        nothing_stays(&runtime, "mutual TLS", 200, (1024, 4), |n| {
            let builder = Mesh::builder()
                .endpoints("users", [server.address()])
                .identity(KeyPair::pem_files(chain.clone(), key.clone()))
                .trust(Trust::pem_file(dir.path().join("ca.crt")))
                .service("users", |s| s.mutual_tls());
            async move {
                let mesh = builder.build().unwrap();
                let client = mesh.client("users").unwrap();
                fetch(&client, over(VERSIONS[n % 2], get("/"))).await.unwrap();
                mesh.shutdown(SECOND).await;
            }
        });
    }
}
