//! Control planes that are killed, restarted empty, stale, flapping, or disagree. What must hold:
//! what was good is never taken away, what is asked for is exact afterwards, nothing leaks.

use super::{sim::Sim, *};

const CDS: Kind = Kind::Cluster;
const EDS: Kind = Kind::Endpoints;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn sim(mode: Mode, servers: usize, seed: u64) -> Sim {
    let mut given = settings(mode, Features::default(), servers);
    given.linger = Linger { grace: seconds(10), names: 32 };
    Sim::new(given, seed)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("c{at}")).collect()
}

/// A control plane that has so many clusters and their endpoints, all of which are watched.
fn started(mode: Mode, servers: usize, count: usize, seed: u64) -> Sim {
    let mut sim = sim(mode, servers, seed);
    for name in names(count) {
        for server in 0..servers {
            sim.change(server, |world| world.set(CDS, &name, "v1"));
            sim.change(server, |world| world.set(EDS, &name, "v1"));
        }
        sim.watch(CDS, &name);
        sim.watch(EDS, &name);
    }
    sim.pass(seconds(1));
    sim.check(0);
    sim
}

#[test]
fn killed_and_started_again() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut sim = started(mode, 1, 20, 1);
        sim.kill(0);
        sim.pass(seconds(600));
        sim.servers[0].world.set(CDS, "c1", "v2");
        sim.servers[0].is_up = true;
        sim.pass(seconds(200));
        sim.check(0);
        assert_eq!(sim.lost, [""; 0]);
        assert!(sim.opens < 20, "{} streams", sim.opens);
    }
}

#[test]
fn restarted_empty() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut sim = started(mode, 1, 20, 2);
        let before = sim.servers[0].world.clone();
        sim.cut(0);
        sim.servers[0].world = sim::World::default();
        sim.pass(seconds(60));
        assert_eq!(sim.lost, [""; 0], "an empty plane takes nothing away");
        assert!(sim.seen.values().all(|seen| seen.as_deref() == Some("v1")));
        // It fills up again, with versions from the beginning.
        for (kind, table) in Kind::ALL.into_iter().zip(before.tables) {
            for name in table.keys() {
                sim.change(0, |world| world.set(kind, name, "v2"));
            }
        }
        sim.pass(seconds(60));
        sim.check(0);
    }
}

#[test]
fn restarted_stale() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut sim = started(mode, 1, 20, 3);
        let old = sim.servers[0].world.clone();
        for name in names(20) {
            sim.change(0, |world| world.set(CDS, &name, "v2"));
        }
        sim.change(0, |world| world.set(CDS, "late", "v1"));
        sim.watch(CDS, "late");
        sim.pass(seconds(5));
        sim.cut(0);
        sim.servers[0].world = old;
        sim.pass(seconds(60));
        assert_eq!(sim.lost, [""; 0], "what it does not have yet stays");
        sim.change(0, |world| world.set(CDS, "late", "v2"));
        sim.pass(seconds(60));
        sim.check(0);
    }
}

#[test]
fn flapping() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut sim = started(mode, 1, 10, 4);
        let start = sim.opens;
        for round in 0..200 {
            sim.cut(0);
            sim.change(0, |world| world.set(CDS, "c1", &round.to_string()));
            sim.pass(Duration::from_millis(100));
        }
        assert!(sim.opens - start <= 22, "{} streams in 20 s", sim.opens - start);
        sim.pass(seconds(5));
        sim.check(0);
        assert_eq!(sim.lost, [""; 0]);
    }
}

#[test]
fn two_that_disagree() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut sim = sim(mode, 2, 5);
        for name in names(10) {
            sim.change(0, |world| world.set(CDS, &name, "first"));
            sim.change(1, |world| world.set(CDS, &name, "second"));
            sim.watch(CDS, &name);
        }
        sim.servers[0].is_up = false;
        sim.pass(seconds(1));
        assert!(sim.seen.values().all(|seen| seen.as_deref() == Some("second")));
        for round in 0..20 {
            // The first comes and goes; the second changes meanwhile.
            sim.servers[0].is_up = round % 2 == 0;
            if round % 2 == 1 {
                sim.cut(0);
            }
            let name = format!("new{round}");
            sim.change(1, |world| world.set(CDS, &name, "second"));
            sim.change(0, |world| world.set(CDS, &name, "first"));
            sim.watch(CDS, &name);
            sim.pass(seconds(30));
        }
        sim.servers[0].is_up = true;
        sim.pass(seconds(300));
        sim.check(0);
        assert!(sim.seen.values().all(|seen| seen.as_deref() == Some("first")));
        assert_eq!(sim.lost, [""; 0]);
    }
}

#[test]
fn many_subscribed_at_once() {
    for mode in [Mode::Sotw, Mode::Delta] {
        for count in [65, 66, 500] {
            let sim = started(mode, 1, count, 6);
            assert!(sim.servers[0].requests <= 8, "{} requests", sim.servers[0].requests);
        }
    }
}

#[test]
fn five_hundred_unwatched_at_once() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut sim = started(mode, 1, 501, 7);
        for name in &names(501)[1..] {
            sim.unwatch(CDS, name);
            sim.unwatch(EDS, name);
        }
        sim.pass(Duration::from_millis(100));
        let left = sim.servers[0].subscribed().len();
        assert_eq!(left, 2 + 32, "only what may linger is asked for still");
        sim.pass(seconds(20));
        sim.check(0);
        sim.unwatch(CDS, "c0");
        sim.unwatch(EDS, "c0");
        sim.pass(seconds(20));
        sim.check(0);
        assert_eq!(sim.opens, sim.closes, "no stream is left");
        assert_eq!(sim.client.wake_at(), None);
    }
}

#[test]
fn a_storm_of_nacks_is_none() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut sim = started(mode, 1, 3, 8);
        sim.servers[0].insists = true;
        sim.change(0, |world| world.set(CDS, "c1", "bad"));
        let nacks = |sim: &Sim| sim.servers[0].nacks;
        sim.busiest = 0;
        sim.pass(seconds(40));
        let begun = nacks(&sim);
        sim.pass(seconds(20));
        // The first of each content at once, then 1 s × 1.6 apart: seven more in a minute (ADR 0041).
        assert!((2..=10).contains(&nacks(&sim)), "{mode:?}: {} in a minute", nacks(&sim));
        assert!(nacks(&sim) - begun <= 2, "{mode:?}: they come as fast as ever");
        // Of what is accepted again and again, 64 and then ten a second.
        assert!(sim.busiest <= 100, "{mode:?}: {} requests in a second", sim.busiest);
        assert!(sim.lost.is_empty());
        // One of another type is not held up by it.
        sim.watch(EDS, "new");
        sim.change(0, |world| world.set(EDS, "new", "v1"));
        sim.pass(seconds(1));
        assert_eq!(sim.seen[&(EDS, "new".to_owned())].as_deref(), Some("v1"));
    }
}

#[test]
fn a_silent_server_is_left_where_nothing_is_held_and_said_so() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut sim = sim(mode, 1, 9);
        sim.servers[0].is_silent = true;
        sim.watch(CDS, "c");
        sim.pass(seconds(20));
        assert_eq!(sim.seen[&(CDS, "c".to_owned())], None);
        sim.servers[0].is_silent = false;
        sim.change(0, |world| world.set(CDS, "c", "v1"));
        sim.pass(seconds(1));
        sim.check(0);
    }
}

#[test]
fn a_server_that_forgets_is_asked_on_a_new_stream() {
    // It does not send again on a stream what it has sent there: one new stream finds it.
    let mut sim = started(Mode::Sotw, 1, 3, 10);
    sim.servers[0].forgets = true;
    sim.unwatch(CDS, "c1");
    sim.pass(seconds(15));
    sim.watch(CDS, "c1");
    sim.pass(seconds(14));
    assert!(!sim.seen.contains_key(&(CDS, "c1".to_owned())));
    sim.pass(seconds(2));
    assert_eq!(sim.seen[&(CDS, "c1".to_owned())].as_deref(), Some("v1"));
    assert_eq!(sim.opens, 2);
    sim.check(0);
}

/// All of it at random.
fn storm(mode: Mode, seed: u64) {
    let mut sim = sim(mode, 2, seed);
    let random = Random::seeded(seed);
    let pick = |most: u64| random.next() % most;
    for name in names(30) {
        for kind in [CDS, EDS] {
            for server in 0..2 {
                sim.change(server, |world| world.set(kind, &name, "v0"));
            }
        }
    }
    for round in 0..300 {
        let server = usize::try_from(pick(2)).unwrap();
        let name = format!("c{}", pick(32));
        let kind = if pick(2) == 0 { CDS } else { EDS };
        match pick(14) {
            0..=2 => sim.watch(kind, &name),
            3 | 4 => sim.unwatch(kind, &name),
            5 => sim.kill(server),
            6 | 7 => sim.servers[server].is_up = true,
            8 => sim.cut(server),
            9 => {
                let content = if pick(3) == 0 { "bad".to_owned() } else { format!("v{round}") };
                sim.change(server, |world| world.set(kind, &name, &content));
            }
            10 => sim.change(server, |world| world.remove(kind, &name)),
            11 => sim.servers[server].is_silent = pick(2) == 0,
            12 => sim.servers[server].insists = pick(2) == 0,
            _ => sim.servers[server].forgets = pick(2) == 0,
        }
        sim.pass(Duration::from_millis(pick(4000)));
    }
    assert_eq!(sim.lost, [""; 0], "seed {seed}: what was good was taken away");
    assert!(sim.busiest <= 200, "seed {seed}: {} requests in a second", sim.busiest);
    // Peace: all is up, and each server has everything.
    for server in 0..2 {
        let of = &mut sim.servers[server];
        (of.is_up, of.is_silent, of.insists, of.forgets) = (true, false, false, false);
    }
    sim.watch(CDS, "c0");
    sim.pass(seconds(300));
    for name in names(32) {
        for kind in [CDS, EDS] {
            sim.change(0, |world| world.set(kind, &name, "peace"));
        }
    }
    sim.pass(seconds(300));
    sim.check(0);
    // And when nobody wants anything, nothing is left.
    for (kind, name) in sim.watched.clone() {
        sim.unwatch(kind, &name);
    }
    sim.pass(seconds(300));
    sim.check(0);
    assert_eq!(sim.client.wake_at(), None);
}

#[test]
fn all_of_it_at_random_state_of_the_world() {
    for seed in 0..10 {
        storm(Mode::Sotw, seed);
    }
}

#[test]
fn all_of_it_at_random_delta() {
    for seed in 0..10 {
        storm(Mode::Delta, seed);
    }
}
