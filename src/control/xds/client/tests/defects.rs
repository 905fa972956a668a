//! The defects that were measured in the Rust xDS clients, as ours must not have them.

use super::*;

const CDS: Kind = Kind::Cluster;
const LDS: Kind = Kind::Listener;

/// The stream outlives its last watcher.
#[test]
fn t1_the_stream_ends_with_its_last_name() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut bed = Bed::new(settings(mode, Features::default(), 1));
        for name in ["a", "b"] {
            bed.watch(CDS, name);
            bed.watch(LDS, name);
        }
        for name in ["a", "b"] {
            bed.unwatch(CDS, name);
            bed.unwatch(LDS, name);
        }
        assert_eq!(bed.links(), ["open s0", "close s0"]);
        assert_eq!(bed.client.wake_at(), None);
        assert!(bed.client.dump().next().is_none());
    }
}

/// A server that says nothing about the first name stalls everything.
#[test]
fn t2_silence_stalls_nothing() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "silent");
    assert_eq!(bed.requests().len(), 1);
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    assert_eq!(bed.requests(), ["LDS [l,silent] v= n=", "CDS [c] v= n="]);
    bed.pass(Duration::from_secs(15));
    assert_eq!(bed.told().len(), 3, "and the timers run");
}

/// A NACK of an update evicts the good one.
#[test]
fn t3_a_refused_update_keeps_the_good_one() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "a", &[("c", "v1")]);
    bed.answer(CDS, "2", "b", &[("c", "bad")]);
    assert_eq!(bed.told(), ["CDS c = v1", "CDS c ambient refused: bad"]);
    let known = bed.client.known(CDS, "c");
    assert!(
        matches!(&known[..], [Watched::Resource { resource, .. }, Watched::Ambient(_)] if resource == "v1")
    );
}

/// What nobody watches stays cached and is served stale.
#[test]
fn t4_what_was_given_up_is_forgotten() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "other");
    for round in 0..50 {
        let name = format!("c{round}");
        bed.watch(CDS, &name);
        bed.answer(CDS, "1", &round.to_string(), &[(&name, "v1"), ("other", "v1")]);
        bed.unwatch(CDS, &name);
    }
    assert_eq!(bed.client.dump().count(), 1);
    bed.told();
    bed.watch(CDS, "c0");
    assert_eq!(bed.told(), [""; 0], "nothing is known of it");
}

/// The timer starts with the watch: after an outage everything is declared absent.
#[test]
fn t5_an_outage_declares_nothing_absent_and_is_said() {
    let mut bed = Bed::sotw();
    bed.opens = false;
    bed.watch(CDS, "c");
    bed.pass(Duration::from_secs(40));
    bed.close(0, "refused");
    assert_eq!(
        bed.told(),
        ["CDS c missing the server cannot be reached: stream ended with code 14: refused"]
    );
    bed.opens = true;
    bed.reopen();
    bed.pass(Duration::from_secs(14));
    assert_eq!(bed.told(), [""; 0]);
    bed.answer(CDS, "1", "a", &[("c", "v1")]);
    assert_eq!(bed.told(), ["CDS c = v1"]);
}

/// The second server is never asked.
#[test]
fn t6_the_second_server_is_asked() {
    let mut bed = Bed::new(settings(Mode::Sotw, Features::default(), 2));
    bed.watch(CDS, "c");
    bed.close(0, "refused");
    bed.answer_from(1, CDS, "1", "a", &[("c", "v1")]);
    assert_eq!(bed.told(), ["CDS c = v1"]);
}

/// Of 501 names that are given up at once some are never unsubscribed.
#[test]
fn t7_no_unsubscription_is_lost() {
    for mode in [Mode::Sotw, Mode::Delta] {
        for opens in [true, false] {
            let mut bed = Bed::new(settings(mode, Features::default(), 1));
            bed.opens = opens;
            let names: Vec<String> = (0..501).map(|at| format!("c{at}")).collect();
            for name in &names {
                bed.client.watch(bed.now, CDS, name);
            }
            bed.run();
            bed.sent.clear();
            for name in &names[1..] {
                bed.client.unwatch(bed.now, CDS, name);
            }
            bed.run();
            if !opens {
                let stream = bed.streams[&0];
                bed.client.opened(bed.now, ServerId(0), stream);
                bed.run();
            }
            match (mode, opens) {
                (Mode::Sotw, _) => assert_eq!(bed.sent()[0].resource_names, ["c0"]),
                (Mode::Delta, true) => {
                    assert_eq!(bed.sent_delta()[0].resource_names_unsubscribe.len(), 500);
                }
                (Mode::Delta, false) => {
                    assert_eq!(bed.sent_delta()[0].resource_names_subscribe, ["c0"]);
                }
            }
            assert_eq!(bed.asked(0), ["CDS c0"]);
        }
    }
}
