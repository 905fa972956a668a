//! From what a client knows to what is told of it.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use envoy_types::pb::{
    envoy::{
        admin::v3::{ClientResourceStatus, UpdateFailureState},
        service::status::v3::{ClientConfig, client_config::GenericXdsConfig},
    },
    google::protobuf::{Any, Timestamp},
};

use super::{
    ResourceError, ResourceState, ResourceStatus, ServerStatus, Status, redacted::redacted,
};
use crate::{
    control::xds::{
        bootstrap::Bootstrap,
        client::{self, Client, Dumped},
        kind::Kind,
        resource::{Decoder, Resource, RoutesFrom},
    },
    core::Instant,
};

/// This moment, on both clocks.
#[derive(Clone, Copy)]
struct Now {
    wall: SystemTime,
    steady: Instant,
}

// === impl Now ===

impl Now {
    fn read() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }

    fn wall(self, at: Instant) -> SystemTime {
        let since = self.steady.saturating_duration_since(at);
        self.wall.checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

// === impl Status ===

impl Status {
    /// Of a client.
    pub(in crate::control::xds) fn of(client: &Client<Decoder>, bootstrap: &Bootstrap) -> Self {
        let now = Now::read();
        let names: Vec<&Arc<str>> = client.figures().map(|(name, _)| name).collect();
        let mut dumped: Vec<_> = client.dump().collect();
        dumped.sort_by_key(|one| (one.kind, one.name));
        let servers = client.asked().map(|asked| {
            let names = Kind::ALL.into_iter().zip(asked.names);
            ServerStatus {
                uri: Arc::clone(asked.name),
                is_connected: asked.figures.is_connected,
                reason: asked.down.map(ToOwned::to_owned),
                asked: names.filter(|(_, names)| !names.is_empty()).collect(),
                failures: asked.figures.failures,
                accepted: asked.figures.valid.iter().sum(),
                refused: asked.figures.invalid.iter().sum(),
            }
        });
        Self {
            node: client.node().id.as_str().into(),
            servers: servers.collect(),
            resources: dumped.iter().map(|one| resource(one, &names, now)).collect(),
            notes: bootstrap.notes(),
            message: ClientConfig {
                node: Some(client.node().clone()),
                generic_xds_configs: dumped.iter().map(|one| generic(one, now)).collect(),
                client_scope: scope(bootstrap),
                ..ClientConfig::default()
            },
        }
    }

    /// Of a bootstrap by which nobody asks.
    pub(in crate::control::xds) fn idle(bootstrap: &Bootstrap) -> Self {
        Self::unknown(bootstrap, "no mesh of this process asks it")
    }

    /// Of a client that does not say what it knows.
    pub(in crate::control::xds) fn mute(bootstrap: &Bootstrap) -> Self {
        let reason = "what is known of it is not told: the runtime of the mesh that asks it is busy, or \
                      nobody drives it";
        Self::unknown(bootstrap, reason)
    }

    fn unknown(bootstrap: &Bootstrap, reason: &str) -> Self {
        let node = bootstrap.node.message(bootstrap.dialect);
        let servers = bootstrap.every_server().into_iter().map(|server| ServerStatus {
            uri: Arc::clone(&server.uri),
            is_connected: false,
            reason: Some(reason.to_owned()),
            asked: BTreeMap::new(),
            failures: 0,
            accepted: 0,
            refused: 0,
        });
        Self {
            node: node.id.as_str().into(),
            servers: servers.collect(),
            resources: Vec::new(),
            notes: bootstrap.notes(),
            message: ClientConfig {
                node: Some(node),
                client_scope: scope(bootstrap),
                ..ClientConfig::default()
            },
        }
    }

    pub(super) fn message(self) -> ClientConfig {
        self.message
    }
}

/// What tells the clients of a process apart.
fn scope(bootstrap: &Bootstrap) -> String {
    let servers = bootstrap.every_server().into_iter().map(|server| &*server.uri);
    servers.collect::<Vec<_>>().join(", ")
}

type One<'a> = Dumped<'a, Resource>;

fn resource(one: &One<'_>, servers: &[&Arc<str>], now: Now) -> ResourceStatus {
    let good = one.good.as_ref();
    ResourceStatus {
        kind: one.kind,
        name: Arc::clone(one.name),
        authority: one.authority.cloned(),
        state: ResourceState::of(one.status),
        version: good.map(|good| Arc::clone(good.version)),
        server: good.and_then(|good| servers.get(good.server.0)).map(|name| Arc::clone(name)),
        updated: good.map(|good| now.wall(good.at)),
        error: error(one, now),
        is_needed: !one.lingers,
        notes: good.map(|good| good.resource.notes().to_vec()).unwrap_or_default(),
        leads_to: good.map(|good| leads_to(good.resource)).unwrap_or_default(),
    }
}

fn error(one: &One<'_>, now: Now) -> Option<ResourceError> {
    let (trouble, at) = one.trouble.as_ref()?;
    let is_refused = one.status == client::Status::Nacked;
    Some(ResourceError {
        version: trouble.version.clone().filter(|_| is_refused),
        at: at.map_or(now.wall, |at| now.wall(at)),
        details: trouble.to_string(),
    })
}

/// As gRPC's clients fill it in.
fn generic(one: &One<'_>, now: Now) -> GenericXdsConfig {
    let good = one.good.as_ref();
    let type_url = one.kind.url().to_owned();
    GenericXdsConfig {
        name: one.name.as_ref().to_owned(),
        version_info: good.map(|good| good.version.as_ref().to_owned()).unwrap_or_default(),
        xds_config: good
            .map(|good| Any { type_url: type_url.clone(), value: redacted(good.value.to_vec()) }),
        type_url,
        last_updated: good.map(|good| timestamp(now.wall(good.at))),
        client_status: ResourceState::of(one.status).code().into(),
        error_state: error(one, now).map(|error| UpdateFailureState {
            failed_configuration: None,
            last_update_attempt: Some(timestamp(error.at)),
            details: error.details,
            version_info: error.version.as_deref().unwrap_or_default().to_owned(),
        }),
        ..GenericXdsConfig::default()
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

fn leads_to(resource: &Resource) -> Vec<(Kind, Arc<str>)> {
    let clusters = |names: std::collections::BTreeSet<&str>| -> Vec<(Kind, Arc<str>)> {
        names.into_iter().map(|name| (Kind::Cluster, name.into())).collect()
    };
    match resource {
        Resource::Listener(it) => {
            let mut all = clusters(it.clusters());
            match &it.routes {
                RoutesFrom::Named(name) => all.insert(0, (Kind::Routes, Arc::clone(name))),
                RoutesFrom::Inline(routes) => {
                    let hosts = routes.hosts.iter();
                    all.extend(clusters(hosts.flat_map(|host| host.clusters()).collect()));
                }
            }
            all
        }
        Resource::Routes(it) => {
            clusters(it.hosts.iter().flat_map(|host| host.clusters()).collect())
        }
        Resource::Cluster(it) => match &it.endpoints {
            crate::control::xds::resource::EndpointsFrom::Aggregate(names) => {
                names.iter().map(|name| (Kind::Cluster, Arc::clone(name))).collect()
            }
            _ => {
                let endpoints = it.filled_from().map(|name| (Kind::Endpoints, Arc::clone(name)));
                let secrets = it.secrets().map(|name| (Kind::Secret, Arc::clone(name)));
                endpoints.into_iter().chain(secrets).collect()
            }
        },
        Resource::Endpoints(_) | Resource::Secret(_) => Vec::new(),
    }
}

// === impl ResourceState ===

impl ResourceState {
    fn of(status: client::Status) -> Self {
        match status {
            client::Status::Requested => Self::Requested,
            client::Status::DoesNotExist => Self::DoesNotExist,
            client::Status::Acked => Self::Acked,
            client::Status::Nacked => Self::Nacked,
            client::Status::ReceivedError => Self::ReceivedError,
            client::Status::Timeout => Self::Timeout,
        }
    }

    pub(super) fn code(self) -> ClientResourceStatus {
        match self {
            Self::Requested => ClientResourceStatus::Requested,
            Self::DoesNotExist => ClientResourceStatus::DoesNotExist,
            Self::Acked => ClientResourceStatus::Acked,
            Self::Nacked => ClientResourceStatus::Nacked,
            Self::ReceivedError => ClientResourceStatus::ReceivedError,
            Self::Timeout => ClientResourceStatus::Timeout,
        }
    }
}
