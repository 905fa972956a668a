//! The mesh file that the quickstart writes, edits and shows.

use std::{fs, io, net::SocketAddr, path::PathBuf};

use crate::{records::NAME, replica::Replica};

/// The mesh file on disk.
pub(crate) struct MeshFile {
    path: PathBuf,
    text: String,
}

impl MeshFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, text: String::new() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Replaces the file at once, as a careful editor does, and returns the lines that differ.
    pub(crate) fn write(&mut self, text: String) -> io::Result<Vec<String>> {
        let next = self.path.with_extension("next");
        fs::write(&next, &text)?;
        fs::rename(next, &self.path)?;
        let only = |what: &str, of: &str, other: &str| -> Vec<String> {
            let lines = of.lines().filter(|line| !other.lines().any(|known| known == *line));
            lines.map(|line| format!("mesh.yaml  {what:<8} {}", line.trim_start())).collect()
        };
        let mut changes = only("removed", &self.text, &text);
        changes.extend(only("added", &text, &self.text));
        self.text = text;
        Ok(changes)
    }
}

/// What an edit of the file says.
pub(crate) struct Content<'a> {
    pub(crate) users: &'a [Replica],
    pub(crate) greeters: &'a [Replica],
    /// The DNS server that knows the replicas of the third service.
    pub(crate) dns: SocketAddr,
    /// Replicas of a new version of the first two services, which get one call in five.
    pub(crate) canary: Option<(&'a Replica, &'a Replica)>,
}

/// Where the own certificate and the roots are, beside the file. By default they are read every
/// 5 s: too long for a show.
const IDENTITIES: &str = "identities:
  default: { certificate: tls.crt, key: tls.key, roots: ca.crt, poll_interval: 250ms }
";

impl Content<'_> {
    /// The whole file. The greeter is declared idempotent: that cannot be seen from outside.
    pub(crate) fn yaml(&self) -> String {
        let mut text = String::from(IDENTITIES);
        text += "services:\n  users.prod:\n    policy: { timeout: 10s }\n";
        text += &self.routes("users");
        text += "  greeter.prod:\n    policy: { timeout: 10s, retry: { idempotent: true } }\n";
        text += &self.routes("greeter");
        text += "  orders.prod:\n    policy: { timeout: 10s }\n";
        text += "clusters:\n";
        text += &cluster("users.prod", "http1", self.users);
        text += &cluster("greeter.prod", "http2", self.greeters);
        text += &format!(
            "  orders.prod:\n    security: {{ mode: mutual }}\n    discovery:\n      \
             dns: {{ name: \"{NAME}\", kind: srv, resolvers: [\"{}\"] }}\n",
            self.dns
        );
        if let Some((user, greeter)) = self.canary {
            text += &cluster("users-next", "http1", [user]);
            text += &cluster("greeter-next", "http2", [greeter]);
        }
        text
    }

    fn routes(&self, service: &str) -> String {
        if self.canary.is_none() {
            return String::new();
        }
        format!(
            "    routes:\n      - clusters: [{{ name: {service}.prod, weight: 4 }}, \
             {{ name: {service}-next, weight: 1 }}]\n"
        )
    }
}

fn cluster<'a>(
    name: &str,
    protocol: &str,
    replicas: impl IntoIterator<Item = &'a Replica>,
) -> String {
    let lines = replicas
        .into_iter()
        .map(|replica| format!("      - address: {} # {}\n", replica.address(), replica.name()));
    format!(
        "  {name}:\n    protocol: {protocol}\n    security: {{ mode: mutual }}\n    \
         endpoints:\n{}",
        lines.collect::<String>()
    )
}
