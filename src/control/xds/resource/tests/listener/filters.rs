//! Filters of every call: which are known, and what becomes of them.

use envoy_types::pb::envoy::extensions::filters::http::{
    adaptive_concurrency::v3::{
        AdaptiveConcurrency, GradientControllerConfig,
        adaptive_concurrency::ConcurrencyControllerConfig,
    },
    fault::v3::{FaultAbort, fault_abort::ErrorType},
};

use super::*;
use crate::config::{Action as Does, Permission, Principal};

fn unknown(name: &str) -> PbFilter {
    named(name, Any { type_url: "type.googleapis.com/x.Y".into(), value: vec![0xff] })
}

#[test]
fn the_router_is_the_last_filter() {
    let fault = || named("fault", pack_any(delay()));
    refuses(
        with(vec![router(), fault()]),
        "http_filters[0].typed_config = router: the router must be",
    );
    refuses(with(vec![fault()]), "the last filter must be the router");
    refuses(with(vec![fault(), fault(), router()]), "http_filters[1].name = fault: is used twice");
    refuses(with(vec![named("", pack_any(delay())), router()]), "http_filters[0].name = \"\"");
}

#[test]
fn unsupported_filters_are_refused_unless_optional() {
    let text =
        "http_filters[0].typed_config = x.Y: not supported yet, and the filter is not optional";
    refuses(with(vec![unknown("u"), router()]), text);
    let optional = PbFilter { is_optional: true, ..unknown("u") };
    let read = with(vec![optional, router()]).unwrap();
    assert_eq!(read.filters, []);
    assert!(read.notes[0].contains("x.Y is not supported yet"), "{:?}", read.notes);
    // What sidecars have besides is left out of sidecars.
    let stats = Any { type_url: "type.googleapis.com/stats.PluginConfig".into(), value: vec![] };
    let pb = api(manager(vec![named("istio.stats", stats), router()]));
    assert!(sidecar().listener(&pb).is_ok());
    refuses(proxyless().listener(&pb), "stats.PluginConfig");
    let authz = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
    let authz = Any { type_url: authz.into(), value: vec![] };
    let pb = api(manager(vec![named("authz", authz), router()]));
    refuses(sidecar().listener(&pb), "ext_authz");
}

#[test]
fn faults() {
    let read = with(vec![named("f", pack_any(delay())), router()]).unwrap();
    let [Step::Filter(Filter::Fault(fault))] = read.filters[0].steps.as_slice() else {
        panic!("a fault")
    };
    assert_eq!(fault.delay.as_ref().unwrap().percent, Some(100.0));
    // A share that is not said is none.
    let abort = |error_type: Option<ErrorType>| HttpFault {
        abort: Some(FaultAbort { error_type, ..FaultAbort::default() }),
        ..HttpFault::default()
    };
    let read = |it: HttpFault| with(vec![named("f", pack_any(it)), router()]);
    let aborts = read(abort(Some(ErrorType::HttpStatus(500)))).unwrap();
    let [Step::Filter(Filter::Fault(fault))] = aborts.filters[0].steps.as_slice() else {
        panic!("a fault")
    };
    assert_eq!(fault.abort.as_ref().unwrap().percent, Some(0.0));
    refuses(read(abort(Some(ErrorType::HttpStatus(100)))), "abort.http_status = 100");
    refuses(read(abort(Some(ErrorType::GrpcStatus(17)))), "abort.grpc_status = 17");
    refuses(read(abort(None)), "abort.error_type = none");
    assert_eq!(read(HttpFault::default()).unwrap().filters[0].steps, []);
}

#[test]
fn rules_of_who_may_call() {
    let read = |rbac: Rbac| {
        let read = with(vec![named("rbac", pack_any(rbac)), router()])?;
        match read.filters[0].steps.as_slice() {
            [Step::Filter(Filter::Authorize(rules))] => Ok(rules.clone()),
            other => Err(format!("{other:?}")),
        }
    };
    let allow = read(rules(0, Rule::Any(true), Identifier::Any(true))).unwrap();
    assert_eq!(allow.otherwise, Some(Does::Deny));
    assert_eq!(allow.rules[0].name.as_deref(), Some("p"));
    assert_eq!(allow.rules[0].permissions, [Permission::Any]);
    assert_eq!(allow.rules[0].principals, [Principal::Any]);
    let deny = read(rules(1, Rule::Any(true), Identifier::Any(true))).unwrap();
    assert_eq!((deny.rules[0].action, deny.otherwise), (Does::Deny, Some(Does::Allow)));
    // An allow list without anything allows nothing.
    let nobody = Rbac { rules: Some(Rules::default()), ..Rbac::default() };
    let nobody = read(nobody).unwrap();
    assert_eq!((nobody.rules.len(), nobody.otherwise), (0, Some(Does::Deny)));
    // What only the receiving side knows would never match, and so deny nobody.
    refuses(read(rules(1, Rule::DestinationPort(80), Identifier::Any(true))), "destination_port");
    let ip = Identifier::DirectRemoteIp(Default::default());
    refuses(read(rules(1, Rule::Any(true), ip)), "peer_ip");
    refuses(read(rules(0, Rule::Any(false), Identifier::Any(true))), "any = false: must be true");
    let mut conditional = rules(0, Rule::Any(true), Identifier::Any(true));
    let policies = &mut conditional.rules.as_mut().unwrap().policies;
    policies.get_mut("p").unwrap().condition = Some(Default::default());
    refuses(read(conditional), "policies.p.condition = given");
    let mut matcher = rules(0, Rule::Any(true), Identifier::Any(true));
    matcher.matcher = Some(Default::default());
    refuses(read(matcher), "matcher = given");
}

#[test]
fn a_limit_of_concurrency_grows_as_envoys_which_no_calls_in_flight_bound() {
    let gradient = GradientControllerConfig::default();
    let controller = ConcurrencyControllerConfig::GradientControllerConfig(gradient);
    let pb = AdaptiveConcurrency {
        concurrency_controller_config: Some(controller),
        ..AdaptiveConcurrency::default()
    };
    let listener = with(vec![named("f", pack_any(pb)), router()]).unwrap();
    let pb = host(&["*"], vec![route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![pb])).unwrap();
    let service = listener.service(&routes.hosts[0]);
    let [Filter::AdaptiveConcurrency(read)] = service.filters.as_slice() else {
        panic!("{:?}", service.filters)
    };
    assert_eq!(read.max_limit_factor, Some(1e6));
    assert!(service.validate("s").is_ok());
}

#[test]
fn sessions() {
    let read = with(vec![named("s", pack_any(session_by_cookie())), router()]).unwrap();
    let [Step::Filter(Filter::Session(it))] = read.filters[0].steps.as_slice() else {
        panic!("a session")
    };
    assert_eq!((it.cookie.as_ref().unwrap().name.as_str(), it.strict), ("s", Some(true)));
}
