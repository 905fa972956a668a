//! Ejections and returns in the balancer, in virtual time.

mod ejections;
mod floor;
mod outcomes;
mod probes;
mod rules;

use super::*;
use crate::config::{Cluster, OutlierDetection};

/// One that may eject as many as it likes.
pub(super) fn outliers() -> OutlierDetection {
    OutlierDetection { max_ejection_percent: Some(100.0), ..OutlierDetection::default() }
}

pub(super) fn watched(policy: &config::Balancer, count: u16, outliers: &OutlierDetection) -> Sim {
    watched_under(&under(policy), count, outliers)
}

fn watched_under(cluster: &Cluster, count: u16, outliers: &OutlierDetection) -> Sim {
    let sim = Sim::of(&config::Balancer::default(), count);
    let outlier_detection = Some(outliers.clone());
    sim.balancer.settle(&Cluster { outlier_detection, ..cluster.clone() });
    sim
}

/// What has happened to the endpoint, in words.
fn told(sim: &Sim, number: u16) -> Vec<String> {
    let view = sim.balancer.read();
    let found = view.all.set.iter().find(|endpoint| number_of(endpoint) == number).unwrap();
    found.extra().map(|extra| extra.told.lock().unwrap().clone()).unwrap_or_default()
}

fn standing(sim: &Sim, number: u16) -> Standing {
    let mut found = None;
    sim.balancer.census(sim.now, |seen| {
        if *seen.address == address(number) {
            found = Some(seen.standing);
        }
    });
    found.unwrap()
}

/// The first of three fails, the others answer.
pub(super) fn one_fails(number: u16) -> (u64, Outcome) {
    (MILLI, if number == 1 { Outcome::Failure } else { Outcome::Success })
}
