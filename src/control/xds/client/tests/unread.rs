//! Answers that cannot be read, after others on the same stream that can.

use super::*;

const LDS: Kind = Kind::Listener;
const CDS: Kind = Kind::Cluster;

fn one(mode: Mode, kind: Kind, name: &str, content: &str) -> Message {
    match mode {
        Mode::Sotw => answer(kind, content, "a", &[(name, content)]),
        Mode::Delta => delta(kind, "a", &[(name, content, content)], &[]),
    }
}

/// Waits until the first server has a stream again. Unit: seconds.
fn wait(bed: &mut Bed) -> f64 {
    let since = bed.now;
    for _ in 0..1000 {
        if bed.streams.contains_key(&0) {
            return (bed.now - since).as_secs_f64();
        }
        let at = bed.client.wake_at().expect("it comes back");
        bed.now = bed.now.max(at);
        bed.run();
    }
    panic!("it is not asked again");
}

#[test]
fn the_next_server_is_asked_and_the_first_ever_more_seldom_until_it_can_be_read() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut bed = Bed::new(settings(mode, Features::default(), 2));
        bed.watch(LDS, "l");
        bed.watch(CDS, "c");
        bed.message(0, one(mode, LDS, "l", "v1"));
        assert_eq!(bed.told(), ["LDS l = v1"]);
        bed.cut(0);
        bed.message(1, one(mode, CDS, "c", "second"));
        assert_eq!(bed.told(), ["CDS c = second"]);
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(wait(&mut bed));
            bed.message(0, one(mode, LDS, "l", "v1"));
            assert_eq!(bed.client.authorities[0].active(), Some(ServerId(1)));
            bed.cut(0);
        }
        assert!(waits[0] < 1.3 && waits[7] > 20.0, "{waits:?}");
        assert_eq!(bed.told(), [""; 0]);
        bed.message(1, one(mode, CDS, "c", "third"));
        assert_eq!(bed.told(), ["CDS c = third"], "the next one is heard still");
        wait(&mut bed);
        bed.message(0, one(mode, CDS, "c", "first"));
        assert_eq!(bed.told(), ["CDS c = first"]);
        assert_eq!(bed.client.authorities[0].active(), Some(ServerId(0)));
        assert!(!bed.streams.contains_key(&1));
        // It can be read: the pauses begin anew.
        bed.cut(0);
        assert!(wait(&mut bed) < 1.3);
    }
}

#[test]
fn of_what_is_held_the_last_good_stays_and_is_asked_for_ever_more_seldom() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut bed = Bed::new(settings(mode, Features::default(), 1));
        bed.watch(LDS, "l");
        bed.watch(CDS, "c");
        bed.message(0, one(mode, LDS, "l", "v1"));
        bed.message(0, one(mode, CDS, "c", "v1"));
        bed.told();
        bed.cut(0);
        let told = bed.told();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told.iter().all(|it| it.contains(" ambient ") && it.ends_with("too large")),
            "{told:?}"
        );
        let mut waits = Vec::new();
        for _ in 0..7 {
            waits.push(wait(&mut bed));
            bed.message(0, one(mode, LDS, "l", "v1"));
            bed.cut(0);
        }
        assert!(waits[0] < 1.3 && waits[6] > 13.0, "{waits:?}");
        assert!(bed.told().iter().all(|it| !it.contains("missing")));
    }
}

#[test]
fn a_type_that_nobody_wants_any_more_holds_nothing_up() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    for _ in 0..6 {
        bed.message(0, one(Mode::Sotw, LDS, "l", "v1"));
        bed.cut(0);
        wait(&mut bed);
    }
    bed.unwatch(CDS, "c");
    bed.pass(Duration::from_millis(1));
    bed.message(0, one(Mode::Sotw, LDS, "l", "v1"));
    bed.close(0, "");
    wait(&mut bed);
    bed.cut(0);
    assert!(wait(&mut bed) < 1.3);
}

/// What was too large was an update, and the plane has mended it: what it has said before it does not say again.
#[test]
fn a_server_that_does_not_repeat_what_is_held_is_returned_to_when_its_stream_holds() {
    let mut bed = Bed::new(settings(Mode::Delta, Features::default(), 2));
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    bed.message(0, one(Mode::Delta, LDS, "l", "v1"));
    bed.message(0, one(Mode::Delta, CDS, "c", "v1"));
    bed.cut(0);
    bed.watch(CDS, "d");
    bed.message(1, one(Mode::Delta, CDS, "d", "second"));
    assert_eq!(bed.client.authorities[0].active(), Some(ServerId(1)));
    wait(&mut bed);
    bed.message(0, one(Mode::Delta, CDS, "c", "v2"));
    assert_eq!(bed.client.authorities[0].active(), Some(ServerId(1)));
    bed.pass(Duration::from_secs(16));
    assert_eq!(bed.client.authorities[0].active(), Some(ServerId(0)));
    bed.cut(0);
    assert!(wait(&mut bed) < 1.3);
}
