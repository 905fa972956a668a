//! What bounds calls, and policies that are not known: the cases `timeout`, `circuit_breaking`, `custom_lb`.

use std::time::Duration;

use envoy_types::{
    pb::{
        envoy::{
            config::{
                cluster::v3::{
                    CircuitBreakers, LoadBalancingPolicy, circuit_breakers::Thresholds,
                    load_balancing_policy::Policy,
                },
                core::v3::TypedExtensionConfig,
                route::v3::{
                    Route, route, route_action::MaxStreamDuration, route_match::PathSpecifier,
                },
            },
            extensions::load_balancing_policies::round_robin::v3::RoundRobin,
        },
        google::protobuf::{Any, Duration as PbDuration, UInt32Value},
    },
    util::pack_any,
};
use prost::Message;
use tonic::{Code, Request, Status};
use tower_mesh::testing::xds::{CDS, Resource};

use super::{
    bed::{Bed, EMPTY, UNARY, backend, changed, cluster_of, path, route_to, routes, to},
    interop::{
        CONFIGURE, EMPTY_CALL, Told, UNARY_CALL, called,
        messages::{ClientConfigureRequest, ClientConfigureResponse, RpcType},
    },
    server::Server,
};

fn path_of(method: &str, cluster: &str) -> Route {
    route_to(path(PathSpecifier::Path(method.into())), cluster)
}

// === timeout ===

/// A `UnaryCall` may take three seconds, other calls what they like.
fn bounded(backend: &Server) -> Vec<Resource> {
    let mut unary = path_of(UNARY_CALL, "default");
    let Some(route::Action::Route(action)) = &mut unary.action else { panic!("it leads on") };
    action.max_stream_duration = Some(MaxStreamDuration {
        max_stream_duration: Some(PbDuration { seconds: 3, nanos: 0 }),
        ..MaxStreamDuration::default()
    });
    let mut all = vec![Resource::listener("test", "routes"), routes(vec![unary])];
    all.extend(cluster_of("default", &[backend]));
    all
}

/// Until so many of a kind have had this status.
async fn until_ended(bed: &Bed, kind: &str, code: Code, least: i32) {
    bed.until(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        bed.ended(kind, code.into()).await >= least
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn app_timeout_exceeded_and_timeout_not_exceeded() {
    let a = backend("a", 0).await;
    let bed = Bed::start("--qps=50", bounded(&a)).await;
    bed.until_peers(&["a"]).await;
    // app_timeout_exceeded
    bed.configure(&[(RpcType::UnaryCall, "sleep-2")], 1).await;
    // What was under way when it was told is over when the first is too late.
    until_ended(&bed, UNARY, Code::DeadlineExceeded, 1).await;
    let answered = bed.ended(UNARY, 0).await;
    until_ended(&bed, UNARY, Code::DeadlineExceeded, 20).await;
    assert_eq!(bed.ended(UNARY, 0).await, answered, "calls that take too long are answered");
    // timeout_not_exceeded, and calls of another kind
    bed.configure(&[(RpcType::UnaryCall, "")], 0).await;
    bed.until_peers(&["a"]).await;
    bed.configure(&[(RpcType::EmptyCall, "")], 0).await;
    bed.until(async || bed.next(20).await.rpcs_by_method.contains_key("EmptyCall")).await;
    let told = bed.next(20).await;
    assert_eq!((told.num_failures, told.rpcs_by_peer["a"]), (0, 20));
    // A call of a kind that there is not changes nothing.
    let asked = ClientConfigureRequest { types: vec![7], ..ClientConfigureRequest::default() };
    let refused: Result<Told<ClientConfigureResponse>, Status> =
        called(bed.driver.clone(), CONFIGURE, Request::new(asked)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(bed.next(10).await.rpcs_by_method["EmptyCall"].rpcs_by_peer["a"], 10);
}

/// The application gives every call twenty seconds: it is the route that ends a `UnaryCall`.
#[tokio::test(flavor = "multi_thread")]
async fn timeout_exceeded_and_timeout_different_route() {
    let a = backend("a", 0).await;
    let bed = Bed::start("--qps=25", bounded(&a)).await;
    bed.until_peers(&["a"]).await;
    bed.configure(&[(RpcType::UnaryCall, "sleep-4"), (RpcType::EmptyCall, "sleep-4")], 0).await;
    until_ended(&bed, UNARY, Code::DeadlineExceeded, 1).await;
    let answered = bed.ended(UNARY, 0).await;
    until_ended(&bed, EMPTY, Code::Ok, 25).await;
    let (unary, empty) = (bed.all(UNARY).await.result, bed.all(EMPTY).await.result);
    assert!(unary[&4] >= 25 && unary.keys().eq(&[0, 4]), "{unary:?}");
    assert_eq!(unary[&0], answered, "calls that take longer than the route allows are answered");
    assert!(empty.keys().eq(&[0]), "{empty:?}");
}

// === circuit_breaking ===

/// So many requests at once.
fn limited(name: &str, max_requests: u32) -> Resource {
    let thresholds = Thresholds {
        max_requests: Some(UInt32Value { value: max_requests }),
        ..Thresholds::default()
    };
    changed(name, |it| {
        it.circuit_breakers =
            Some(CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() });
    })
}

/// With a fiftieth of the numbers of the description.
#[tokio::test(flavor = "multi_thread")]
async fn circuit_breaking() {
    let (a, b, c, d) =
        tokio::join!(backend("a", 0), backend("b", 0), backend("c", 0), backend("d", 0));
    let by_method = vec![path_of(UNARY_CALL, "default"), path_of(EMPTY_CALL, "second")];
    let mut resources = vec![Resource::listener("test", "routes"), routes(by_method)];
    let [_, unary] = cluster_of("default", &[&a, &b]);
    let [_, empty] = cluster_of("second", &[&c, &d]);
    resources.extend([limited("default", 10), unary, limited("second", 20), empty]);
    let bed = Bed::start("--qps=100 --rpc=UnaryCall,EmptyCall", resources).await;
    bed.until_peers(&["a", "b", "c", "d"]).await;

    bed.configure(&[(RpcType::UnaryCall, "keep-open"), (RpcType::EmptyCall, "keep-open")], 120)
        .await;
    let stands = async |unary: i32, empty: i32| {
        bed.until(async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            bed.in_flight(UNARY).await == unary && bed.in_flight(EMPTY).await == empty
        })
        .await;
        // It stays so; one that is just being refused has begun, and has no result yet.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let stays = (bed.in_flight(UNARY).await - unary, bed.in_flight(EMPTY).await - empty);
        assert!((0..=1).contains(&stays.0) && (0..=1).contains(&stays.1), "{stays:?} more");
    };
    stands(10, 20).await;
    bed.plane.set([limited("default", 16)]);
    stands(16, 20).await;
}

// === custom_lb ===

/// A policy that an application brings, as Traffic Director says it (gRFC A52).
fn custom(name: &str) -> Any {
    #[derive(Clone, PartialEq, Message)]
    struct TypedStruct {
        #[prost(string, tag = "1")]
        type_url: String,
    }
    let typed = TypedStruct { type_url: format!("type.googleapis.com/{name}") };
    Any {
        type_url: "type.googleapis.com/xds.type.v3.TypedStruct".into(),
        value: typed.encode_to_vec(),
    }
}

fn by(policies: Vec<Any>) -> Resource {
    let policy = |any| {
        let typed_config = Some(any);
        let extension = TypedExtensionConfig { name: "policy".into(), typed_config };
        Policy { typed_extension_config: Some(extension) }
    };
    let list = LoadBalancingPolicy { policies: policies.into_iter().map(policy).collect() };
    changed("a", |it| it.load_balancing_policy = Some(list))
}

/// Half of the case: `test.RpcBehaviorLoadBalancer`, which a client is to bring itself, is none that there can be here.
#[tokio::test(flavor = "multi_thread")]
async fn custom_lb_takes_the_first_policy_that_it_knows_and_refuses_a_cluster_without_any() {
    let a = backend("a", 0).await;
    let missing = custom("test.ThisLoadBalancerDoesNotExist");
    let own = custom("test.RpcBehaviorLoadBalancer");
    let mut resources = to("a", &[&a]);
    resources[2] = by(vec![missing.clone(), own.clone(), pack_any(RoundRobin::default())]);
    let bed = Bed::start("--qps=100", resources).await;
    bed.until_peers(&["a"]).await;

    bed.plane.set([by(vec![missing, own])]);
    bed.until(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        !bed.plane.nacks(CDS).is_empty()
    })
    .await;
    let config = bed.known().await.generic_xds_configs;
    let refused = config.iter().find(|it| it.type_url == CDS && it.name == "a").unwrap();
    let why = &refused.error_state.as_ref().unwrap().details;
    assert!(why.contains("policies") && why.contains("none of them is known"), "{why}");
    // What came before it is still good.
    bed.until_peers(&["a"]).await;
}
