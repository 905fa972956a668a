//! What a cluster says of how its endpoints are secured: its transport socket, and those that the metadata
//! of an endpoint chooses (`transport_socket_matches`), as they are read.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::{
    cluster::v3::{Cluster as Pb, cluster::TransportSocketMatch},
    core::v3::{TransportSocket, transport_socket::ConfigType},
};

use super::{
    super::{
        Context, Dialect,
        read::type_name,
        walk::{Result, Walk},
    },
    http::Auto,
    socket_matches::{Socket, SocketMatch, Sockets},
    tls::{Own, Reader, Tls},
};
use crate::config::{
    self, ClusterSecurity, Discovery, EndpointTls, IdentityMatch, SecurityRule, Value,
    security::is_of_istio,
};

/// Sockets of one cluster that metadata chooses from.
const MOST_MATCHES: usize = 1_000;
const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
/// The way to another listener of the same Envoy; with Istio in ambient mode, the one that speaks HBONE.
const INTERNAL: &str =
    "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport";
/// What Istio asks for by SNI so that its gateways find the service (`outbound_.8080_._.users.prod`).
const ROUTING: &str = "outbound_.";

/// One as it was read.
enum Read {
    Plain,
    Tls(Box<Tls>),
    /// It is valid, and nobody can be reached by it from here.
    Unusable(Why),
}

/// Why a socket cannot be used: what of it, its value, and the reason.
#[derive(Clone, Copy)]
struct Why(&'static str, &'static str, &'static str);

const TUNNEL: Why = Why(
    "typed_config",
    INTERNAL,
    "leads to a listener inside of Envoy (HBONE), which is not spoken",
);
const NOBODY: Why = Why(
    "typed_config.common_tls_context.validation_context.match_typed_subject_alt_names",
    "[]",
    "says nobody whom to expect, and `sni` only routes to a service: give the service accounts, or the trust \
     domain of the mesh (`TRUST_DOMAIN` of the node's metadata)",
);

/// Reads them, and sets what the cluster says of it.
pub(super) fn sockets(
    walk: &mut Walk,
    context: &Context,
    pb: &Pb,
    auto: Auto,
    config: &mut config::Cluster,
    own: &mut Own,
) -> Result<Sockets> {
    if pb.transport_socket_matcher.is_some() {
        return walk.refuse("transport_socket_matcher", "given", "not supported yet");
    }
    if pb.transport_socket_matches.len() > MOST_MATCHES {
        let reason = format!("must be at most {MOST_MATCHES}");
        return walk.refuse("transport_socket_matches", pb.transport_socket_matches.len(), reason);
    }
    let of_dns = asked_of_dns(config);
    let is_of_all = of_dns.is_some();
    let asked = of_dns.or_else(|| asked_of_istio(context.dialect, pb, auto));
    let asked = asked.as_deref().map(|name| Asked { name, is_of_all });
    let mut reader = Reader::new(context, own);
    let mut read = |walk: &mut Walk, socket: Option<&TransportSocket>| {
        one(walk, &mut reader, socket, auto, asked)
    };
    let otherwise =
        walk.within("transport_socket", |walk| read(walk, pb.transport_socket.as_ref()))?;
    // Every endpoint would be left out.
    if let Read::Unusable(Why(field, value, reason)) = &otherwise {
        return walk.refuse(&format!("transport_socket.{field}"), value, reason);
    }
    let mut matches = Vec::new();
    for (index, it) in pb.transport_socket_matches.iter().enumerate() {
        let TransportSocketMatch { name: _, r#match, transport_socket } = it;
        walk.within(&format!("transport_socket_matches[{index}]"), |walk| {
            let labels = match r#match {
                Some(fields) => walk.fields("match", fields)?,
                None => BTreeMap::new(),
            };
            let socket =
                walk.within("transport_socket", |walk| read(walk, transport_socket.as_ref()))?;
            if let Read::Unusable(Why(field, value, reason)) = &socket {
                let field = format!("transport_socket.{field}");
                if labels.is_empty() {
                    return walk.refuse(&field, value, reason);
                }
                walk.note(&field, format!("{reason}: endpoints that choose it are left out"));
            }
            matches.push((labels, socket));
            Ok(())
        })?;
    }
    let all = || matches.iter().map(|(_, read)| read).chain(std::iter::once(&otherwise));
    let nothing = {
        let matches: Vec<_> = matches.iter().map(|(labels, it)| (labels.clone(), it)).collect();
        Read::of_nothing(&matches, &otherwise)
    };
    // One name without metadata of its own, of which all is said.
    let is_dns = matches!(&config.discovery, Some(Discovery::Dns(dns)) if dns.targets.is_empty());
    // One socket is all there is.
    if is_dns || all().count() == 1 {
        config.security = nothing.tls().map(|tls| protocols(walk, config, &tls.security));
        let by_hostname = matches!(nothing, Read::Tls(tls) if tls.by_hostname);
        let otherwise = by_hostname.then(|| nothing.socket(None));
        return Ok(Sockets { matches: Vec::new(), otherwise });
    }
    let sockets = match common(all().filter_map(Read::tls)) {
        // What they differ in, each endpoint says of itself.
        Ok(common) => {
            let common = common.map(|common| usual(common, all().filter_map(Read::tls)));
            config.security = common.map(|common| protocols(walk, config, &common));
            let matches = matches.iter();
            let matches = matches.map(|(labels, read)| (labels, read.socket(None))).collect();
            (matches, otherwise.socket(None))
        }
        // They trust others, or show others: each is a rule, which endpoints name.
        Err(Others) => {
            let mut rules: Vec<SecurityRule> = Vec::new();
            let mut rule = |walk: &mut Walk, read: &Read| {
                let tls = read.tls()?;
                let security = protocols(walk, config, &tls.security);
                let known = rules.iter().find(|rule| *rule.security == security);
                let name = match known {
                    Some(rule) => rule.name.clone(),
                    None => {
                        let name = format!("socket-{}", rules.len());
                        rules.push(SecurityRule::new(&*name, BTreeMap::new(), security));
                        name
                    }
                };
                Some(name)
            };
            let all = matches.iter().map(|(labels, read)| {
                let rule = rule(walk, read);
                (labels, read.socket(rule))
            });
            let all: Vec<_> = all.collect();
            let last = rule(walk, &otherwise);
            // Of an endpoint that names none: none is left in plaintext that nothing says is.
            let usual = rules.first().map(|rule| (*rule.security).clone());
            config.security = usual.map(|usual| ClusterSecurity { matches: rules, ..usual });
            (all, otherwise.socket(last))
        }
    };
    let (matches, otherwise): (Vec<_>, _) = sockets;
    let matches = matches
        .into_iter()
        .map(|(labels, socket)| SocketMatch { labels: labels.clone(), socket })
        .collect();
    Ok(Sockets { matches, otherwise: Some(otherwise) })
}

/// They trust others, or show others.
struct Others;

/// What these have in common, where what they differ in is what an endpoint can have of its own; none
/// where there is no TLS.
fn common<'a>(
    all: impl Iterator<Item = &'a Tls>,
) -> std::result::Result<Option<ClusterSecurity>, Others> {
    let mut common: Option<ClusterSecurity> = None;
    for tls in all {
        let of_this = shared(&tls.security);
        match &mut common {
            None => common = Some(of_this),
            Some(common) => {
                let certificate = common.certificate.take().or_else(|| of_this.certificate.clone());
                let mine = ClusterSecurity { certificate: None, mode: None, ..of_this.clone() };
                let theirs = ClusterSecurity { certificate: None, mode: None, ..common.clone() };
                let is_other = of_this.certificate.is_some() && certificate != of_this.certificate;
                if mine != theirs || is_other {
                    return Err(Others);
                }
                common.certificate = certificate;
            }
        }
    }
    if let Some(common) = &mut common {
        let mode = if common.certificate.is_some() {
            config::SecurityMode::Mutual
        } else {
            config::SecurityMode::Tls
        };
        common.mode = Some(mode);
    }
    Ok(common)
}

/// With whom to expect where an endpoint says nothing of its own, and which name to ask for: of the first
/// socket. The name of the cluster, which is expected else, need not be one that anybody can prove.
fn usual<'a>(
    common: ClusterSecurity,
    mut all: impl Iterator<Item = &'a Tls> + Clone,
) -> ClusterSecurity {
    if all.clone().any(|tls| tls.by_hostname) {
        return common;
    }
    match all.next() {
        None => common,
        Some(Tls { security: first, .. }) => {
            let (identities, sni) = (first.identities.clone(), first.sni.clone());
            ClusterSecurity { identities, sni, ..common }
        }
    }
}

// === impl Read ===

impl Read {
    /// What an endpoint without metadata gets.
    fn of_nothing<'a>(
        matches: &[(BTreeMap<String, Value>, &'a Self)],
        otherwise: &'a Self,
    ) -> &'a Self {
        matches.iter().find(|(labels, _)| labels.is_empty()).map_or(otherwise, |(_, read)| read)
    }

    fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Plain | Self::Unusable(_) => None,
            Self::Tls(tls) => Some(tls),
        }
    }

    /// `rule`: what the cluster calls its roots, certificate and the rest that is not the endpoint's own.
    fn socket(&self, rule: Option<String>) -> Socket {
        match self {
            Self::Plain => Socket::Plain,
            Self::Unusable(_) => Socket::Unusable,
            Self::Tls(it) => {
                let ClusterSecurity { mode, identities, sni, alpn, .. } = &it.security;
                let mut tls = EndpointTls::default();
                tls.rule = rule;
                tls.mode = *mode;
                tls.identities.clone_from(identities);
                tls.sni.clone_from(sni);
                tls.alpn.clone_from(alpn);
                Socket::Tls {
                    tls,
                    by_hostname: it.by_hostname,
                    expects_hostname: it.expects_hostname,
                }
            }
        }
    }
}

/// What sockets of a cluster have in common: all but what an endpoint can have of its own.
fn shared(security: &ClusterSecurity) -> ClusterSecurity {
    ClusterSecurity { identities: Vec::new(), sni: None, alpn: Vec::new(), ..security.clone() }
}

/// The same without offers that the cluster's protocol does not allow.
fn protocols(
    walk: &mut Walk,
    config: &config::Cluster,
    security: &ClusterSecurity,
) -> ClusterSecurity {
    let mut security = security.clone();
    let wanted = match config.protocol {
        Some(config::Protocol::Http1) => "http/1.1",
        Some(config::Protocol::Http2) => "h2",
        None => return security,
    };
    if !security.alpn.is_empty() && !security.alpn.iter().any(|name| name == wanted) {
        let reason = format!("has no {wanted}, which the cluster speaks: {wanted} is offered");
        walk.note("transport_socket.alpn_protocols", reason);
        security.alpn.retain(|name| is_of_istio(name));
        if !security.alpn.is_empty() {
            security.alpn.push(wanted.to_owned());
        }
    }
    security
}

/// The host that DNS is asked for.
fn asked_of_dns(config: &config::Cluster) -> Option<String> {
    let Some(Discovery::Dns(dns)) = &config.discovery else { return None };
    // Each endpoint has the host of its own name.
    if !dns.targets.is_empty() {
        return None;
    }
    let host = dns.name.trim_start_matches("dns:///");
    host.rsplit_once(':').map(|(host, _)| host.to_owned())
}

/// A service's host, which Istio's names of clusters end with (`outbound|8080|v1|users.prod.svc.cluster.local`): its endpoints
/// have no host names, and it is the request's authority that Envoy would ask for.
fn asked_of_istio(dialect: Dialect, pb: &Pb, auto: Auto) -> Option<String> {
    if dialect != Dialect::Sidecar || !auto.sni {
        return None;
    }
    let mut parts = pb.name.split('|');
    let (direction, _port, _subset) = (parts.next()?, parts.next()?, parts.next()?);
    let host = parts.next()?;
    // A wildcard is nobody's name.
    let is_name = !host.is_empty() && !host.contains('*') && parts.next().is_none();
    (direction == "outbound" && is_name).then(|| host.to_owned())
}

/// The name that is asked for by what the cluster says.
#[derive(Clone, Copy)]
struct Asked<'a> {
    name: &'a str,
    /// Whether it is the host name of every endpoint.
    is_of_all: bool,
}

fn one(
    walk: &mut Walk,
    reader: &mut Reader<'_>,
    socket: Option<&TransportSocket>,
    auto: Auto,
    asked: Option<Asked<'_>>,
) -> Result<Read> {
    let Some(socket) = socket else { return Ok(Read::Plain) };
    let Some(ConfigType::TypedConfig(any)) = &socket.config_type else {
        // Envoy knows this one by its name alone.
        if socket.name == "envoy.transport_sockets.raw_buffer" {
            return Ok(Read::Plain);
        }
        return walk.refuse("typed_config", &socket.name, "must be given");
    };
    match type_name(&any.type_url) {
        RAW => Ok(Read::Plain),
        INTERNAL => Ok(Read::Unusable(TUNNEL)),
        TLS => {
            let pb = walk.unpack("typed_config", any)?;
            walk.within("typed_config", |walk| {
                let mut tls = reader.upstream(walk, &pb)?;
                let trust_domain = reader.context.trust_domain.as_deref();
                if let Some(why) = expect(walk, &mut tls, auto, asked, trust_domain)? {
                    return Ok(Read::Unusable(why));
                }
                #[cfg(feature = "_tls")]
                super::tls::judge(walk, &mut tls.security)?;
                Ok(Read::Tls(Box::new(tls)))
            })
        }
        // Never taken for plaintext.
        other => walk.refuse("typed_config", other, "not supported yet"),
    }
}

/// Whom to expect: the names that are said, else the name that is asked for; where that is none of a server,
/// a workload of the mesh. Where that is not known, why nobody can be.
fn expect(
    walk: &mut Walk,
    tls: &mut Tls,
    auto: Auto,
    asked: Option<Asked<'_>>,
    trust_domain: Option<&str>,
) -> Result<Option<Why>> {
    tls.verifies_sni |= auto.san;
    let security = &mut tls.security;
    if tls.by_hostname || (auto.sni && security.sni.is_none()) {
        match asked {
            Some(Asked { name, is_of_all }) if is_of_all || !tls.by_hostname => {
                security.sni = Some(name.to_owned());
                tls.by_hostname = false;
            }
            // Of endpoints without a host name.
            Some(Asked { name, .. }) => {
                security.sni.get_or_insert_with(|| name.to_owned());
            }
            None => tls.by_hostname = true,
        }
        walk.note_if(
            auto.sni,
            "auto_sni",
            "the host name of the endpoint is asked for, not the request's authority",
        );
    }
    //= gRFC A101, Envoy `auto_sni_san_validation`: what is asked for replaces what is said otherwise;
    // where nothing is asked for, what is said holds
    tls.expects_hostname = tls.verifies_sni || security.identities.is_empty();
    if tls.verifies_sni
        && let Some(name) = &security.sni
    {
        if name.starts_with(ROUTING) {
            let reason =
                "routes to a service, and is no name of a server that a certificate could have";
            return walk.refuse("sni", name, reason);
        }
        security.identities.clear();
    }
    if !security.identities.is_empty() {
        return Ok(None);
    }
    match &security.sni {
        //= Envoy: anybody whom the roots vouch for; here, at least a workload of the mesh
        Some(name) if name.starts_with(ROUTING) => {
            let Some(domain) = trust_domain else { return Ok(Some(NOBODY)) };
            let reason = format!("is empty: any workload of the trust domain {domain} is expected");
            walk.note("match_typed_subject_alt_names", reason);
            security.identities.push(IdentityMatch::TrustDomain(domain.to_owned()));
            Ok(None)
        }
        Some(name) => {
            if !tls.verifies_sni {
                walk.note(
                    "match_typed_subject_alt_names",
                    "is empty: the name asked for is expected",
                );
            }
            security.identities.push(IdentityMatch::Exact(name.clone()));
            Ok(None)
        }
        // The endpoint's host name; of one without, the cluster's name is expected.
        None if tls.by_hostname => Ok(None),
        None => walk.refuse(
            "common_tls_context.validation_context.match_typed_subject_alt_names",
            "[]",
            "says nobody whom to expect: give a name, or `sni`",
        ),
    }
}
