//! Istio: what its agent and its injector put into a pod, as a bootstrap.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{
    Bootstrap, BootstrapBuilder, Dialect,
    node::TRUST_DOMAIN,
    server::{Server, ServerTls},
};
use crate::config::{ConfigError, ConfigErrors, IdentityFiles};

/// A bootstrap for a pod of an Istio mesh: what its agent would write, or for istiod itself, without an
/// agent.
///
/// What is not said is taken from the variables that Istio's injector sets, when
/// [`build`](Self::build) is called:
///
/// | what | from | else |
/// |---|---|---|
/// | address of the pod | `INSTANCE_IP`, `POD_IP` | an error |
/// | pod | `POD_NAME`, `HOSTNAME` | an error |
/// | namespace | `POD_NAMESPACE`, the service account's `namespace` file | an error |
/// | service account | `SERVICE_ACCOUNT` | `default` |
/// | cluster | `ISTIO_META_CLUSTER_ID` | `Kubernetes` |
/// | trust domain | `TRUST_DOMAIN` | unknown |
/// | further metadata | `ISTIO_META_NAME` (text), `ISTIO_METAJSON_NAME` (JSON) | |
///
/// ```no_run
/// use tower_mesh::control::xds::{Bootstrap, Dialect};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // The agent's socket:
/// let bootstrap = Bootstrap::istio().build()?;
/// // istiod itself, with the pod's token, asked as gRPC asks:
/// let direct = Bootstrap::istio()
///     .istiod("istiod.istio-system.svc:15012")
///     .dialect(Dialect::Proxyless)
///     .build()?;
/// # drop((bootstrap, direct));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Istio {
    dialect: Dialect,
    socket: PathBuf,
    istiod: Option<String>,
    server_name: Option<String>,
    token: PathBuf,
    roots: PathBuf,
    certificates: Option<PathBuf>,
    ip: Option<IpAddr>,
    pod: Option<String>,
    namespace: Option<String>,
    service_account: Option<String>,
    cluster: Option<String>,
    domain: String,
    trust_domain: Option<String>,
    listener_template: Option<String>,
    delta: bool,
}

/// What the injector has set.
type Variables = BTreeMap<String, String>;

impl Istio {
    pub(super) fn new() -> Self {
        Self {
            dialect: Dialect::Sidecar,
            socket: SOCKET.into(),
            istiod: None,
            server_name: None,
            token: TOKEN.into(),
            roots: ROOTS.into(),
            certificates: None,
            ip: None,
            pod: None,
            namespace: None,
            service_account: None,
            cluster: None,
            domain: "cluster.local".to_owned(),
            trust_domain: None,
            listener_template: None,
            delta: false,
        }
    }

    /// How istiod is asked. Default: as a sidecar asks, which alone carries outlier detection, TLS modes,
    /// timeouts and typed policies. As gRPC asks (`GENERATOR=grpc`) istiod leaves them out: of a cluster
    /// whose TLS mode is `SIMPLE` or `MUTUAL` it then says nothing of TLS. [`Dialect::Envoy`] needs a
    /// [`listener_template`](Self::listener_template): istiod names listeners by address and port.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The agent's socket. Default: `/etc/istio/proxy/XDS`.
    pub fn agent_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = path.into();
        self
    }

    /// Asks istiod itself at this address (port 15012), by TLS and with the pod's token.
    pub fn istiod(mut self, address: impl Into<String>) -> Self {
        self.istiod = Some(address.into());
        self
    }

    /// The name that istiod's certificate must have. Default: the host of its address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The token shown to istiod. Default: `/var/run/secrets/tokens/istio-token`.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = path.into();
        self
    }

    /// The roots that vouch for istiod. Default: `/var/run/secrets/istio/root-cert.pem`.
    pub fn roots_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots = path.into();
        self
    }

    /// The folder with `cert-chain.pem`, `key.pem` and `root-cert.pem`: what clusters mean by the
    /// certificate provider `default`. Default: `/var/lib/istio/data` with the agent, none without it.
    pub fn certificates_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.certificates = Some(path.into());
        self
    }

    /// The pod's address.
    pub fn ip(mut self, ip: IpAddr) -> Self {
        self.ip = Some(ip);
        self
    }

    /// The pod's name.
    pub fn pod(mut self, name: impl Into<String>) -> Self {
        self.pod = Some(name.into());
        self
    }

    /// The pod's namespace.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// The pod's service account.
    pub fn service_account(mut self, name: impl Into<String>) -> Self {
        self.service_account = Some(name.into());
        self
    }

    /// The id of the Kubernetes cluster. Default: `Kubernetes`.
    pub fn cluster(mut self, id: impl Into<String>) -> Self {
        self.cluster = Some(id.into());
        self
    }

    /// The DNS domain of the Kubernetes cluster. Default: `cluster.local`.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// The trust domain of the mesh. Default: that of the injector, else unknown. Where a cluster is secured by
    /// mutual TLS and nobody says which service accounts its workloads have, any workload of it is expected;
    /// without it such a cluster is refused.
    pub fn trust_domain(mut self, domain: impl Into<String>) -> Self {
        self.trust_domain = Some(domain.into());
        self
    }

    /// What a listener is called to an Envoy: [`BootstrapBuilder::listener_template`]. Default: none.
    pub fn listener_template(mut self, template: impl Into<String>) -> Self {
        self.listener_template = Some(template.into());
        self
    }

    /// Asks for changes (delta) instead of the state of the world. Default: false.
    pub fn delta(mut self, delta: bool) -> Self {
        self.delta = delta;
        self
    }

    /// Reads the variables and makes the bootstrap.
    ///
    /// # Errors
    ///
    /// What is neither said nor found, and every field that cannot be used.
    pub fn build(self) -> Result<Bootstrap, ConfigErrors> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        self.build_with(&variables.collect(), Path::new(NAMESPACE))
    }

    pub(super) fn build_with(
        self,
        variables: &Variables,
        namespace_file: &Path,
    ) -> Result<Bootstrap, ConfigErrors> {
        let mut errors = Vec::new();
        let first = |names: &[&str]| {
            let found = names.iter().filter_map(|&name| variables.get(name));
            found.map(|value| value.trim().to_owned()).find(|value| !value.is_empty())
        };
        let mut need = |given: Option<String>, field: &str, names: &str| {
            let ok = given.as_deref().is_some_and(is_part);
            if !ok {
                let why = format!("must be given, without `~`: by the builder or {names}");
                errors.push(ConfigError::new(field, given.as_deref().unwrap_or_default(), why));
            }
            given.unwrap_or_default()
        };
        let pod = self.pod.or_else(|| first(&["POD_NAME", "HOSTNAME"]));
        let pod = need(pod, "istio.pod", "`POD_NAME`");
        let namespace = self.namespace.or_else(|| first(&["POD_NAMESPACE"])).or_else(|| {
            let read = std::fs::read_to_string(namespace_file).ok()?;
            Some(read.trim().to_owned()).filter(|name| !name.is_empty())
        });
        let namespace = need(namespace, "istio.namespace", "`POD_NAMESPACE`");
        let domain = need(Some(self.domain), "istio.domain", "default");
        if self.dialect == Dialect::Envoy && self.listener_template.is_none() {
            let why = "needs a `listener_template`: istiod has no listener of a service's name, and calls would \
                       find none; as a sidecar (`Dialect::Sidecar`) they find that of their port";
            errors.push(ConfigError::new("istio.dialect", "Envoy", why));
        }
        let ip = self.ip.map(|ip| ip.to_string()).or_else(|| first(&["INSTANCE_IP", "POD_IP"]));
        let ip = ip.unwrap_or_default();
        if ip.parse::<IpAddr>().is_err() {
            let why = "must be an IP address: by the builder or `INSTANCE_IP`";
            errors.push(ConfigError::new("istio.ip", &ip, why));
        }
        let account = self.service_account.or_else(|| first(&["SERVICE_ACCOUNT"]));
        let account = account.unwrap_or_else(|| "default".to_owned());
        let cluster = self.cluster.or_else(|| first(&["ISTIO_META_CLUSTER_ID"]));
        let cluster = cluster.unwrap_or_else(|| "Kubernetes".to_owned());
        let mut metadata = of_injector(variables, &mut errors);
        let known = [
            ("NAME", json!(pod)),
            ("NAMESPACE", json!(namespace)),
            ("SERVICE_ACCOUNT", json!(account)),
            ("CLUSTER_ID", json!(cluster)),
            ("INSTANCE_IPS", json!(ip)),
        ];
        metadata.extend(known.map(|(name, value)| (name.to_owned(), value)));
        let trust_domain = self.trust_domain.or_else(|| first(&[TRUST_DOMAIN]));
        metadata.extend(trust_domain.map(|domain| (TRUST_DOMAIN.to_owned(), json!(domain))));
        metadata.entry("ISTIO_VERSION").or_insert_with(|| json!(VERSION));
        metadata.entry("LABELS").or_insert_with(|| json!({}));
        match self.dialect {
            Dialect::Proxyless => drop(metadata.insert("GENERATOR".to_owned(), json!("grpc"))),
            Dialect::Sidecar | Dialect::Envoy => drop(metadata.remove("GENERATOR")),
        }
        let workload = metadata.get("WORKLOAD_NAME").and_then(Value::as_str).unwrap_or(&pod);
        let node_cluster = format!("{workload}.{namespace}");
        let server = match self.istiod {
            None => Server::insecure(format!("unix://{}", absolute(&self.socket))),
            Some(address) => {
                let mut tls = ServerTls::new().roots_file(self.roots);
                if let Some(name) = self.server_name {
                    tls = tls.server_name(name);
                }
                Server::tls(address, tls).token_file(self.token).header("clusterid", cluster)
            }
        };
        let agent = matches!(server.creds, super::Creds::Insecure);
        let mut builder = Bootstrap::builder()
            .server(server.delta(self.delta))
            .node_id(format!("sidecar~{ip}~{pod}.{namespace}~{namespace}.svc.{domain}"))
            .node_cluster(node_cluster)
            .server_listener_template(INBOUND)
            .dialect(self.dialect);
        let dir = self.certificates.or_else(|| agent.then(|| CERTIFICATES.into()));
        if let Some(dir) = dir {
            builder = builder.certificate_provider("default", files(&dir));
        }
        if let Some(template) = self.listener_template {
            builder = builder.listener_template(template);
        }
        match with_metadata(builder, metadata).build() {
            Ok(bootstrap) if errors.is_empty() => Ok(bootstrap),
            Ok(_) => Err(ConfigErrors(errors)),
            Err(ConfigErrors(found)) => {
                errors.extend(found);
                Err(ConfigErrors(errors))
            }
        }
    }
}

/// Parts of the node's id stand between `~`.
fn is_part(text: &str) -> bool {
    !text.is_empty() && !text.contains('~') && !text.contains(char::is_whitespace)
}

fn absolute(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.starts_with('/') { text.into_owned() } else { format!("/{text}") }
}

fn with_metadata(builder: BootstrapBuilder, metadata: Map<String, Value>) -> BootstrapBuilder {
    metadata.into_iter().fold(builder, |builder, (name, value)| {
        builder.node_metadata_json(name, &value.to_string())
    })
}

/// What the injector says of the pod.
fn of_injector(variables: &Variables, errors: &mut Vec<ConfigError>) -> Map<String, Value> {
    let mut metadata = Map::new();
    for (name, value) in variables {
        if let Some(name) = name.strip_prefix("ISTIO_META_") {
            metadata.insert(name.to_owned(), json!(value));
        } else if let Some(field) = name.strip_prefix("ISTIO_METAJSON_") {
            match serde_json::from_str(value) {
                Ok(value) => drop(metadata.insert(field.to_owned(), value)),
                Err(error) => {
                    errors.push(ConfigError::new(name, "", format!("is no JSON: {error}")));
                }
            }
        }
    }
    metadata
}

/// The files that the agent keeps.
fn files(dir: &Path) -> IdentityFiles {
    let path = |name: &str| Some(dir.join(name).to_string_lossy().into_owned());
    let mut files = IdentityFiles::default();
    files.certificate = path("cert-chain.pem");
    files.key = path("key.pem");
    files.roots = path("root-cert.pem");
    files.poll_interval = Some(AGENT_REFRESH);
    files
}

const SOCKET: &str = "/etc/istio/proxy/XDS";
const TOKEN: &str = "/var/run/secrets/tokens/istio-token";
const ROOTS: &str = "/var/run/secrets/istio/root-cert.pem";
const CERTIFICATES: &str = "/var/lib/istio/data";
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Of the Istio that this was written for: istiod warns of clients that tell none.
const VERSION: &str = "1.27.0";
/// What its generator for gRPC leaves out of what it tells sidecars: measured, of 2026-08-27.
pub(super) const LEFT_OUT: &str = "dialect: as to gRPC (`GENERATOR=grpc`) istiod leaves out outlier detection, connect \
                                   timeouts, the policy RANDOM, typed policies, DNS endpoints of a ServiceEntry, and \
                                   the TLS modes SIMPLE and MUTUAL; a sidecar (`Dialect::Sidecar`) is told all of them";
/// What a server's listener is called to a proxyless client.
const INBOUND: &str = "xds.istio.io/grpc/lds/inbound/%s";
/// What the agent writes into its bootstrap.
const AGENT_REFRESH: Duration = Duration::from_secs(900);
