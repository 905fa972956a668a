//! Redirects: where the caller is sent instead.

use std::borrow::Cow;

use http::{HeaderValue, Request, Response, StatusCode, header::LOCATION};

use super::{
    matching::authority_of,
    rewrite::{Path, Unusable, with_query},
    table::Rule,
};
use crate::{
    config,
    core::{Body, uri::is_authority},
};

/// A compiled redirect.
#[derive(Debug)]
pub(crate) struct Redirect {
    status: StatusCode,
    scheme: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    path: Option<Path>,
    strip_query: bool,
    envoy_ports: bool,
}

impl Redirect {
    pub(super) fn new(redirect: &config::Redirect) -> Self {
        let config::Redirect { status, scheme, host, port, path, strip_query, envoy_ports } =
            redirect;
        //= Gateway API HTTPRequestRedirectFilter.statusCode: 302
        let status = StatusCode::from_u16(status.unwrap_or(302)).unwrap_or(StatusCode::FOUND);
        Self {
            status,
            scheme: scheme.clone(),
            host: host.clone(),
            port: *port,
            path: path.as_ref().and_then(Path::new),
            strip_query: *strip_query,
            envoy_ports: *envoy_ports,
        }
    }

    /// The answer to a request, or the part of it that has no form on the wire.
    pub(super) fn response<B>(
        &self,
        request: &Request<B>,
        rule: Option<&Rule>,
    ) -> Result<Response<Body>, Unusable> {
        let uri = request.uri();
        let old_scheme = uri.scheme_str().unwrap_or("http");
        let scheme = self.scheme.as_deref().unwrap_or(old_scheme);
        let authority = authority_of(request).unwrap_or_default();
        let (old_host, old_port) = split(authority);
        let host = match &self.host {
            Some(host) => host,
            None if is_authority(authority) => old_host,
            None => return Err(Unusable::Host),
        };
        let port = if self.envoy_ports {
            self.envoy_port(old_port, old_scheme, scheme)
        } else {
            self.gateway_port(old_port, scheme)
        };
        let mut location = format!("{scheme}://{host}");
        if let Some(port) = port {
            location += &format!(":{port}");
        }
        let new = self.path.as_ref().map(|path| path.rewritten(uri.path(), rule)).transpose()?;
        let path = new.flatten();
        let path = path.as_deref().unwrap_or_else(|| uri.path());
        let asked = uri.query().filter(|_| !self.strip_query);
        //= Envoy RedirectAction: a substitution may bring a query; the path that it is made of has none
        let (path, query) = match path.split_once('?') {
            None => (path, asked.map(Cow::Borrowed)),
            Some((path, own)) if !own.contains('#') => {
                let query =
                    asked.map_or(Cow::Borrowed(own), |asked| format!("{own}&{asked}").into());
                (path, Some(query))
            }
            Some(_) => return Err(Unusable::Path),
        };
        // What does not begin with `/` would be read as more of the host.
        location += with_query(path, query.as_deref())?.as_str();
        let location = HeaderValue::try_from(location).map_err(|_| Unusable::Path)?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.headers_mut().insert(LOCATION, location);
        Ok(response)
    }

    //= Gateway API HTTPRequestRedirectFilter.port: the scheme's well-known port is left out, and
    //= is meant where the scheme is given and the port is not
    fn gateway_port(&self, old: Option<u16>, scheme: &str) -> Option<u16> {
        let port = match (self.port, &self.scheme) {
            (Some(port), _) => Some(port),
            (None, Some(_)) => None,
            (None, None) => old,
        };
        port.filter(|port| *port != usual(scheme))
    }

    //= Envoy Utility::newUri: a port that is said is told; a new host has no other; the usual port of
    //= the old scheme goes with it
    fn envoy_port(&self, old: Option<u16>, old_scheme: &str, scheme: &str) -> Option<u16> {
        if self.port.is_some() || self.host.is_some() {
            return self.port;
        }
        let is_same = scheme.eq_ignore_ascii_case(old_scheme);
        old.filter(|port| is_same || *port != usual(old_scheme))
    }
}

/// A host, in its brackets, and its port.
fn split(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

fn usual(scheme: &str) -> u16 {
    if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 }
}
