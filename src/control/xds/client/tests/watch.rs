use super::*;

const CDS: Kind = Kind::Cluster;
const EDS: Kind = Kind::Endpoints;
const LDS: Kind = Kind::Listener;

#[test]
fn lds_watch() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.answer(LDS, "1", "a", &[("l", "v1"), ("other", "v1")]);
    assert_eq!(bed.told(), ["LDS l = v1"]);
    // The same bytes, and an update of another: nobody is told.
    bed.answer(LDS, "2", "b", &[("l", "v1"), ("other", "v2")]);
    assert_eq!(bed.told(), [""; 0]);
    bed.unwatch(LDS, "l");
    assert_eq!(bed.links(), ["open s0", "close s0"], "nothing is asked for any more");
    assert_eq!(bed.client.wake_at(), None);
}

#[test]
fn lds_watch_two_watches_for_same_resource_name() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.watch(LDS, "l");
    assert_eq!(bed.requests(), ["LDS [l] v= n= node"]);
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    assert_eq!(bed.told(), ["LDS l = v1"]);
    let known = bed.client.known(LDS, "l");
    assert!(matches!(&known[..], [Watched::Resource { resource, .. }] if resource == "v1"));
    bed.requests();
    bed.unwatch(LDS, "l");
    assert_eq!(bed.requests(), [""; 0], "one is left");
    bed.answer(LDS, "2", "b", &[("l", "v2")]);
    assert_eq!(bed.told(), ["LDS l = v2"]);
    bed.unwatch(LDS, "l");
    bed.unwatch(LDS, "l");
    assert_eq!(bed.asked(0), [""; 0]);
}

#[test]
fn lds_watch_three_watches_for_different_resource_names() {
    let mut bed = Bed::sotw();
    for name in ["a", "b", "c"] {
        bed.client.watch(bed.now, LDS, name);
    }
    bed.run();
    assert_eq!(bed.requests(), ["LDS [a,b,c] v= n= node"], "one request for all");
    bed.answer(LDS, "1", "n", &[("a", "v1"), ("b", "v1"), ("c", "v1")]);
    assert_eq!(bed.told(), ["LDS a = v1", "LDS b = v1", "LDS c = v1"]);
    bed.requests();
    bed.unwatch(LDS, "b");
    assert_eq!(bed.requests(), ["LDS [a,c] v=1 n=n"]);
}

#[test]
fn lds_watch_resource_caching() {
    let mut given = settings(Mode::Sotw, Features::default(), 1);
    given.linger = Linger { grace: Duration::from_secs(60), names: 2 };
    let mut bed = Bed::new(given);
    bed.watch(LDS, "l");
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    bed.told();
    bed.requests();
    // Nobody watches it for a while: who comes back has it at once, and nothing was sent.
    bed.unwatch(LDS, "l");
    bed.pass(Duration::from_secs(59));
    bed.watch(LDS, "l");
    assert_eq!(bed.told(), ["LDS l = v1"]);
    assert_eq!(bed.requests(), [""; 0]);
    bed.unwatch(LDS, "l");
    bed.pass(Duration::from_secs(61));
    assert_eq!(bed.links(), ["open s0", "close s0"]);
    assert_eq!(bed.client.entries.iter().map(HashMap::len).sum::<usize>(), 0);
}

#[test]
fn lds_watch_nack_error() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.requests();
    bed.answer(LDS, "1", "a", &[("l", "bad field x")]);
    assert_eq!(bed.requests(), ["LDS [l] v= n=a error"]);
    assert_eq!(bed.told(), ["LDS l missing refused: bad field x"]);
    // Who comes now is told at once, and the server is not asked again.
    bed.watch(LDS, "l");
    let known = bed.client.known(LDS, "l");
    let [Watched::Missing(trouble)] = &known[..] else { panic!("{known:?}") };
    assert_eq!(trouble.cause, Cause::Refused("bad field x".to_owned()));
    assert_eq!(trouble.version.as_deref(), Some("1"));
    assert_eq!((bed.told(), bed.requests()), (vec![], vec![]));
}

#[test]
fn lds_watch_resource_caching_nack_error() {
    let mut given = settings(Mode::Sotw, Features::default(), 1);
    given.linger = Linger { grace: Duration::from_secs(60), names: 2 };
    let mut bed = Bed::new(given);
    bed.watch(LDS, "l");
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    bed.answer(LDS, "2", "b", &[("l", "bad field x")]);
    let both = ["LDS l = v1", "LDS l ambient refused: bad field x"];
    assert_eq!(bed.told(), both);
    bed.requests();
    // Who comes now has the good one and hears of the error, and the server is not asked again.
    bed.watch(LDS, "l");
    let known = bed.client.known(LDS, "l");
    let [Watched::Resource { resource, version }, Watched::Ambient(trouble)] = &known[..] else {
        panic!("{known:?}")
    };
    assert_eq!((resource.as_str(), &**version), ("v1", "1"));
    assert_eq!(trouble.cause, Cause::Refused("bad field x".to_owned()));
    assert_eq!(trouble.version.as_deref(), Some("2"));
    // So does who comes after nobody has watched it for a while.
    bed.unwatch(LDS, "l");
    bed.unwatch(LDS, "l");
    bed.pass(Duration::from_secs(30));
    assert_eq!(bed.told(), [""; 0]);
    bed.watch(LDS, "l");
    assert_eq!(bed.told(), both);
    assert_eq!(bed.requests(), [""; 0]);
}

#[test]
fn of_too_many_idle_names_the_oldest_goes_first() {
    let mut given = settings(Mode::Sotw, Features::default(), 1);
    given.linger = Linger { grace: Duration::from_secs(60), names: 2 };
    let mut bed = Bed::new(given);
    let names = ["a", "b", "c", "d"];
    for name in names {
        bed.watch(EDS, name);
    }
    bed.answer(EDS, "1", "n", &names.map(|name| (name, "v1")));
    for name in names {
        bed.unwatch(EDS, name);
        bed.pass(Duration::from_secs(1));
    }
    assert_eq!(bed.asked(0), ["EDS c", "EDS d"]);
    // What was never known is not worth a place.
    bed.watch(EDS, "x");
    bed.unwatch(EDS, "x");
    assert_eq!(bed.asked(0), ["EDS c", "EDS d"]);
}

#[test]
fn what_is_given_up_and_wanted_in_one_breath_is_never_given_up() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    bed.requests();
    bed.client.unwatch(bed.now, LDS, "l");
    bed.client.watch(bed.now, LDS, "l");
    bed.run();
    assert_eq!(bed.requests(), [""; 0]);
    assert_eq!(bed.told(), ["LDS l = v1", "LDS l = v1"]);
}

/// An answer about listeners is all there are: of those that were there, the others are gone.
#[test]
fn lds_watch_partial_response() {
    for fail_on_data_errors in [false, true] {
        let features = Features { fail_on_data_errors, ..Features::default() };
        let mut bed = Bed::new(settings(Mode::Sotw, features, 1));
        bed.watch(LDS, "a");
        bed.watch(LDS, "b");
        bed.answer(LDS, "1", "n", &[("a", "v1")]);
        assert_eq!(bed.told(), ["LDS a = v1"], "`b` may still come");
        bed.answer(LDS, "2", "o", &[("b", "v1")]);
        let how = if fail_on_data_errors { "missing" } else { "ambient" };
        let gone = format!("LDS a {how} does not exist: the server no longer has it");
        assert_eq!(bed.told(), ["LDS b = v1", gone.as_str()]);
        let known = bed.client.known(LDS, "a");
        let is_held = matches!(&known[..], [Watched::Resource { .. }, Watched::Ambient(_)]);
        assert_eq!(is_held, !fail_on_data_errors, "{known:?}");
        assert_eq!(bed.asked(0), ["LDS a", "LDS b"], "it may come again");
        bed.answer(LDS, "3", "p", &[("a", "v1"), ("b", "v1")]);
        assert_eq!(bed.told(), ["LDS a = v1"]);
    }
}

#[test]
fn eds_watch_partial_response() {
    let mut bed = Bed::sotw();
    bed.watch(EDS, "a");
    bed.watch(EDS, "b");
    bed.answer(EDS, "1", "a", &[("a", "v1")]);
    bed.answer(EDS, "2", "b", &[("b", "v1")]);
    assert_eq!(bed.told(), ["EDS a = v1", "EDS b = v1"]);
    bed.pass(Duration::from_secs(60));
    assert_eq!(bed.told(), [""; 0], "what is not in an answer is not gone");
}

#[test]
fn lds_watch_resource_removed_and_new_watcher_for_removed_resource() {
    let features = Features { fail_on_data_errors: true, ..Features::default() };
    let mut bed = Bed::new(settings(Mode::Sotw, features, 1));
    bed.watch(LDS, "a");
    bed.watch(LDS, "b");
    bed.answer(LDS, "1", "n", &[("a", "v1"), ("b", "v1")]);
    bed.told();
    bed.answer(LDS, "2", "o", &[("b", "v1")]);
    let removed = "LDS a missing does not exist: the server no longer has it";
    assert_eq!(bed.told(), [removed]);
    // Who comes now is told at once.
    let known = bed.client.known(LDS, "a");
    assert!(matches!(&known[..], [Watched::Missing(trouble)] if trouble.cause == Cause::Removed));
    bed.answer(LDS, "3", "p", &[("a", "v1"), ("b", "v2")]);
    assert_eq!(bed.told(), ["LDS a = v1", "LDS b = v2"]);
}

#[test]
fn watch_call_another_watch() {
    // Told of a cluster, its watcher asks for its endpoints, before anything is sent.
    let mut bed = Bed::sotw();
    bed.watch(CDS, "c");
    bed.requests();
    let stream = bed.streams[&0];
    bed.client.received(bed.now, ServerId(0), stream, answer(CDS, "1", "a", &[("c", "v1")]));
    let first = bed.client.next(bed.now);
    assert!(matches!(first, Some(Action::Tell { .. })), "{first:?}");
    bed.client.watch(bed.now, EDS, "c");
    bed.client.watch(bed.now, CDS, "d");
    bed.run();
    assert_eq!(bed.requests(), ["CDS [c,d] v=1 n=a", "EDS [c] v= n="]);
}

#[test]
fn ads_flow_control_no_side_waits_for_the_other() {
    // 65 clusters subscribed at once, each of whose endpoints are asked for while the next answers
    // are there already: more than any queue of the known clients holds.
    let mut bed = Bed::sotw();
    let names: Vec<String> = (0..200).map(|at| format!("c{at}")).collect();
    for name in &names {
        bed.client.watch(bed.now, CDS, name);
    }
    bed.run();
    assert_eq!(bed.sent().len(), 1);
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v1")).collect();
    let stream = bed.streams[&0];
    bed.client.received(bed.now, ServerId(0), stream, answer(CDS, "1", "a", &all));
    bed.client.received(bed.now, ServerId(0), stream, answer(CDS, "2", "b", &all));
    let mut told = 0;
    while let Some(action) = bed.client.next(bed.now) {
        match action {
            Action::Tell { kind: CDS, name, .. } => {
                told += 1;
                bed.client.watch(bed.now, EDS, &name);
            }
            Action::Send { request, .. } => bed.sent.push((0, request)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, 200);
    let sent = bed.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!((sent[0].version_info.as_str(), sent[0].response_nonce.as_str()), ("2", "b"));
    assert_eq!(sent[1].resource_names.len(), 200);
}

#[test]
fn dump_resources() {
    let mut bed = Bed::sotw();
    for name in ["a", "b", "c"] {
        bed.watch(CDS, name);
    }
    bed.answer(CDS, "1", "n", &[("a", "v1"), ("b", "bad")]);
    let mut dumped: Vec<_> = bed
        .client
        .dump()
        .map(|one| (one.name.to_string(), one.status, one.good.map(|good| good.value.to_vec())))
        .collect();
    dumped.sort();
    assert_eq!(
        dumped,
        [
            ("a".to_owned(), Status::Acked, Some(bytes("a", b"v1"))),
            ("b".to_owned(), Status::Nacked, None),
            ("c".to_owned(), Status::Requested, None),
        ]
    );
    bed.pass(Duration::from_secs(16));
    assert!(bed.client.dump().any(|one| one.status == Status::DoesNotExist && &**one.name == "c"));
    let figures: Vec<_> = bed.client.figures().collect();
    let expected = Figures {
        valid: [0, 0, 1, 0, 0],
        invalid: [0, 0, 1, 0, 0],
        failures: 0,
        is_connected: true,
    };
    assert_eq!(figures, [(&Arc::from("s0"), expected)]);
}
