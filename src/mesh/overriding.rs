//! Where a call of a cluster may name the endpoint that it goes to.

use http::{HeaderName, Request};

use crate::{
    balance::{HealthSet, Over},
    config::{self, Balancer, OverrideSource},
    route::{Named, Session},
};

/// The places, in order. Without an `override_host` balancer: the session.
#[derive(Debug)]
pub(crate) struct Overriding {
    sources: Vec<Source>,
    health: HealthSet,
}

#[derive(Debug)]
enum Source {
    Session,
    Header(HeaderName),
}

impl Overriding {
    pub(crate) fn of(cluster: &config::Cluster) -> Self {
        let mut own = Self { sources: vec![Source::Session], health: HealthSet::default() };
        if let Some(Balancer::OverrideHost(over)) = &cluster.balancer {
            let sources = over.sources.iter().filter_map(Source::of);
            own.sources = sources.collect();
            if over.sources.is_empty() {
                own.sources.push(Source::Session);
            }
            if !over.health.is_empty() {
                own.health = HealthSet::of(&over.health);
            }
        }
        own
    }

    /// Whether a call must be looked at without a session.
    pub(crate) fn reads_headers(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, Source::Header(_)))
    }

    /// The endpoint that a call names; `session` is its session, and what it says.
    pub(crate) fn over<B>(
        &self,
        session: Option<(&Session, &Named)>,
        request: &Request<B>,
    ) -> Option<Over> {
        self.sources.iter().find_map(|source| {
            let (address, strict) = match source {
                Source::Session => {
                    let (session, named) = session?;
                    (named.address.clone(), session.strict)
                }
                //= Envoy override_host: the header holds an address in clear
                Source::Header(name) => {
                    let text = request.headers().get(name)?.to_str().ok()?;
                    (text.split(',').next()?.trim().parse().ok()?, false)
                }
            };
            Some(Over { address, strict, health: self.health })
        })
    }
}

impl Source {
    fn of(source: &OverrideSource) -> Option<Self> {
        match source {
            OverrideSource::Session => Some(Self::Session),
            OverrideSource::Header(name) => {
                HeaderName::try_from(name.as_str()).ok().map(Self::Header)
            }
            // Refused by validation.
            OverrideSource::Metadata(_) => None,
        }
    }
}
