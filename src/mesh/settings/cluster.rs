//! The settings of a cluster.

use super::{
    Layers, connections, hashing, health, layers::By, limit, limits, name_of, security, time,
};
use crate::{
    config::{self, Balancer},
    mesh::{describe::Setting, inner::Inner, overlay::Whose, protect::Protector},
};

/// The settings of a cluster. `is_shown` says whether an endpoint asks for mutual TLS by itself.
pub(in crate::mesh) fn of_cluster(
    inner: &Inner,
    name: &str,
    protector: &Protector,
    is_shown: bool,
) -> Vec<Setting> {
    let mut layers = inner.cluster_layers(name);
    // Whom to trust is one thing, of the nearest that says it.
    let mut is_said = false;
    for (_, layer) in &mut layers {
        let Some(security) = &mut layer.security else { continue };
        let says = security.says_trust();
        if is_said {
            (security.roots, security.bundles, security.system_roots) = (None, None, None);
        }
        is_said |= says;
    }
    let by = |whose: &Whose| match *whose {
        Whose::Code => By::Code,
        Whose::Source(source) => By::Source(Some(inner.source_name(source))),
    };
    let said = layers.iter().map(|(whose, layer)| (by(whose), layer)).collect();
    let cluster = Layers { said };
    let balancer = cluster.within(|cluster| cluster.balancer.as_ref());
    let usual = Balancer::default();
    let mut list =
        vec![cluster.setting("balancer", &name_of(&usual), |c| c.balancer.as_ref().map(name_of))];
    let chosen = balancer.said.first().map(|(_, balancer)| *balancer);
    if let Balancer::PeakEwma { decay, default_rtt, penalty, max_retry_after } =
        chosen.unwrap_or(&usual)
    {
        let decay = balancer.setting("balancer.peak_ewma.decay", &time(*decay), |balancer| {
            matches!(balancer, Balancer::PeakEwma { .. }).then(|| time(*decay))
        });
        list.push(decay);
        for (name, said) in [
            ("balancer.peak_ewma.default_rtt", default_rtt),
            ("balancer.peak_ewma.penalty", penalty),
            ("balancer.peak_ewma.max_retry_after", max_retry_after),
        ] {
            list.push(balancer.setting(name, "none", |_| said.map(time)));
        }
    }
    list.extend(hashing::of(&balancer, chosen.unwrap_or(&usual)));
    list.extend([
        cluster
            .setting("protocol", "as the request's version", |c| c.protocol.as_ref().map(name_of)),
        cluster.setting("failover", "none", |c| {
            let clusters = c.failover.as_ref().map(|failover| failover.clusters.join(", "));
            clusters.filter(|clusters| !clusters.is_empty())
        }),
    ]);
    list.push(cluster.setting("max_stream_duration", "none", |c| c.max_stream_duration.map(limit)));
    list.push(
        cluster.setting("panic_threshold", "50", |c| c.panic_threshold.map(|it| it.to_string())),
    );
    // What is said of these is told field by field.
    let blocks: [(_, fn(&config::Cluster) -> bool); 5] = [
        ("least_request", |c| c.least_request.is_some()),
        ("balancing", |c| c.balancing.is_some()),
        ("slow_start", |c| c.slow_start.is_some()),
        ("subsetting", |c| c.subsetting.is_some()),
        ("subsets", |c| c.subsets.is_some()),
    ];
    let absent = blocks.iter().filter(|(_, says)| !cluster.said.iter().any(|(_, it)| says(it)));
    list.extend(absent.map(|(name, _)| cluster.setting(name, "none", |_| None)));
    list.extend(limits::of(&cluster));
    list.extend(health::of(&cluster));
    let discovery = cluster.within(|cluster| cluster.discovery.as_ref());
    if let Some((by, config::Discovery::Dns(dns))) = discovery.said.first() {
        list.extend(connections::of_dns(&Layers { said: vec![(*by, dns)] }));
    }
    list.extend(connections::of_transport(&cluster.within(|cluster| Some(&cluster.transport))));
    let security = cluster.within(|cluster| cluster.security.as_ref());
    list.extend(security::of(inner, &security, protector, is_shown));
    cluster.rest(&mut list);
    list
}
