//! What holds of any bytes: they are read, are what the model takes, and do what they say whatever calls meet, or
//! they are refused.

mod calls;
mod secrets;

use super::*;
use crate::{
    authorize::Rules,
    balance::exercise,
    config::{self, Balancer, Cluster as Model, DropOverload, OutlierDetection, Role, Service},
    core::Random,
    resilience::{breaker::Breakers, drops::Drops},
};

pub(crate) use self::secrets::secret;

/// How many steps are gone with a cluster.
const STEPS: usize = 160;

/// Reads bytes by both dialects.
///
/// # Panics
///
/// If what is read is not sound.
pub(crate) fn reads(kind: Kind, bytes: &[u8]) {
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let decoder = decoder(dialect);
        match decoder.decode(kind, bytes) {
            Ok((name, resource)) => {
                assert!(kind == Kind::Routes || !name.is_empty());
                is_sound(&resource);
                runs(&resource, seed(bytes), STEPS);
                // The same again: notes have an order.
                assert_eq!(decoder.decode(kind, bytes), Ok((name, resource)));
            }
            Err(Refused { name: _, reason }) => {
                assert!(!reason.is_empty() && reason.len() < 32_768, "{reason}");
                assert!(!reason.chars().any(char::is_control), "{reason:?}");
            }
        }
    }
}

/// Reads a listener of calls that come in, and routes for it, by both dialects.
///
/// # Panics
///
/// If what is read is not sound.
pub(crate) fn comes_in(bytes: &[u8]) {
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let context = Context { role: Role::Receiver, ..decoder(dialect).context };
        match inbound(&context, bytes) {
            Ok(read) => {
                enforces(&read);
                if let Ok(routed) = with_routes(&context, &read, bytes) {
                    enforces(&routed);
                }
                assert_eq!(inbound(&context, bytes), Ok(read));
            }
            Err(Refused { name: _, reason }) => {
                assert!(!reason.is_empty() && reason.len() < 32_768, "{reason}");
                assert!(!reason.chars().any(char::is_control), "{reason:?}");
            }
        }
    }
}

/// All rules can be asked, and connections secured.
fn enforces(inbound: &Inbound) {
    for chain in inbound.chains.iter().chain(&inbound.default_chain) {
        if let Some(security) = &chain.security {
            let result = security.tls.validate_received();
            assert!(result.is_ok(), "{result:?}");
            #[cfg(feature = "_tls")]
            {
                let result = crate::security::judge(&security.tls);
                assert!(result.is_ok(), "{result:?}");
            }
        }
        let Some(http) = &chain.http else { continue };
        let hosts = match &http.routes {
            InboundRoutes::Hosts(hosts) => hosts.as_slice(),
            InboundRoutes::Named(_) => &[],
        };
        let of_routes = hosts.iter().flat_map(|host| &host.routes);
        let lists = of_routes.flat_map(|route| &route.authorization);
        for rules in lists.chain(http.filters.iter().flat_map(|filter| &filter.rules)) {
            let result = rules.validate_as(Role::Receiver, "rules");
            assert!(result.is_ok(), "{result:?}");
            assert!(Rules::new(rules).is_ok());
        }
    }
}

/// Reads an assignment beside another: the same comes of it as of a whole reading, also of the way back, and
/// what is refused is refused alike. The first two bytes say how long the older one is.
///
/// # Panics
///
/// If something else comes of it.
pub(crate) fn beside(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (one, other) = rest.split_at(length);
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let decoder = decoder(dialect);
        for (before, now) in [(one, other), (other, one), (one, one)] {
            let Ok((_, known)) = decoder.decode(Kind::Endpoints, before) else { continue };
            let beside = decoder.decode_beside(Kind::Endpoints, now, Some((before, &known)));
            assert_eq!(beside, decoder.decode(Kind::Endpoints, now));
            if let Ok((_, resource)) = &beside {
                is_sound(resource);
                runs(resource, seed(now), STEPS);
            }
        }
    }
}

fn seed(bytes: &[u8]) -> u64 {
    twox_hash::XxHash64::oneshot(0, bytes)
}

fn decoder(dialect: Dialect) -> Decoder {
    let name = |name: &str| (name.to_owned(), name.to_owned());
    Decoder::new(Context {
        dialect,
        trusted: false,
        providers: [name("default")].into(),
        secrets: [name("default"), name("ROOTCA")].into(),
        ..Context::default()
    })
}

/// The clusters and the services that a resource comes to, as far as it says that itself.
fn comes_to(resource: &Resource, seed: u64) -> (Option<Model>, Vec<Service>) {
    match resource {
        Resource::Cluster(cluster) if cluster.filled_from().is_some() => {
            (Some(cluster.with(&Endpoints::default())), Vec::new())
        }
        Resource::Cluster(cluster) => (Some(cluster.alone()), Vec::new()),
        Resource::Endpoints(endpoints) => {
            let cluster = Cluster {
                name: "c".into(),
                config: Model {
                    balancer: Some(any_balancer(seed)),
                    outlier_detection: Some(OutlierDetection::default()),
                    ..Model::default()
                },
                endpoints: EndpointsFrom::Inline,
                load_report: None,
                sockets: Default::default(),
                identities: Default::default(),
                secrets: None,
                is_silent_on_tls: false,
                weighs_localities: true,
                notes: Vec::new(),
            };
            (Some(cluster.with(endpoints)), Vec::new())
        }
        // What it is good for, a cluster says.
        Resource::Secret(_) => (None, Vec::new()),
        Resource::Routes(routes) => {
            let listener = Listener {
                unknown: Default::default(),
                name: "l".into(),
                routes: RoutesFrom::Named("r".into()),
                filters: Vec::new(),
                policy: Default::default(),
                upgrades: Vec::new(),
                address: None,
                ignore_port: false,
                notes: Vec::new(),
            };
            let _host = routes.host("a.b:80");
            (None, services(&listener, &routes.hosts))
        }
        Resource::Listener(listener) => {
            let mut all = vec![listener.without_routes()];
            if let RoutesFrom::Inline(routes) = &listener.routes {
                all.extend(services(listener, &routes.hosts));
            }
            (None, all)
        }
    }
}

fn services(listener: &Listener, hosts: &[VirtualHost]) -> Vec<Service> {
    hosts.iter().map(|host| listener.service(host)).collect()
}

/// One of the policies, for endpoints that say nothing of one.
fn any_balancer(seed: u64) -> Balancer {
    match seed % 8 {
        0 => Balancer::default(),
        1 => Balancer::LeastRequest,
        2 => Balancer::RoundRobin,
        3 => Balancer::Random,
        4 => Balancer::RingHash(config::RingHash::default()),
        5 => Balancer::Maglev(config::Maglev::default()),
        6 => Balancer::PickFirst(config::PickFirst::default()),
        _ => Balancer::ClientWeighted(config::ClientWeighted::default()),
    }
}

/// What is read is what the model takes.
fn is_sound(resource: &Resource) {
    let (cluster, services) = comes_to(resource, 0);
    if let Some(cluster) = &cluster {
        valid(cluster, "c");
    }
    if let Resource::Cluster(cluster) = resource {
        valid(&cluster.config, &cluster.name);
        valid(&cluster.alone(), &cluster.name);
        valid(&cluster.with(&Endpoints::default()), &cluster.name);
    }
    for service in &services {
        let result = service.validate("s");
        assert!(result.is_ok(), "{result:?}");
    }
}

/// It does what it says, whatever calls meet, in so many steps of what happens to its endpoints.
///
/// # Panics
///
/// If anything does, or is not as it must be.
pub(crate) fn runs(resource: &Resource, seed: u64, steps: usize) {
    let (cluster, services) = comes_to(resource, seed);
    if let Some(cluster) = &cluster {
        exercise(cluster, seed, steps);
        limits(cluster);
        drops(&cluster.drops, seed);
    }
    services.iter().for_each(|service| calls::calls(service, seed));
}

/// No more wait or connect than may, and all places come back.
fn limits(cluster: &Model) {
    let breakers = Breakers::default();
    breakers.set(cluster.breakers.as_ref());
    let endpoint = Arc::default();
    for priority in [config::CallPriority::Default, config::CallPriority::High] {
        let waiting: Vec<_> = (0..64).map_while(|_| breakers.wait(priority).ok()).collect();
        let connect = |_| breakers.connect(priority, &endpoint, false);
        let connected: Vec<_> = (0..64).map_while(connect).collect();
        for level in breakers.levels() {
            assert!(level.taken <= level.most, "{level:?}");
        }
        drop((waiting, connected));
    }
    assert!(breakers.levels().all(|level| level.taken == 0), "places that are not given back");
}

/// A share of the calls is dropped, all or none where that is what is said.
fn drops(said: &[DropOverload], seed: u64) {
    let (drops, random) = (Drops::new(said, |_| Arc::default()), Random::seeded(seed));
    let dropped = (0..64).filter(|_| drops.take(&random).is_some()).count();
    assert!(dropped == 0 || said.iter().any(|it| it.percent > 0.0), "{said:?}");
    assert!(dropped == 64 || said.iter().all(|it| it.percent < 100.0), "{said:?}");
}

fn valid(cluster: &Model, name: &str) {
    let result = cluster.validate(name);
    assert!(result.is_ok(), "{result:?}");
}
