use super::*;

const CDS: Kind = Kind::Cluster;
const EDS: Kind = Kind::Endpoints;
const LDS: Kind = Kind::Listener;

/// grpc-go: `TestADS_ACK_NACK_Simple`.
#[test]
fn ads_ack_nack_simple() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    assert_eq!(bed.requests(), ["LDS [l] v= n= node"]);
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    assert_eq!(bed.requests(), ["LDS [l] v=1 n=a"]);
    assert_eq!(bed.told(), ["LDS l = v1"]);
    // A bad one: the version that was good, the nonce of the bad one, and why.
    bed.answer(LDS, "2", "b", &[("l", "bad field x")]);
    let sent = bed.sent();
    let error = sent[0].error_detail.as_ref().unwrap();
    assert_eq!((sent[0].version_info.as_str(), sent[0].response_nonce.as_str()), ("1", "b"));
    assert_eq!((error.code, error.message.as_str()), (3, "`l`: bad field x"));
    assert_eq!(bed.told(), ["LDS l ambient refused: bad field x"]);
    // And a good one again.
    bed.answer(LDS, "3", "c", &[("l", "v3")]);
    assert_eq!(bed.requests(), ["LDS [l] v=3 n=c"]);
    assert_eq!(bed.told(), ["LDS l = v3"]);
}

/// grpc-go: `TestADS_NACK_InvalidFirstResponse`.
#[test]
fn ads_nack_invalid_first_response() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.requests();
    bed.answer(LDS, "1", "a", &[("l", "bad")]);
    assert_eq!(bed.requests(), ["LDS [l] v= n=a error"]);
    assert_eq!(bed.told(), ["LDS l missing refused: bad"]);
}

/// grpc-go: `TestADS_ACK_NACK_ResourceIsNotRequestedAnymore`.
#[test]
fn ads_ack_nack_resource_is_not_requested_anymore() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    bed.requests();
    // The last name of its type: an empty list, which after a list with names means nothing.
    bed.unwatch(LDS, "l");
    assert_eq!(bed.requests(), ["LDS [] v=1 n=a"]);
    bed.watch(LDS, "l");
    assert_eq!(bed.requests(), ["LDS [l] v=1 n=a"]);
    assert!(bed.told().iter().all(|told| !told.starts_with("LDS l missing")));
    bed.answer(LDS, "2", "b", &[("l", "v2")]);
    assert_eq!(bed.requests(), ["LDS [l] v=2 n=b"]);
    assert_eq!(bed.told(), ["LDS l = v2"]);
    // The last name of all: the stream ends, and who asks again begins anew.
    bed.unwatch(CDS, "c");
    bed.unwatch(LDS, "l");
    assert_eq!(bed.links(), ["open s0", "close s0"]);
    bed.requests();
    bed.watch(LDS, "l");
    assert_eq!(bed.links(), ["open s0"]);
    assert_eq!(bed.requests(), ["LDS [l] v= n= node"]);
}

/// grpc-go: `TestNodeProtoSentOnlyInFirstRequest`.
#[test]
fn node_proto_sent_only_in_first_request() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    let sent = bed.sent();
    let with: Vec<bool> = sent.iter().map(|request| request.node.is_some()).collect();
    assert_eq!(with, [true, false, false]);
    let features = &sent[0].node.as_ref().unwrap().client_features;
    assert!(features.contains(&"xds.config.resource-in-sotw".to_owned()), "{features:?}");
    // On every stream.
    bed.close(0, "reset");
    bed.pass(Duration::from_secs(2));
    let with: Vec<bool> = bed.sent().iter().map(|request| request.node.is_some()).collect();
    assert_eq!(with, [true, false]);
}

/// grpc-go: `TestADS_ResourcesAreRequestedAfterStreamRestart`.
#[test]
fn ads_resources_are_requested_after_stream_restart() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    bed.watch(CDS, "d");
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    bed.answer(CDS, "7", "b", &[("c", "v1"), ("d", "v1")]);
    bed.unwatch(CDS, "d");
    bed.requests();
    bed.close(0, "reset");
    bed.pass(Duration::from_secs(2));
    // The nonces are gone, the versions stay.
    assert_eq!(bed.requests(), ["LDS [l] v=1 n= node", "CDS [c] v=7 n="]);
}

#[test]
fn a_version_is_named_on_a_new_stream_only_where_all_is_held() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "a", &[("c", "v1")]);
    bed.close(0, "reset");
    bed.watch(CDS, "d");
    bed.requests();
    bed.pass(Duration::from_secs(2));
    // A server that still has version 1 would stay silent about `d`.
    assert_eq!(bed.requests(), ["CDS [c,d] v= n= node"]);
}

#[test]
fn a_refusal_names_each_that_is_bad_and_what_has_no_name() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "good");
    bed.watch(CDS, "evil");
    bed.requests();
    bed.answer(CDS, "1", "a", &[("good", "v1"), ("evil", "bad 1"), ("", "nameless 2")]);
    let sent = bed.sent();
    let message = &sent[0].error_detail.as_ref().unwrap().message;
    assert_eq!(message, "`evil`: bad 1; a resource without a name: nameless 2");
    assert_eq!(sent[0].version_info, "");
    assert_eq!(bed.told(), ["CDS good = v1", "CDS evil missing refused: bad 1"]);
}

/// A request without the error names the nonce of what was refused: the server would take that for accepted.
#[test]
fn what_is_asked_for_while_a_refusal_waits_comes_behind_it() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    bed.answer(LDS, "2", "b", &[("l", "bad")]);
    bed.requests();
    bed.answer(LDS, "2", "c", &[("l", "bad")]);
    assert_eq!(bed.requests(), [""; 0], "it was refused just now");
    bed.watch(LDS, "m");
    assert_eq!(bed.requests(), ["LDS [l,m] v=1 n=c error", "LDS [l,m] v=1 n=c"]);
    bed.pass(Duration::from_secs(10));
    assert_eq!(bed.requests(), [""; 0], "it has been said");
}

#[test]
fn the_text_of_a_nack_is_bounded_and_each_name_is_told_once_whatever_an_answer_has() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    bed.requests();
    bed.told();
    let reason = format!("bad {}", "\u{1}\n日".repeat(10_000));
    let mut all = vec![("l", reason.as_str())];
    all.extend((0..2_000).map(|_| ("l", "bad again")));
    let nameless = format!("nameless {reason}");
    all.extend((0..2_000).map(|_| ("", nameless.as_str())));
    bed.answer(LDS, "2", "b", &all);
    let sent = bed.sent();
    let message = &sent[0].error_detail.as_ref().unwrap().message;
    assert!(message.len() <= 16 * 1024, "{}", message.len());
    assert!(message.starts_with("`l`: bad ") && message.contains("; and "), "{message}");
    assert!(!message.contains(char::is_control), "{message}");
    assert_eq!(bed.told().len(), 1);
}

/// grpc-go: `TestADS_NACKError_DuplicateSuppression`.
#[test]
fn ads_nack_error_duplicate_suppression() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.answer(LDS, "1", "a", &[("l", "bad 1")]);
    assert_eq!(bed.told().len(), 1);
    bed.answer(LDS, "2", "b", &[("l", "bad 1")]);
    assert_eq!(bed.told(), [""; 0], "the same is told once");
    bed.answer(LDS, "3", "c", &[("l", "bad 2")]);
    assert_eq!(bed.told(), ["LDS l missing refused: bad 2"]);
    bed.answer(LDS, "4", "d", &[("l", "v4")]);
    bed.answer(LDS, "5", "e", &[("l", "bad 2")]);
    assert_eq!(bed.told(), ["LDS l = v4", "LDS l ambient refused: bad 2"]);
}

/// grpc-go: `TestADS_NACKError_DuplicateSuppression_MultipleResources`.
#[test]
fn ads_nack_error_duplicate_suppression_multiple_resources() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.watch(LDS, "m");
    bed.answer(LDS, "1", "a", &[("l", "bad 1"), ("m", "bad 1")]);
    let refused = ["LDS l missing refused: bad 1", "LDS m missing refused: bad 1"];
    assert_eq!(bed.told(), refused);
    // One is well, of the other it is known.
    bed.answer(LDS, "2", "b", &[("l", "bad 1"), ("m", "v2")]);
    assert_eq!(bed.told(), ["LDS m = v2"]);
    // Another error of the one is news, and no news of the other.
    bed.answer(LDS, "3", "c", &[("l", "bad 2"), ("m", "v2")]);
    assert_eq!(bed.told(), ["LDS l missing refused: bad 2"]);
}

#[test]
fn unknown_and_unsolicited_types_get_neither_ack_nor_nack() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.requests();
    bed.answer(CDS, "1", "a", &[("c", "v1"), ("d", "bad")]);
    let mut unknown = answer(LDS, "1", "b", &[("l", "v1")]);
    if let Message::Sotw(message) = &mut unknown {
        message.type_url = "type.googleapis.com/x.Y".to_owned();
    }
    bed.message(0, unknown);
    bed.message(0, delta(LDS, "c", &[("l", "1", "v1")], &[]));
    assert_eq!(bed.requests(), [""; 0]);
    assert_eq!(bed.told(), [""; 0]);
}

#[test]
fn wrapped_resources_are_unwrapped_and_their_types_checked() {
    let wrapped = |resource: &Resource| Any {
        type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned(),
        value: resource.encode_to_vec(),
    };
    let resource = |name: &str, any| Resource {
        name: name.to_owned(),
        resource: Some(any),
        ..Resource::default()
    };
    let mut bed = Bed::sotw();
    for name in ["a", "b", "c"] {
        bed.watch(CDS, name);
    }
    bed.requests();
    let broken = Any { value: vec![0xff], ..wrapped(&Resource::default()) };
    let mut message = DiscoveryResponse {
        version_info: "1".to_owned(),
        nonce: "n".to_owned(),
        type_url: CDS.url().to_owned(),
        ..DiscoveryResponse::default()
    };
    message.resources = vec![
        wrapped(&resource("a", any(CDS, "a", "v1"))),
        wrapped(&resource("b", any(LDS, "b", "v1"))),
        wrapped(&resource("c", any(CDS, "other", "v1"))),
        wrapped(&resource("unasked", any(LDS, "unasked", "v1"))),
        any(LDS, "a", "v2"),
        broken,
    ];
    bed.message(0, Message::Sotw(message));
    let sent = bed.sent();
    let message = &sent[0].error_detail.as_ref().unwrap().message;
    let url = "`type.googleapis.com/envoy.config.listener.v3.Listener`";
    assert!(message.contains(&format!("`b`: its type is {url}")), "{message}");
    assert!(message.contains("`c`: it is named `other` inside"), "{message}");
    assert!(message.contains("its wrapper cannot be read"), "{message}");
    assert!(!message.contains("unasked"), "{message}");
    assert_eq!(bed.told()[0], "CDS a = v1");
}

#[test]
fn what_is_named_twice_with_other_content_is_neither() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "a");
    bed.watch(CDS, "b");
    bed.requests();
    bed.answer(CDS, "1", "n", &[("a", "v1"), ("a", "v2"), ("b", "v1"), ("b", "v1")]);
    assert_eq!(bed.requests(), ["CDS [a,b] v= n=n error"]);
    let told = bed.told();
    assert_eq!(told[0], "CDS b = v1");
    assert!(told[1].starts_with("CDS a missing refused: it is named twice"), "{told:?}");
}

#[test]
fn a_repeated_nack_is_sent_once_per_growing_backoff() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "c");
    bed.requests();
    // A server that sends it again as soon as it is refused, under ever new versions.
    let (start, mut nonce) = (bed.now, 0);
    bed.answer(CDS, "0", "0", &[("c", "bad")]);
    let mut at = Vec::new();
    while bed.now - start < Duration::from_secs(600) {
        let refused = bed.requests();
        if !refused.is_empty() {
            assert_eq!(refused, [format!("CDS [c] v= n={nonce} error")]);
            at.push((bed.now - start).as_secs());
            nonce += 1;
            bed.answer(CDS, &nonce.to_string(), &nonce.to_string(), &[("c", "bad")]);
            continue;
        }
        bed.pass(Duration::from_millis(100));
    }
    assert!(at.len() <= 16, "{at:?}");
    // What is good goes out at once, and so does what is asked for meanwhile, behind the refusal.
    bed.answer(CDS, "x", "x", &[("c", "bad")]);
    bed.requests();
    bed.watch(CDS, "d");
    assert_eq!(bed.requests(), ["CDS [c,d] v= n=x error", "CDS [c,d] v= n=x"]);
    bed.answer(CDS, "y", "y", &[("c", "v1")]);
    assert_eq!(bed.requests(), ["CDS [c,d] v=y n=y"]);
}

#[test]
fn names_that_change_with_a_nack_are_told_again_without_the_error() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "c");
    bed.requests();
    let stream = bed.streams[&0];
    let message = answer(CDS, "1", "a", &[("c", "bad")]);
    bed.client.received(bed.now, ServerId(0), stream, message);
    bed.client.watch(bed.now, CDS, "d");
    bed.run();
    assert_eq!(bed.requests(), ["CDS [c,d] v= n=a error", "CDS [c,d] v= n=a"]);
}

/// They crossed the answer: to istiod they came with an old nonce, and then beside an error.
#[test]
fn names_that_no_answer_has_named_are_told_again_behind_a_nack() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "a", &[("c", "v1")]);
    bed.watch(CDS, "d");
    bed.requests();
    bed.answer(CDS, "2", "b", &[("c", "bad")]);
    assert_eq!(bed.requests(), ["CDS [c,d] v=1 n=b error", "CDS [c,d] v=1 n=b"]);
    bed.answer(CDS, "3", "e", &[("c", "bad"), ("d", "v1")]);
    assert_eq!(bed.requests(), ["CDS [c,d] v=1 n=e error"]);
}

#[test]
fn the_text_of_a_nack_is_bounded_and_says_how_much_is_left_out() {
    let mut bed = Bed::sotw();
    let names: Vec<String> = (0..1000).map(|at| format!("c{at}")).collect();
    for name in &names {
        bed.watch(CDS, name);
    }
    bed.requests();
    let bad = format!("bad\u{7}{}", "x".repeat(5000));
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), bad.as_str())).collect();
    bed.answer(CDS, "1", "a", &all);
    let message = bed.sent()[0].error_detail.clone().unwrap().message;
    assert!(message.len() < 12_000 && message.contains(" more"), "{}", message.len());
    assert!(!message.contains('\u{7}'));
}

#[test]
fn a_version_that_was_accepted_for_less_and_is_refused_for_more_is_not_claimed() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "a");
    bed.answer(CDS, "1", "n", &[("a", "v1")]);
    bed.watch(CDS, "b");
    bed.requests();
    bed.answer(CDS, "1", "o", &[("a", "v1"), ("b", "bad")]);
    assert_eq!(bed.requests(), ["CDS [a,b] v=1 n=o error"]);
    bed.watch(CDS, "c");
    assert_eq!(bed.requests(), ["CDS [a,b,c] v= n=o"]);
    bed.answer(CDS, "2", "p", &[("a", "v1"), ("b", "v1")]);
    assert_eq!(bed.requests(), ["CDS [a,b,c] v=2 n=p"]);
}

/// Of what is held then, no version that was accepted tells: a server that is back at it would say nothing.
#[test]
fn what_was_good_of_a_refused_answer_is_not_named_by_the_version_before_it() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "a");
    bed.answer(CDS, "1", "n", &[("a", "v1")]);
    bed.watch(CDS, "b");
    bed.answer(CDS, "2", "o", &[("a", "v2"), ("b", "bad")]);
    bed.unwatch(CDS, "b");
    bed.requests();
    bed.close(0, "reset");
    bed.reopen();
    assert_eq!(bed.requests(), ["CDS [a] v= n= node"]);
    bed.answer(CDS, "1", "p", &[("a", "v1")]);
    bed.requests();
    bed.close(0, "reset");
    bed.reopen();
    assert_eq!(bed.requests(), ["CDS [a] v=1 n= node"]);
}

/// Istio's plane looks at no request with an older nonce than its newest, nor at the names of a refusal.
#[test]
fn a_name_that_was_given_up_before_a_refusal_is_given_up_again_behind_it() {
    let mut bed = Bed::sotw();
    bed.watch(EDS, "a");
    bed.watch(EDS, "b");
    bed.answer(EDS, "1", "n", &[("a", "v1"), ("b", "v1")]);
    bed.requests();
    bed.unwatch(EDS, "b");
    assert_eq!(bed.requests(), ["EDS [a] v=1 n=n"], "it has sent the next already");
    bed.answer(EDS, "2", "o", &[("a", "bad")]);
    assert_eq!(bed.requests(), ["EDS [a] v=1 n=o error", "EDS [a] v=1 n=o"]);
    // Until one is accepted: that is looked at.
    bed.answer(EDS, "3", "p", &[("a", "v3")]);
    assert_eq!(bed.requests(), ["EDS [a] v=3 n=p"]);
    bed.answer(EDS, "4", "q", &[("a", "bad again")]);
    assert_eq!(bed.requests(), ["EDS [a] v=3 n=q error"]);
}

/// Routes and endpoints may come one by one, each under the newest version of all.
#[test]
fn a_version_that_was_refused_for_one_and_accepted_for_another_is_not_named_on_a_new_stream() {
    let mut bed = Bed::sotw();
    bed.watch(EDS, "a");
    bed.watch(EDS, "b");
    bed.answer(EDS, "1", "n", &[("a", "v1"), ("b", "v1")]);
    bed.requests();
    bed.answer(EDS, "2", "o", &[("a", "bad")]);
    assert_eq!(bed.requests(), ["EDS [a,b] v=1 n=o error"]);
    bed.answer(EDS, "2", "p", &[("b", "v2")]);
    assert_eq!(bed.requests(), ["EDS [a,b] v=2 n=p"], "that answer was accepted");
    bed.close(0, "reset");
    bed.reopen();
    // A server that still has version 2 would stay silent, and `a` is not of it.
    assert_eq!(bed.requests(), ["EDS [a,b] v= n= node"]);
    // Of another version, it is well: `b` need not come again for that.
    bed.answer(EDS, "3", "q", &[("a", "v3")]);
    bed.requests();
    bed.close(0, "reset");
    bed.reopen();
    assert_eq!(bed.requests(), ["EDS [a,b] v=3 n= node"]);
}

#[test]
fn what_is_refused_without_a_name_may_be_any_that_its_answer_does_not_name() {
    for is_given_up in [false, true] {
        let mut bed = Bed::sotw();
        bed.watch(EDS, "a");
        bed.watch(EDS, "b");
        bed.answer(EDS, "1", "n", &[("a", "v1"), ("b", "v1")]);
        bed.answer(EDS, "2", "o", &[("", "nameless"), ("b", "v2")]);
        bed.answer(EDS, "3", "p", &[("b", "v2")]);
        if is_given_up {
            bed.unwatch(EDS, "a");
        }
        bed.requests();
        bed.close(0, "reset");
        bed.reopen();
        let asked = if is_given_up { "EDS [b] v=3 n= node" } else { "EDS [a,b] v= n= node" };
        assert_eq!(bed.requests(), [asked]);
    }
}
