//! From the description to the running mesh.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Given, MeshBuilder, UnknownNames, unknown::Unknown};
use crate::{
    core::{Epoch, Error, ErrorKind, Events, Origin, Phase, Random},
    discover::{Discover, Publisher, Sink, SourceId},
    mesh::{
        Mesh,
        call::{AttemptRest, CallRest},
        inner::{Inner, Stages},
        keys::Keys,
        stage::Next,
        supervise,
    },
    observe::Hub,
    transport::{self, Shared},
};
#[cfg(feature = "otel-033")]
use crate::{mesh::metrics, observe::otel::Exporter};

impl MeshBuilder {
    /// Builds the mesh and starts its sources. No I/O happens here.
    ///
    /// # Errors
    ///
    /// When there is no runtime; when a setting is out of its range; when there is no source,
    /// unless plain DNS is allowed for unknown names; when it is, without the feature `dns`; when what
    /// becomes of unknown names is said in two ways.
    pub fn build(self) -> Result<Mesh, Error> {
        let config_error =
            || Error::new(ErrorKind::Config, Phase::Resolve).with_origin(Origin::Local);
        let runtime = match self.runtime {
            Some(handle) => handle,
            None => Handle::try_current().map_err(|error| {
                config_error()
                    .detail("no tokio runtime: build inside one, or give its handle to `.runtime`")
                    .check("that `build` is called in a tokio runtime")
                    .caused_by(error)
            })?,
        };
        self.code.validate().map_err(|errors| {
            config_error()
                .detail(errors.to_string())
                .check("the settings that are given to the builder")
        })?;
        let sources: Vec<Box<dyn Discover>> = self
            .sources
            .into_iter()
            .map(|given| match given {
                Given::Source(source) => source,
                Given::Endpoints(statics) => Box::new(statics),
            })
            .collect();
        let unknown = Unknown::new(self.unknown_names, &sources)?;
        if sources.is_empty() && unknown.names == UnknownNames::Refuse {
            return Err(config_error()
                .detail("no source defines any service")
                .check("that the builder has `config_file`, `endpoints` or `source`"));
        }
        let names: Vec<String> = sources.iter().map(|source| source.name()).collect();
        let asks_by_port = sources.iter().any(|source| source.asks_by_port());
        let (epoch, events) = (Epoch::now(), Arc::new(Events::default()));
        let random = Arc::new(self.seed.map_or_else(Random::default, Random::seeded));
        let transport = Arc::new(Shared::new(runtime, Arc::clone(&random), epoch));
        let stages = Stages {
            call: self.call.map(|stage| stage(Next::new(CallRest))),
            attempt: self.attempt.map(|stage| stage(Next::new(AttemptRest))),
            endpoint: self.endpoint,
            leaf: self.leaf.filter(|_| !self.is_dry),
            connects: self.connect.is_some() && !self.is_dry,
            connector: match self.connect {
                _ if self.is_dry => transport::dry_connector(),
                Some(connect) => connect(transport::default_connector()),
                None => transport::default_connector(),
            },
        };
        #[cfg(feature = "otel-033")]
        let sinks = self.exporter.as_ref().map(Exporter::sinks);
        #[cfg(not(feature = "otel-033"))]
        let sinks = None;
        let hub = Arc::new(Hub::new(events, epoch, &names, sinks));
        let telemetry = self.telemetry;
        let inner = Arc::new_cyclic(|_this| {
            Inner::new(
                #[cfg(feature = "dns")]
                _this,
                epoch,
                hub,
                random,
                stages,
                self.tracing,
                self.code,
                names,
                transport,
                unknown,
                asks_by_port,
                telemetry,
                self.place,
                self.is_dry,
            )
        });
        #[cfg(feature = "otel-033")]
        if let Some(exporter) = &self.exporter {
            let read = Arc::downgrade(&inner);
            exporter.observe(move |metric| match read.upgrade() {
                Some(inner) => metrics::samples(&inner, metric),
                None => Vec::new(),
            });
        }
        // The user's code is not called under the lock.
        let keys = Keys::start(&inner, self.keys);
        let mut state = inner.state();
        state.keys = keys;
        state.secured = inner.code.secured();
        state.demanding = inner.code.demanding();
        inner.look_at_own(&state);
        drop(state);
        for (index, source) in sources.into_iter().enumerate() {
            let sink: Arc<dyn Sink> = Arc::<Inner>::clone(&inner);
            let id = SourceId::new(index);
            let publisher = Publisher::new(&sink, id);
            drop(inner.spawn(supervise::run(Arc::downgrade(&inner), id, source, publisher)));
        }
        Ok(Mesh { inner })
    }
}
