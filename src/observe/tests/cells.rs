//! The cells under many ends, many threads, and endpoints that come and go.

use std::{sync::Arc, time::Duration};

use super::super::{
    AttemptEnd, ClusterMeter, End, Hub, Made, Metric, Proved, Verb, durations::Durations, end::Key,
};
use crate::core::{Epoch, ErrorKind, Events};

fn hub() -> Arc<Hub> {
    Arc::new(Hub::new(Arc::new(Events::default()), Epoch::now(), &[], None))
}

fn get() -> Verb {
    Verb::of(&http::Method::GET, false)
}

#[test]
fn every_end_has_its_own_cell_until_there_are_too_many() {
    let durations = Durations::default();
    let statuses = 200..300;
    for status in statuses {
        for _ in 0..2 {
            durations.record(Key::new(get(), End::Status(status)), 1, |_| None);
        }
    }
    let cells: Vec<_> = durations.read().collect();
    assert_eq!(cells.len(), 49);
    let total: u64 = cells.iter().map(|(_, counts)| counts.count()).sum();
    assert_eq!(total, 200);
    let rest = cells.iter().find(|(key, _)| *key == Key::REST).unwrap();
    assert_eq!(rest.1.count(), 2 * (100 - 48));
    let kept = cells.iter().filter(|(key, counts)| *key != Key::REST && counts.count() == 2);
    assert_eq!(kept.count(), 48);
}

#[test]
fn threads_that_meet_the_same_ends_at_once_lose_nothing() {
    let durations = Durations::default();
    std::thread::scope(|scope| {
        for thread in 0..4_u16 {
            let durations = &durations;
            scope.spawn(move || {
                for n in 0..2_000_u16 {
                    let status = 200 + (n * (thread + 1)) % 20;
                    durations.record(Key::new(get(), End::Status(status)), 1, |_| None);
                }
            });
        }
    });
    let cells: Vec<_> = durations.read().collect();
    let keys: std::collections::BTreeSet<_> = cells.iter().map(|(key, _)| *key).collect();
    assert_eq!((cells.len(), keys.len()), (20, 20));
    assert_eq!(cells.iter().map(|(_, counts)| counts.count()).sum::<u64>(), 8_000);
}

#[test]
fn ends_that_differ_have_different_keys() {
    let ends = [
        End::Status(200),
        End::Status(14),
        End::Grpc(14),
        End::Grpc(0),
        End::Error(ErrorKind::UnknownService),
        End::Error(ErrorKind::Shutdown),
        End::Coded(ErrorKind::UnknownService, 8),
        End::Coded(ErrorKind::UnknownService, 14),
        End::Coded(ErrorKind::Shutdown, 8),
        End::Left,
    ];
    let mut keys: Vec<_> = [get(), Verb::of(&http::Method::POST, false), Verb::GRPC]
        .into_iter()
        .flat_map(|verb| ends.map(|end| Key::new(verb, end)))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3 * ends.len());
    // A code that is none, from a peer that lies, is `UNKNOWN`.
    for code in [-1, 17, i32::MAX] {
        assert_eq!(Key::new(Verb::GRPC, End::Grpc(code)), Key::new(Verb::GRPC, End::Grpc(2)));
    }
}

#[test]
fn endpoints_that_come_and_go_leave_their_counts_and_nothing_else() {
    let cluster = ClusterMeter::new(&"users".into(), &hub());
    let service: Arc<str> = "users.prod".into();
    for n in 0..10_000_u32 {
        let endpoint = cluster.endpoint(&format!("10.0.0.1:{n}").into());
        let status = if n % 10 == 0 { 503 } else { 200 };
        endpoint.attempt_ended(
            &service,
            AttemptEnd {
                call: 0,
                verb: get(),
                number: 1,
                status: Some(status),
                error: None,
                end: Some(End::Status(status)),
                nanos: 20_000_000,
            },
        );
        assert_eq!(cluster.sizes().0, 1);
    }
    assert_eq!(cluster.sizes(), (0, 2));
    let mut samples = Vec::new();
    cluster.collect(Metric::HttpAttempt, &mut samples);
    let counts: Vec<f64> = samples.iter().map(|sample| sample.value().as_f64()).collect();
    assert_eq!(counts, [9_000.0, 1_000.0]);
    samples.clear();
    cluster.collect(Metric::EndpointAttempts, &mut samples);
    assert!(samples.is_empty());
}

#[test]
fn a_connection_whose_task_is_cut_off_is_closed_all_the_same() {
    let cluster = ClusterMeter::new(&"users".into(), &hub());
    let endpoint: Arc<str> = "10.0.0.1:80".into();
    let peer = Proved::default;
    let made = || Made { protocol: http::Version::HTTP_2, secured: false, peer: peer(), at: None };
    let first = cluster.connected(&endpoint, made(), Duration::from_millis(1));
    let second = cluster.connected(&endpoint, made(), Duration::from_millis(1));
    let open = |cluster: &ClusterMeter| {
        let mut samples = Vec::new();
        cluster.collect(Metric::ConnectionsOpen, &mut samples);
        samples[0].value().as_f64()
    };
    assert_eq!(open(&cluster).to_string(), "2");
    first.ended(crate::core::DisconnectReason::Idle);
    drop(second);
    assert_eq!(open(&cluster).to_string(), "0");
    let mut samples = Vec::new();
    cluster.collect(Metric::ConnectionsClosed, &mut samples);
    let reasons: Vec<_> =
        samples.iter().filter_map(|one| one.attribute("mesh.disconnect.reason")).collect();
    assert_eq!(reasons, ["idle", "shutdown"]);
}

/// What a call adds to memory is what its service and endpoints need.
#[test]
fn cells_are_small() {
    assert!(size_of::<Durations>() <= 96, "{}", size_of::<Durations>());
}
