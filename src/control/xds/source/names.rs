//! Which listener a name of the mesh is.

use std::collections::BTreeMap;

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
            Some(of_host) if bootstrap.dialect == Dialect::Sidecar && target == name => {
                (true, of_host)
            }
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
        let listener = match bootstrap.dialect {
            Dialect::Proxyless => bootstrap.listener(authority, called)?,
            // A sidecar listens on the port of what is called, and tells the hosts apart by routes.
            Dialect::Sidecar => {
                // Istio: of a node that has addresses of IPv6 alone, the wildcard is that of IPv6.
                let any = if bootstrap.node.is_ipv6() { "::" } else { "0.0.0.0" };
                format!("{any}_{}", port(called).unwrap_or(if is_https { 443 } else { 80 }))
            }
        };
        Ok(Found { listener, authority: called.to_owned() })
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
