//! Where calls go by the routes: the cases `path_matching`, `header_matching`, `traffic_splitting`,
//! `change_backend_service`, `api_listener`.

use envoy_types::pb::{
    envoy::{
        admin::v3::ClientResourceStatus,
        config::route::v3::{
            HeaderMatcher, header_matcher::HeaderMatchSpecifier, route_match::PathSpecifier,
        },
        r#type::{
            matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
            v3::Int64Range,
        },
    },
    google::protobuf::BoolValue,
};
use tower_mesh::testing::xds::{RDS, Resource};

use super::{
    bed::{Bed, UNARY, backend, cluster_of, path, route_to, routes, to, two},
    interop::EMPTY_CALL,
};

fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.to_owned(), ..RegexMatcher::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_splitting_and_change_backend_service() {
    let (a, b) = tokio::join!(backend("a", 0), backend("b", 0));
    let mut bed = Bed::start("--qps=200 --fail_on_failed_rpc", to("a", &[&a])).await;
    bed.until_peers(&["a"]).await;
    bed.plane.set(cluster_of("b", &[&b]));
    bed.plane.set([Resource::split("routes", "test", [("a", 20), ("b", 80)])]);
    bed.until_peers(&["a", "b"]).await;
    let told = bed.next(400).await;
    assert!((45..=120).contains(&told.rpcs_by_peer["a"]), "{told:?}");
    bed.plane.set([Resource::routes("routes", [("test", "b")])]);
    bed.until_peers(&["b"]).await;
    bed.no_call_has_failed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn path_matching() {
    let (one, two_) = tokio::join!(backend("one", 0), backend("two", 0));
    let line = "--qps=100 --fail_on_failed_rpc --rpc=EmptyCall,UnaryCall";
    let mut bed = Bed::start(line, two(&one, &two_, vec![])).await;
    bed.until_goes("one", "one").await;
    let other = |matched| bed.plane.set([routes(vec![route_to(matched, "second")])]);
    let empty = || path(PathSpecifier::Path(EMPTY_CALL.into()));
    let unary = || path(PathSpecifier::Prefix("/grpc.testing.TestService/Unary".into()));
    other(empty());
    bed.until_goes("two", "one").await;
    other(unary());
    bed.until_goes("one", "two").await;
    // Two routes, and the last one, of which two lead to the same.
    bed.plane.set([routes(vec![route_to(unary(), "default"), route_to(empty(), "second")])]);
    bed.until_goes("two", "one").await;
    other(path(PathSpecifier::SafeRegex(regex(r"^\/.*\/UnaryCall$"))));
    bed.until_goes("one", "two").await;
    let mut any_case = path(PathSpecifier::Path("/gRpC.tEsTinG.tEstseRvice/empTycaLl".into()));
    any_case.case_sensitive = Some(BoolValue { value: false });
    other(any_case);
    bed.until_goes("two", "one").await;
    bed.no_call_has_failed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_matching() {
    let (one, two_) = tokio::join!(backend("one", 0), backend("two", 0));
    let line = "--qps=100 --fail_on_failed_rpc --rpc=EmptyCall,UnaryCall \
                --metadata=EmptyCall:xds_md:empty_ytpme,UnaryCall:xds_md:unary_yranu,UnaryCall:xds_md_numeric:159";
    let mut bed = Bed::start(line, two(&one, &two_, vec![])).await;
    bed.until_goes("one", "one").await;
    let other = |name: &str, specifier, invert_match| {
        let header = HeaderMatcher {
            name: name.into(),
            invert_match,
            header_match_specifier: Some(specifier),
            ..HeaderMatcher::default()
        };
        let mut matched = path(PathSpecifier::Prefix(String::new()));
        matched.headers = vec![header];
        bed.plane.set([routes(vec![route_to(matched, "second")])]);
    };
    let text = |pattern| {
        let text = StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() };
        HeaderMatchSpecifier::StringMatch(text)
    };
    other("xds_md", text(MatchPattern::Exact("empty_ytpme".into())), false);
    bed.until_goes("two", "one").await;
    other("xds_md", text(MatchPattern::Prefix("un".into())), false);
    bed.until_goes("one", "two").await;
    other("xds_md", text(MatchPattern::Suffix("me".into())), false);
    bed.until_goes("two", "one").await;
    other("xds_md_numeric", HeaderMatchSpecifier::PresentMatch(true), false);
    bed.until_goes("one", "two").await;
    other("xds_md", text(MatchPattern::Exact("unary_yranu".into())), true);
    bed.until_goes("two", "one").await;
    let range = Int64Range { start: 100, end: 200 };
    other("xds_md_numeric", HeaderMatchSpecifier::RangeMatch(range), false);
    bed.until_goes("one", "two").await;
    other("xds_md", text(MatchPattern::SafeRegex(regex("^em.*me$"))), false);
    bed.until_goes("two", "one").await;
    bed.no_call_has_failed().await;
}

/// The listener of the name is another, with routes of its own; then what the first had goes.
#[tokio::test(flavor = "multi_thread")]
async fn api_listener() {
    let (a, b) = tokio::join!(backend("a", 0), backend("b", 0));
    let mut bed = Bed::start("--qps=100 --fail_on_failed_rpc", to("all", &[&a, &b])).await;
    bed.until_peers(&["a", "b"]).await;
    let routes_in_use = async || -> Vec<String> {
        let known = bed.known().await.generic_xds_configs;
        let in_use = known
            .into_iter()
            .filter(|it| it.type_url == RDS && it.client_status() == ClientResourceStatus::Acked);
        in_use.map(|it| it.name).collect()
    };
    assert_eq!(routes_in_use().await, ["routes"]);

    bed.plane.set([
        Resource::routes("other-routes", [("test", "all")]),
        Resource::listener("test", "other-routes"),
    ]);
    bed.until(async || routes_in_use().await.contains(&"other-routes".to_owned())).await;
    bed.until_peers(&["a", "b"]).await;
    bed.plane.remove(RDS, "routes");
    bed.until_peers(&["a", "b"]).await;
    // Who is left decides: a change of the second's routes counts.
    bed.plane.set(cluster_of("b", &[&b]));
    bed.plane.set([Resource::routes("other-routes", [("test", "b")])]);
    bed.until_peers(&["b"]).await;
    bed.no_call_has_failed().await;
    assert!(bed.all(UNARY).await.result.keys().eq(&[0]), "{:?}", bed.all(UNARY).await);
}
