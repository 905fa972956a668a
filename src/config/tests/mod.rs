mod hash;
#[cfg(feature = "schema")]
pub(crate) mod instances;
#[cfg(feature = "schema")]
mod leaves;
#[cfg(feature = "schema")]
mod random;
mod reports;
mod shard;
#[cfg(feature = "schema")]
mod table;

use std::time::Duration;

use super::*;

fn message(result: Result<(), ConfigErrors>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn defaults_are_valid() {
    Service::default().validate("a").unwrap();
    Cluster::default().validate("a").unwrap();
}

#[test]
fn a_timeout_of_more_than_a_year_names_field_value_and_range() {
    let mut service = Service::default();
    service.policy.timeout = Some(Duration::from_secs(40_000_000));
    assert_eq!(
        message(service.validate("users")),
        "services.users.policy.timeout = 40000000s: must be at most 365 days, or 0 for none"
    );
}

#[test]
fn a_bound_of_zero_is_none() {
    let mut service = Service::default();
    let policy = &mut service.policy;
    for field in [
        &mut policy.timeout,
        &mut policy.idle_timeout,
        &mut policy.response_timeout,
        &mut policy.max_stream_duration,
    ] {
        *field = Some(Duration::ZERO);
    }
    policy.attempt_timeout = Some(Duration::from_secs(2));
    service.validate("users").unwrap();
}

#[test]
fn an_attempt_timeout_over_the_timeout_is_refused() {
    let mut service = Service::default();
    service.policy.timeout = Some(Duration::from_secs(1));
    service.policy.attempt_timeout = Some(Duration::from_secs(2));
    assert!(message(service.validate("users")).contains("must be at most timeout (1s)"));
}

#[test]
fn nan_and_negative_ratios_are_refused() {
    for ratio in [f64::NAN, -0.1, 10.1, f64::INFINITY] {
        let mut service = Service::default();
        service.policy.retry = Some(Retry::standard().budget(Budget::new(ratio)));
        assert!(message(service.validate("a")).contains("must be in 0..=10"), "{ratio}");
    }
}

#[test]
fn inverted_bounds_are_refused() {
    let mut service = Service::default();
    let retry = Retry::standard().backoff(Duration::from_secs(2), Duration::from_secs(1));
    service.policy.retry = Some(retry);
    assert!(message(service.validate("a")).contains("retry.backoff_base = 2s: must be at most"));
    let mut cluster = Cluster::default();
    cluster.transport.connect_backoff_base = Some(Duration::from_secs(60));
    assert!(message(cluster.validate("a")).contains("connect_backoff_base = 60s"));
}

#[test]
fn weights_that_are_all_zero_are_refused() {
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("a").weight(0)];
    let mut service = Service::default();
    service.routes = vec![route];
    assert!(message(service.validate("a")).contains("must not all be 0"));
}

#[test]
fn what_the_stack_cannot_run_is_refused_by_name() {
    let mut endpoint = Endpoint::new("10.0.0.1:80".parse().unwrap());
    endpoint.tunnel = Tunnel::Hbone(Box::default());
    endpoint.network = Some("a".to_owned());
    let text = message(endpoint.validate("clusters.a.endpoints[0]"));
    #[cfg(feature = "file")]
    assert!(text.contains(r#"clusters.a.endpoints[0].tunnel = {"hbone":{"#), "{text}");
    assert!(text.contains("network = \"a\": not supported yet"), "{text}");
    let mut cluster = Cluster::default();
    cluster.balancer = Some(Balancer::Extension(Extension::new("a")));
    cluster.failover = Some(Failover { mode: FailoverMode::ByLocality, ..Failover::default() });
    let text = message(cluster.validate("a"));
    assert!(
        text.contains("extension: not supported yet") && text.contains("failover.mode = "),
        "{text}"
    );
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("a")];
    route.filters = vec![Filter::Extension(Extension::new("a"))];
    let mut service = Service::default();
    service.routes = vec![route];
    let text = message(service.validate("a"));
    assert!(text.contains("routes[0].filters[0] = extension: not supported yet"), "{text}");
}

#[test]
fn addresses_survive_their_text() {
    for text in ["127.0.0.1:80", "[::1]:443", "unix:/run/app.sock"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in ["localhost:80", "127.0.0.1", "127.0.0.1:0", "unix:", ""] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}

#[test]
fn the_nearer_policy_wins_field_by_field() {
    let mut near = Policy::default();
    near.timeout = Some(Duration::from_secs(1));
    let mut far = Policy::default();
    far.timeout = Some(Duration::from_secs(9));
    far.max_requests = Some(7);
    let merged = near.over(&far);
    assert_eq!(merged.timeout, Some(Duration::from_secs(1)));
    assert_eq!(merged.max_requests, Some(7));
}

#[cfg(feature = "serde")]
#[test]
fn durations_are_text_and_unknown_fields_are_errors() {
    let json = r#"{"policy": {"timeout": "250ms", "retry": {"budget": {"ratio": 0.4}}}}"#;
    let service: Service = serde_json::from_str(json).unwrap();
    assert_eq!(service.policy.timeout, Some(Duration::from_millis(250)));
    let again: Service = serde_json::from_str(&serde_json::to_string(&service).unwrap()).unwrap();
    assert_eq!(again, service);
    let unknown = serde_json::from_str::<Service>(r#"{"policy": {"timeuot": "1s"}}"#);
    assert!(unknown.unwrap_err().to_string().contains("timeuot"));
    let number = serde_json::from_str::<Service>(r#"{"policy": {"timeout": 5}}"#);
    assert!(number.is_err());
}

#[cfg(feature = "serde")]
#[test]
fn a_choice_refuses_fields_that_it_does_not_have() {
    for (text, field) in [
        (r#"{"balancer": {"peak_ewma": {"dcay": "1s"}}}"#, "dcay"),
        (r#"{"balancer": {"ring_hash": {"size": 1}}}"#, "size"),
        (r#"{"discovery": {"dns": {"nmae": "dns:///a"}}}"#, "nmae"),
        (r#"{"filters": [{"fault": {"percent": 1}}]}"#, "percent"),
    ] {
        let error = serde_json::from_str::<Cluster>(text).unwrap_err().to_string();
        assert!(error.contains(&format!("unknown field `{field}`")), "{error}");
    }
}

#[test]
fn a_route_that_answers_itself_needs_no_cluster() {
    let mut route = Route::default();
    let mut service = Service::default();
    service.routes = vec![route.clone()];
    assert!(message(service.validate("a")).contains("needs at least one cluster"));
    route.filters = vec![Filter::Redirect(Redirect::default())];
    service.routes = vec![route];
    service.validate("a").unwrap();
}

#[test]
fn a_long_value_is_shortened_in_reports() {
    let mut cluster = Cluster::default();
    cluster.extensions = vec![Extension::new("é".repeat(1_000))];
    let text = message(cluster.validate("a"));
    #[cfg(feature = "file")]
    assert!(text.starts_with(r#"clusters.a.extensions = [{"name":"éé"#), "{text}");
    assert!(text.ends_with("é…: not supported yet") && text.chars().count() < 200, "{text}");
}

#[cfg(feature = "file")]
#[test]
fn what_is_refused_is_named_as_the_file_spells_it() {
    let policy = r#"{"follow_redirects": {}, "retry": {"predicates": [{"name": "a"}]}}"#;
    let mut service = Service::default();
    service.policy = serde_json::from_str(policy).unwrap();
    let text = message(service.validate("a"));
    let of = "services.a.policy";
    for line in [
        r#"follow_redirects = {"copy_headers":[],"predicates":[],"statuses":[]}"#,
        r#"retry.predicates = [{"name":"a","required":true,"settings":{}}]"#,
    ] {
        assert!(text.contains(&format!("{of}.{line}: not supported yet")), "{line}: {text}");
    }
}

#[cfg(feature = "schema")]
#[test]
fn the_published_schema_is_the_models() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mesh.schema.json");
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(published.trim(), schema().trim(), "run `just schema` and commit the file");
}

#[test]
fn an_endpoint_and_its_rare_parts_stay_small() {
    // 100,000 of them pass through an update; the balancer keeps a much smaller form (gate G7).
    assert!(size_of::<Endpoint>() <= 320, "{} bytes", size_of::<Endpoint>());
    assert!(size_of::<Tunnel>() <= 16 && size_of::<Option<Security>>() <= 16);
}

#[cfg(feature = "_tls")]
#[test]
fn how_often_the_files_of_an_identity_are_read_has_a_range() {
    let mut files = IdentityFiles::default();
    files.roots = Some("ca.crt".to_owned());
    for (interval, reason) in [
        (0, "poll_interval = 0ns: must be over 0"),
        (99, "poll_interval = 99ms: must be at least 100 ms"),
        (1000 * 86_400 * 366, "must be over 0 and at most 365 days"),
    ] {
        files.poll_interval = Some(Duration::from_millis(interval));
        let text = message(files.validate("default"));
        assert!(
            text.starts_with("identities.default.poll_interval") && text.contains(reason),
            "{text}"
        );
    }
    files.poll_interval = Some(Duration::from_millis(100));
    files.validate("default").unwrap();
    files.roots = None;
    assert!(message(files.validate("default")).contains("must say `certificate` and `key`"));
}

#[cfg(feature = "regex")]
#[test]
fn a_pattern_that_is_too_large_without_case_only_is_refused() {
    use crate::config::pattern::Whole;

    let is_so =
        |pattern: &String| Whole::new(pattern, false).is_ok() && Whole::new(pattern, true).is_err();
    let large =
        (50..2000).step_by(50).map(|times| format!("/(abcdefgh){{{times}}}")).find(is_so).unwrap();
    let matched = |ignore_case: bool| {
        let mut rule = Match::default();
        rule.path = Some(PathMatch::Regex(large.clone()));
        rule.path_ignore_case = ignore_case;
        rule.query.push(QueryMatch::new("q", StringMatch::Regex(large.clone())));
        rule.query[0].ignore_case = ignore_case;
        let mut route = Route::default();
        (route.matches, route.clusters) = (vec![rule], vec![WeightedCluster::new("a")]);
        let mut service = Service::default();
        service.routes = vec![route];
        service.validate("a")
    };
    matched(false).unwrap();
    let told = message(matched(true));
    for field in ["path.regex", "query[0].matcher.regex"] {
        assert!(told.contains(field), "{told}");
    }
}

#[test]
fn two_rewrites_of_one_path_are_refused_with_the_routes_name() {
    let rewrite = |path: Option<PathRewrite>| {
        let mut rewrite = Rewrite::default();
        rewrite.path = path;
        Filter::Rewrite(rewrite)
    };
    let prefix = |path: &str| Some(PathRewrite::Prefix(path.into()));
    let mut route = Route::default();
    (route.name, route.clusters) = (Some("cart".into()), vec![WeightedCluster::new("a")]);
    route.filters = vec![rewrite(prefix("/x"))];
    let mut service = Service::default();
    (service.filters, service.routes) = (vec![rewrite(prefix("/y"))], vec![route]);
    let told = message(service.validate("a"));
    assert!(told.contains("routes[0].filters[0].rewrite.path") && told.contains("cart"), "{told}");
    service.routes[0].filters = vec![rewrite(None)];
    service.validate("a").unwrap();
    // What a service does is done for the matches of all routes.
    let mut rule = Match::default();
    rule.path = Some(PathMatch::Template("/a/{b}".into()));
    service.routes[0].matches = vec![rule];
    let told = message(service.validate("a"));
    assert!(told.contains("a match of the route has no prefix"), "{told}");
}

#[test]
fn a_match_on_the_header_host_is_sent_to_the_hosts() {
    let mut rule = Match::default();
    rule.headers.push(HeaderMatch::new("Host", StringMatch::Exact("shop".into())));
    let mut route = Route::default();
    (route.matches, route.clusters) = (vec![rule], vec![WeightedCluster::new("a")]);
    let mut service = Service::default();
    service.routes = vec![route];
    assert!(message(service.validate("a")).contains("say it in `hosts`"));
}
