//! What an earlier process knew.

use super::*;

const LDS: Kind = Kind::Listener;
const CDS: Kind = Kind::Cluster;

const REFUSED: &str = "the server cannot be reached: stream ended with code 14: refused";

fn of(features: Features, servers: usize) -> Bed {
    Bed::new(settings(Mode::Sotw, features, servers))
}

fn stocked(bed: &Bed, kind: Kind, name: &str, content: &str) -> Stocked {
    Stocked {
        kind,
        name: name.into(),
        version: "old".into(),
        value: bytes(name, content.as_bytes()).into(),
        server: ServerId(0),
        age: Age { was: Duration::from_secs(100), at: bed.now },
    }
}

/// It has a listener and a cluster of the same name.
fn stock(bed: &mut Bed) {
    let all = vec![stocked(bed, LDS, "a", "kept"), stocked(bed, CDS, "a", "kept")];
    bed.client.stock(bed.now, all, None);
}

fn kept(bed: &Bed) -> Vec<String> {
    let text = |kept: Kept<'_>| {
        let live = if kept.is_live { " live" } else { "" };
        let Kept { kind, name, version, .. } = kept;
        format!("{kind} {name} {version} {} s{live}", kept.age.as_secs())
    };
    let mut kept: Vec<String> = bed.client.kept(bed.now).map(text).collect();
    kept.sort();
    kept
}

#[test]
fn it_is_used_when_nobody_can_be_asked_and_until_somebody_speaks() {
    let mut bed = Bed::sotw();
    stock(&mut bed);
    bed.watch(LDS, "a");
    bed.watch(LDS, "b");
    assert_eq!(bed.told(), [""; 0], "somebody may answer");
    bed.close(0, "refused");
    let missing = format!("LDS b missing {REFUSED}");
    let mut said = bed.told();
    said.sort();
    assert_eq!(said, [format!("LDS a = kept, 100 s old: {REFUSED}"), missing]);
    // It says no version of it: the server is to send it.
    bed.requests();
    bed.reopen();
    assert_eq!(bed.requests(), ["LDS [a,b] v= n= node"]);
    // Another type says nothing of it.
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "x", &[("c", "live")]);
    assert_eq!(bed.told(), ["CDS c = live"]);
    // The very same, but now it is known.
    bed.answer(LDS, "2", "y", &[("a", "kept")]);
    assert_eq!(bed.told(), ["LDS a = kept"]);
    assert_eq!(kept(&bed), ["CDS a old 101 s", "CDS c 1 0 s live", "LDS a 2 0 s live"]);
    // From now on it is as any other.
    bed.close(0, "reset");
    bed.reopen();
    bed.close(0, "refused");
    assert!(bed.told().contains(&format!("LDS a ambient {REFUSED}")));
}

#[test]
fn a_live_server_is_waited_for_and_its_word_counts() {
    for ignores in [false, true] {
        let features = Features { ignore_resource_deletion: ignores, ..Features::default() };
        let mut bed = of(features, 1);
        stock(&mut bed);
        bed.watch(LDS, "a");
        bed.close(0, "refused");
        bed.told();
        bed.reopen();
        // It lives, and does not name it.
        bed.answer(LDS, "1", "x", &[("other", "v")]);
        bed.pass(Duration::from_secs(14));
        assert_eq!(bed.told(), [""; 0]);
        bed.pass(Duration::from_secs(1));
        let said = bed.told();
        if ignores {
            assert!(said[0].starts_with("LDS a = kept, 1"), "{said:?}");
            assert_eq!(kept(&bed).len(), 2);
        } else {
            let absent = "LDS a missing does not exist: no answer named it within 15s";
            assert_eq!(said, [absent]);
            assert_eq!(kept(&bed).len(), 1, "it is not kept either");
        }
    }
}

#[test]
fn a_server_that_lives_from_the_start_is_believed_alone() {
    let mut bed = Bed::sotw();
    stock(&mut bed);
    bed.watch(LDS, "a");
    bed.answer(LDS, "1", "x", &[("other", "v")]);
    bed.pass(Duration::from_secs(20));
    assert_eq!(bed.told(), ["LDS a missing does not exist: no answer named it within 15s"]);
    bed.close(0, "reset");
    bed.reopen();
    bed.close(0, "refused");
    assert_eq!(bed.told(), [""; 0], "it was said not to be there");
}

#[test]
fn a_server_that_is_refused_leaves_it() {
    let mut bed = Bed::sotw();
    stock(&mut bed);
    bed.watch(LDS, "a");
    bed.close(0, "refused");
    bed.reopen();
    bed.told();
    bed.answer(LDS, "1", "x", &[("a", "bad one")]);
    let said = bed.told();
    assert!(said[0].starts_with("LDS a = kept, 10"), "{said:?}");
    assert!(said[0].contains("refused: bad one"), "{said:?}");
    bed.answer(LDS, "2", "y", &[("a", "v2")]);
    assert_eq!(bed.told(), ["LDS a = v2"]);
}

#[test]
fn a_server_that_does_not_say_a_word_is_not_waited_for() {
    // Neither one whose connection hangs, nor one that accepts it and is mute.
    for opens in [false, true] {
        let mut bed = Bed::sotw();
        bed.opens = opens;
        stock(&mut bed);
        bed.watch(LDS, "a");
        bed.pass(Duration::from_millis(2_999));
        assert_eq!(bed.told(), [""; 0]);
        bed.pass(Duration::from_millis(1));
        let said = bed.told();
        assert_eq!(said, ["LDS a = kept, 103 s old: no answer named it within 3s"]);
        // What follows from it is not waited for once more.
        bed.watch(CDS, "a");
        assert_eq!(bed.told(), ["CDS a = kept, 103 s old: no answer named it within 3s"]);
        bed.pass(Duration::from_secs(60));
        let said = bed.told();
        assert!(said.iter().all(|said| said.contains(" a = kept")), "{said:?}");
        if !opens {
            let stream = bed.streams[&0];
            bed.client.opened(bed.now, ServerId(0), stream);
            bed.run();
        }
        bed.answer(LDS, "1", "x", &[("a", "live")]);
        assert_eq!(bed.told(), ["LDS a = live"]);
    }
}

#[test]
fn what_cannot_be_used_is_said_and_no_more_than_that_is_lost() {
    let mut bed = Bed::sotw();
    let mut old = stocked(&bed, LDS, "old", "v");
    old.age.was = Duration::from_secs(3600);
    let mut other = stocked(&bed, LDS, "other", "v");
    other.value = bytes("another", b"v").into();
    let all = vec![
        stocked(&bed, LDS, "worse", "bad now"),
        old,
        other,
        stocked(&bed, LDS, "*", "v"),
        stocked(&bed, LDS, "well", "v"),
    ];
    bed.client.stock(bed.now, all, Some(Duration::from_secs(600)));
    for name in ["worse", "old", "other", "well"] {
        bed.watch(LDS, name);
    }
    bed.close(0, "refused");
    let said = bed.told();
    let refused = format!("{REFUSED}; what the cache has of it is refused:");
    for (name, why) in [
        ("worse", "bad now"),
        ("old", "it is 3600s old, and at most 600s are allowed"),
        ("other", "it is named `another` inside"),
    ] {
        assert!(said.contains(&format!("LDS {name} missing {refused} {why}")), "{said:?}");
    }
    assert!(said.contains(&format!("LDS well = v, 100 s old: {REFUSED}")), "{said:?}");
    // It is not kept for the next one.
    assert_eq!(kept(&bed), ["LDS well old 100 s"]);
}

#[test]
fn the_next_server_is_asked_first_and_what_is_left_is_as_nothing() {
    let mut bed = of(Features::default(), 2);
    stock(&mut bed);
    bed.watch(LDS, "a");
    bed.close(0, "refused");
    assert_eq!((bed.links().len(), bed.told()), (2, Vec::new()), "the other may live");
    bed.close(1, "refused");
    assert_eq!(bed.told(), [format!("LDS a = kept, 100 s old: {REFUSED}")]);
    // Nothing is known of it, whatever is used: the first that speaks counts.
    bed.pass(Duration::from_secs(2));
    bed.answer_from(1, LDS, "1", "x", &[("a", "second")]);
    assert_eq!(bed.told(), ["LDS a = second"]);
}

#[test]
fn what_comes_late_is_used_at_once() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "a");
    bed.watch(LDS, "b");
    bed.close(0, "refused");
    bed.told();
    stock(&mut bed);
    bed.run();
    assert_eq!(bed.told(), [format!("LDS a = kept, 100 s old: {REFUSED}")]);
}

#[test]
fn what_a_live_server_has_said_before_the_cache_was_read_is_not_taken_from_it() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "a");
    bed.answer(LDS, "1", "x", &[("a", "live")]);
    assert_eq!(bed.told(), ["LDS a = live"]);
    stock(&mut bed);
    bed.unwatch(LDS, "a");
    let kept = kept(&bed);
    assert!(kept.len() == 1 && kept[0].starts_with("CDS a old"), "{kept:?}");
}

#[test]
fn what_nobody_asks_for_is_kept_while_the_server_is_away_and_half_an_hour_longer() {
    let mut bed = Bed::sotw();
    stock(&mut bed);
    bed.watch(LDS, "b");
    bed.close(0, "refused");
    for _ in 0..40 {
        bed.pass(Duration::from_secs(60));
        if bed.streams.contains_key(&0) {
            bed.close(0, "refused");
        }
    }
    assert_eq!(kept(&bed), ["CDS a old 2500 s", "LDS a old 2500 s"]);
    bed.reopen();
    bed.answer(LDS, "1", "x", &[("b", "v")]);
    let changes = bed.client.changes();
    bed.pass(Duration::from_secs(30 * 60 - 1));
    assert_eq!((kept(&bed).len(), bed.client.changes()), (3, changes));
    bed.pass(Duration::from_secs(1));
    assert_eq!(kept(&bed), ["LDS b 1 0 s live"]);
    assert!(bed.client.changes() > changes, "that is to be written");
}

#[test]
fn what_is_kept_is_what_is_in_use() {
    let mut bed = Bed::sotw();
    bed.client.lingering = Lingering::new(Linger::default());
    let changes = |bed: &Bed| bed.client.changes();
    bed.watch(LDS, "a");
    bed.watch(LDS, "b");
    assert_eq!((kept(&bed), changes(&bed)), (Vec::new(), 0));
    bed.answer(LDS, "1", "x", &[("a", "v"), ("b", "v")]);
    assert_eq!((kept(&bed).len(), changes(&bed)), (2, 2));
    // The same again is no news; another version is.
    bed.answer(LDS, "1", "y", &[("a", "v"), ("b", "v")]);
    assert_eq!(changes(&bed), 2);
    bed.answer(LDS, "2", "z", &[("a", "v"), ("b", "v")]);
    assert_eq!(changes(&bed), 4);
    bed.unwatch(LDS, "b");
    assert_eq!((kept(&bed), changes(&bed)), (vec!["LDS a 2 0 s live".to_owned()], 5));
    bed.watch(LDS, "b");
    assert_eq!((kept(&bed).len(), changes(&bed)), (2, 6));
    // How long ago it was last known to be so is counted from when the server was last heard.
    bed.pass(Duration::from_secs(100));
    assert_eq!(kept(&bed)[0], "LDS a 2 0 s live");
    bed.close(0, "reset");
    bed.pass(Duration::from_millis(2_500));
    assert_eq!(kept(&bed)[0], "LDS a 2 2 s live");
}

#[test]
fn what_is_only_good_for_a_while_is_not_kept() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "c");
    let mut message = delta(CDS, "x", &[("c", "1", "v")], &[]);
    let Message::Delta(inner) = &mut message else { unreachable!() };
    inner.resources[0].ttl =
        Some(envoy_types::pb::google::protobuf::Duration { seconds: 60, nanos: 0 });
    bed.message(0, message);
    assert_eq!(bed.told(), ["CDS c = v"]);
    assert_eq!(kept(&bed), [""; 0]);
}

#[test]
fn nothing_is_left_of_it_when_nobody_watches() {
    let mut bed = Bed::sotw();
    stock(&mut bed);
    bed.watch(LDS, "a");
    bed.close(0, "refused");
    bed.unwatch(LDS, "a");
    bed.pass(Duration::from_secs(60));
    assert_eq!(bed.client.dump().count(), 0);
    // It is there for who asks again.
    bed.told();
    bed.watch(LDS, "a");
    bed.pass(Duration::from_secs(4));
    assert!(bed.told()[0].starts_with("LDS a = kept"));
}
