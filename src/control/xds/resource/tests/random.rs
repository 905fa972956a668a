//! Resources that nobody would write: none of them panics, and what is read is valid.

use proptest::prelude::*;

use super::{
    super::sound::{comes_in, reads, secret},
    *,
};

/// A message with bytes of it changed, and bytes of nothing.
fn changed(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = valid.len();
    let edits = prop::collection::vec((0..length, any::<u8>()), 0..8);
    let changed = (edits, 0..=length).prop_map(move |(edits, end)| {
        let mut bytes = valid.clone();
        for (place, byte) in edits {
            bytes[place] = byte;
        }
        bytes.truncate(end.max(1));
        bytes
    });
    prop_oneof![4 => changed, 1 => prop::collection::vec(any::<u8>(), 0..64)]
}

fn one_cluster() -> Vec<u8> {
    let mut pb = eds("c");
    pb.outlier_detection = Some(Default::default());
    pb.circuit_breakers = Some(Default::default());
    pb.common_lb_config = Some(Default::default());
    pb.lb_subset_config = Some(Default::default());
    pb.connect_timeout = seconds(1);
    pb.metadata = Some(metadata("n", &[("a", "b")]));
    pb.encode_to_vec()
}

fn one_assignment() -> Vec<u8> {
    let mut list = vec![endpoint("10.0.0.1", 80), endpoint("::1", 80)];
    list[0].metadata = Some(metadata("envoy.lb", &[("a", "b")]));
    list[1].load_balancing_weight = wrapped(7);
    let group = LocalityLbEndpoints {
        lb_endpoints: list,
        load_balancing_weight: wrapped(1),
        locality: Some(Default::default()),
        ..Default::default()
    };
    assignment("c", vec![group]).encode_to_vec()
}

fn some_routes() -> Vec<u8> {
    let mut action = to("c");
    action.retry_policy = Some(Default::default());
    action.timeout = seconds(1);
    action.hash_policy = vec![Default::default()];
    let mut rule = prefix("/a");
    rule.headers = vec![Default::default()];
    rule.runtime_fraction = Some(Default::default());
    let routes = vec![route(rule, action), route(prefix("/"), to("d"))];
    configuration(vec![host(&["*.example", "*"], routes)]).encode_to_vec()
}

fn one_listener() -> Vec<u8> {
    use envoy_types::pb::envoy::{
        config::listener::v3::ApiListener,
        extensions::filters::{
            http::{fault::v3::HttpFault, router::v3::Router},
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter as PbFilter, Rds,
                http_connection_manager::RouteSpecifier, http_filter::ConfigType,
            },
        },
    };
    let filter = |name: &str, any| PbFilter {
        name: name.into(),
        config_type: Some(ConfigType::TypedConfig(any)),
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        http_filters: vec![
            filter(
                "f",
                pack_any(HttpFault { delay: Some(Default::default()), ..Default::default() }),
            ),
            filter("r", pack_any(Router::default())),
        ],
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: "r".into(),
        })),
        ..Default::default()
    };
    PbListener {
        name: "l".into(),
        api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
        ..Default::default()
    }
    .encode_to_vec()
}

/// Those that the fuzz target begins with, changed.
fn any_secret() -> impl Strategy<Value = Vec<u8>> {
    let mut all = seeds::secrets();
    all.extend([Vec::new()]);
    prop::sample::select(all).prop_flat_map(|valid| {
        if valid.is_empty() {
            prop::collection::vec(any::<u8>(), 0..64).boxed()
        } else {
            prop_oneof![1 => Just(valid.clone()), 4 => changed(valid)].boxed()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn clusters_are_read_or_refused(bytes in changed(one_cluster())) {
        reads(Kind::Cluster, &bytes);
    }

    #[test]
    fn endpoints_are_read_or_refused(bytes in changed(one_assignment())) {
        reads(Kind::Endpoints, &bytes);
    }

    #[test]
    fn routes_are_read_or_refused(bytes in changed(some_routes())) {
        reads(Kind::Routes, &bytes);
    }

    #[test]
    fn listeners_are_read_or_refused(bytes in changed(one_listener())) {
        reads(Kind::Listener, &bytes);
    }

    #[test]
    fn listeners_of_calls_that_come_in_are_read_or_refused(
        bytes in changed(receiving::whole().encode_to_vec()),
    ) {
        comes_in(&bytes);
    }

    #[test]
    fn secrets_are_used_or_refused_and_their_keys_are_shown_nowhere(bytes in any_secret()) {
        secret(&bytes);
    }

    /// Any weights, priorities and health.
    #[test]
    fn any_localities(groups in prop::collection::vec((0..4_u32, any::<u32>(), any::<u32>(), any::<i32>()), 0..6)) {
        let groups = groups.into_iter().enumerate().map(|(place, (priority, weight, heavy, health))| {
            let mut one = endpoint(&format!("10.0.0.{place}"), 80);
            one.load_balancing_weight = wrapped(heavy);
            one.health_status = health;
            LocalityLbEndpoints {
                lb_endpoints: vec![one],
                load_balancing_weight: wrapped(weight),
                priority,
                locality: Some(envoy_types::pb::envoy::config::core::v3::Locality {
                    zone: place.to_string(),
                    ..Default::default()
                }),
                ..Default::default()
            }
        });
        reads(Kind::Endpoints, &assignment("c", groups.collect()).encode_to_vec());
    }

    /// Any times.
    #[test]
    fn any_times(seconds in any::<i64>(), nanos in any::<i32>()) {
        let time = Some(protobuf::Duration { seconds, nanos });
        let mut pb = eds("c");
        pb.connect_timeout = time;
        pb.outlier_detection = Some(envoy_types::pb::envoy::config::cluster::v3::OutlierDetection {
            interval: time,
            base_ejection_time: time,
            max_ejection_time: time,
            ..Default::default()
        });
        reads(Kind::Cluster, &pb.encode_to_vec());
        let mut action = to("c");
        action.timeout = time;
        action.idle_timeout = time;
        action.max_grpc_timeout = time;
        action.retry_policy = Some(envoy_types::pb::envoy::config::route::v3::RetryPolicy {
            per_try_timeout: time,
            per_try_idle_timeout: time,
            ..Default::default()
        });
        let pb = configuration(vec![host(&["*"], vec![route(prefix("/"), action)])]);
        reads(Kind::Routes, &pb.encode_to_vec());
    }

    /// Any text where names stand.
    #[test]
    fn any_text(text in any::<String>()) {
        let mut pb = eds(&text);
        pb.alt_stat_name.clone_from(&text);
        reads(Kind::Cluster, &pb.encode_to_vec());
        pb.metadata = Some(metadata(&text, &[(&text, &text)]));
        pb.lb_policy = 77;
        reads(Kind::Cluster, &pb.encode_to_vec());
        pb.lb_policy = 0;
        // The model's own checks repeat the name.
        pb.lb_config = Some(envoy_types::pb::envoy::config::cluster::v3::cluster::LbConfig::MaglevLbConfig(
            envoy_types::pb::envoy::config::cluster::v3::cluster::MaglevLbConfig {
                table_size: Some(protobuf::UInt64Value { value: 4 }),
            },
        ));
        pb.lb_policy = 5;
        reads(Kind::Cluster, &pb.encode_to_vec());
        let mut rule = prefix(&text);
        rule.headers = vec![envoy_types::pb::envoy::config::route::v3::HeaderMatcher {
            name: text.clone(),
            ..Default::default()
        }];
        let pb = configuration(vec![host(&[&text], vec![route(rule, to(&text))])]);
        reads(Kind::Routes, &pb.encode_to_vec());
    }
}
