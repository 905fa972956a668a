use std::time::Duration;

use super::*;
use crate::config::{
    Action, Authorization, AuthorizationRule, AvoidEndpoint, Balancer, ClusterSecurity, HeaderEdit,
    NamedFilter, OutlierDetection, PathRewrite, Protocol, RateLimit, Retry, Rewrite, Route,
    TokenBucket, WeightedCluster,
};

const SECOND: Duration = Duration::from_secs(1);

fn source(index: usize) -> Whose {
    Whose::Source(SourceId::new(index))
}

fn policy(edit: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::default();
    edit(&mut policy);
    policy
}

fn laid(layers: impl IntoIterator<Item = (Whose, Policy)>) -> Laid<Policy> {
    policies(layers.into_iter().collect(), "services.a.policy")
}

fn clusters_of(code: Cluster, sources: &[Cluster]) -> Laid<Cluster> {
    let sources = sources.iter().enumerate();
    clusters("a", code, sources.map(|(index, it)| (SourceId::new(index), it)))
}

#[test]
fn what_the_nearer_layer_does_not_say_comes_from_the_next_that_does() {
    let laid = laid([
        (Whose::Code, policy(|it| it.timeout = Some(SECOND))),
        (source(0), policy(|it| it.idle_timeout = Some(SECOND))),
        (
            source(1),
            policy(|it| {
                (it.timeout, it.idle_timeout) = (Some(9 * SECOND), Some(9 * SECOND));
                it.attempt_timeout = Some(SECOND / 2);
            }),
        ),
    ]);
    let it = laid.merged;
    assert_eq!((it.timeout, it.idle_timeout), (Some(SECOND), Some(SECOND)));
    assert_eq!(it.attempt_timeout, Some(SECOND / 2));
    assert!(laid.left_out.is_empty());
}

#[test]
fn an_attempt_timeout_over_the_timeout_is_left_out_whoever_says_it() {
    let attempt = policy(|it| it.attempt_timeout = Some(3 * SECOND));
    let whole = policy(|it| it.timeout = Some(SECOND));
    for (near, far, whose) in [(&attempt, &whole, Whose::Code), (&whole, &attempt, source(0))] {
        let laid = laid([(Whose::Code, near.clone()), (source(0), far.clone())]);
        assert_eq!((laid.merged.timeout, laid.merged.attempt_timeout), (Some(SECOND), None));
        let [LeftOut { whose: of, error }] = &*laid.left_out else { panic!("{laid:?}") };
        assert_eq!(*of, whose);
        assert_eq!(error.path, "services.a.policy.attempt_timeout");
        assert_eq!(error.value, "3s");
        assert!(laid.layers.iter().all(|(_, it)| it.attempt_timeout.is_none()));
    }
}

#[test]
fn what_contradicts_the_nearer_layer_is_left_out_and_nothing_else() {
    let code = policy(|it| it.retry = Some(Retry::standard().backoff_max(SECOND / 10)));
    let file = policy(|it| {
        it.timeout = Some(SECOND);
        let retry = Retry::standard().attempts(7).backoff(SECOND / 2, SECOND);
        it.retry = Some(retry.avoid([AvoidEndpoint::Tried]));
    });
    let laid = laid([(Whose::Code, code), (source(0), file)]);
    let retry = laid.merged.retry.unwrap();
    assert_eq!((retry.backoff_base, retry.backoff_max), (None, Some(SECOND / 10)));
    assert_eq!((retry.attempts, laid.merged.timeout), (Some(7), Some(SECOND)));
    assert_eq!(retry.avoid.len(), 1);
    let [LeftOut { whose, error }] = &*laid.left_out else { panic!("{:?}", laid.left_out) };
    assert_eq!((*whose, &*error.path), (source(0), "services.a.policy.retry.backoff_base"));
    assert!(error.reason.contains("backoff_max (100ms)"), "{error}");
    // Nor is it told as the source's.
    let (_, file) = &laid.layers[1];
    assert_eq!(file.retry.as_ref().unwrap().backoff_base, None);
    assert_eq!(file.retry.as_ref().unwrap().backoff_max, Some(SECOND));
}

/// A base over the usual longest back-off is right only beside its own.
#[test]
fn parts_of_one_layer_that_need_each_other_stay_together() {
    let code = policy(|it| it.retry = Some(Retry::standard().attempts(2)));
    let file = policy(|it| it.retry = Some(Retry::standard().backoff(3 * SECOND, 9 * SECOND)));
    let second = policy(|it| it.retry = Some(Retry::standard().backoff(9 * SECOND, 10 * SECOND)));
    let laid = laid([(Whose::Code, code), (source(0), file), (source(1), second)]);
    assert!(laid.left_out.is_empty());
    let retry = laid.merged.retry.unwrap();
    assert_eq!((retry.backoff_base, retry.backoff_max), (Some(3 * SECOND), Some(9 * SECOND)));
}

#[test]
fn the_fields_of_clusters_are_merged_between_sources_too() {
    let mut code = Cluster::default();
    let mut outliers = OutlierDetection::default();
    outliers.consecutive_5xx = Some(3);
    code.outlier_detection = Some(outliers);
    let mut first = Cluster::default();
    first.balancer = Some(Balancer::RoundRobin);
    let mut second = Cluster::default();
    second.balancer = Some(Balancer::Random);
    let mut outliers = OutlierDetection::default();
    (outliers.consecutive_5xx, outliers.base_ejection_time) = (Some(9), Some(SECOND));
    second.outlier_detection = Some(outliers);
    let laid = clusters_of(code, &[first, second]);
    assert_eq!(laid.merged.balancer, Some(Balancer::RoundRobin));
    let outliers = laid.merged.outlier_detection.unwrap();
    assert_eq!((outliers.consecutive_5xx, outliers.base_ejection_time), (Some(3), Some(SECOND)));
    assert!(laid.left_out.is_empty());
}

#[cfg(feature = "_tls")]
#[test]
fn how_connections_are_secured_is_of_one_source_and_the_code() {
    let of = |security| Cluster { security: Some(security), ..Cluster::default() };
    let silent = Cluster { balancer: Some(Balancer::Random), ..Cluster::default() };
    let mut strict = ClusterSecurity::mutual();
    strict.sni = Some("a.prod".into());
    let mut lax = ClusterSecurity::tls();
    (lax.system_roots, lax.max_verify_depth) = (Some(true), Some(9));
    let merged = |code: Cluster, sources: &[Cluster]| clusters_of(code, sources).merged.security;
    // Who says nothing of it hides nobody's words of it.
    let found = merged(Cluster::default(), &[silent.clone(), of(strict.clone())]);
    assert_eq!(found.as_ref(), Some(&strict));
    // Nor does who comes later turn it off, or add whom to trust.
    for later in [ClusterSecurity::off(), lax.clone()] {
        let found = merged(Cluster::default(), &[of(strict.clone()), of(later)]);
        assert_eq!(found.as_ref(), Some(&strict));
    }
    let found = merged(of(ClusterSecurity::mutual()), &[silent, of(lax)]).unwrap();
    assert_eq!(found.mode, Some(SecurityMode::Mutual));
    assert_eq!(found.max_verify_depth, Some(9));
}

#[cfg(feature = "_tls")]
#[test]
fn what_contradicts_how_connections_are_secured_is_left_out_and_never_that() {
    let mut secured = Cluster::default();
    let mut security = ClusterSecurity::mutual();
    security.alpn = vec!["h2".into()];
    secured.security = Some(security);
    let code = Cluster { protocol: Some(Protocol::Http1), ..Cluster::default() };
    let laid = clusters_of(code, &[secured.clone()]);
    assert_eq!(laid.merged.security, secured.security);
    assert_eq!(laid.merged.protocol, None);
    assert_eq!(laid.left_out.len(), 1, "{:?}", laid.left_out);
    assert_eq!(laid.left_out[0].whose, Whose::Code);
}

#[test]
fn the_routes_of_a_service_are_of_one_source_and_its_policies_of_all() {
    let route = |name: &str| {
        let mut route = Route::default();
        route.name = Some(name.into());
        route.clusters = vec![WeightedCluster::new("c")];
        route
    };
    let mut first = Service::default();
    first.policy.timeout = Some(SECOND);
    let mut second = Service::default();
    second.routes = vec![route("second")];
    second.order = RouteOrder::Specificity;
    let mut third = Service::default();
    third.routes = vec![route("third"), route("other")];
    third.policy.idle_timeout = Some(SECOND);
    let said = [first, second, third].into_iter().enumerate();
    let laid = services("a", &said.map(|(at, it)| (SourceId::new(at), Box::new(it))).collect());
    assert_eq!(laid.routed_by, Some(SourceId::new(1)));
    let names: Vec<_> = laid.service.routes.iter().map(|it| it.name.as_deref().unwrap()).collect();
    assert_eq!((names, laid.service.order), (vec!["second"], RouteOrder::Specificity));
    assert_eq!(laid.policies.len(), 3);
    assert!(laid.left_out.is_empty());
}

#[test]
fn nobody_takes_back_what_another_refuses() {
    let authorize = || Filter::Authorize(Default::default());
    let edit = || Filter::RequestHeaders(HeaderEdit::default());
    let (mut first, mut second) = (Service::default(), Service::default());
    first.filters = vec![edit()];
    second.filters = vec![edit(), authorize()];
    let said = [first, second].into_iter().enumerate();
    let laid = services("a", &said.map(|(at, it)| (SourceId::new(at), Box::new(it))).collect());
    assert_eq!(laid.service.filters, [edit(), authorize()]);
}

#[test]
fn filters_that_do_not_fit_the_routes_of_another_are_left_out() {
    let rewrite = || {
        let mut rewrite = Rewrite::default();
        rewrite.path = Some(PathRewrite::Full("/a".into()));
        Filter::Rewrite(rewrite)
    };
    let (mut first, mut second) = (Service::default(), Service::default());
    first.filters = vec![rewrite()];
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("c")];
    route.filters = vec![rewrite()];
    second.routes = vec![route];
    let said = [first, second].into_iter().enumerate();
    let laid = services("a", &said.map(|(at, it)| (SourceId::new(at), Box::new(it))).collect());
    assert!(laid.service.filters.is_empty());
    let [LeftOut { whose, error }] = &*laid.left_out else { panic!("{:?}", laid.left_out) };
    assert_eq!(*whose, source(0));
    assert!(error.path.contains("rewrite.path"), "{error}");
}

#[test]
fn a_rewrite_that_does_not_fit_the_routes_of_another_takes_no_limit_with_it() {
    let rewrite = || {
        let mut rewrite = Rewrite::default();
        rewrite.path = Some(PathRewrite::Full("/a".into()));
        Filter::Rewrite(rewrite)
    };
    let limit = || Filter::RateLimit(Box::new(RateLimit::new(TokenBucket::new(1, 1, SECOND))));
    let edit = || Filter::RequestHeaders(HeaderEdit::default());
    let mut rules = Authorization::default();
    rules.rules = vec![AuthorizationRule::deny("nobody")];
    let authorize = || Filter::Authorize(rules.clone());
    let (mut first, mut second, mut third) =
        (Service::default(), Service::default(), Service::default());
    first.filters = vec![edit(), rewrite(), limit(), authorize(), edit()];
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("c")];
    route.filters = vec![rewrite()];
    second.routes = vec![route];
    third.filters = vec![limit(), authorize()];
    let said = [first, second, third].into_iter().enumerate();
    let laid = services("a", &said.map(|(at, it)| (SourceId::new(at), Box::new(it))).collect());
    assert_eq!(laid.service.filters, [edit(), limit(), authorize(), edit(), authorize()]);
    assert_eq!(laid.filtered_by, [0, 0, 0, 0, 2].map(SourceId::new));
    assert_eq!(laid.left_out.len(), 1, "{:?}", laid.left_out);
    assert!(laid.service.validate("a").is_ok());
}

#[test]
fn rules_of_routes_that_another_source_hides_are_noticed() {
    let routing = |path: &str, filters: Vec<Filter>| {
        let mut route = Route::default();
        route.name = Some(path.into());
        route.clusters = vec![WeightedCluster::new("c")];
        route.filters = filters;
        let mut service = Service::default();
        service.routes = vec![route];
        service
    };
    let rules = || vec![Filter::Authorize(Authorization::default())];
    let lost = |said: &[&Service]| {
        let said = said.iter().enumerate();
        let said = said.map(|(at, it)| (SourceId::new(at), Box::new((*it).clone()))).collect();
        lost_rules("a", &said).map(|it| (it.source.index(), it.routed_by.index(), it.path))
    };
    let (open, closed) = (routing("a", Vec::new()), routing("b", rules()));
    let mut elsewhere = Service::default();
    elsewhere.cluster = Some("c".into());
    let mut beside = Service::default();
    beside.filters = rules();
    let path = || "services.a.routes[0].filters[0].authorize".to_owned();
    assert_eq!(lost(&[&open, &closed]), Some((1, 0, path())));
    assert_eq!(lost(&[&beside, &elsewhere, &open, &closed]), Some((3, 1, path())));
    for nothing in [
        &[&closed][..],
        &[&closed, &open],
        &[&beside, &closed],
        &[&closed, &closed],
        &[&open, &beside],
    ] {
        assert_eq!(lost(nothing), None);
    }
}

#[test]
fn rules_of_clusters_and_of_overrides_that_another_source_hides_are_noticed() {
    let rules = || Filter::Authorize(Authorization::default());
    let route = |edit: &dyn Fn(&mut Route)| {
        let mut route = Route::default();
        route.clusters = vec![WeightedCluster::new("c")];
        edit(&mut route);
        let mut service = Service::default();
        service.routes = vec![route];
        service
    };
    let said = || FilterOverride { disabled: None, filter: Some(Box::new(rules())) };
    let open = route(&|route| route.name = Some("a".into()));
    for (hidden, path) in [
        (route(&|it| it.clusters[0].filters = vec![rules()]), "clusters[0].filters[0].authorize"),
        (route(&|it| it.overrides = [("n".into(), said())].into()), "overrides.n.filter.authorize"),
        (
            route(&|it| it.clusters[0].overrides = [("n".into(), said())].into()),
            "clusters[0].overrides.n.filter.authorize",
        ),
        (
            route(&|it| {
                it.filters = vec![Filter::Named(Box::new(NamedFilter::new("n", rules())))];
            }),
            "filters[0].named.filter.authorize",
        ),
    ] {
        let said = [open.clone(), hidden].into_iter().enumerate();
        let said = said.map(|(at, it)| (SourceId::new(at), Box::new(it))).collect();
        let lost = lost_rules("a", &said).map(|it| it.path);
        assert_eq!(lost.as_deref(), Some(&*format!("services.a.routes[0].{path}")));
    }
}

#[test]
fn changes_to_filters_that_another_source_hides_are_left_out_but_for_rules() {
    let named = |name: &str, filter| Filter::Named(Box::new(NamedFilter::new(name, filter)));
    let edit = || Filter::RequestHeaders(HeaderEdit::default());
    let mut denies = Authorization::default();
    denies.otherwise = Some(Action::Deny);
    let rules = || Filter::Authorize(denies.clone());
    let off = |names: &[&str]| {
        let off = FilterOverride { disabled: Some(true), filter: None };
        names.iter().map(|name| ((*name).to_owned(), off.clone())).collect()
    };
    let mut filters = Service::default();
    filters.filters = vec![named("edit", edit())];
    let mut routes = Service::default();
    routes.filters = vec![named("edit", edit()), named("rules", rules())];
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("c")];
    route.clusters[0].overrides = off(&["edit"]);
    route.overrides = off(&["edit", "rules"]);
    routes.routes = vec![route];
    routes.validate("a").unwrap();
    let said = [filters, routes].into_iter().enumerate();
    let laid = services("a", &said.map(|(at, it)| (SourceId::new(at), Box::new(it))).collect());
    assert_eq!(laid.service.filters, [named("edit", edit()), named("rules", rules())]);
    let route = &laid.service.routes[0];
    assert_eq!(route.overrides.keys().collect::<Vec<_>>(), ["rules"]);
    assert!(route.clusters[0].overrides.is_empty());
    let left_out: Vec<_> = laid.left_out.iter().map(|it| (it.whose, &*it.error.path)).collect();
    let expected = [
        (source(1), "services.a.routes[0].overrides.edit"),
        (source(1), "services.a.routes[0].clusters[0].overrides.edit"),
    ];
    assert_eq!(left_out, expected);
}
