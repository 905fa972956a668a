//! The host of an attempt that is for the host name of its endpoint.

use http::{HeaderName, HeaderValue, Request, header::HOST, uri::Authority};

use crate::{
    balance::Endpoint,
    config::{Discovery, DnsDiscovery},
    core::Outgoing,
    mesh::{
        call::set_authority,
        cluster::{Core, Node},
    },
    route::{HostOfEndpoint, authority_of},
};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Gives the request the host name of the endpoint; one without a name leaves the host as it is.
//= Envoy RouteEntryImplBase::finalizeHostHeader: an empty host name changes nothing
#[cold]
pub(super) fn name(
    request: &mut Request<Outgoing>,
    HostOfEndpoint { forwarded }: HostOfEndpoint,
    endpoint: &Endpoint<Node>,
    core: &Core,
) {
    let own = endpoint.spec().hostname();
    let Some(host) = own.or_else(|| asked_for(core)).and_then(|host| host.parse().ok()) else {
        return;
    };
    let host: Authority = host;
    let old = authority_of(request).map(HeaderValue::try_from);
    if let (true, Some(Ok(old))) = (forwarded, old) {
        request.headers_mut().append(FORWARDED_HOST, old);
    }
    request.headers_mut().remove(HOST);
    set_authority(request, &host);
}

/// The name that DNS is asked for, without scheme and port; that of SRV records is no host's.
fn asked_for(core: &Core) -> Option<&str> {
    let Some(Discovery::Dns(DnsDiscovery { name, .. })) = &core.config.discovery else {
        return None;
    };
    let name = name.rsplit_once('/').map_or(name.as_str(), |(_, name)| name);
    let name = name.strip_prefix("dns:").unwrap_or(name);
    Some(name.rsplit_once(':').map_or(name, |(name, _)| name))
        .filter(|name| !name.is_empty() && !name.starts_with('_'))
}
