//! What the policies that follow load reports cannot be.
#![cfg(feature = "orca")]

use std::time::Duration;

use super::{Balancer, Cluster, ConfigErrors, Prequal};

#[test]
fn what_prequal_cannot_be_is_refused_with_its_range() {
    fn prequal(fill: impl FnOnce(&mut Prequal)) -> Result<(), ConfigErrors> {
        let mut config = Prequal::default();
        fill(&mut config);
        let mut cluster = Cluster::default();
        cluster.balancer = Some(Balancer::Prequal(config));
        cluster.validate("a")
    }
    prequal(|_| {}).unwrap();
    prequal(|it| (it.probe_rate, it.probe_path) = (Some(16.0), Some("/load?of=me".into())))
        .unwrap();
    for (refused, text) in [
        (prequal(|it| it.pool_size = Some(1)), "prequal.pool_size = 1: must be in 2..=64"),
        (prequal(|it| it.probe_rate = Some(-1.0)), "prequal.probe_rate = -1: must be in 0.0..=16"),
        (prequal(|it| it.probe_rate = Some(17.0)), "prequal.probe_rate = 17: must be in 0.0..=16"),
        (prequal(|it| it.probe_rate = Some(f64::NAN)), "prequal.probe_rate = NaN: must be in"),
        (prequal(|it| it.probe_timeout = Some(Duration::ZERO)), "prequal.probe_timeout = 0"),
        (
            prequal(|it| it.probe_path = Some(String::new())),
            "prequal.probe_path = : must be a path",
        ),
        (
            prequal(|it| it.probe_path = Some("load".into())),
            "prequal.probe_path = load: must be a path from `/` on, perhaps with a query",
        ),
        (prequal(|it| it.probe_path = Some("/a b".into())), "prequal.probe_path = /a b: must be"),
        (prequal(|it| it.remove_rate = Some(17.0)), "prequal.remove_rate = 17: must be in 0.0..="),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(text), "{refused}: {text}");
    }
}
