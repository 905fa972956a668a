use super::*;

const CDS: Kind = Kind::Cluster;
const EDS: Kind = Kind::Endpoints;
const LDS: Kind = Kind::Listener;

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

#[test]
fn what_an_answer_does_not_name_of_endpoints_is_not_gone() {
    let mut bed = Bed::sotw();
    bed.watch(EDS, "a");
    bed.watch(EDS, "b");
    bed.answer(EDS, "1", "a", &[("a", "v1")]);
    bed.answer(EDS, "2", "b", &[("b", "v1")]);
    assert_eq!(bed.told(), ["EDS a = v1", "EDS b = v1"]);
    bed.pass(Duration::from_secs(60));
    assert_eq!(bed.told(), [""; 0], "what is not in an answer is not gone");
}

/// grpc-go: `TestWatchCallAnotherWatch`.
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
    // And once more what it was told of, which is known by now.
    bed.client.watch(bed.now, CDS, "c");
    let known = bed.client.known(CDS, "c");
    assert!(matches!(&known[..], [Watched::Resource { resource, .. }] if resource == "v1"));
    bed.run();
    assert_eq!(bed.requests(), ["CDS [c,d] v=1 n=a", "EDS [c] v= n="]);
    bed.answer(CDS, "2", "b", &[("c", "v1"), ("d", "v1")]);
    assert_eq!(bed.told(), ["CDS d = v1"]);
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

/// grpc-go: `TestDumpResources_ACK_NACK`.
#[test]
fn dump_resources_ack_nack() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    for (version, content, status) in
        [("1", "v1", Status::Acked), ("2", "bad field x", Status::Nacked)]
    {
        bed.answer(LDS, version, version, &[("l", content)]);
        let dumped: Vec<_> = bed.client.dump().collect();
        let [one] = &dumped[..] else { panic!("{dumped:?}") };
        assert_eq!(one.status, status);
        // The last good one, and beside it what is wrong with what came after it.
        let good = one.good.as_ref().unwrap();
        assert_eq!((good.resource.as_str(), &**good.version), ("v1", "1"));
        let refused = one.trouble.map(|(trouble, _)| (&trouble.cause, trouble.version.as_deref()));
        let cause = Cause::Refused(content.to_owned());
        let wanted = (status == Status::Nacked).then_some((&cause, Some("2")));
        assert_eq!(refused, wanted);
    }
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
