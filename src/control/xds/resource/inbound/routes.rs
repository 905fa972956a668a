//! What the requests of each route are asked.

use std::sync::Arc;

use super::{
    super::{
        Override, Route, Routes, Step, VirtualHost,
        routes::add_upgrade,
        walk::{Result, Walk},
    },
    types::{InboundHost, InboundHttp, InboundPort, InboundRoute},
};
use crate::config::{Authorization, Filter};

/// The hosts of routes, with the filters of their chain and what they override of them.
pub(super) fn hosts(walk: &Walk, http: &InboundHttp, read: &Routes) -> Result<Vec<InboundHost>> {
    let ignores_port = read.ignore_port || http.port == InboundPort::Drop;
    let host = |host: &VirtualHost| -> Result<InboundHost> {
        let routes = host.routes.iter().map(|it| route(walk, http, it));
        let routes: Vec<InboundRoute> = routes.collect::<Result<_>>()?;
        Ok(InboundHost { domains: host.domains.clone(), ignores_port, routes })
    };
    read.hosts.iter().map(host).collect()
}

fn route(walk: &Walk, http: &InboundHttp, read: &Route) -> Result<InboundRoute> {
    let mut authorization = Vec::new();
    for filter in &http.filters {
        match read.overrides.get(&filter.name) {
            Some(Override::Disabled) => {}
            Some(Override::Steps(steps)) => {
                authorization.extend(rules(walk, &filter.name, steps)?);
            }
            Some(Override::Enabled) => authorization.extend(filter.rules.iter().cloned()),
            Some(Override::Unknown | Override::More(_)) => return unknown(walk, &filter.name),
            None if filter.disabled => {}
            None => authorization.extend(filter.rules.iter().cloned()),
        }
    }
    for (name, url) in &http.unknown {
        match read.overrides.get(name) {
            None | Some(Override::Disabled) => {}
            Some(
                Override::Steps(_) | Override::More(_) | Override::Enabled | Override::Unknown,
            ) => return unknown(walk, url),
        }
    }
    Ok(InboundRoute {
        name: read.config.name.clone(),
        hosts: read.config.hosts.clone(),
        matches: read.config.matches.clone(),
        // One that is not leads nowhere.
        served: !read.config.clusters.is_empty(),
        upgrades: upgrades(http, read),
        authorization,
    })
}

/// The protocols that its requests may be upgraded to: of each, the route's word counts before the listener's.
fn upgrades(http: &InboundHttp, read: &Route) -> Vec<String> {
    let mut list = read.config.upgrades.clone();
    for upgrade in &http.upgrades {
        add_upgrade(&mut list, Some(upgrade.clone()));
    }
    list.into_iter().filter(|it| !it.disabled).map(|it| it.protocol).collect()
}

/// The rules of a filter.
pub(super) fn rules(walk: &Walk, name: &str, steps: &[Step]) -> Result<Vec<Arc<Authorization>>> {
    let rules = steps.iter().map(|step| match step {
        Step::Filter(Filter::Authorize(rules)) => Ok(Arc::new(rules.clone())),
        Step::Filter(_) | Step::Limited(_) => unknown(walk, name),
    });
    rules.collect()
}

fn unknown<T>(walk: &Walk, what: &str) -> Result<T> {
    let reason = "not supported yet where calls come in, or of another type than the filter";
    walk.refuse("typed_per_filter_config", what, reason)
}
