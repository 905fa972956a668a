//! Which listener a name of the mesh is.

use std::{collections::BTreeMap, fmt::Display, net::IpAddr};

use crate::{
    config::ConfigError,
    control::xds::bootstrap::{Bootstrap, Dialect},
};

/// What the code says of names.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

/// What a name is asked for by.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) listener: String,
    /// Whose virtual host counts.
    pub(super) authority: String,
    /// Where else its listener may be.
    pub(super) elsewhere: Elsewhere,
}

/// Where else the listener of a name may be. istiod binds that of a port whose protocol has no name to the
/// addresses of the service.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Elsewhere {
    Nowhere,
    /// Under this name.
    Listener(String),
    /// At the addresses of this host, and this port.
    Host(String, u16),
}

// === impl Names ===

impl Names {
    pub(super) fn add(&mut self, name: &str, target: &str) {
        self.0.insert(name.to_ascii_lowercase(), target.to_owned());
    }

    pub(super) fn find(&self, bootstrap: &Bootstrap, name: &str) -> Result<Found, ConfigError> {
        let target = self.0.get(name).map_or(name, String::as_str);
        // What is asked for as `users:443` may have been called `https://users`.
        let https = || Some(self.0.get(name.strip_suffix(":443")?)?.as_str());
        let (is_https, target) = match https() {
            Some(of_host) if bootstrap.listens_by_port() && target == name => (true, of_host),
            _ => (false, target),
        };
        let (authority, called) = match target.strip_prefix("xds:") {
            None => (None, target),
            Some(rest) => match rest.strip_prefix("//") {
                // `xds:name`
                None => (None, rest),
                Some(rest) => match rest.split_once('/') {
                    Some(("", called)) => (None, called),
                    Some((authority, called)) => (Some(authority), called),
                    None => {
                        let why = "has no name after its authority: write xds:///NAME";
                        return Err(ConfigError::new(name, target, why));
                    }
                },
            },
        };
        if called.is_empty() {
            return Err(ConfigError::new(name, target, "is empty"));
        }
        // An Envoy's listener is one of many names: which of them is told by what is called.
        let is_listener = bootstrap.dialect == Dialect::Envoy && target.starts_with("xds:");
        let of_host = if is_listener { name } else { called }.to_owned();
        // A sidecar listens on the port of what is called, and tells the hosts apart by routes.
        if bootstrap.listens_by_port() && authority.is_none() {
            // Istio: of a node that has addresses of IPv6 alone, the wildcard is that of IPv6.
            let any = if bootstrap.node.is_ipv6() { "::" } else { "0.0.0.0" };
            let port = port(called).unwrap_or(if is_https { 443 } else { 80 });
            let listener = bound(any, port);
            return Ok(Found { listener, authority: of_host, elsewhere: elsewhere(called, port) });
        }
        let listener = bootstrap.listener(authority, called)?;
        Ok(Found { listener, authority: of_host, elsewhere: Elsewhere::Nowhere })
    }
}

/// What istiod calls a listener at an address.
//= Istio pilot/pkg/networking/core/listener.go, `getListenerName`
pub(super) fn bound(address: impl Display, port: u16) -> String {
    format!("{address}_{port}")
}

fn elsewhere(called: &str, port: u16) -> Elsewhere {
    let host = match called.rsplit_once(':') {
        Some((host, tail)) if tail.parse::<u16>().is_ok() => host,
        _ => called,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => Elsewhere::Listener(bound(address, port)),
        Err(_) => Elsewhere::Host(host.to_owned(), port),
    }
}

fn port(called: &str) -> Option<u16> {
    called.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(node: &str) -> Bootstrap {
        Bootstrap::from_json(&format!(
            r#"{{
                "xds_servers": [{{"server_uri": "a:1", "channel_creds": [{{"type": "insecure"}}]}}],
                "authorities": {{"other.example": {{}}}},
                "node": {{"id": "{node}"}}
            }}"#
        ))
        .unwrap()
    }

    fn found(names: &Names, node: &str, name: &str) -> Result<(String, String), String> {
        let found = names.find(&bootstrap(node), name);
        found.map(|it| (it.listener, it.authority)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_is_asked_for_as_it_is_called_unless_the_code_says_another() {
        let mut names = Names::default();
        names.add("Orders", "xds:///orders.prod:8080");
        names.add("far", "xds://other.example/far.prod");
        names.add("lost", "xds://nobody.example/x");
        names.add("empty", "xds:///");
        let same = |text: &str| Ok((text.to_owned(), text.to_owned()));
        assert_eq!(found(&names, "n", "users.prod:80"), same("users.prod:80"));
        assert_eq!(found(&names, "n", "orders"), same("orders.prod:8080"));
        let far = "xdstp://other.example/envoy.config.listener.v3.Listener/far.prod";
        assert_eq!(found(&names, "n", "far"), Ok((far.to_owned(), "far.prod".to_owned())));
        assert!(found(&names, "n", "lost").unwrap_err().contains("nobody.example"));
        assert!(found(&names, "n", "empty").unwrap_err().contains("is empty"));
    }

    /// As an Envoy asks, or a sidecar.
    fn of(own: &str, template: Option<&str>) -> Bootstrap {
        let plane = crate::control::xds::Server::insecure("a:1");
        let builder = Bootstrap::builder().server(plane).authority("other.example", []);
        let builder = match template {
            Some(template) => builder.listener_template(template),
            None => builder,
        };
        let dialect = if own == "envoy" { Dialect::Envoy } else { Dialect::Sidecar };
        builder.dialect(dialect).build().unwrap()
    }

    fn asked(bootstrap: &Bootstrap, name: &str) -> (String, String) {
        let mut names = Names::default();
        names.add("orders", "xds:///listener_0");
        names.add("far", "xds://other.example/far.prod");
        names.add("users", "users.prod:8080");
        let found = names.find(bootstrap, name).unwrap();
        assert_eq!(found.elsewhere, Elsewhere::Nowhere);
        (found.listener, found.authority)
    }

    #[test]
    fn an_envoy_asks_for_the_listener_that_is_said_and_goes_by_what_is_called() {
        let pair = |listener: &str, authority: &str| (listener.to_owned(), authority.to_owned());
        let envoy = of("envoy", None);
        assert_eq!(asked(&envoy, "orders"), pair("listener_0", "orders"));
        assert_eq!(asked(&envoy, "users"), pair("users.prod:8080", "users.prod:8080"));
        assert_eq!(asked(&envoy, "carts:81"), pair("carts:81", "carts:81"));
        let far = "xdstp://other.example/envoy.config.listener.v3.Listener/far.prod";
        assert_eq!(asked(&envoy, "far"), pair(far, "far"));
        let one = of("envoy", Some("listener_0"));
        assert_eq!(asked(&one, "users"), pair("listener_0", "users.prod:8080"));
        assert_eq!(asked(&one, "carts"), pair("listener_0", "carts"));
        let many = of("envoy", Some("edge/%s"));
        assert_eq!(asked(&many, "orders"), pair("edge/listener_0", "orders"));
    }

    #[test]
    fn a_sidecar_s_listener_is_what_somebody_says_and_else_that_of_the_port() {
        let one = of("sidecar", Some("egress"));
        assert_eq!(asked(&one, "carts:81"), ("egress".to_owned(), "carts:81".to_owned()));
        let plain = of("sidecar", None);
        let far = "xdstp://other.example/envoy.config.listener.v3.Listener/far.prod";
        assert_eq!(asked(&plain, "far"), (far.to_owned(), "far.prod".to_owned()));
        let found = |name: &str| Names::default().find(&plain, name).unwrap();
        assert_eq!(found("users").listener, "0.0.0.0_80");
    }

    #[test]
    fn to_a_sidecar_a_name_may_be_at_the_addresses_of_its_host_too() {
        let bootstrap = of("sidecar", None);
        let at = |name: &str| Names::default().find(&bootstrap, name).unwrap().elsewhere;
        let host = |host: &str, port| Elsewhere::Host(host.to_owned(), port);
        assert_eq!(at("users.prod:9080"), host("users.prod", 9080));
        assert_eq!(at("users"), host("users", 80));
        let listener = |name: &str| Elsewhere::Listener(name.to_owned());
        assert_eq!(at("10.96.0.9:8080"), listener("10.96.0.9_8080"));
        assert_eq!(at("[fd00::9]:8080"), listener("fd00::9_8080"));
    }

    #[test]
    fn to_a_sidecar_of_ipv6_alone_names_are_on_its_wildcard() {
        let of = |node: &str| {
            let bootstrap = bootstrap(node);
            Names::default().find(&bootstrap, "users:9080").unwrap().listener
        };
        assert_eq!(of("sidecar~fd00::7~app.ns~ns.svc.cluster.local"), "::_9080");
        assert_eq!(of("sidecar~10.0.0.1~app.ns~ns.svc.cluster.local"), "0.0.0.0_9080");
        assert_eq!(of("sidecar~~app.ns~ns.svc.cluster.local"), "0.0.0.0_9080");
    }

    #[test]
    fn to_a_sidecar_names_are_hosts_on_the_listener_of_their_port() {
        let node = "sidecar~10.0.0.1~app.ns~ns.svc.cluster.local";
        let names = Names::default();
        let of = |listener: &str, name: &str| Ok((listener.to_owned(), name.to_owned()));
        assert_eq!(found(&names, node, "users:9080"), of("0.0.0.0_9080", "users:9080"));
        assert_eq!(found(&names, node, "users"), of("0.0.0.0_80", "users"));
        assert_eq!(found(&names, node, "users:443"), of("0.0.0.0_443", "users:443"));
        // What the code calls it counts for both.
        let mut names = Names::default();
        names.add("orders", "xds:///orders.prod");
        names.add("carts", "xds:///carts.prod:8080");
        assert_eq!(found(&names, node, "orders:443"), of("0.0.0.0_443", "orders.prod"));
        assert_eq!(found(&names, node, "carts:443"), of("0.0.0.0_8080", "carts.prod:8080"));
        assert_eq!(found(&names, "n", "orders:443"), of("orders:443", "orders:443"));
    }
}
