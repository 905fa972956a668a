//! What counts as a failure of the endpoint.

use super::*;
use crate::core::BodyEnd;

#[test]
fn the_clusters_own_list_says_which_statuses_are_failures() {
    let statuses = vec![config::IntegerRange { start: 429, end: 430 }];
    let rules = OutlierDetection { statuses: Some(statuses), ..outliers() };
    let sim = watched(&config::Balancer::RoundRobin, 1, &rules);
    let answer = |status: u16| {
        for _ in 0..5 {
            let mut flight = sim.pick().unwrap();
            flight.answered(sim.now, (status, None), || None);
            flight.record(sim.now, Outcome::of_http(status));
        }
        standing(&sim, 1)
    };
    // The balancer itself goes by what a status means.
    assert_eq!(answer(500), Standing::Suspect);
    assert_eq!(answer(429), Standing::Ejected);
}

#[test]
fn a_stream_counts_by_its_trailers_and_without_a_status_as_a_failure() {
    for end in
        [BodyEnd::Complete(Some(14)), BodyEnd::Complete(None), BodyEnd::Failed, BodyEnd::Stalled]
    {
        let sim = watched(&config::Balancer::RoundRobin, 1, &outliers());
        for _ in 0..5 {
            let (watcher, ticket) = sim.pick().unwrap().into_ticket(sim.now);
            watcher.ended(ticket, end, Some(crate::core::Instant::now()));
        }
        assert_eq!(standing(&sim, 1), Standing::Ejected, "{end:?}");
    }
    for end in [BodyEnd::Complete(Some(0)), BodyEnd::Expired, BodyEnd::Dropped] {
        let sim = watched(&config::Balancer::RoundRobin, 1, &outliers());
        for _ in 0..20 {
            let (watcher, ticket) = sim.pick().unwrap().into_ticket(sim.now);
            watcher.ended(ticket, end, Some(crate::core::Instant::now()));
        }
        assert_eq!(standing(&sim, 1), Standing::Healthy, "{end:?}");
    }
}

#[test]
fn an_error_of_the_transport_counts_as_slow() {
    for outcome in [Outcome::Connect, Outcome::Reset] {
        let mut sim = Sim::of(&config::Balancer::default(), 2);
        sim.open(200, 10 * MILLI, |_| (10 * MILLI, Outcome::Success));
        let latency = |sim: &Sim| {
            let mut found = 0.0;
            sim.balancer.census(sim.now, |seen| {
                if *seen.address == address(1) {
                    found = seen.latency.unwrap();
                }
            });
            found
        };
        let before = latency(&sim);
        let flight = loop {
            let flight = sim.pick().unwrap();
            if number_of(flight.endpoint()) == 1 {
                break flight;
            }
        };
        // At once.
        flight.finish(sim.now, outcome);
        assert!(latency(&sim) > 1.9 * before, "{outcome:?}: {} of {before}", latency(&sim));
    }
}

#[test]
fn a_grpc_server_that_throws_at_once_draws_no_calls() {
    let clusters = [
        under(&config::Balancer::default()),
        #[cfg(feature = "orca")]
        under(&config::Balancer::Prequal(config::Prequal::default())),
    ];
    for cluster in clusters {
        let mut sim = Sim::of(&config::Balancer::default(), 5);
        sim.balancer.settle(&cluster);
        // `UNKNOWN` is what a handler's exception comes to.
        sim.closed(3_200, 32, |number| match number {
            1 => (MILLI / 5, Outcome::of_grpc(2)),
            _ => (20 * MILLI, Outcome::of_grpc(0)),
        });
        assert!(sim.share(1) <= 0.01, "{} {}", sim.share(1), named(&cluster));
    }
}

#[test]
fn a_grpc_status_counts_against_its_endpoint_unless_it_speaks_of_the_call() {
    let gateway = [4, 14];
    // Neither 17 nor -1 is a status: they count as `UNKNOWN`.
    let failures = [2, 8, 13, 15, 17, -1, i32::MAX, i32::MIN];
    for code in gateway {
        assert_eq!(Outcome::of_grpc(code), Outcome::Gateway, "{code}");
    }
    for code in failures {
        assert_eq!(Outcome::of_grpc(code), Outcome::Failure, "{code}");
    }
    for code in [0, 1, 3, 5, 6, 7, 9, 10, 11, 12, 16] {
        assert_eq!(Outcome::of_grpc(code), Outcome::Success, "{code}");
    }
}
