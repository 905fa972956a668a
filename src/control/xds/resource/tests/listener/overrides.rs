//! What hosts and routes say of the filters of their listener.

use envoy_types::pb::envoy::{
    config::route::v3::FilterConfig,
    extensions::filters::http::{
        fault::v3::{FaultAbort, fault_abort::ErrorType},
        rbac::v3::RbacPerRoute,
    },
};

use super::*;

/// A fault of the listener, that routes leave out or make another.
#[test]
fn routes_override_filters_by_name() {
    let listener = with(vec![named("f", pack_any(delay())), router()]).unwrap();
    let off = pack_any(FilterConfig { disabled: true, ..FilterConfig::default() });
    let abort = HttpFault {
        abort: Some(FaultAbort {
            percentage: always(),
            error_type: Some(ErrorType::HttpStatus(418)),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    };
    let over = |any: Any| PbRoute {
        typed_per_filter_config: [("f".to_owned(), any)].into(),
        ..route(prefix("/a"), to("c"))
    };
    let pb = host(&["*"], vec![over(off), over(pack_any(abort)), route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![pb])).unwrap();
    let service = listener.service(&routes.hosts[0]);
    assert_eq!(service.filters, []);
    assert_eq!(service.routes[0].filters, []);
    let fault = |route: usize| match service.routes[route].filters.as_slice() {
        [Filter::Fault(fault)] => fault.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(1).abort.unwrap().status, Some(418));
    assert!(fault(2).delay.is_some());
    assert!(service.validate("s").is_ok());
    // Where no route says anything, all of them share it.
    let plain = host(&["*"], vec![route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![plain])).unwrap();
    let service = listener.service(&routes.hosts[0]);
    assert_eq!((service.filters.len(), service.routes[0].filters.len()), (1, 0));
}

#[test]
fn a_filter_that_is_off_is_turned_on_by_a_route() {
    let disabled = PbFilter { disabled: true, ..named("f", pack_any(delay())) };
    let listener = with(vec![disabled, router()]).unwrap();
    let on = pack_any(FilterConfig::default());
    let on = PbRoute {
        typed_per_filter_config: [("f".to_owned(), on)].into(),
        ..route(prefix("/a"), to("c"))
    };
    let pb = host(&["*"], vec![on, route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![pb])).unwrap();
    let service = listener.service(&routes.hosts[0]);
    let counts: Vec<usize> = service.routes.iter().map(|route| route.filters.len()).collect();
    assert_eq!(counts, [1, 0]);
}

/// What guards calls and is not known here may be off; a route that turns it on is refused with it.
#[test]
fn a_filter_that_is_off_and_not_known_is_not_turned_on_in_vain() {
    let unknown = || Any { type_url: "type.googleapis.com/x.ExtAuthz".into(), value: vec![] };
    let of = |is_optional: bool| {
        let guard = PbFilter { disabled: true, is_optional, ..named("guard", unknown()) };
        with(vec![guard, router()]).unwrap()
    };
    let lacks = |decoder: &Decoder, listener: &Listener, said: &[Any]| {
        let host_says = said.first().map(|it| ("guard".to_owned(), it.clone()));
        let route_says = said.get(1).map(|it| ("guard".to_owned(), it.clone()));
        let pb = PbRoute {
            typed_per_filter_config: route_says.into_iter().collect(),
            ..route(prefix("/admin"), to("c"))
        };
        let mut pb = host(&["*"], vec![pb]);
        pb.typed_per_filter_config = host_says.into_iter().collect();
        let routes = decoder.routes(&configuration(vec![pb])).unwrap();
        listener.lacks(&routes.hosts[0])
    };
    let on = pack_any(FilterConfig::default());
    let off = pack_any(FilterConfig { disabled: true, ..FilterConfig::default() });
    let config = pack_any(FilterConfig { config: Some(unknown()), ..FilterConfig::default() });
    let (required, optional) = (of(false), of(true));
    for decoder in [proxyless(), sidecar()] {
        assert_eq!(lacks(&decoder, &required, &[]), None);
        assert_eq!(lacks(&decoder, &required, std::slice::from_ref(&off)), None);
        assert_eq!(lacks(&decoder, &required, &[on.clone(), off.clone()]), None);
        let reason = lacks(&decoder, &required, &[off.clone(), on.clone()]).unwrap();
        assert!(reason.contains("guard") && reason.contains("x.ExtAuthz"), "{reason}");
        assert!(lacks(&decoder, &required, std::slice::from_ref(&on)).is_some());
        assert_eq!(lacks(&decoder, &optional, std::slice::from_ref(&on)), None);
    }
    // What is said of it is not known either, and turns it on all the same.
    for said in [config, unknown()] {
        assert!(lacks(&sidecar(), &required, &[off.clone(), said.clone()]).is_some());
        assert!(lacks(&sidecar(), &required, &[on.clone(), said]).is_some());
    }
    // Where the routes stand in the listener, it is refused.
    let guard = PbFilter { disabled: true, ..named("guard", unknown()) };
    let pb = PbRoute {
        typed_per_filter_config: [("guard".to_owned(), on)].into(),
        ..route(prefix("/admin"), to("c"))
    };
    let inline = configuration(vec![host(&["*"], vec![pb])]);
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(inline)),
        http_filters: vec![guard, router()],
        ..HttpConnectionManager::default()
    };
    let pb = PbListener {
        name: "l".into(),
        api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
        ..PbListener::default()
    };
    refuses(proxyless().listener(&pb), "turns the filter guard on");
}

#[test]
fn settings_of_routes_that_are_not_known() {
    let config = |config: Any, is_optional: bool| {
        let wrapped = FilterConfig { config: Some(config), is_optional, disabled: false };
        let pb = PbRoute {
            typed_per_filter_config: [("f".to_owned(), pack_any(wrapped))].into(),
            ..route(prefix("/"), to("c"))
        };
        proxyless().routes(&configuration(vec![host(&["*"], vec![pb])]))
    };
    let unknown = || Any { type_url: "type.googleapis.com/x.Y".into(), value: vec![] };
    refuses(config(unknown(), false), "typed_per_filter_config.f = x.Y: not supported yet");
    assert!(config(unknown(), true).is_ok());
    let rbac = pack_any(RbacPerRoute { rbac: None });
    let read = config(rbac, false).unwrap();
    assert_eq!(read.hosts[0].routes[0].overrides["f"], Override::Disabled);
}
