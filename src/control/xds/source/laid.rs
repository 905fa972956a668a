//! What a cluster that is in use was made of, and what the next differs in.

use std::{collections::HashSet, sync::Arc};

use crate::{
    control::xds::resource::{Changes, Cluster, Endpoints},
    discover::Patch,
};

#[derive(Clone, Debug)]
pub(super) struct Laid {
    pub(super) cluster: Arc<Cluster>,
    pub(super) endpoints: Arc<Endpoints>,
}

// === impl Laid ===

impl Laid {
    /// What becomes of single endpoints, where that is all that differs, and less than half of them.
    pub(super) fn patch(&self, now: &Self) -> Option<Patch> {
        let (cluster, before, after) = (&now.cluster, &*self.endpoints, &*now.endpoints);
        let is_same_cluster = Arc::ptr_eq(&self.cluster, cluster) || self.cluster == *cluster;
        if !is_same_cluster || !before.differs_in_list_alone(after) {
            return None;
        }
        // The settings of a cluster are judged by whether any endpoint shows who the mesh is.
        let is_shown = |it: &Self| it.cluster.is_shown_to(&it.endpoints);
        if cluster.config.security.is_some() && is_shown(self) != is_shown(now) {
            return None;
        }
        let most = after.endpoints.len() / 2;
        let Changes { put, gone } = before.endpoints.changes(&after.endpoints, most)?;
        let said: HashSet<_> = put.iter().map(|endpoint| &endpoint.address).collect();
        // What was left out is not there to go; what is from now on may be.
        let gone = gone.into_iter().filter(|endpoint| cluster.reaches(endpoint));
        let gone = gone.map(|endpoint| &endpoint.address);
        let gone = gone.filter(|address| !said.contains(address)).cloned().collect();
        let put = put.into_iter().map(|endpoint| cluster.secured(endpoint.clone()));
        let put = put.collect::<Option<Vec<_>>>()?;
        let whole = now.clone();
        let whole = Box::new(move || whole.cluster.with(&whole.endpoints));
        Some(Patch { put, gone, whole })
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::{
        pb::{
            envoy::{
                config::{
                    cluster::v3::{
                        Cluster as Pb,
                        cluster::{
                            ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
                            TransportSocketMatch,
                        },
                    },
                    core::v3::{
                        Address as PbAddress, AggregatedConfigSource, ConfigSource, Metadata,
                        SocketAddress, TransportSocket, address,
                        config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
                        transport_socket::ConfigType,
                    },
                    endpoint::v3::{
                        ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                        lb_endpoint::HostIdentifier,
                    },
                },
                extensions::transport_sockets::{
                    internal_upstream::v3::InternalUpstreamTransport, raw_buffer::v3::RawBuffer,
                },
            },
            google::protobuf::{Any, Struct, Value, value::Kind as Field},
        },
        util::pack_any,
    };
    use prost::Message as _;

    use super::*;
    use crate::control::xds::{
        kind::Kind,
        resource::{Context, Decoder, Resource},
    };

    fn labels(tunnel: bool) -> Struct {
        let value = Value { kind: Some(Field::StringValue("http".into())) };
        Struct { fields: tunnel.then(|| ("tunnel".to_owned(), value)).into_iter().collect() }
    }

    fn choice(tunnel: bool, any: Any) -> TransportSocketMatch {
        let config_type = Some(ConfigType::TypedConfig(any));
        TransportSocketMatch {
            name: "n".into(),
            r#match: Some(labels(tunnel)),
            transport_socket: Some(TransportSocket { name: "s".into(), config_type }),
        }
    }

    /// One whose endpoints choose between a tunnel, which is not spoken, and plaintext.
    fn cluster() -> Arc<Cluster> {
        let ads = ConfigSourceSpecifier::Ads(AggregatedConfigSource::default());
        let pb = Pb {
            name: "c".into(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            eds_cluster_config: Some(EdsClusterConfig {
                eds_config: Some(ConfigSource {
                    config_source_specifier: Some(ads),
                    ..ConfigSource::default()
                }),
                service_name: String::new(),
            }),
            transport_socket_matches: vec![
                choice(true, pack_any(InternalUpstreamTransport::default())),
                choice(false, pack_any(RawBuffer {})),
            ],
            ..Pb::default()
        };
        match Decoder::new(Context::default()).decode(Kind::Cluster, &pb.encode_to_vec()) {
            Ok((_, Resource::Cluster(read))) => read,
            other => panic!("{other:?}"),
        }
    }

    /// Endpoints by the last part of their address, and whether they choose the tunnel.
    fn endpoints(list: impl IntoIterator<Item = (u8, bool)>) -> Arc<Endpoints> {
        let one = |(last, tunnel): (u8, bool)| {
            let socket = SocketAddress {
                address: format!("10.0.0.{last}"),
                port_specifier: Some(PortSpecifier::PortValue(80)),
                ..SocketAddress::default()
            };
            let address = PbAddress { address: Some(address::Address::SocketAddress(socket)) };
            let endpoint = Endpoint { address: Some(address), ..Endpoint::default() };
            let of = ("envoy.transport_socket_match".to_owned(), labels(tunnel));
            LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
                metadata: Some(Metadata { filter_metadata: [of].into(), ..Metadata::default() }),
                ..LbEndpoint::default()
            }
        };
        let lb_endpoints = list.into_iter().map(one).collect();
        let group = LocalityLbEndpoints { lb_endpoints, ..LocalityLbEndpoints::default() };
        let pb = ClusterLoadAssignment {
            cluster_name: "c".into(),
            endpoints: vec![group],
            ..ClusterLoadAssignment::default()
        };
        match Decoder::new(Context::default()).decode(Kind::Endpoints, &pb.encode_to_vec()) {
            Ok((_, Resource::Endpoints(read))) => read,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_patch_has_what_calls_go_to_and_nothing_else() {
        let cluster = cluster();
        let patch = |before: &[(u8, bool)], after: &[(u8, bool)]| {
            let laid = |list: &[(u8, bool)]| Laid {
                cluster: Arc::clone(&cluster),
                endpoints: endpoints(list.iter().copied()),
            };
            let patch = laid(before).patch(&laid(after))?;
            let whole = (patch.whole)().endpoints.len();
            Some((patch.put.len(), patch.gone.len(), whole))
        };
        let plain = |last: u8| (last, false);
        let all: Vec<_> = (1..=8).map(plain).collect();
        let with = |more: (u8, bool)| [all.as_slice(), &[more]].concat();
        assert_eq!(patch(&all, &with(plain(9))), Some((1, 0, 9)));
        assert_eq!(patch(&with(plain(9)), &all), Some((0, 1, 8)));
        // One that was left out is not there to go.
        assert_eq!(patch(&with((9, true)), &all), Some((0, 0, 8)));
        // One that is left out may have been there: the whole says it.
        assert_eq!(patch(&with(plain(9)), &with((9, true))), None);
        // It comes when it is reached otherwise.
        assert_eq!(patch(&with((9, true)), &with(plain(9))), Some((1, 0, 9)));
    }
}
