//! What runs of routes beyond what services say, too: choices of a cluster, names of filters, upgrades.

/// What runs.
pub(super) const RUNS: &[&str] = &[
    "services.a.filters[0].mirror.key",
    "services.a.filters[0].named",
    "services.a.filters[0].named.disabled",
    "services.a.filters[0].named.filter",
    "services.a.filters[0].named.name",
    "services.a.filters[0].rewrite.host=endpoint",
    "services.a.routes[0].choice=first_available",
    "services.a.routes[0].choice=hashed",
    "services.a.routes[0].choice_header",
    "services.a.routes[0].matches[0].fraction.key",
    "services.a.routes[0].matches[0].metadata[0].namespace",
    "services.a.routes[0].upgrades[0].protocol",
];

/// What only a route says, and none of its clusters.
pub(super) fn is_of_whole_route(path: &str) -> bool {
    let filter = path.strip_prefix("services.a.routes[0].clusters[0].filters[0].");
    filter.is_some_and(|it| {
        it.starts_with("session") || it.starts_with("named") || it == "fault.per_attempt"
    })
}

/// What runs only beside something else: changes to a filter beside the filter, what a note must be
/// beside its namespace, an upgrade with its name. A header that names the cluster runs without clusters.
pub(super) fn is_beside(path: &str) -> bool {
    const ALONE: &[&str] = &[
        "services.a.routes[0].cluster_header",
        "services.a.routes[0].upgrades[0]",
        "services.a.routes[0].upgrades[0].disabled",
    ];
    ALONE.contains(&path)
        || path.contains(".overrides.k")
        || (path.contains(".matches[0].metadata[0]") && !path.ends_with(".namespace"))
}
