//! Rate limits: those of a service, those of the client alone, and what routes describe.

use envoy_types::pb::envoy::{
    config::{
        core::v3::{
            GrpcService, RuntimeFractionalPercent,
            grpc_service::{EnvoyGrpc, TargetSpecifier},
        },
        ratelimit::v3::RateLimitServiceConfig,
        route::v3::{
            RateLimit as PbDescription,
            rate_limit::{
                Action as PbPart,
                action::{ActionSpecifier, DestinationCluster},
            },
        },
    },
    extensions::filters::http::{
        local_ratelimit::v3::LocalRateLimit,
        ratelimit::v3::{RateLimit as PbRateLimit, RateLimitPerRoute},
    },
    r#type::v3::TokenBucket,
};

use super::*;

#[test]
fn limits_are_described_by_routes() {
    let service = RateLimitServiceConfig {
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: "limits".into(),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        }),
        ..RateLimitServiceConfig::default()
    };
    let limit = PbRateLimit {
        domain: "d".into(),
        rate_limit_service: Some(service),
        ..PbRateLimit::default()
    };
    let listener = with(vec![named("r", pack_any(limit)), router()]).unwrap();
    assert_eq!(listener.clusters(), ["limits"].into());
    let part = PbPart {
        action_specifier: Some(ActionSpecifier::DestinationCluster(DestinationCluster {})),
    };
    let action = RouteAction {
        rate_limits: vec![PbDescription {
            actions: vec![part],
            disable_key: "k".into(),
            ..PbDescription::default()
        }],
        ..to("c")
    };
    let pb = host(&["*"], vec![route(prefix("/a"), action), route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![pb])).unwrap();
    assert_eq!(routes.hosts[0].routes[0].describe[0].disable_key.as_deref(), Some("k"));
    assert_eq!(routes.notes, [""; 0]);
    let service = listener.service(&routes.hosts[0]);
    let counts: Vec<usize> = service.routes.iter().map(|route| route.filters.len()).collect();
    assert_eq!(counts, [1, 0]);
    assert!(service.validate("s").is_ok());
}

#[test]
fn local_limits() {
    let all =
        || Some(RuntimeFractionalPercent { default_value: always(), runtime_key: String::new() });
    let limit = |bucket: Option<TokenBucket>| LocalRateLimit {
        token_bucket: bucket,
        filter_enabled: all(),
        filter_enforced: all(),
        ..LocalRateLimit::default()
    };
    let read = |it: LocalRateLimit| with(vec![named("l", pack_any(it)), router()]);
    let bucket = |interval: Option<protobuf::Duration>| TokenBucket {
        max_tokens: 10,
        tokens_per_fill: wrapped(10),
        fill_interval: interval,
    };
    let one = read(limit(Some(bucket(seconds(1))))).unwrap();
    let [Step::Filter(Filter::RateLimit(it))] = one.filters[0].steps.as_slice() else {
        panic!("a limit")
    };
    assert_eq!(it.bucket.max_tokens, 10);
    refuses(read(limit(Some(bucket(None)))), "token_bucket.fill_interval = none");
    refuses(read(limit(Some(bucket(seconds(0))))), "must be over 0");
    // Envoy: where no share is said, it counts nobody.
    let off = LocalRateLimit { token_bucket: Some(bucket(seconds(1))), ..Default::default() };
    assert_eq!(read(off).unwrap().filters[0].steps, []);
}

/// Which descriptions of the virtual host count is not left out without a word.
#[test]
fn what_a_limit_says_of_the_descriptions_of_its_host_is_noted() {
    let bucket = TokenBucket { max_tokens: 1, fill_interval: seconds(1), ..TokenBucket::default() };
    for (option, count) in [(0, 0), (1, 1), (2, 1)] {
        let limit = LocalRateLimit {
            stat_prefix: "p".into(),
            token_bucket: Some(bucket),
            vh_rate_limits: option,
            ..LocalRateLimit::default()
        };
        let read = with(vec![named("l", pack_any(limit)), router()]).unwrap();
        let about = |notes: &[String]| {
            notes.iter().filter(|note| note.contains(".vh_rate_limits: INCLUDE")).count()
        };
        assert_eq!(about(&read.notes), count, "{:?}", read.notes);
        let of_route = RateLimitPerRoute { vh_rate_limits: option, ..RateLimitPerRoute::default() };
        let pb = PbRoute {
            typed_per_filter_config: [("l".to_owned(), pack_any(of_route))].into(),
            ..route(prefix("/"), to("c"))
        };
        let read = proxyless().routes(&configuration(vec![host(&["*"], vec![pb])])).unwrap();
        assert_eq!(about(&read.notes), count, "{:?}", read.notes);
    }
    let of_route = RateLimitPerRoute { override_option: 1, ..RateLimitPerRoute::default() };
    let pb = PbRoute {
        typed_per_filter_config: [("l".to_owned(), pack_any(of_route))].into(),
        ..route(prefix("/"), to("c"))
    };
    let read = proxyless().routes(&configuration(vec![host(&["*"], vec![pb])])).unwrap();
    assert!(read.notes[0].contains("override_option"), "{:?}", read.notes);
}
