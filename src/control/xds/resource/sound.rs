//! What holds of any bytes: they are read, and are what the model takes, or they are refused.

use super::*;
use crate::{
    authorize::Rules,
    config::{Cluster as Model, Role, Service},
};

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

/// All rules can be asked.
fn enforces(inbound: &Inbound) {
    for chain in inbound.chains.iter().chain(&inbound.default_chain) {
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
            }
        }
    }
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

/// What is read is what the model takes.
fn is_sound(resource: &Resource) {
    match resource {
        Resource::Cluster(cluster) => {
            valid(&cluster.config, &cluster.name);
            valid(&cluster.alone(), &cluster.name);
            valid(&cluster.with(&Endpoints::default()), &cluster.name);
        }
        Resource::Endpoints(endpoints) => {
            let cluster = Cluster {
                name: "c".into(),
                config: Model::default(),
                endpoints: EndpointsFrom::Inline,
                load_report: None,
                sockets: Default::default(),
                identities: Default::default(),
                secrets: None,
                is_silent_on_tls: false,
                weighs_localities: true,
                notes: Vec::new(),
            };
            valid(&cluster.with(endpoints), "c");
        }
        // What it is good for, a cluster says.
        Resource::Secret(_) => {}
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
            for host in &routes.hosts {
                let service = listener.service(host);
                let result = service.validate("s");
                assert!(result.is_ok(), "{result:?}");
            }
            let _host = routes.host("a.b:80");
        }
        Resource::Listener(listener) => {
            let mut services = vec![listener.without_routes()];
            if let RoutesFrom::Inline(routes) = &listener.routes {
                services.extend(routes.hosts.iter().map(|host| listener.service(host)));
            }
            for service in services {
                let service: Service = service;
                let result = service.validate("s");
                assert!(result.is_ok(), "{result:?}");
            }
        }
    }
}

fn valid(cluster: &Model, name: &str) {
    let result = cluster.validate(name);
    assert!(result.is_ok(), "{result:?}");
}
