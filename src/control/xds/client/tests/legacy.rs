//! What a client held whose task has ended, at the one that takes its place.

use super::*;

const CDS: Kind = Kind::Cluster;

const FAILS: Features = Features {
    fail_on_data_errors: true,
    ignore_resource_deletion: false,
    resource_timer_is_transient_error: false,
};

/// One that begins, with what the other held of these clusters.
fn next(before: &mut Bed, settings: ClientSettings, names: &[&str]) -> Bed {
    let legacy = before.client.leave();
    let mut next = Bed::new(settings);
    next.now = before.now;
    for name in names {
        next.client.watch_after(next.now, CDS, name, &legacy);
    }
    next.run();
    next
}

fn holding(settings: &ClientSettings) -> Bed {
    let mut bed = Bed::new(settings.clone());
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "a", &[("c", "v1")]);
    assert_eq!(bed.told(), ["CDS c = v1"]);
    bed
}

#[test]
fn what_was_good_stays_though_what_came_since_is_refused_again() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let settings = settings(mode, Features::default(), 1);
        let mut before = Bed::new(settings.clone());
        before.watch(CDS, "c");
        let (good, bad) = match mode {
            Mode::Sotw => {
                (answer(CDS, "1", "a", &[("c", "v1")]), answer(CDS, "2", "b", &[("c", "bad 2")]))
            }
            Mode::Delta => (
                delta(CDS, "a", &[("c", "1", "v1")], &[]),
                delta(CDS, "b", &[("c", "2", "bad 2")], &[]),
            ),
        };
        before.message(0, good);
        before.message(0, bad.clone());
        let said = ["CDS c = v1", "CDS c ambient refused: bad 2"];
        assert_eq!(before.told(), said);
        let mut bed = next(&mut before, settings, &["c"]);
        // With what is wrong with it, which is not told anew.
        assert_eq!(bed.told(), said);
        bed.message(0, bad);
        bed.pass(Duration::from_secs(60));
        assert_eq!(bed.told(), [""; 0]);
        assert_eq!(bed.client.known(CDS, "c").len(), 2);
    }
}

#[test]
fn a_server_that_is_silent_about_it_says_nothing() {
    let settings = settings(Mode::Sotw, Features::default(), 1);
    let mut before = holding(&settings);
    let mut bed = next(&mut before, settings, &["c"]);
    assert_eq!(bed.told(), ["CDS c = v1"]);
    bed.pass(Duration::from_secs(60));
    assert_eq!(bed.told(), [""; 0]);
}

#[test]
fn by_delta_its_server_is_told_what_is_held() {
    let settings = settings(Mode::Delta, Features::default(), 1);
    let mut before = Bed::new(settings.clone());
    before.watch(CDS, "c");
    before.message(0, delta(CDS, "a", &[("c", "7", "v1")], &[]));
    let mut bed = next(&mut before, settings, &["c"]);
    assert_eq!(bed.sent_delta()[0].initial_resource_versions["c"], "7");
}

#[test]
fn what_takes_a_resource_away_takes_what_was_held_before() {
    let settings = settings(Mode::Sotw, FAILS, 1);
    for (content, why) in [(Some("bad 2"), "refused: bad 2"), (None, "does not exist: ")] {
        let mut before = holding(&settings);
        let mut bed = next(&mut before, settings.clone(), &["c"]);
        assert_eq!(bed.told(), ["CDS c = v1"]);
        let resources: Vec<_> = content.into_iter().map(|content| ("c", content)).collect();
        bed.answer(CDS, "2", "a", &resources);
        let said = bed.told();
        let is_gone = said.len() == 1 && said[0].starts_with(&format!("CDS c missing {why}"));
        assert!(is_gone, "{said:?}");
    }
}

/// Another mesh has begun the next client, and has heard its server, before this one watches again.
#[test]
fn what_its_server_has_said_since_counts_by_its_features() {
    for features in [Features::default(), FAILS] {
        let settings = settings(Mode::Sotw, features, 1);
        let legacy = holding(&settings).client.leave();
        let mut bed = Bed::new(settings);
        bed.watch(CDS, "c");
        bed.answer(CDS, "2", "a", &[("c", "bad 2")]);
        assert_eq!(bed.told(), ["CDS c missing refused: bad 2"]);
        bed.client.watch_after(bed.now, CDS, "c", &legacy);
        bed.run();
        let said: &[&str] =
            if features == FAILS { &[] } else { &["CDS c = v1", "CDS c ambient refused: bad 2"] };
        assert_eq!(bed.told(), said);
        let known = bed.client.known(CDS, "c");
        assert_eq!(matches!(known[0], Watched::Missing(_)), features == FAILS, "{known:?}");
    }
}

#[test]
fn what_is_newer_is_not_rolled_back() {
    let settings = settings(Mode::Sotw, Features::default(), 1);
    let mut before = holding(&settings);
    before.now += Duration::from_secs(1);
    let mut bed = Bed::new(settings);
    bed.now = before.now;
    let legacy = before.client.leave();
    bed.watch(CDS, "c");
    bed.answer(CDS, "2", "a", &[("c", "v2")]);
    assert_eq!(bed.told(), ["CDS c = v2"]);
    bed.client.watch_after(bed.now, CDS, "c", &legacy);
    bed.run();
    assert_eq!(bed.told(), [""; 0]);
    let known = bed.client.known(CDS, "c");
    assert!(matches!(&known[..], [Watched::Resource { resource, .. }] if resource == "v2"));
}

/// The file may be older than what was heard since.
#[test]
fn what_a_server_has_said_goes_before_the_cache() {
    let stock = |bed: &mut Bed| {
        let old = Stocked {
            kind: CDS,
            name: "c".into(),
            version: "0".into(),
            value: bytes("c", b"old").into(),
            server: ServerId(0),
            age: Age { was: Duration::from_secs(100), at: bed.now },
        };
        bed.client.stock(bed.now, vec![old], None);
    };
    let settings = settings(Mode::Sotw, Features::default(), 1);
    // The file is read before it is watched again, or behind it; or has been used.
    for order in ["before", "behind", "used"] {
        let legacy = holding(&settings).client.leave();
        let mut bed = Bed::new(settings.clone());
        if order != "behind" {
            stock(&mut bed);
        }
        if order == "used" {
            bed.watch(CDS, "c");
            bed.close(0, "refused");
            assert!(bed.told()[0].starts_with("CDS c = old, 100 s old"), "{order}");
        }
        bed.client.watch_after(bed.now, CDS, "c", &legacy);
        if order == "behind" {
            stock(&mut bed);
        }
        bed.run();
        if order != "used" {
            bed.close(0, "refused");
        }
        bed.pass(Duration::from_secs(10));
        let said = bed.told();
        assert_eq!(said[0], "CDS c = v1", "{order}");
        assert!(said.iter().all(|it| !it.contains("old")), "{order}: {said:?}");
        let kept: Vec<_> =
            bed.client.kept(bed.now).map(|kept| (kept.version, kept.is_live)).collect();
        assert_eq!(kept, [(&Arc::from("1"), true)], "{order}");
    }
}

#[test]
fn its_time_to_live_goes_on() {
    let settings = settings(Mode::Delta, Features::default(), 1);
    let mut before = Bed::new(settings.clone());
    before.watch(CDS, "c");
    let mut message = delta(CDS, "a", &[("c", "1", "v1")], &[]);
    let Message::Delta(inner) = &mut message else { unreachable!() };
    inner.resources[0].ttl =
        Some(envoy_types::pb::google::protobuf::Duration { seconds: 10, nanos: 0 });
    before.message(0, message);
    before.now += Duration::from_secs(6);
    let mut bed = next(&mut before, settings, &["c"]);
    bed.pass(Duration::from_secs(3));
    assert_eq!(bed.told(), ["CDS c = v1"]);
    bed.pass(Duration::from_secs(2));
    assert_eq!(bed.told(), ["CDS c missing does not exist: its time to live has passed"]);
}

/// It is no cause to stay with a server that is away that all is held (gRFC A71).
#[test]
fn who_was_asked_in_the_place_of_another_is_asked_again() {
    let settings = settings(Mode::Sotw, Features::default(), 2);
    let mut before = Bed::new(settings.clone());
    before.watch(CDS, "c");
    before.close(0, "refused");
    before.answer_from(1, CDS, "1", "a", &[("c", "v1")]);
    let mut bed = next(&mut before, settings, &["c"]);
    bed.close(0, "refused");
    assert_eq!(bed.asked(1), ["CDS c"]);
    bed.answer_from(1, CDS, "2", "b", &[("c", "v2")]);
    assert_eq!(bed.told(), ["CDS c = v1", "CDS c = v2"]);
}

#[test]
fn nothing_is_kept_that_nobody_watches_again() {
    let settings = settings(Mode::Sotw, Features::default(), 1);
    let mut before = holding(&settings);
    before.watch(CDS, "d");
    before.answer(CDS, "2", "b", &[("c", "v1"), ("d", "v1")]);
    let bed = next(&mut before, settings, &["d"]);
    assert_eq!(bed.client.dump().map(|it| &**it.name).collect::<Vec<_>>(), ["d"]);
}
