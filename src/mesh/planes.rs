//! The metrics of control planes' clients (gRFC A78).

use std::sync::PoisonError;

use super::inner::Inner;
use crate::{
    core::{Figures, OfResources, OfServer},
    observe::{Label, Metric, MetricSample, MetricValue},
};

/// What gRPC writes for a name of no authority.
//= gRFC A78: `grpc.xds.authority`
const NO_AUTHORITY: &str = "#old";

/// Tells one of them, of every control plane that the mesh asks.
pub(super) fn collect(inner: &Inner, metric: Metric, samples: &mut Vec<MetricSample>) {
    let planes = inner.planes.lock().unwrap_or_else(PoisonError::into_inner);
    for Figures { servers, resources } in planes.iter().map(|plane| plane.figures()) {
        if metric == Metric::PlaneResources {
            samples.extend(resources.iter().map(of_resources));
        } else {
            servers.iter().for_each(|server| of_server(server, metric, samples));
        }
    }
}

fn of_server(server: &OfServer, metric: Metric, samples: &mut Vec<MetricSample>) {
    let name = || -> Label { ("mesh.xds.server", (&server.uri).into()) };
    match metric {
        Metric::PlaneConnected => {
            let value = MetricValue::Number(f64::from(u8::from(server.is_connected)));
            samples.push(MetricSample::new(vec![name()], value));
        }
        Metric::PlaneFailures => {
            samples.push(MetricSample::new(vec![name()], MetricValue::Count(server.failures)));
        }
        _ => {
            for (kind, accepted, refused) in &server.updates {
                let is_accepted = metric == Metric::PlaneAccepted;
                if let count @ 1.. = if is_accepted { *accepted } else { *refused } {
                    let labels = vec![name(), ("mesh.xds.resource_type", (*kind).into())];
                    samples.push(MetricSample::new(labels, MetricValue::Count(count)));
                }
            }
        }
    }
}

fn of_resources(of: &OfResources) -> MetricSample {
    let authority = of.authority.as_ref().map_or_else(|| NO_AUTHORITY.into(), Into::into);
    let labels = vec![
        ("mesh.xds.authority", authority),
        ("mesh.xds.resource_type", of.kind.into()),
        ("mesh.xds.cache_state", of.state.into()),
    ];
    MetricSample::new(labels, MetricValue::Level(i64::try_from(of.count).unwrap_or(i64::MAX)))
}
