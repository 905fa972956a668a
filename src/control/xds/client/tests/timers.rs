use super::*;

const CDS: Kind = Kind::Cluster;
const EDS: Kind = Kind::Endpoints;
const LDS: Kind = Kind::Listener;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// grpc-go: `TestADS_WatchState_TimerFires`.
#[test]
fn ads_watch_state_timer_fires() {
    // One resource was answered and the other was not: each has its own timer.
    let mut bed = Bed::sotw();
    bed.watch(EDS, "a");
    bed.pass(seconds(5));
    bed.watch(EDS, "b");
    bed.answer(EDS, "1", "n", &[("a", "v1")]);
    bed.told();
    bed.pass(Duration::from_millis(14_999));
    assert_eq!(bed.told(), [""; 0]);
    bed.pass(Duration::from_millis(2));
    assert_eq!(bed.told(), ["EDS b missing does not exist: no answer named it within 15s"]);
}

/// grpc-go: `TestADS_WatchState_StreamBreaks`.
#[test]
fn ads_watch_state_stream_breaks() {
    // The timer runs while a request is out on a stream, and not without one.
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.watch(LDS, "m");
    bed.answer(LDS, "1", "n", &[("l", "v1")]);
    bed.told();
    bed.pass(seconds(10));
    bed.opens = false;
    bed.close(0, "reset");
    bed.pass(seconds(100));
    assert_eq!(bed.told(), [""; 0], "nobody was asked");
    let stream = bed.streams[&0];
    bed.client.opened(bed.now, ServerId(0), stream);
    bed.run();
    bed.pass(Duration::from_millis(14_999));
    assert_eq!(bed.told(), [""; 0]);
    bed.pass(seconds(1));
    assert_eq!(bed.told(), ["LDS m missing does not exist: no answer named it within 15s"]);
    // What was held before the stream broke was never waited for; what comes now is not any more.
    bed.answer(LDS, "2", "o", &[("l", "v1"), ("m", "v1")]);
    bed.pass(seconds(100));
    assert_eq!(bed.told(), ["LDS m = v1"]);
}

#[test]
fn silence_that_says_nothing_is_30_s_long() {
    let features = Features { resource_timer_is_transient_error: true, ..Features::default() };
    let mut bed = Bed::new(settings(Mode::Sotw, features, 1));
    bed.watch(LDS, "l");
    bed.pass(Duration::from_millis(29_999));
    assert_eq!(bed.told(), [""; 0]);
    bed.pass(Duration::from_millis(1));
    assert_eq!(bed.told(), ["LDS l missing no answer named it within 30s"]);
}

/// grpc-go: `TestADS_BackoffAfterStreamFailure`.
#[test]
fn ads_backoff_after_stream_failure() {
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    let mut waits = Vec::new();
    for _ in 0..13 {
        bed.close(0, "refused");
        let since = bed.now;
        bed.reopen();
        waits.push((bed.now - since).as_secs_f64());
    }
    for (at, wait) in waits.iter().enumerate() {
        let plain = 1.6_f64.powi(i32::try_from(at).unwrap()).min(120.0);
        assert!((plain * 0.8..=plain * 1.2).contains(wait), "{wait} of {plain}");
    }
    let refused = "LDS l missing the server cannot be reached: stream ended with code 14: refused";
    assert_eq!(bed.told(), [refused], "told once");
    // After an answer it begins anew.
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    bed.close(0, "reset");
    bed.pass(seconds(1));
    assert!(!bed.streams.is_empty());
    bed.close(0, "refused");
    bed.pass(Duration::from_millis(1200));
    assert!(!bed.streams.is_empty());
}

/// grpc-go: `TestADS_RetriesAfterBrokenStream`.
#[test]
fn ads_retries_after_broken_stream() {
    // A stream that ends after an answer is no failure: nobody is told, and it is opened at once.
    let mut bed = Bed::sotw();
    bed.watch(LDS, "l");
    bed.answer(LDS, "1", "a", &[("l", "v1")]);
    bed.told();
    bed.requests();
    bed.pass(seconds(5));
    bed.close(0, "reset");
    assert_eq!(bed.requests(), ["LDS [l] v=1 n= node"]);
    assert_eq!(bed.told(), [""; 0]);
    // But one that ends after each answer is not opened without end.
    let start = bed.now;
    for nonce in 0..100 {
        bed.answer(LDS, "1", &nonce.to_string(), &[("l", "v1")]);
        bed.close(0, "reset");
        bed.reopen();
    }
    assert!(bed.now - start >= seconds(99), "{:?}", bed.now - start);
}

/// A plane that is shown the version it has need not say a word.
#[test]
fn a_stream_that_goes_on_in_silence_is_well() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut bed = Bed::new(settings(mode, Features::default(), 1));
        bed.watch(CDS, "c");
        bed.message(
            0,
            match mode {
                Mode::Sotw => answer(CDS, "1", "a", &[("c", "v1")]),
                Mode::Delta => delta(CDS, "a", &[("c", "1", "v1")], &[]),
            },
        );
        bed.told();
        // It ends every minute, as its server or a proxy before it has it.
        for _ in 0..12 {
            bed.close(0, "max connection age");
            let since = bed.now;
            bed.reopen();
            assert!(bed.now - since <= Duration::from_millis(1200), "{:?}", bed.now - since);
            bed.pass(seconds(60));
        }
        bed.close(0, "max connection age");
        assert_eq!(bed.told(), [""; 0]);
        assert_eq!(bed.client.servers[0].figures.failures, 0);
        // And who is looked up meanwhile waits for the next.
        bed.watch(CDS, "d");
        assert_eq!(bed.told(), [""; 0]);
    }
}

#[test]
fn a_stream_without_a_word_that_was_due_is_a_failure_however_long_it_held() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "c");
    for _ in 0..3 {
        bed.pass(seconds(60));
        bed.close(0, "mute");
        bed.reopen();
    }
    assert_eq!(bed.client.servers[0].figures.failures, 3);
}

/// grpc-go: `TestADS_ResourceRequestedBeforeStreamCreation`.
#[test]
fn ads_resource_requested_before_stream_creation() {
    let mut bed = Bed::sotw();
    bed.opens = false;
    bed.watch(LDS, "l");
    bed.watch(CDS, "c");
    assert_eq!(bed.requests(), [""; 0]);
    let stream = bed.streams[&0];
    bed.client.opened(bed.now, ServerId(0), stream);
    bed.run();
    assert_eq!(bed.requests(), ["LDS [l] v= n= node", "CDS [c] v= n="]);
}

#[test]
fn silence_after_a_name_was_given_up_and_wanted_again_restarts_the_stream_once() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "other");
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "a", &[("c", "v1"), ("other", "v1")]);
    bed.unwatch(CDS, "c");
    bed.watch(CDS, "c");
    bed.told();
    bed.links();
    bed.requests();
    // The server has sent it on this stream, and does not again (go-control-plane #431).
    bed.pass(seconds(15));
    assert_eq!(bed.links(), ["close s0", "open s0"]);
    assert_eq!(bed.told(), [""; 0]);
    // The new stream does not say that anything is there already.
    assert_eq!(bed.requests(), ["CDS [c,other] v= n= node"]);
    bed.answer(CDS, "1", "b", &[("c", "v1"), ("other", "v1")]);
    assert_eq!(bed.told(), ["CDS c = v1"]);
    // Where it is not there either, that is said after one new stream.
    bed.unwatch(CDS, "c");
    bed.watch(CDS, "c");
    bed.told();
    bed.pass(seconds(29));
    assert_eq!(bed.told(), [""; 0]);
    bed.pass(seconds(1));
    assert_eq!(bed.told(), ["CDS c missing does not exist: no answer named it within 15s"]);
    bed.links();
    bed.pass(seconds(1000));
    assert_eq!(bed.links(), [""; 0], "once");
}

/// A name that nobody knows and that is called now and then: each stream is everybody's.
#[test]
fn a_name_that_is_not_there_does_not_restart_the_stream_each_time() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "other");
    bed.answer(CDS, "1", "a", &[("other", "v1")]);
    let mut restarts = 0;
    for _ in 0..8 {
        bed.watch(CDS, "typo");
        bed.pass(seconds(15));
        bed.pass(seconds(15));
        bed.unwatch(CDS, "typo");
        bed.pass(seconds(30));
        restarts += bed.links().iter().filter(|it| it.starts_with("open")).count();
    }
    let said = "CDS typo missing does not exist: no answer named it within 15s";
    assert_eq!(bed.told().iter().filter(|it| *it == said).count(), 8);
    // The first stream, and one more for it.
    assert!(restarts <= 2, "{restarts} streams");
    // Much later a server may know it, and be silent.
    bed.pass(seconds(600));
    bed.watch(CDS, "typo");
    bed.links();
    bed.pass(seconds(15));
    assert_eq!(bed.links(), ["close s0", "open s0"]);
}

/// istiod answers with all that there is: that is no silence.
#[test]
fn an_answer_that_lacks_a_name_is_no_silence_about_it() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "other");
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "a", &[("c", "v1"), ("other", "v1")]);
    bed.unwatch(CDS, "c");
    bed.pass(seconds(60));
    bed.watch(CDS, "c");
    bed.answer(CDS, "2", "b", &[("other", "v1")]);
    bed.told();
    bed.links();
    bed.pass(seconds(15));
    assert_eq!(bed.links(), [""; 0]);
    assert_eq!(bed.told(), ["CDS c missing does not exist: no answer named it within 15s"]);
}

/// `e`, good for so many seconds; without content a heartbeat.
fn living(seconds: i64, nonce: &str, value: Option<&str>) -> Message {
    use envoy_types::pb::google::protobuf::Duration as Ttl;

    let mut message = delta(EDS, nonce, &[("e", "1", "v1")], &[]);
    if let Message::Delta(message) = &mut message {
        message.resources[0].ttl = Some(Ttl { seconds, nanos: 0 });
        message.resources[0].resource = value.map(|value| any(EDS, "e", value));
    }
    message
}

/// Its server has said itself how long it is good for: what keeps others counts for nothing.
#[test]
fn a_time_to_live_that_passes_ends_a_resource_whatever_keeps_others_and_a_heartbeat_renews_it() {
    let fail = Features { fail_on_data_errors: true, ..Features::default() };
    let keep = Features { ignore_resource_deletion: true, ..Features::default() };
    for features in [Features::default(), fail, keep] {
        let mut bed = Bed::new(settings(Mode::Delta, features, 1));
        bed.watch(EDS, "e");
        bed.message(0, living(10, "a", Some("v1")));
        bed.pass(seconds(9));
        bed.message(0, living(10, "b", None));
        bed.pass(seconds(9));
        assert_eq!(bed.told(), ["EDS e = v1"]);
        bed.pass(seconds(1));
        assert_eq!(bed.told(), ["EDS e missing does not exist: its time to live has passed"]);
        assert_eq!(bed.client.wake_at(), None);
        // And it may come again.
        bed.message(0, living(10, "c", Some("v2")));
        assert_eq!(bed.told(), ["EDS e = v2"]);
    }
}

#[test]
fn a_time_to_live_that_passes_ends_a_resource_of_a_server_that_another_stands_in_for() {
    let mut bed = Bed::new(settings(Mode::Delta, Features::default(), 2));
    bed.watch(EDS, "e");
    bed.message(0, living(100, "a", Some("v1")));
    bed.watch(CDS, "c");
    bed.close(0, "reset");
    bed.pass(seconds(2));
    bed.close(0, "refused");
    assert_eq!(bed.client.authorities[0].active(), Some(ServerId(1)));
    bed.told();
    bed.pass(seconds(100));
    let told = bed.told();
    let over = "EDS e missing does not exist: its time to live has passed";
    assert!(told.iter().any(|it| it == over), "{told:?}");
}

/// It says that there is one, and not what it is.
#[test]
fn a_heartbeat_of_what_is_not_held_does_not_end_the_wait_for_it() {
    let mut bed = Bed::delta();
    bed.watch(EDS, "e");
    bed.message(0, living(60, "a", None));
    bed.pass(seconds(15));
    assert_eq!(bed.told(), ["EDS e missing does not exist: no answer named it within 15s"]);
}

/// Some servers tell of the state of the world what lives on, and nothing else (go-control-plane).
#[test]
fn a_heartbeat_takes_nothing_back_that_it_does_not_name() {
    use envoy_types::pb::{
        envoy::service::discovery::v3::Resource, google::protobuf::Duration as Ttl,
    };
    use prost::Message as _;

    let features = Features { fail_on_data_errors: true, ..Features::default() };
    let mut bed = Bed::new(settings(Mode::Sotw, features, 1));
    for name in ["a", "b"] {
        bed.watch(CDS, name);
    }
    bed.answer(CDS, "1", "n", &[("a", "v1"), ("b", "v1")]);
    bed.requests();
    bed.told();
    let ttl = Some(Ttl { seconds: 10, nanos: 0 });
    let wrapper = Resource { name: "a".to_owned(), ttl, ..Resource::default() };
    let mut message = answer(CDS, "1", "o", &[]);
    if let Message::Sotw(message) = &mut message {
        message.resources = vec![Any {
            type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned(),
            value: wrapper.encode_to_vec(),
        }];
    }
    bed.message(0, message);
    assert_eq!(bed.requests(), ["CDS [a,b] v=1 n=o"]);
    assert_eq!(bed.told(), [""; 0]);
    bed.pass(seconds(10));
    assert_eq!(bed.told(), ["CDS a missing does not exist: its time to live has passed"]);
}

#[test]
fn names_that_come_and_go_do_not_dial_a_server_that_is_away_without_end() {
    let mut bed = Bed::sotw();
    bed.opens = false;
    for _ in 0..100 {
        bed.watch(CDS, "c");
        bed.unwatch(CDS, "c");
        bed.pass(Duration::from_millis(50));
    }
    let dialled = bed.links().iter().filter(|it| it.starts_with("open")).count();
    assert!((2..=6).contains(&dialled), "{dialled} in 5 s");
}
