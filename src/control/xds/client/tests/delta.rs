use super::*;

const CDS: Kind = Kind::Cluster;
const EDS: Kind = Kind::Endpoints;

#[test]
fn names_are_added_and_given_up_one_by_one() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "a");
    assert_eq!(bed.requests(), ["CDS +[a] -[] i=[] n= node"]);
    bed.watch(CDS, "b");
    assert_eq!(bed.requests(), ["CDS +[b] -[] i=[] n="]);
    bed.message(0, delta(CDS, "1", &[("a", "1", "v1")], &[]));
    assert_eq!(bed.requests(), ["CDS +[] -[] i=[] n=1"]);
    bed.message(0, delta(CDS, "2", &[("b", "1", "v1")], &[]));
    bed.requests();
    bed.unwatch(CDS, "a");
    assert_eq!(bed.requests(), ["CDS +[] -[a] i=[] n="]);
    assert_eq!(bed.told(), ["CDS a = v1", "CDS b = v1"]);
    // What is in an answer is not all there is.
    bed.message(0, delta(CDS, "3", &[], &[]));
    bed.message(0, delta(CDS, "4", &[("unasked", "1", "bad")], &["unasked"]));
    assert_eq!(bed.requests(), ["CDS +[] -[] i=[] n=3", "CDS +[] -[] i=[] n=4"]);
    assert_eq!(bed.told(), [""; 0]);
}

/// istiod sends a sidecar all clusters, and is silent about one that is asked for after that.
#[test]
fn what_came_unasked_is_given_up_before_it_is_asked_for() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "a");
    bed.requests();
    bed.message(0, delta(CDS, "1", &[("a", "1", "v1"), ("b", "1", "v1")], &[]));
    bed.requests();
    bed.watch(CDS, "b");
    assert_eq!(bed.requests(), ["CDS +[] -[b] i=[] n=", "CDS +[b] -[] i=[] n="]);
    bed.message(0, delta(CDS, "2", &[("a", "1", "v1"), ("b", "1", "v1")], &[]));
    assert_eq!(bed.told(), ["CDS a = v1", "CDS b = v1"]);
    bed.requests();
    // Other names are asked for as ever; and so is this one on another stream.
    bed.watch(CDS, "c");
    assert_eq!(bed.requests(), ["CDS +[c] -[] i=[] n="]);
    bed.close(0, "reset");
    bed.reopen();
    assert_eq!(bed.requests(), ["CDS +[a,b,c] -[] i=[a@1,b@1] n= node"]);
}

#[test]
fn a_new_stream_goes_on_where_the_last_one_ended() {
    let mut bed = Bed::delta();
    for name in ["a", "b", "c", "d"] {
        bed.watch(CDS, name);
    }
    bed.message(0, delta(CDS, "1", &[("a", "7", "v1"), ("b", "8", "v1"), ("d", "9", "v1")], &[]));
    // A refused version is not what is held.
    bed.message(0, delta(CDS, "2", &[("b", "9", "bad"), ("c", "1", "bad")], &[]));
    bed.unwatch(CDS, "d");
    bed.told();
    bed.requests();
    bed.close(0, "reset");
    bed.reopen();
    assert_eq!(bed.requests(), ["CDS +[a,b,c] -[] i=[a@7,b@8] n= node"]);
    // Only what is not held is waited for.
    bed.pass(Duration::from_secs(16));
    assert_eq!(bed.told(), ["CDS c missing does not exist: no answer named it within 15s"]);
}

/// Of a server that counts anew, or not at all.
#[test]
fn a_version_under_which_other_content_was_refused_is_not_named_on_a_new_stream() {
    let mut bed = Bed::delta();
    bed.watch(EDS, "a");
    bed.watch(EDS, "b");
    bed.message(0, delta(EDS, "1", &[("a", "1", "v1"), ("b", "1", "v1")], &[]));
    bed.message(0, delta(EDS, "2", &[("a", "1", "bad"), ("b", "2", "bad")], &[]));
    // What comes then of another version does not make it the one that is held.
    bed.message(0, delta(EDS, "3", &[("a", "2", "bad")], &[]));
    bed.requests();
    bed.close(0, "reset");
    bed.reopen();
    assert_eq!(bed.requests(), ["EDS +[a,b] -[] i=[b@1] n= node"]);
    bed.message(0, delta(EDS, "4", &[("a", "1", "v2")], &[]));
    bed.requests();
    bed.close(0, "reset");
    bed.reopen();
    assert_eq!(bed.requests(), ["EDS +[a,b] -[] i=[a@1,b@1] n= node"]);
}

#[test]
fn each_answer_is_acknowledged_or_refused_by_its_nonce() {
    let mut bed = Bed::delta();
    bed.watch(EDS, "a");
    bed.watch(EDS, "b");
    bed.requests();
    bed.message(0, delta(EDS, "1", &[("a", "1", "bad x"), ("b", "1", "v1")], &[]));
    let sent = bed.sent_delta();
    assert_eq!(sent[0].response_nonce, "1");
    assert_eq!(sent[0].error_detail.as_ref().unwrap().message, "`a`: bad x");
    assert!(sent[0].resource_names_subscribe.is_empty());
    assert_eq!(bed.told(), ["EDS b = v1", "EDS a missing refused: bad x"]);
    bed.message(0, delta(EDS, "2", &[("a", "2", "v2")], &[]));
    assert_eq!(bed.requests(), ["EDS +[] -[] i=[] n=2"]);
    assert_eq!(bed.told(), ["EDS a = v2"]);
}

/// A plane that sends each resource by itself, of which many are bad.
#[test]
fn each_of_many_refusals_is_told_and_an_acceptance_takes_the_place_of_none() {
    let mut bed = Bed::delta();
    let names: Vec<String> = (0..20).map(|at| format!("c{at:02}")).collect();
    for name in &names {
        bed.watch(CDS, name);
    }
    bed.watch(CDS, "good");
    bed.requests();
    for (nonce, name) in names.iter().enumerate() {
        let bad = format!("bad {name}");
        bed.message(0, delta(CDS, &nonce.to_string(), &[(name, "1", &bad)], &[]));
    }
    bed.message(0, delta(CDS, "good", &[("good", "1", "v1")], &[]));
    bed.pass(Duration::from_secs(12));
    let sent = bed.sent_delta();
    for (nonce, name) in names.iter().enumerate() {
        let nonce = nonce.to_string();
        let of: Vec<_> = sent.iter().filter(|it| it.response_nonce == nonce).collect();
        assert_eq!(of.len(), 1, "{nonce}");
        let text = &of[0].error_detail.as_ref().unwrap().message;
        assert!(text.contains(&format!("bad {name}")), "{text}");
    }
    let good: Vec<_> = sent.iter().filter(|it| it.response_nonce == "good").collect();
    assert!(good.len() == 1 && good[0].error_detail.is_none());
}

#[test]
fn refusals_that_wait_have_a_bound_and_none_of_their_reasons_is_lost() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "c");
    bed.requests();
    for nonce in 0..200 {
        let bad = format!("bad {nonce:03}.");
        bed.message(0, delta(CDS, &nonce.to_string(), &[("c", &nonce.to_string(), &bad)], &[]));
    }
    bed.pass(Duration::from_secs(65));
    let sent = bed.sent_delta();
    assert_eq!(sent.len(), 9 + 64);
    let texts = sent.iter().map(|it| it.error_detail.as_ref().unwrap().message.as_str());
    let all = texts.collect::<Vec<_>>().join("; ");
    assert!((0..200).all(|nonce| all.contains(&format!("bad {nonce:03}."))), "{all}");
    assert_eq!(sent.last().unwrap().response_nonce, "199");
}

#[test]
fn what_is_asked_for_with_a_nack_goes_out_by_itself() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "a");
    bed.requests();
    let stream = bed.streams[&0];
    bed.client.received(bed.now, ServerId(0), stream, delta(CDS, "1", &[("a", "1", "bad")], &[]));
    bed.client.watch(bed.now, CDS, "b");
    bed.run();
    assert_eq!(bed.requests(), ["CDS +[] -[] i=[] n=1 error", "CDS +[b] -[] i=[] n="]);
}

#[test]
fn removed_resources_are_gone_whatever_their_type() {
    for kind in Kind::ALL {
        for fails in [false, true] {
            let features = Features { fail_on_data_errors: fails, ..Features::default() };
            let mut bed = Bed::new(settings(Mode::Delta, features, 1));
            bed.watch(kind, "a");
            bed.message(0, delta(kind, "1", &[("a", "1", "v1")], &[]));
            bed.told();
            bed.message(0, delta(kind, "2", &[], &["a", "never"]));
            let how = if fails { "missing" } else { "ambient" };
            let gone = format!("{kind} a {how} does not exist: the server no longer has it");
            assert_eq!(bed.told(), [gone]);
            bed.message(0, delta(kind, "3", &[("a", "1", "v1")], &[]));
            assert_eq!(bed.told(), [format!("{kind} a = v1")]);
        }
    }
}

#[test]
fn a_server_that_says_it_has_no_such_resource_is_believed_at_once() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "a");
    bed.message(0, delta(CDS, "1", &[], &["a"]));
    assert_eq!(bed.told(), ["CDS a missing does not exist: the server no longer has it"]);
    bed.pass(Duration::from_secs(60));
    assert_eq!(bed.told(), [""; 0]);
}

#[test]
fn an_absence_is_decided_by_a_timer_of_our_own() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "a");
    bed.watch(CDS, "b");
    bed.message(0, delta(CDS, "1", &[("a", "1", "v1")], &[]));
    bed.pass(Duration::from_secs(15));
    assert_eq!(
        bed.told(),
        ["CDS a = v1", "CDS b missing does not exist: no answer named it within 15s"]
    );
}

#[test]
fn a_name_that_is_wanted_again_is_given_up_first_and_then_asked_for() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "other");
    bed.watch(CDS, "a");
    bed.message(0, delta(CDS, "1", &[("a", "1", "v1"), ("other", "1", "v1")], &[]));
    bed.requests();
    // Both before a request goes out: the server is told both, so that it sends it again.
    bed.client.unwatch(bed.now, CDS, "a");
    bed.client.due(bed.now);
    bed.client.watch(bed.now, CDS, "a");
    bed.run();
    assert_eq!(bed.requests(), ["CDS +[] -[a] i=[] n=", "CDS +[a] -[] i=[] n="]);
}

#[test]
fn the_last_name_of_a_type_is_given_up_and_the_next_is_no_wildcard() {
    let mut bed = Bed::delta();
    bed.watch(EDS, "e");
    bed.watch(CDS, "a");
    bed.requests();
    bed.unwatch(CDS, "a");
    assert_eq!(bed.requests(), ["CDS +[] -[a] i=[] n="]);
    bed.close(0, "reset");
    bed.reopen();
    assert_eq!(bed.requests(), ["EDS +[e] -[] i=[] n= node"], "nothing is said of clusters");
}

/// Each answer has a refusal of its own, and those that wait go out one by one.
#[test]
fn refusals_that_wait_do_not_go_out_together() {
    let names: Vec<String> = (0..100).map(|at| format!("n{at}.")).collect();
    let mut bed = Bed::delta();
    for kind in Kind::ALL {
        for name in &names {
            bed.watch(kind, name);
        }
    }
    bed.requests();
    for (at, name) in names.iter().enumerate() {
        for kind in Kind::ALL {
            let why = format!("bad {at}");
            bed.message(0, delta(kind, &format!("{kind} {at}"), &[(name, "1", &why)], &[]));
        }
    }
    let mut refused = Vec::new();
    let mut count = |bed: &mut Bed| {
        let sent = bed.sent_delta().into_iter().filter_map(|request| request.error_detail);
        let before = refused.len();
        refused.extend(sent.map(|error| error.message));
        refused.len() - before
    };
    assert_eq!(count(&mut bed), Kind::ALL.len() * 9, "of each type the first, and an allowance");
    for second in 0..64 {
        bed.pass(Duration::from_secs(1));
        assert_eq!(count(&mut bed), Kind::ALL.len(), "second {second}");
    }
    bed.pass(Duration::from_secs(60));
    assert_eq!(count(&mut bed), 0);
    // None is lost.
    for name in &names {
        let of_name = refused.iter().filter(|text| text.contains(name.as_str())).count();
        assert_eq!(of_name, Kind::ALL.len(), "{name}");
    }
}

/// What is refused while others wait goes behind them.
#[test]
fn a_refusal_does_not_go_before_those_that_wait() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "a");
    bed.requests();
    let refuse = |bed: &mut Bed, at: u32| {
        bed.message(0, delta(CDS, &at.to_string(), &[("a", "1", &format!("bad {at}"))], &[]));
    };
    (0..30).for_each(|at| refuse(&mut bed, at));
    bed.requests();
    for second in 0..10 {
        bed.pass(Duration::from_millis(1500));
        refuse(&mut bed, 100 + second);
        let sent = bed.sent_delta();
        assert!((1..=2).contains(&sent.len()), "{}", sent.len());
        assert!(sent.iter().all(|it| it.response_nonce.parse::<u32>().unwrap() < 30));
    }
}

/// A server that says the same as soon as it is acknowledged.
#[test]
fn acceptances_that_wait_do_not_go_out_together() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "a");
    bed.requests();
    for nonce in 0..200 {
        bed.message(0, delta(CDS, &nonce.to_string(), &[("a", "1", "v1")], &[]));
    }
    assert_eq!(bed.requests().len(), 65);
    for _ in 0..5 {
        bed.pass(Duration::from_secs(1));
        assert_eq!(bed.requests().len(), 10);
    }
}

#[test]
fn a_repeated_nack_is_damped() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "a");
    bed.requests();
    let mut refused = 0;
    for nonce in 0..1000 {
        bed.message(0, delta(CDS, &nonce.to_string(), &[("a", &nonce.to_string(), "bad")], &[]));
        refused += bed.requests().len();
        bed.pass(Duration::from_millis(10));
    }
    refused += bed.requests().len();
    assert!(refused <= 6, "{refused} in 10 s");
}

#[test]
fn a_version_that_is_too_long_to_keep_is_refused_and_a_nonce_cannot_be_replied_to() {
    let mut bed = Bed::delta();
    bed.watch(CDS, "c");
    bed.requests();
    let long = "v".repeat(16 * 1024 + 1);
    bed.message(0, delta(CDS, "1", &[("c", long.as_str(), "v1")], &[]));
    let sent = bed.sent_delta();
    let why = &sent[0].error_detail.as_ref().unwrap().message;
    assert!(why.starts_with("`c`: ") && why.contains("version has 16385 bytes"), "{why}");
    bed.message(0, delta(CDS, "2", &[("c", &long[1..], "v1")], &[]));
    assert_eq!(bed.told().last().map(String::as_str), Some("CDS c = v1"));
    let why = delta(CDS, &long, &[], &[]).check().unwrap_err();
    assert!(why.contains("nonce has 16385 bytes"), "{why}");
}
