//! What OPERATIONS says of the presets in the words of the mesh file.

use super::super::{Consul, Docker, Kubernetes, Lookup, Mesos};
use crate::config::{Cluster, Discovery};

#[test]
fn the_file_says_what_presets_say_in_the_words_of_operations() {
    let agent = "127.0.0.1:8600".parse().unwrap();
    let presets: [(&str, Lookup); 6] = [
        (
            r#"Kubernetes::headless("users", "prod").port(8080)"#,
            Kubernetes::headless("users", "prod").port(8080).into(),
        ),
        (
            r#"Kubernetes::headless("users", "prod").port_name("grpc")"#,
            Kubernetes::headless("users", "prod").port_name("grpc").into(),
        ),
        (r#"Docker::swarm("web").port(8080)"#, Docker::swarm("web").port(8080).into()),
        (r#"Docker::compose("db").port(5000)"#, Docker::compose("db").port(5000).into()),
        (r#"Consul::service("web")"#, Lookup::from(Consul::service("web")).server(agent)),
        (r#"Mesos::task("web", "marathon")"#, Mesos::task("web", "marathon").into()),
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md");
    let document = std::fs::read_to_string(path).unwrap();
    for (code, lookup) in presets {
        let row = document.lines().find_map(|line| line.strip_prefix(&format!("| `{code}` | `")));
        let said = row.and_then(|row| row.strip_suffix("` |")).expect(code);
        let cluster: Cluster = serde_saphyr::from_str(&format!("discovery: {said}\n")).unwrap();
        cluster.validate("web").unwrap();
        assert_eq!(cluster.discovery, Some(Discovery::Dns(lookup.dns)), "{code}");
    }
}
