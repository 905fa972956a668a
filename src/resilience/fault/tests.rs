use std::time::Duration;

use http::HeaderValue;

use super::*;
use crate::config::{Fault, FaultAbort, HeaderMatch, StringMatch};

fn faults(said: &Fault) -> Faults {
    said.validate("fault").unwrap();
    Faults::new(said).unwrap()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

/// Delay in milliseconds, HTTP status and rate of what is drawn for a request with these headers.
fn drawn_of(
    faults: &Faults,
    pairs: &[(&'static str, &'static str)],
) -> (Option<u128>, Option<u16>, Option<u64>) {
    let headers = headers(pairs);
    let asked = Asked { headers: &headers, cluster: Some("a"), node: Some("n") };
    match faults.draw(&asked, &Random::seeded(1)) {
        Draw::Fault(Drawn { delay, abort, rate, .. }) => {
            let status = abort.map(|abort| abort.response(false).status().as_u16());
            (delay.map(|delay| delay.as_millis()), status, rate)
        }
        Draw::Nothing | Draw::Overflow => (None, None, None),
    }
}

fn by_header() -> Fault {
    let mut fault = Fault::delay(Duration::from_secs(1));
    fault.delay = Some(FaultDelay { from_header: true, ..FaultDelay::default() });
    fault.abort = Some(FaultAbort { from_header: true, ..FaultAbort::default() });
    fault.response_rate = Some(FaultRate { from_header: true, ..FaultRate::default() });
    fault
}

#[test]
fn shares_are_drawn_each_by_itself() {
    let mut fault = Fault::delay(Duration::from_secs(1)).percent(20.0);
    fault.abort = Fault::abort(503).percent(5.0).abort;
    let faults = faults(&fault);
    let headers = HeaderMap::new();
    let asked = Asked { headers: &headers, cluster: None, node: None };
    let random = Random::seeded(7);
    let (mut delayed, mut aborted, mut both) = (0, 0, 0);
    for _ in 0..100_000 {
        if let Draw::Fault(drawn) = faults.draw(&asked, &random) {
            delayed += u32::from(drawn.delay.is_some());
            aborted += u32::from(drawn.abort.is_some());
            both += u32::from(drawn.delay.is_some() && drawn.abort.is_some());
        }
    }
    assert!((19_500..20_500).contains(&delayed), "{delayed}");
    assert!((4_750..5_250).contains(&aborted), "{aborted}");
    // gRFC A33: by one number for both, all that fail would be late as well.
    assert!((900..1_100).contains(&both), "{both}");
}

#[test]
fn one_seed_gives_one_sequence() {
    let faults = faults(&Fault::abort(503).percent(50.0));
    let sequence = |seed| {
        let (headers, random) = (HeaderMap::new(), Random::seeded(seed));
        let asked = Asked { headers: &headers, cluster: None, node: None };
        let is_one = |_| matches!(faults.draw(&asked, &random), Draw::Fault(_));
        (0..64).map(is_one).collect::<Vec<bool>>()
    };
    assert_eq!(sequence(3), sequence(3));
    assert_ne!(sequence(3), sequence(4));
}

#[test]
fn nothing_and_everything_need_no_luck() {
    let headers = HeaderMap::new();
    let asked = Asked { headers: &headers, cluster: None, node: None };
    let random = Random::seeded(9);
    let begun = random.mark();
    let (all, none) = (faults(&Fault::abort(503)), faults(&Fault::abort(503).percent(0.0)));
    assert!(matches!(all.draw(&asked, &random), Draw::Fault(_)));
    assert!(matches!(none.draw(&asked, &random), Draw::Nothing));
    assert_eq!(random.mark(), begun);
}

#[test]
fn headers_choose_where_they_may() {
    let said = faults(&by_header());
    for (pairs, expected) in [
        (&[][..], (None, None, None)),
        (&[("x-envoy-fault-delay-request", "53")], (Some(53), None, None)),
        (&[("x-envoy-fault-delay-request", "soon")], (None, None, None)),
        (&[("x-envoy-fault-delay-request", "-1")], (None, None, None)),
        // Nothing waits for more than a day.
        (
            &[("x-envoy-fault-delay-request", "18446744073709551615")],
            (Some(86_400_000), None, None),
        ),
        (&[("x-envoy-fault-abort-request", "418")], (None, Some(418), None)),
        (&[("x-envoy-fault-abort-request", "199")], (None, None, None)),
        (&[("x-envoy-fault-abort-request", "600")], (None, None, None)),
        (&[("x-envoy-fault-abort-grpc-request", "5")], (None, Some(404), None)),
        (&[("x-envoy-fault-abort-grpc-request", "17")], (None, None, None)),
        (
            &[("x-envoy-fault-abort-request", "418"), ("x-envoy-fault-abort-grpc-request", "5")],
            (None, Some(418), None),
        ),
        (&[("x-envoy-fault-throughput-response", "2")], (None, None, Some(2048))),
        (&[("x-envoy-fault-throughput-response", "0")], (None, None, None)),
        (
            &[("x-envoy-fault-delay-request", "1"), ("x-envoy-fault-throughput-response", "1")],
            (Some(1), None, Some(1024)),
        ),
        // What is not sent has no response to be slow.
        (
            &[("x-envoy-fault-abort-request", "503"), ("x-envoy-fault-throughput-response", "1")],
            (None, Some(503), None),
        ),
    ] {
        assert_eq!(drawn_of(&said, pairs), expected, "{pairs:?}");
    }
    // A fixed one is not for headers to change.
    let fixed = faults(&Fault::delay(Duration::from_millis(7)));
    let pairs = [("x-envoy-fault-delay-request", "53")];
    assert_eq!(drawn_of(&fixed, &pairs), (Some(7), None, None));
}

#[test]
fn a_header_asks_for_no_more_than_is_configured() {
    let mut fault = by_header();
    fault.abort =
        Some(FaultAbort { from_header: true, percent: Some(30.0), ..FaultAbort::default() });
    let faults = faults(&fault);
    let share = |percent: &'static str| {
        let headers = headers(&[
            ("x-envoy-fault-abort-request", "503"),
            ("x-envoy-fault-abort-request-percentage", percent),
        ]);
        let asked = Asked { headers: &headers, cluster: None, node: None };
        let random = Random::seeded(5);
        let drawn = (0..10_000).filter(|_| matches!(faults.draw(&asked, &random), Draw::Fault(_)));
        drawn.count()
    };
    for (percent, expected) in [
        ("0", 0..=0),
        ("10", 900..=1_100),
        ("30", 2_850..=3_150),
        ("100", 2_850..=3_150),
        ("18446744073709551615", 2_850..=3_150),
        ("many", 2_850..=3_150),
    ] {
        let count = share(percent);
        assert!(expected.contains(&count), "{percent}: {count}");
    }
}

#[test]
fn whom_it_concerns() {
    let mut fault = Fault::abort(503);
    fault.headers = vec![HeaderMatch::new("x-test", StringMatch::Present)];
    fault.cluster = Some("A".into());
    fault.callers = vec!["m".into(), "n".into()];
    let faults = faults(&fault);
    let marked = headers(&[("x-test", "")]);
    for (headers, cluster, node, expected) in [
        (&marked, Some("a"), Some("n"), true),
        (&HeaderMap::new(), Some("a"), Some("n"), false),
        (&marked, Some("b"), Some("n"), false),
        (&marked, None, Some("n"), false),
        (&marked, Some("a"), Some("o"), false),
        (&marked, Some("a"), None, false),
    ] {
        assert_eq!(faults.concerns(&Asked { headers, cluster, node }), expected);
    }
}

#[test]
fn no_more_are_active_than_may_be() {
    let mut fault = Fault::delay(Duration::from_secs(1));
    fault.max_active = Some(2);
    let said = faults(&fault);
    let headers = HeaderMap::new();
    let asked = Asked { headers: &headers, cluster: None, node: None };
    let random = Random::seeded(1);
    let first = said.draw(&asked, &random);
    let second = said.draw(&asked, &random);
    assert!(matches!((&first, &second), (Draw::Fault(_), Draw::Fault(_))));
    assert!(matches!(said.draw(&asked, &random), Draw::Overflow));
    drop(first);
    assert!(matches!(said.draw(&asked, &random), Draw::Fault(_)));
    fault.max_active = Some(0);
    assert!(matches!(faults(&fault).draw(&asked, &random), Draw::Overflow));
}

#[test]
fn what_an_abort_is_to_each_caller() {
    let aborted = |said: &Fault, is_grpc| {
        let headers = HeaderMap::new();
        let asked = Asked { headers: &headers, cluster: None, node: None };
        let Draw::Fault(drawn) = faults(said).draw(&asked, &Random::seeded(1)) else {
            panic!("no fault")
        };
        let abort = drawn.abort.unwrap();
        let (fault, response) = (abort.fault(is_grpc), abort.response(is_grpc));
        assert_eq!(response.extensions().get(), Some(&Refusal::Fault));
        let code = response.headers().get("grpc-status").map(|it| it.to_str().unwrap().to_owned());
        (response.status().as_u16(), code, fault)
    };
    let code = |code: &str| Some(code.to_owned());
    let (http, grpc) = (Fault::abort(503), Fault::grpc(5));
    assert_eq!(aborted(&http, false), (503, None, InjectedFault::Status(503)));
    assert_eq!(aborted(&http, true), (200, code("14"), InjectedFault::Grpc(14)));
    assert_eq!(aborted(&grpc, true), (200, code("5"), InjectedFault::Grpc(5)));
    assert_eq!(aborted(&grpc, false), (404, None, InjectedFault::Status(404)));
    // gRFC A33, "200/OK Error Injection".
    assert_eq!(aborted(&Fault::abort(200), true).1, code("2"));
    assert_eq!(aborted(&Fault::grpc(0), true).1, code("0"));
    let mut both = Fault::abort(500);
    both.abort.as_mut().unwrap().grpc = Some(8);
    assert_eq!(aborted(&both, false).0, 500);
    assert_eq!(aborted(&both, true).1, code("8"));
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let delay = |edit: fn(&mut FaultDelay)| {
        let mut fault = Fault::delay(Duration::from_secs(1));
        edit(fault.delay.as_mut().unwrap());
        fault
    };
    let abort = |edit: fn(&mut FaultAbort)| {
        let mut fault = Fault::abort(503);
        edit(fault.abort.as_mut().unwrap());
        fault
    };
    let of = |edit: fn(&mut Fault)| {
        let mut fault = Fault::abort(503);
        edit(&mut fault);
        fault
    };
    for (said, expected) in [
        (Fault::default(), "fault = {}: must say `delay`, `abort` or `response_rate`"),
        (delay(|it| it.fixed = Some(Duration::ZERO)), "delay.fixed = 0ns: must be over 0"),
        (delay(|it| it.fixed = Some(Duration::MAX)), "at most 365 days"),
        (delay(|it| it.fixed = None), "delay = {}: must say `fixed` or `from_header`"),
        (delay(|it| it.from_header = true), "delay.from_header = true: cannot be beside `fixed`"),
        (delay(|it| it.percent = Some(100.1)), "delay.percent = 100.1: must be in 0..=100"),
        (delay(|it| it.percent = Some(f64::NAN)), "delay.percent = NaN: must be in 0..=100"),
        (abort(|it| it.status = Some(199)), "abort.status = 199: must be in 200..=599"),
        (abort(|it| it.grpc = Some(17)), "abort.grpc = 17: must be in 0..=16"),
        (abort(|it| it.status = None), "abort = {}: must say `status` or `grpc` or `from_header`"),
        (abort(|it| it.message = Some(String::new())), "abort.message = \"\""),
        (Fault::response_rate(1023), "bytes_per_second = 1023: must be at least 1024"),
        (of(|it| it.cluster = Some(String::new())), "cluster = \"\": must not be empty"),
        (of(|it| it.callers = vec![String::new()]), "callers = \"\": a node has a name"),
        (
            of(|it| it.headers = vec![HeaderMatch::new("a b", StringMatch::Present)]),
            "headers[0].name = a b: is not a header name",
        ),
    ] {
        let told = said.validate("fault").unwrap_err().to_string();
        assert!(told.contains(expected), "{told}\nand not {expected}");
    }
}
