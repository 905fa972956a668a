//! The receiving side as layers: what a server tells its callers of its load.
//!
//! | for | see |
//! |---|---|
//! | measuring calls in flight, latency and rates, and reporting them with each response | [`LoadReportLayer`] |
//! | what is measured, and what the application adds | [`ServerLoad`] |
//! | the same as a stream, beside the traffic | [`OutOfBand`], [`LoadReportLayer::out_of_band`] |
//!
//! The reports are ORCA's (`xds.data.orca.v3.OrcaLoadReport`): gRPC's `weighted_round_robin`, Envoy's
//! `client_side_weighted_round_robin`, and the policies `client_weighted` and `prequal` of this
//! crate follow them.
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_mesh::{Body, server::{LoadReportLayer, ServerLoad}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let load = ServerLoad::builder().application_utilization(|| 0.25).build();
//! let server = ServiceBuilder::new().layer(LoadReportLayer::new(load)).service(service_fn(
//!     async |_: http::Request<Body>| Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty())),
//! ));
//! let response = server.oneshot(http::Request::new(Body::empty())).await?;
//! let report = response.headers()["endpoint-load-metrics"].to_str()?;
//! assert!(report.starts_with("TEXT application_utilization:0.25,"));
//! # Ok(())
//! # }
//! ```
//!
//! # What is in a report
//!
//! | field | meaning |
//! |---|---|
//! | `cpu_utilization`, `mem_utilization`, `application_utilization` | what the application's closures say |
//! | `rps_fractional`, `eps` | responses, and failed ones, per second over the last 10 s |
//! | `named_metrics.prequal_rif` | calls in flight, without the one that is being answered; `x-prequal-rif` of envoy-prequal |
//! | `named_metrics.prequal_latency_us` | the median latency of recent calls that met about as many others, in microseconds; `x-prequal-latency-us` |
//! | other `named_metrics` | what the application's closures say |
//!
//! A response has failed when its status is 500 or above, or its gRPC status one of
//! `UNKNOWN`, `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS`,
//! or none of gRPC's; so has a call without one.
//!
//! DO put the layer outside of what queues or limits calls: what waits is in flight, too.
//! DON'T put it on a proxy: the reports of the servers behind it would be replaced.

mod load;

#[doc(hidden)]
pub use self::load::bench;

pub use self::load::{
    LoadReport, LoadReportBody, LoadReportFuture, LoadReportLayer, OutOfBand, OutOfBandFuture,
    ReportFormat, ServerLoad, ServerLoadBuilder,
};
