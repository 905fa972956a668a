//! Servers that end the stream when they are asked for a type: it is everybody's stream.

use super::{sim::Sim, *};

const CDS: Kind = Kind::Cluster;
const EDS: Kind = Kind::Endpoints;
const SDS: Kind = Kind::Secret;

/// UNKNOWN, as go-control-plane says it of what it has no cache for.
const UNKNOWN: i32 = 2;
const WHY: &str = "no cache is there";
const MODES: [Mode; 2] = [Mode::Sotw, Mode::Delta];

/// The answer to who asks for one name.
fn one(mode: Mode, kind: Kind, name: &str) -> Message {
    match mode {
        Mode::Sotw => answer(kind, "1", "a", &[(name, "v1")]),
        Mode::Delta => delta(kind, "a", &[(name, "1", "v1")], &[]),
    }
}

/// A client that knows a cluster, and has just asked for a secret.
fn asking(mode: Mode) -> Bed {
    let mut bed = Bed::new(settings(mode, Features::default(), 1));
    bed.watch(CDS, "c");
    bed.message(0, one(mode, CDS, "c"));
    bed.watch(SDS, "s");
    bed.told();
    bed.requests();
    bed
}

/// The types that were asked for since the last time.
fn asked(bed: &mut Bed) -> Vec<String> {
    let kind = |request: String| request.split(' ').next().unwrap_or_default().to_owned();
    bed.requests().into_iter().map(kind).collect()
}

/// The stream ends with this status, and there is another one: what is asked for on it.
fn ended(bed: &mut Bed, code: i32, text: &str) -> Vec<String> {
    bed.ended(0, code, text);
    bed.reopen();
    asked(bed)
}

/// The stream ends once more: when the secret is asked for again, in seconds.
fn pause(bed: &mut Bed) -> f64 {
    bed.ended(0, UNKNOWN, WHY);
    let since = bed.now;
    for _ in 0..100 {
        let at = bed.client.wake_at().expect("it comes back");
        bed.now = bed.now.max(at);
        bed.run();
        if asked(bed).contains(&"SDS".to_owned()) {
            return (bed.now - since).as_secs_f64();
        }
    }
    panic!("it is never asked for");
}

#[test]
fn a_type_that_ends_each_stream_is_left_out_for_ever_longer() {
    for mode in MODES {
        let mut bed = asking(mode);
        assert_eq!(ended(&mut bed, UNKNOWN, WHY), ["CDS", "SDS"]);
        assert_eq!(bed.told(), [""; 0], "it may be by chance");
        assert_eq!(ended(&mut bed, UNKNOWN, WHY), ["CDS", "SDS"]);
        bed.told();
        let mut waits = vec![pause(&mut bed)];
        let why = "not asked for now, as the server ends the stream for it: stream ended with code 2: \
                   no cache is there";
        assert_eq!(bed.told(), [format!("SDS s missing {why}")]);
        for _ in 0..11 {
            waits.push(pause(&mut bed));
        }
        for (at, wait) in waits.iter().enumerate() {
            let expected = (10.0 * 1.6_f64.powi(i32::try_from(at).unwrap())).min(600.0);
            assert!((wait - expected).abs() < 1e-3, "{wait}, not {expected}");
        }
        assert!(!bed.told().iter().any(|it| it.starts_with("SDS")), "told once");
        // Who looks for another one meanwhile is not left waiting.
        assert_eq!(ended(&mut bed, UNKNOWN, WHY), ["CDS"]);
        bed.watch(SDS, "t");
        assert_eq!(bed.told(), [format!("SDS t missing {why}")]);
        bed.unwatch(SDS, "t");
        // It is answered after all: nothing is held against it any more.
        bed.pass(Duration::from_secs(600));
        assert_eq!(asked(&mut bed), ["SDS"]);
        bed.message(0, one(mode, SDS, "s"));
        assert_eq!(bed.told(), ["SDS s = v1"]);
        asked(&mut bed);
        assert_eq!(ended(&mut bed, UNKNOWN, WHY), ["CDS", "SDS"]);
    }
}

#[test]
fn an_outage_is_blamed_on_no_type() {
    // A connection that is lost comes as UNAVAILABLE, and what stands in the way as that, PERMISSION_DENIED or
    // UNAUTHENTICATED (`stream`). Servers that are ill may say the others: OK, CANCELLED, DEADLINE_EXCEEDED,
    // ALREADY_EXISTS, RESOURCE_EXHAUSTED, ABORTED, OUT_OF_RANGE, DATA_LOSS.
    for code in [14, 7, 16, 0, 1, 4, 6, 8, 10, 11, 15] {
        let mut bed = asking(Mode::Sotw);
        for _ in 0..12 {
            assert_eq!(ended(&mut bed, code, "away"), ["CDS", "SDS"], "{code}");
        }
    }
    // Nor where a stream ends a while after it was asked for, whatever it says.
    let mut bed = asking(Mode::Sotw);
    for _ in 0..12 {
        bed.pass(Duration::from_secs(4));
        assert_eq!(ended(&mut bed, UNKNOWN, WHY), ["CDS", "SDS"]);
    }
    // Nor where nothing else is asked for.
    let mut bed = Bed::sotw();
    bed.watch(SDS, "s");
    asked(&mut bed);
    for _ in 0..12 {
        assert_eq!(ended(&mut bed, UNKNOWN, WHY), ["SDS"]);
    }
}

#[test]
fn a_server_that_is_no_better_without_a_type_is_not_ended_by_it() {
    let mut bed = asking(Mode::Sotw);
    let asked: Vec<usize> = (0..12).map(|_| ended(&mut bed, UNKNOWN, WHY).len()).collect();
    // Three streams, one without it, and from the beginning.
    assert_eq!(asked, [2, 2, 1, 2, 2, 2, 1, 2, 2, 2, 1, 2]);
    // And they are opened ever more seldom, as in any outage.
    bed.ended(0, UNKNOWN, WHY);
    let since = bed.now;
    bed.reopen();
    assert!(bed.now - since > Duration::from_secs(20), "{:?}", bed.now - since);
}

#[test]
fn a_type_that_the_server_names_is_the_one_whatever_is_held_of_it() {
    for mode in MODES {
        let mut bed = asking(mode);
        bed.message(0, one(mode, SDS, "s"));
        bed.told();
        asked(&mut bed);
        let why = format!("{} watch failed", SDS.url());
        // On the first of them it was answered.
        for _ in 0..3 {
            assert_eq!(ended(&mut bed, 14, &why), ["CDS", "SDS"]);
        }
        bed.told();
        assert_eq!(ended(&mut bed, 14, &why), ["CDS"]);
        let told = bed.told();
        assert!(told.len() == 1 && told[0].starts_with("SDS s ambient not asked for"), "{told:?}");
        // It is asked for again, and may end the stream once more.
        bed.pass(Duration::from_secs(10));
        assert_eq!(asked(&mut bed), ["SDS"]);
        assert_eq!(bed.told(), [""; 0]);
        assert_eq!(bed.client.known(SDS, "s").len(), 2);
        // The stream outlives it. The server has nothing new to say, and what is held is well.
        bed.pass(Duration::from_secs(3));
        assert_eq!(bed.told(), ["SDS s = v1"]);
        assert_eq!(bed.client.known(SDS, "s").len(), 1);
        assert_eq!(bed.client.wake_at().filter(|at| *at <= bed.now), None, "told once");
    }
}

#[test]
fn what_is_held_of_a_type_is_well_again_when_another_of_it_is_answered() {
    for mode in MODES {
        let mut bed = asking(mode);
        bed.watch(SDS, "t");
        bed.message(0, one(mode, SDS, "s"));
        let why = format!("{} watch failed", SDS.url());
        for _ in 0..4 {
            ended(&mut bed, 14, &why);
        }
        assert_eq!(bed.client.known(SDS, "s").len(), 2);
        bed.pass(Duration::from_secs(10));
        bed.told();
        bed.message(0, one(mode, SDS, "t"));
        let told = bed.told();
        assert!(told.ends_with(&["SDS t = v1".to_owned(), "SDS s = v1".to_owned()]), "{told:?}");
        assert_eq!(bed.client.known(SDS, "s").len(), 1);
    }
}

/// Another plane may have come up in its place: it need not wait.
#[test]
fn a_stream_that_ends_otherwise_has_it_asked_for_once_more() {
    let mut bed = asking(Mode::Sotw);
    for _ in 0..2 {
        ended(&mut bed, UNKNOWN, WHY);
    }
    assert_eq!(ended(&mut bed, UNKNOWN, WHY), ["CDS"]);
    bed.pass(Duration::from_secs(5));
    assert_eq!(ended(&mut bed, 14, "restarted"), ["CDS", "SDS"]);
    assert_eq!(ended(&mut bed, UNKNOWN, WHY), ["CDS"]);
}

#[test]
fn a_server_that_ends_the_stream_for_a_type_takes_nothing_from_the_others() {
    for mode in MODES {
        let mut sim = Sim::new(settings(mode, Features::default(), 1), 1);
        for name in ["a", "b"] {
            for kind in [CDS, EDS] {
                sim.servers[0].world.set(kind, name, "v1");
                sim.watch(kind, name);
            }
        }
        sim.pass(Duration::from_secs(1));
        sim.servers[0].lacks = Some(SDS);
        sim.watch(SDS, "s");
        sim.pass(Duration::from_secs(9));
        for round in 0..60 {
            let version = format!("v{}", round + 2);
            sim.change(0, |world| world.set(EDS, "a", &version));
            sim.pass(Duration::from_secs(5));
            assert_eq!(sim.seen[&(EDS, "a".to_owned())], Some(version), "{mode:?}, {round}");
        }
        assert_eq!(sim.lost, [""; 0]);
        assert!(sim.opens <= 12, "{} streams in five minutes", sim.opens);
        // It learns what that is.
        sim.servers[0].lacks = None;
        sim.servers[0].world.set(SDS, "s", "v1");
        sim.pass(Duration::from_secs(700));
        assert_eq!(sim.seen[&(SDS, "s".to_owned())].as_deref(), Some("v1"), "{mode:?}");
        sim.check(0);
    }
}
