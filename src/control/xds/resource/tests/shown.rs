use envoy_types::pb::envoy::{
    config::cluster::v3::cluster::TransportSocketMatch,
    extensions::transport_sockets::raw_buffer::v3::RawBuffer,
};

use super::{
    tls::{choice, mutual, tls, trusting},
    *,
};
use crate::config::Security;

const NAMESPACE: &str = "envoy.transport_socket_match";

/// Endpoints of these TLS modes; of none where it is empty.
fn of_modes(modes: &[&str]) -> Arc<Endpoints> {
    let labelled = |(mode, port): (&&str, u32)| {
        let mut it = endpoint("10.0.0.1", port);
        if !mode.is_empty() {
            it.metadata = Some(metadata(NAMESPACE, &[("tlsMode", *mode)]));
        }
        it
    };
    let list = modes.iter().zip(1..).map(labelled).collect();
    let groups = vec![LocalityLbEndpoints { lb_endpoints: list, ..Default::default() }];
    sidecar().endpoints(&assignment("c", groups)).unwrap()
}

#[test]
fn a_cluster_knows_whether_any_endpoint_is_shown_who_the_mesh_is() {
    let istio = || choice(&[("tlsMode", "istio")], pack_any(mutual()));
    let one_sided = || choice(&[("tlsMode", "tls")], pack_any(tls(trusting())));
    let plain = || choice(&[], pack_any(RawBuffer {}));
    let cases: [(Vec<TransportSocketMatch>, &[&str]); 6] = [
        (vec![], &[]),
        (vec![istio(), plain()], &["istio"]),
        (vec![one_sided(), istio(), plain()], &["istio"]),
        (vec![one_sided(), plain()], &[]),
        // The first that is met decides.
        (vec![plain(), istio()], &[]),
        (vec![one_sided(), choice(&[], pack_any(mutual()))], &["istio", ""]),
    ];
    let lists: [&[&str]; 6] = [&[], &["istio"], &["tls"], &[""], &["tls", ""], &["tls", "istio"]];
    for (place, (matches, shown)) in cases.into_iter().enumerate() {
        let pb = PbCluster { transport_socket_matches: matches, ..eds("c") };
        let cluster = sidecar().cluster(&pb).unwrap();
        for modes in lists {
            let (endpoints, expected) =
                (of_modes(modes), modes.iter().any(|it| shown.contains(it)));
            assert_eq!(cluster.is_shown_to(&endpoints), expected, "{place}: {modes:?}");
            // As they are secured when they are laid into it.
            let laid = cluster.with(&endpoints).endpoints;
            let is_shown =
                laid.iter().filter_map(|it| it.security.as_ref()).any(Security::is_mutual);
            assert_eq!(is_shown, expected, "{place}: {modes:?}");
        }
    }
}
