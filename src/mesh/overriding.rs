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
            if let Some(health) = &over.health {
                own.health = HealthSet::of(health);
                //= xDS `override_host_status`: an empty set, and nobody's word is asked for
                if health.is_empty() {
                    own.sources.clear();
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Health, OverrideHost};

    fn over(health: Option<Vec<Health>>) -> Option<Over> {
        let header = OverrideSource::Header("x-to".to_owned());
        let balancer = Balancer::OverrideHost(OverrideHost {
            sources: vec![header],
            fallback: Box::new(Balancer::RoundRobin),
            health,
        });
        let cluster = config::Cluster { balancer: Some(balancer), ..config::Cluster::default() };
        let request = Request::builder().header("x-to", "127.0.0.1:80").body(()).ok()?;
        Overriding::of(&cluster).over(None, &request)
    }

    #[test]
    fn a_list_that_is_empty_lets_nobody_choose() {
        assert!(over(Some(Vec::new())).is_none());
        assert!(over(Some(vec![Health::Healthy])).is_some());
        assert!(over(None).is_some());
    }
}
