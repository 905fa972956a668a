//! One probe of one endpoint, over a connection of its own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{http, tcp};
use crate::{
    balance::{Spec, health::check::Found},
    config::{Address, HealthCheck, Probe, Protocol, TransportSettings},
    mesh::{cluster::NodeContext, endpoint::Transport, stage::Erased},
    transport::{Pool, Reach},
};

/// What came of a probe.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) found: Found,
    /// Why it failed.
    pub(super) cause: String,
}

/// Probes one endpoint.
pub(super) struct Prober {
    config: Arc<HealthCheck>,
    /// What it is called by, where the probe names nobody.
    host: String,
    target: Target,
}

enum Target {
    /// Our transport, and what makes another pool of it.
    Own { way: Mutex<Way>, make: Make },
    /// The application's own leaf.
    Leaf(Arc<dyn Erased>),
}

/// The connections of probes.
struct Way {
    pool: Arc<Pool>,
    /// Where the endpoint listens, too, as its source says.
    more: Arc<[Address]>,
}

/// Makes a pool that leads to these addresses as well as the endpoint's first.
type Make = Box<dyn Fn(&[Address]) -> Arc<Pool> + Send + Sync>;

impl Answer {
    pub(super) fn well() -> Self {
        Self { found: Found::Well, cause: String::new() }
    }

    /// It says that it is not well.
    pub(super) fn ill(cause: impl Into<String>) -> Self {
        Self { found: Found::Ill, cause: cause.into() }
    }

    /// It says so in a way that may pass.
    pub(super) fn wavering(cause: impl Into<String>) -> Self {
        Self { found: Found::Wavering, cause: cause.into() }
    }

    /// It says nothing.
    pub(super) fn silent(cause: impl Into<String>) -> Self {
        Self { found: Found::Silent, cause: cause.into() }
    }

    /// The same, for this error.
    pub(super) fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::silent(text)
    }
}

impl Prober {
    pub(super) fn new(config: &Arc<HealthCheck>, cx: &NodeContext, spec: &Spec) -> Self {
        let target = match &cx.leaf {
            Some(leaf) => Target::Leaf(leaf.build(&cx.of_leaf(spec))),
            None => {
                let make = maker(cx, spec, config.port);
                let more: Arc<[_]> = spec.more_addresses().into();
                Target::Own { way: Mutex::new(Way { pool: make(&more), more }), make }
            }
        };
        let host = spec.authority().unwrap_or(&cx.meter.name).to_owned();
        Self { config: Arc::clone(config), host, target }
    }

    /// Asks the endpoint how it is.
    pub(super) async fn probe(&self, timeout: Duration) -> Answer {
        let answer = tokio::time::timeout(timeout, self.ask(timeout)).await;
        let answer =
            answer.unwrap_or_else(|_| Answer::silent(format!("no answer within {timeout:?}")));
        // What came of a broken connection is not asked again.
        if self.config.reuse_connection == Some(false) || answer.found == Found::Silent {
            self.renew();
        }
        answer
    }

    async fn ask(&self, timeout: Duration) -> Answer {
        let endpoint = match &self.target {
            Target::Leaf(leaf) => Arc::clone(leaf),
            Target::Own { way, .. } => {
                let pool = Arc::clone(&way.lock().unwrap_or_else(PoisonError::into_inner).pool);
                if let Probe::Tcp(probe) = &self.config.probe {
                    return tcp::ask(&pool, probe).await;
                }
                let name = self.host.as_str().into();
                Arc::new(Transport { name, pool, protocol: Some(self.protocol()) })
                    as Arc<dyn Erased>
            }
        };
        match &self.config.probe {
            Probe::Http(probe) => http::ask(&*endpoint, probe, &self.host).await,
            #[cfg(feature = "grpc-health")]
            Probe::Grpc(probe) => super::grpc::ask(&*endpoint, probe, &self.host, timeout).await,
            // Validation refuses those that there are not.
            _ => {
                let _ = timeout;
                Answer::silent("this probe needs the mesh's own transport")
            }
        }
    }

    fn protocol(&self) -> Protocol {
        match &self.config.probe {
            Probe::Http(probe) => probe.protocol.unwrap_or(Protocol::Http1),
            Probe::Grpc(_) => Protocol::Http2,
            Probe::Tcp(_) | Probe::Extension(_) => Protocol::Http1,
        }
    }

    /// The next probe makes a connection of its own.
    fn renew(&self) {
        if let Target::Own { way, make } = &self.target {
            let mut way = way.lock().unwrap_or_else(PoisonError::into_inner);
            let made = make(&way.more);
            std::mem::replace(&mut way.pool, made).drain();
        }
    }

    /// The endpoint has these addresses now, behind its first. Those that have left are probed no
    /// more.
    pub(super) fn moved(&self, more: Arc<[Address]>) {
        if let Target::Own { way, .. } = &self.target {
            let mut way = way.lock().unwrap_or_else(PoisonError::into_inner);
            if way.more != more {
                let port = self.config.port;
                way.pool.set_more_addresses(more.iter().map(|it| it.with_port(port)).collect());
                way.more = more;
            }
        }
    }

    /// There are no more probes.
    pub(super) fn close(&self) {
        if let Target::Own { way, .. } = &self.target {
            way.lock().unwrap_or_else(PoisonError::into_inner).pool.drain();
        }
    }
}

/// Makes pools for probes: the endpoint's way, but never in back-off.
fn maker(cx: &NodeContext, spec: &Spec, port: Option<u16>) -> Make {
    let name: Arc<str> = spec.address().to_string().into();
    let address = spec.address().with_port(port);
    let protection = cx.protector.of(spec);
    let settings = Arc::new(TransportSettings {
        connect_backoff_base: Duration::from_nanos(1),
        connect_backoff_max: Duration::from_nanos(1),
        ..TransportSettings::clone(&cx.settings)
    });
    let (connector, shared) = (Arc::clone(&cx.connector), Arc::clone(&cx.shared));
    let (meter, failed) = (Arc::clone(&cx.meter), Arc::clone(&cx.unreachable));
    Box::new(move |more| {
        Pool::new(
            Arc::clone(&name),
            Reach {
                address: address.clone(),
                more_addresses: more.iter().map(|address| address.with_port(port)).collect(),
                protection: protection.clone(),
                failed: Arc::clone(&failed),
                // Probes are no attempts: nobody's limit counts them.
                breakers: Arc::default(),
                http2_chosen: Arc::default(),
            },
            Arc::clone(&settings),
            Arc::clone(&connector),
            Arc::clone(&shared),
            Arc::clone(&meter),
        )
    })
}
