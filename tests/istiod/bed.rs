//! A pod of a mesh whose istiod, or what was recorded of it, tells what to call.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, Dialect, Xds},
};

/// One who speaks as istiod does: at the socket `XDS` in a folder, as Istio's agent has it.
pub(crate) trait Istiod: Sized {
    /// One that says nothing yet.
    async fn start(scenario: &'static str, how: How) -> Self;

    /// Where its socket is, and the pod's certificates.
    fn folder(&self) -> &Path;

    /// From now on it says what comes of a step's YAML, with these servers in place of those at 9001, 9002 and so on.
    async fn says(&mut self, step: usize, servers: &[SocketAddr]);

    /// What was refused of it, and why.
    fn refusals(&self) -> Vec<String>;
}

/// How it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) dialect: Dialect,
    pub(crate) delta: bool,
}

/// Both dialects by both protocols.
pub(crate) const WAYS: [How; 4] = [
    How { dialect: Dialect::Sidecar, delta: false },
    How { dialect: Dialect::Sidecar, delta: true },
    How { dialect: Dialect::Proxyless, delta: false },
    How { dialect: Dialect::Proxyless, delta: true },
];

/// Who the pod is.
pub(crate) const CALLER: &str = "spiffe://cluster.local/ns/prod/sa/orders";

impl How {
    /// The source of a mesh in the pod.
    pub(crate) fn source(self, istiod: &impl Istiod) -> Xds {
        let folder = istiod.folder();
        let bootstrap = Bootstrap::istio()
            .dialect(self.dialect)
            .delta(self.delta)
            .agent_socket(folder.join("XDS"))
            .certificates_dir(folder)
            .ip([10, 0, 0, 1].into())
            .pod("orders-1")
            .namespace("prod")
            .service_account("orders")
            .build();
        Xds::new(bootstrap.unwrap())
    }

    /// A mesh in the pod that speaks plaintext where nothing is said of TLS.
    pub(crate) fn mesh(self, istiod: &impl Istiod) -> Mesh {
        Mesh::builder().source(self.source(istiod).plaintext(true)).build().unwrap()
    }

    pub(crate) fn is_sidecar(self) -> bool {
        self.dialect == Dialect::Sidecar
    }
}

/// The YAML of a step.
#[allow(dead_code, reason = "for who runs the real one")]
pub(crate) fn yaml(scenario: &str, step: usize) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/istiod/yaml");
    folder.join(format!("{scenario}.{step}.yaml"))
}

/// What was recorded of a scenario.
pub(crate) fn recording(scenario: &str, how: How) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/istiod/recorded");
    let dialect = if how.is_sidecar() { "sidecar" } else { "proxyless" };
    let protocol = if how.delta { ".delta" } else { "" };
    folder.join(format!("{scenario}.{dialect}{protocol}.json"))
}

/// The port that the YAML has in place of the first server's.
pub(crate) const FIRST_PORT: u16 = 9001;

/// Looks again and again until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let look = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let patience = tokio::time::timeout(Duration::from_secs(20), look).await;
    assert!(patience.is_ok(), "{what}: it does not come");
}
