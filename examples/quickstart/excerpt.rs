//! A few telling lines of what the mesh knows of itself.

use tower_mesh::Mesh;

/// What `mesh.describe()` says of how two clusters are secured and found.
const SETTINGS: [&str; 6] = [
    "security.mode",
    "security.identities",
    "security.roots",
    "security.certificate",
    "dns.name",
    "answer:",
];

/// What `mesh.prometheus()` counts of connections, certificates and retries.
const METRICS: [&str; 5] = [
    "mesh_client_connections_open{",
    "mesh_client_connections_closed_total{",
    "mesh_client_certificate_not_after_seconds{",
    "mesh_client_retries_total{",
    "mesh_client_discovery_age_seconds{",
];

/// The lines, as they are printed at the end. `folder` is left out of them.
pub(crate) fn excerpt(mesh: &Mesh, clusters: &[&str], folder: &str) -> Vec<String> {
    let mut lines = vec!["mesh.describe(), an excerpt:".to_owned()];
    let description = mesh.describe().to_string();
    let mut is_shown = false;
    for line in description.lines().map(str::trim) {
        if let Some(cluster) = line.strip_prefix("cluster ") {
            let name = cluster.split(' ').next().unwrap_or_default();
            is_shown =
                clusters.contains(&name) && !lines.iter().any(|known| known.ends_with(cluster));
            if is_shown {
                lines.push(format!("  cluster {cluster}"));
            }
        } else if is_shown && SETTINGS.iter().any(|name| line.contains(name)) {
            lines.push(format!("    {line}"));
        }
    }
    lines.push("mesh.prometheus(), an excerpt:".to_owned());
    let metrics = mesh.prometheus();
    let told =
        |line: &&str| METRICS.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0");
    lines.extend(metrics.lines().filter(told).map(|line| format!("  {line}")));
    lines.iter().map(|line| line.replace(folder, "")).collect()
}
