use super::*;

const CDS: Kind = Kind::Cluster;
const LDS: Kind = Kind::Listener;

fn bed(servers: usize) -> Bed {
    Bed::new(settings(Mode::Sotw, Features::default(), servers))
}

/// Waits until this server has a stream, while these refuse theirs.
fn comes(bed: &mut Bed, server: usize, refuse: &[usize]) {
    for _ in 0..1000 {
        if bed.streams.contains_key(&server) {
            return;
        }
        bed.pass(Duration::from_millis(100));
        for other in refuse {
            if bed.streams.contains_key(other) {
                bed.close(*other, "refused");
            }
        }
    }
    panic!("server {server} is not asked again");
}

/// grpc-go: `TestFallback_OnStartup`.
#[test]
fn fallback_on_startup() {
    let mut bed = bed(2);
    bed.watch(LDS, "l");
    assert_eq!(bed.links(), ["open s0"]);
    bed.close(0, "refused");
    assert_eq!(bed.links(), ["open s1"], "at once");
    assert_eq!(bed.told(), [""; 0], "there is another to ask");
    bed.close(1, "refused");
    assert_eq!(
        bed.told(),
        ["LDS l missing the server cannot be reached: stream ended with code 14: refused"]
    );
    // The second comes up.
    comes(&mut bed, 1, &[0]);
    bed.answer_from(1, LDS, "1", "a", &[("l", "second")]);
    assert_eq!(bed.told(), ["LDS l = second"]);
    bed.links();
    // The first comes back: its first update closes the second.
    comes(&mut bed, 0, &[]);
    assert_eq!(bed.links(), ["open s0"]);
    assert_eq!(bed.asked(0), bed.asked(1));
    bed.answer_from(0, LDS, "1", "a", &[("l", "first")]);
    assert_eq!(bed.told(), ["LDS l = first"]);
    assert_eq!(bed.links(), ["close s1"]);
    assert_eq!(bed.client.authorities[0].active(), Some(ServerId(0)));
    // It goes away: all is held from it, so nobody else is asked.
    bed.close(0, "reset");
    for _ in 0..3 {
        bed.reopen();
        bed.close(0, "refused");
    }
    assert!(!bed.links().contains(&"open s1".to_owned()));
    let known = bed.client.known(LDS, "l");
    let [Watched::Resource { resource, .. }, Watched::Ambient(_)] = &known[..] else {
        panic!("{known:?}")
    };
    assert_eq!(resource, "first");
}

/// grpc-go: `TestFallback_MidStartup`.
#[test]
fn fallback_mid_startup() {
    // The first has sent one of two and fails: all is asked of the second, also what is held.
    let mut bed = bed(2);
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    bed.answer_from(0, LDS, "1", "a", &[("l", "first")]);
    bed.close(0, "reset");
    assert_eq!(bed.links(), ["open s0"], "it had answered");
    bed.pass(Duration::from_secs(2));
    bed.close(0, "refused");
    assert_eq!(bed.links(), ["open s0", "open s1"]);
    assert_eq!(bed.asked(1), ["CDS c", "LDS l"]);
    bed.answer_from(1, LDS, "9", "a", &[("l", "second")]);
    bed.answer_from(1, CDS, "9", "b", &[("c", "second")]);
    assert_eq!(bed.told(), ["LDS l = first", "LDS l = second", "CDS c = second"]);
    // What the first is asked for when it comes back says no version of the other.
    bed.requests();
    bed.links();
    bed.pass(Duration::from_secs(2));
    assert_eq!(bed.requests(), ["LDS [l] v= n= node", "CDS [c] v= n="]);
    bed.answer_from(0, LDS, "2", "c", &[("l", "third")]);
    bed.answer_from(0, CDS, "2", "d", &[("c", "third")]);
    assert_eq!(bed.told(), ["LDS l = third", "CDS c = third"]);
    assert_eq!(bed.links(), ["open s0", "close s1"]);
}

/// Its load is reported there: only then is it looked for, however many there are.
#[test]
fn a_cluster_that_comes_from_another_server_is_told_from_whatever_else_comes() {
    let mut bed = bed(2);
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    bed.watch(Kind::Endpoints, "c");
    bed.answer_from(0, CDS, "1", "a", &[("c", "first")]);
    assert_eq!(bed.client.server_of(CDS, "c"), Some(ServerId(0)));
    let first = bed.client.origins();
    assert!(first > 0);
    bed.answer_from(0, CDS, "2", "b", &[("c", "another")]);
    bed.answer_from(0, Kind::Endpoints, "1", "c", &[("c", "some")]);
    bed.answer_from(0, Kind::Endpoints, "2", "d", &[("c", "others")]);
    assert_eq!(bed.client.origins(), first);
    // It fails before all is there, and the next one is asked.
    bed.close(0, "reset");
    bed.pass(Duration::from_secs(2));
    bed.close(0, "refused");
    assert_eq!(bed.client.origins(), first, "what is held is still of the first");
    bed.answer_from(1, CDS, "9", "a", &[("c", "second")]);
    assert_eq!(bed.client.server_of(CDS, "c"), Some(ServerId(1)));
    assert_eq!(bed.client.origins(), first + 1);
}

/// grpc-go: `TestFallback_MidUpdate`.
#[test]
fn fallback_mid_update() {
    // All is held: the first may be away for as long as it likes.
    let mut bed = bed(2);
    bed.watch(LDS, "l");
    bed.answer_from(0, LDS, "1", "a", &[("l", "first")]);
    bed.told();
    bed.close(0, "reset");
    for _ in 0..5 {
        bed.reopen();
        bed.close(0, "refused");
    }
    assert!(!bed.links().contains(&"open s1".to_owned()));
    let refused = "LDS l ambient the server cannot be reached: stream ended with code 14: refused";
    assert_eq!(bed.told(), [refused], "and that is said once");
    // Something new is asked for: now it matters.
    bed.watch(CDS, "c");
    assert!(bed.links().contains(&"open s1".to_owned()));
    assert_eq!(bed.asked(1), ["CDS c", "LDS l"]);
    bed.answer_from(1, LDS, "9", "a", &[("l", "second")]);
    bed.answer_from(1, CDS, "9", "b", &[("c", "second")]);
    // What was said to be wrong is over before another takes its place.
    assert_eq!(bed.told(), ["LDS l = first", "LDS l = second", "CDS c = second"]);
    // The first is back, and the second is not needed any more.
    comes(&mut bed, 0, &[]);
    bed.links();
    bed.answer_from(0, LDS, "2", "a", &[("l", "third")]);
    bed.answer_from(0, CDS, "2", "b", &[("c", "third")]);
    assert_eq!(bed.told(), ["LDS l = third", "CDS c = third"]);
    assert_eq!(bed.links(), ["close s1"]);
}

/// grpc-go: `TestFallback_ThreeServerPromotion`.
#[test]
fn fallback_three_server_promotion() {
    let mut bed = bed(3);
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    bed.close(0, "refused");
    bed.close(1, "refused");
    assert_eq!(bed.links(), ["open s0", "open s1", "open s2"]);
    assert_eq!(bed.told(), [""; 0], "there is another to ask");
    let all = |bed: &mut Bed, server: usize, content: &str| {
        bed.answer_from(server, LDS, "1", "a", &[("l", content)]);
        bed.answer_from(server, CDS, "1", "b", &[("c", content)]);
        assert_eq!(bed.told(), [format!("LDS l = {content}"), format!("CDS c = {content}")]);
        assert_eq!(bed.client.authorities[0].active(), Some(ServerId(server)));
        let mut closed = bed.links();
        closed.retain(|link| link.starts_with("close"));
        closed
    };
    assert_eq!(all(&mut bed, 2, "third"), [""; 0]);
    // One after the other comes back: those after it are left.
    comes(&mut bed, 1, &[0]);
    assert_eq!(all(&mut bed, 1, "second"), ["close s2"]);
    assert_eq!(bed.asked(2), [""; 0]);
    comes(&mut bed, 0, &[]);
    assert_eq!(all(&mut bed, 0, "first"), ["close s1"]);
    assert_eq!((bed.asked(0).len(), bed.asked(1).len(), bed.asked(2).len()), (2, 0, 0));
}

/// grpc-go: `TestAuthority_Fallback`.
#[test]
fn authority_fallback() {
    let mut bed = bed(2);
    bed.watch(CDS, "c");
    bed.close(0, "refused 0");
    assert_eq!(bed.told(), [""; 0], "not all have failed");
    bed.answer_from(1, CDS, "1", "a", &[("c", "second")]);
    assert_eq!(bed.told(), ["CDS c = second"]);
    // Now all have: what is held stays, and that is said.
    bed.close(1, "reset");
    comes(&mut bed, 1, &[0]);
    bed.close(1, "refused 1");
    assert_eq!(
        bed.told(),
        ["CDS c ambient the server cannot be reached: stream ended with code 14: refused 1"]
    );
    let known = bed.client.known(CDS, "c");
    assert!(
        matches!(&known[..], [Watched::Resource { resource, .. }, Watched::Ambient(_)] if resource == "second")
    );
}

#[test]
fn when_no_server_is_left_the_watchers_are_told_and_who_comes_later_at_once() {
    let mut bed = bed(3);
    bed.watch(LDS, "l");
    bed.close(0, "refused 0");
    bed.close(1, "refused 1");
    assert_eq!(bed.told(), [""; 0]);
    bed.close(2, "refused 2");
    let missing = "missing the server cannot be reached: stream ended with code 14: refused 2";
    assert_eq!(bed.told(), [format!("LDS l {missing}")]);
    bed.watch(CDS, "c");
    assert_eq!(bed.told(), [format!("CDS c {missing}")]);
    // All three are tried again.
    bed.pass(Duration::from_secs(2));
    let mut links = bed.links();
    links.sort();
    assert_eq!(links, ["open s0", "open s0", "open s1", "open s1", "open s2", "open s2"]);
    // The second is the first to answer: the third is not needed.
    bed.answer_from(1, LDS, "1", "a", &[("l", "v1")]);
    assert_eq!(bed.links(), ["close s2"]);
    assert_eq!(bed.asked(0), bed.asked(1));
}

#[test]
fn an_answer_without_anything_good_does_not_close_the_second() {
    let mut bed = bed(2);
    bed.watch(CDS, "c");
    bed.close(0, "refused");
    bed.answer_from(1, CDS, "1", "a", &[("c", "second")]);
    bed.pass(Duration::from_secs(2));
    bed.told();
    bed.links();
    // Restarted empty, then with what cannot be read.
    bed.answer_from(0, CDS, "1", "a", &[]);
    assert_eq!(bed.told(), [""; 0], "its word does not count yet");
    bed.answer_from(0, CDS, "2", "b", &[("c", "bad")]);
    assert_eq!(bed.told(), ["CDS c ambient refused: bad"]);
    assert_eq!(bed.links(), [""; 0]);
    bed.answer_from(1, CDS, "2", "b", &[("c", "third")]);
    assert_eq!(bed.told(), ["CDS c = third"]);
}

#[test]
fn each_authority_falls_back_by_itself() {
    let mut given = settings(Mode::Sotw, Features::default(), 3);
    given.default = vec![ServerId(0), ServerId(1)];
    given.authorities = [("a".into(), vec![ServerId(0), ServerId(2)])].into_iter().collect();
    let mut bed = Bed::new(given);
    let of_a = "xdstp://a/envoy.config.cluster.v3.Cluster/x";
    bed.watch(CDS, "c");
    bed.watch(CDS, of_a);
    bed.answer_from(0, CDS, "1", "n", &[("c", "v1")]);
    bed.close(0, "reset");
    bed.pass(Duration::from_secs(2));
    bed.close(0, "refused");
    assert!(bed.links().ends_with(&["open s2".to_owned()]));
    assert_eq!((bed.asked(1).len(), bed.asked(2).len()), (0, 1));
}

#[test]
fn what_nobody_asks_for_any_more_begins_with_the_first_server_again() {
    let mut bed = bed(2);
    bed.watch(CDS, "c");
    bed.close(0, "refused");
    bed.unwatch(CDS, "c");
    bed.links();
    bed.pass(Duration::from_secs(2));
    bed.watch(CDS, "d");
    assert_eq!(bed.links(), ["open s0"]);
}

#[test]
fn what_is_known_not_to_exist_is_no_reason_to_ask_another() {
    let mut bed = bed(2);
    bed.watch(LDS, "l");
    bed.watch(CDS, "none");
    bed.answer_from(0, LDS, "1", "a", &[("l", "first")]);
    bed.pass(Duration::from_secs(15));
    bed.told();
    bed.close(0, "reset");
    for _ in 0..3 {
        bed.reopen();
        bed.close(0, "refused");
    }
    assert!(!bed.links().contains(&"open s1".to_owned()));
    let refused = "LDS l ambient the server cannot be reached: stream ended with code 14: refused";
    assert_eq!(bed.told(), [refused]);
}

/// The second is gone as well, and the first has no cause to send what is held already.
#[test]
fn a_first_server_that_has_nothing_new_to_say_is_returned_to() {
    let mut bed = Bed::new(settings(Mode::Delta, Features::default(), 2));
    bed.watch(CDS, "c");
    bed.message(0, delta(CDS, "1", &[("c", "1", "v1")], &[]));
    bed.close(0, "reset");
    bed.pass(Duration::from_secs(2));
    bed.close(0, "refused");
    bed.watch(CDS, "none");
    bed.opens = false;
    bed.close(1, "refused 1");
    bed.told();
    bed.reopen();
    let stream = bed.streams[&0];
    bed.client.opened(bed.now, ServerId(0), stream);
    bed.run();
    for _ in 0..20 {
        bed.pass(Duration::from_secs(1));
        if bed.streams.contains_key(&1) {
            bed.close(1, "refused 1");
        }
    }
    assert_eq!(
        bed.told(),
        ["CDS c = v1", "CDS none missing does not exist: no answer named it within 15s"]
    );
    assert_eq!(bed.asked(1), [""; 0]);
    assert_eq!(bed.client.authorities[0].active(), Some(ServerId(0)));
}

#[test]
fn a_first_server_that_only_says_what_is_not_there_is_returned_to_where_the_second_is_gone() {
    let mut bed = Bed::new(settings(Mode::Delta, Features::default(), 2));
    bed.watch(CDS, "none");
    bed.close(0, "refused 0");
    bed.close(1, "refused 1");
    bed.told();
    bed.opens = false;
    bed.reopen();
    while !bed.streams.contains_key(&0) {
        bed.pass(Duration::from_millis(100));
    }
    let stream = bed.streams[&0];
    bed.client.opened(bed.now, ServerId(0), stream);
    bed.run();
    bed.message(0, delta(CDS, "1", &[], &["none"]));
    assert_eq!(bed.told(), ["CDS none missing does not exist: the server no longer has it"]);
}
