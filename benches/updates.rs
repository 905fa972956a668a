//! G6: processor time of changes of a cluster's endpoints, and of picks during them.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench reports, and its numbers are small"
)]

mod support;

use std::{
    hint::black_box,
    pin::Pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use http::Request;
use support::{
    cpu::{median, timed},
    picks,
};
use tokio::time::Instant;
use tower_mesh::{
    Discover, Mesh, Publisher,
    balance::bench::{Bench, endpoint},
    config::{Balancer, Cluster, Endpoint, Maglev, PathMatch, RingHash, RouteOrder},
    route::bench::{Bench as Routes, Kind, service},
};

/// Rounds of which the median counts.
const ROUNDS: u32 = 21;
/// Picks of a round of threads.
const PICKS: u32 = 200_000;

fn main() {
    println!("updates.replace_10k_us {:.1}", micros(replace(10_000)));
    println!("updates.change_1_of_10k_us {:.1}", micros(change_one(10_000)));
    println!("updates.change_1_of_100k_us {:.1}", micros(change_one(100_000)));
    let maglev = Balancer::Maglev(Maglev::default());
    println!("updates.maglev_of_10k_us {:.1}", micros(rebuild(&maglev, 10_000)));
    let ring = Balancer::RingHash(RingHash::default());
    println!("updates.ring_of_10k_us {:.1}", micros(rebuild(&ring, 10_000)));
    // A stall of the code shows in most runs; one of the machine does not, or shows beside it as well.
    let (worst, nothing) = (0..5).map(|_| picks_during_replacements()).unzip();
    println!("updates.worst_pick_us {:.1}", micros(median(worst)));
    println!("updates.worst_nothing_us {:.1}", micros(median(nothing)));
    let (update, worst, per_second) = storm(&picks::plan(), picks::placed);
    println!("updates.replace_100k_of_a_plan_us {:.1}", micros(update));
    println!("updates.worst_pick_of_a_plan_us {:.1}", micros(worst));
    println!("updates.picks_per_second_of_a_plan {per_second:.0}");
    let mut hashed = Cluster::default();
    hashed.balancer = Some(ring);
    let (update, worst, per_second) = storm(&hashed, endpoint);
    println!("updates.replace_100k_of_a_ring_us {:.1}", micros(update));
    println!("updates.worst_pick_of_a_ring_us {:.1}", micros(worst));
    println!("updates.picks_per_second_of_a_ring {per_second:.0}");
    println!("updates.compile_10k_routes_us {:.1}", micros(compile(10_000)));
    println!("updates.route_of_1k_us {:.3}", micros(look_up(1_000)));
    let bench = Bench::new(&Balancer::default(), 1_000);
    let (one, two): (Vec<_>, Vec<_>) =
        (0..ROUNDS).map(|_| (picks_of_threads(&bench, 1), picks_of_threads(&bench, 2))).unzip();
    println!("updates.pick_of_one_thread_ns {:.2}", nanos(median(one)));
    println!("updates.pick_of_two_threads_ns {:.2}", nanos(median(two)));
    println!("updates.tower_replace_10k_us {:.1}", micros(picks::tower_stall(10_000)));
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(PICKS)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A service of so many routes is published: validated, compiled, swapped in.
fn compile(routes: usize) -> Duration {
    let (sender, receiver) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let source = Held(sender);
    let mesh = Mesh::builder().runtime(runtime.handle().clone()).source(source).build().unwrap();
    runtime.block_on(tokio::task::yield_now());
    let publisher = receiver.recv().unwrap();
    let rounds = (0..ROUNDS).map(|round| {
        // One that is equal to the last would be compared with it, and no more: one route differs.
        let (mut service, path) = (service(routes), format!("/round-{round}"));
        let last = service.routes.last_mut().unwrap();
        last.matches[0].path = Some(PathMatch::Exact(path.clone()));
        let name = last.name.clone();
        let took = timed(|| publisher.service("shop", service).unwrap()).1;
        let request = Request::get(format!("http://shop{path}")).body(()).unwrap();
        let found = mesh.explain(&request).unwrap().route;
        assert_eq!((found.index, found.name), (routes - 1, name), "{path} was not compiled");
        took
    });
    median(rounds.collect())
}

/// One look-up in a table of so many routes.
fn look_up(routes: usize) -> Duration {
    let bench = Routes::new(routes, Kind::Typical, RouteOrder::Listed);
    let times = 10_000;
    let rounds = (0..ROUNDS).map(|_| timed(|| assert_eq!(bench.find(times as usize), 0)).1 / times);
    median(rounds.collect())
}

/// Hands its publisher to the bench.
struct Held(mpsc::Sender<Publisher>);

impl Discover for Held {
    fn name(&self) -> String {
        "held by the bench".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        drop(self.0.send(publish));
        Box::pin(std::future::pending())
    }
}

/// Wall time of so many picks, by threads that share a balancer.
fn picks_of_threads(bench: &Bench, threads: u32) -> Duration {
    let barrier = Barrier::new(threads as usize);
    let run = || {
        let mut thread = bench.thread();
        barrier.wait();
        let began = Instant::now();
        for _ in 0..PICKS / threads {
            thread.pick();
        }
        began.elapsed()
    };
    thread::scope(|scope| {
        // All begin before one is waited for.
        let mut running = Vec::with_capacity(threads as usize);
        running.extend((0..threads).map(|_| scope.spawn(run)));
        running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    })
}

fn set(from: u32, count: u32) -> Vec<Endpoint> {
    (from..from + count).map(endpoint).collect()
}

/// Every endpoint of a cluster in use is replaced.
fn replace(count: u32) -> Duration {
    let bench = Bench::new(&Balancer::default(), count);
    let rounds = (1..=ROUNDS).map(|round| {
        for _ in 0..count {
            bench.pick();
        }
        let set = set(round * count, count);
        timed(|| bench.replace(set)).1
    });
    median(rounds.collect())
}

/// One endpoint leaves a cluster whose balancer has a table: all of it is made again.
fn rebuild(policy: &Balancer, count: u32) -> Duration {
    let bench = Bench::new(policy, count);
    let rounds = (1..=ROUNDS).map(|round| {
        let set = set(round, count);
        timed(|| bench.replace(set)).1
    });
    median(rounds.collect())
}

/// One endpoint of many changes its weight.
fn change_one(count: u32) -> Duration {
    let bench = Bench::new(&Balancer::default(), count);
    let rounds = (1..=ROUNDS).map(|round| {
        let changed = endpoint(round * (count / ROUNDS - 1)).weight(2);
        timed(|| bench.upsert(changed)).1
    });
    median(rounds.collect())
}

/// 100,000 endpoints are replaced by others ten times a second, or as often as that is done, for three
/// seconds: the processor time of an update, the longest pick meanwhile, and picks per second.
fn storm(cluster: &Cluster, endpoint: fn(u32) -> Endpoint) -> (Duration, Duration, f64) {
    const COUNT: u32 = 100_000;
    const PERIOD: Duration = Duration::from_millis(100);
    let set = |round: u32| (round * COUNT..(round + 1) * COUNT).map(endpoint).collect::<Vec<_>>();
    let bench = Bench::of(cluster, set(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let updater = scope.spawn(|| {
            let updates = (1..=30).map(|round| {
                let began = Instant::now();
                let set = set(round);
                let took = timed(|| bench.replace(set)).1;
                thread::sleep(PERIOD.saturating_sub(began.elapsed()));
                took
            });
            let updates = median(updates.collect());
            done.store(true, Relaxed);
            updates
        });
        let (began, mut picks, mut worst) = (Instant::now(), 0_u32, Duration::ZERO);
        while !done.load(Relaxed) {
            worst = worst.max(timed(|| bench.pick()).1);
            picks += 1;
        }
        (updater.join().unwrap(), worst, f64::from(picks) / began.elapsed().as_secs_f64())
    })
}

/// The longest pick while another thread replaces 10,000 endpoints 100 times; and the longest of what
/// stands between the picks, as many instructions that read and write nothing: what the machine adds.
fn picks_during_replacements() -> (Duration, Duration) {
    const COUNT: u32 = 10_000;
    let bench = Arc::new(Bench::new(&Balancer::default(), COUNT));
    let done = Arc::new(AtomicBool::new(false));
    let updater = {
        let (bench, done) = (Arc::clone(&bench), Arc::clone(&done));
        thread::spawn(move || {
            for round in 1..=100 {
                bench.replace(set(round * COUNT, COUNT));
            }
            done.store(true, Relaxed);
        })
    };
    let (mut worst, mut nothing) = (Duration::ZERO, Duration::ZERO);
    while !done.load(Relaxed) {
        worst = worst.max(timed(|| bench.pick()).1);
        let counting = || (0..100_u32).fold(0, |sum, turn| black_box(sum + turn));
        nothing = nothing.max(timed(counting).1);
    }
    updater.join().unwrap();
    (worst, nothing)
}
