//! `docs/XDS-RESOURCES.md` says of every field what becomes of it, and what it says is so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use envoy_types::pb::{
    envoy::{
        config::{
            accesslog::v3::AccessLog,
            cluster::v3::{
                Filter as NetworkFilter,
                cluster::{PreconnectPolicy, QueuingPolicies},
            },
            core::v3::{
                BindConfig, DataSource, HttpProtocolOptions, TransportSocket, TypedExtensionConfig,
                transport_socket::ConfigType,
            },
            endpoint::v3::{
                LedsClusterLocalityConfig, endpoint::HealthCheckConfig,
                locality_lb_endpoints::LbConfig,
            },
            listener::v3::ApiListener,
            route::v3::{
                ClusterSpecifierPlugin, CorsPolicy, InternalRedirectPolicy, RetryPolicy, Vhds,
                VirtualCluster, WeightedCluster, weighted_cluster::ClusterWeight,
            },
        },
        extensions::{
            filters::{
                http::router::v3::Router,
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, LocalReplyConfig, Rds,
                    http_connection_manager::RouteSpecifier, http_filter,
                },
            },
            transport_sockets::tls::v3::{
                CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
                TlsKeyLog, UpstreamTlsContext,
                common_tls_context::{CertificateProvider, ValidationContextType},
            },
            upstreams::http::v3::HttpProtocolOptions as Typed,
        },
        r#type::matcher::v3::{FilterStateMatcher, StringMatcher, string_matcher},
    },
    google::protobuf::{Any, BoolValue},
};

use super::*;

/// The rows of each section: field, and what becomes of it.
fn rows() -> BTreeMap<String, BTreeMap<String, String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/XDS-RESOURCES.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().take_while(|line| *line != "## Filters") {
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        } else if let Some(row) = line.strip_prefix("| `") {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            let (field, verdict) = (cells.next().unwrap(), cells.next().unwrap());
            let before = sections.entry(section.clone()).or_default().insert(field, verdict);
            assert_eq!(before, None, "{line}");
        }
    }
    sections
}

/// The fields of a message, as its type has them.
fn fields_of(message: &impl Debug) -> BTreeSet<String> {
    let text = format!("{message:#?}");
    text.lines()
        .filter_map(|line| line.strip_prefix("    ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name.trim_start_matches("r#").to_owned())
        .collect()
}

#[test]
fn every_field_has_its_row() {
    let rows = rows();
    let messages: [(&str, BTreeSet<String>); 20] = [
        ("Listener", fields_of(&PbListener::default())),
        ("HttpConnectionManager", fields_of(&HttpConnectionManager::default())),
        ("RouteConfiguration", fields_of(&RouteConfiguration::default())),
        ("VirtualHost", fields_of(&VirtualHost::default())),
        ("Route", fields_of(&PbRoute::default())),
        ("RouteMatch", fields_of(&RouteMatch::default())),
        ("RouteAction", fields_of(&RouteAction::default())),
        ("WeightedCluster", fields_of(&WeightedCluster::default())),
        ("RetryPolicy", fields_of(&RetryPolicy::default())),
        ("Cluster", fields_of(&PbCluster::default())),
        ("HttpProtocolOptions", fields_of(&Typed::default())),
        ("Common HttpProtocolOptions", fields_of(&HttpProtocolOptions::default())),
        ("UpstreamTlsContext", fields_of(&UpstreamTlsContext::default())),
        ("CommonTlsContext", fields_of(&CommonTlsContext::default())),
        ("CertificateValidationContext", fields_of(&CertificateValidationContext::default())),
        ("Secret", fields_of(&PbSecret::default())),
        ("ClusterLoadAssignment", fields_of(&ClusterLoadAssignment::default())),
        ("LocalityLbEndpoints", fields_of(&LocalityLbEndpoints::default())),
        ("LbEndpoint", fields_of(&LbEndpoint::default())),
        ("Endpoint", fields_of(&Endpoint::default())),
    ];
    assert_eq!(rows.len(), messages.len());
    for (name, fields) in messages {
        let has: BTreeSet<String> = rows[name].keys().cloned().collect();
        let missing: Vec<_> = fields.difference(&has).collect();
        let stale: Vec<_> = has.difference(&fields).collect();
        assert!(
            missing.is_empty() && stale.is_empty(),
            "{name}: missing {missing:?}, stale {stale:?}"
        );
    }
    for verdict in rows.values().flat_map(BTreeMap::values) {
        assert!(["runs", "noted", "refused", "nothing"].contains(&verdict.as_str()), "{verdict}");
    }
}

/// What becomes of each sample, by section and field.
#[derive(Default)]
struct Seen(BTreeSet<(String, String)>);

impl Seen {
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "it is made for this")]
    fn is(&mut self, section: &str, field: &str, result: Result<Vec<String>, String>) {
        let verdict = rows()[section][field].clone();
        match (verdict.as_str(), &result) {
            ("noted", Ok(notes)) => assert!(!notes.is_empty(), "{section}.{field}: no note"),
            ("refused", Err(reason)) => {
                assert!(reason.contains(field), "{section}.{field}: {reason}");
            }
            other => panic!("{section}.{field}: {other:?}"),
        }
        self.0.insert((section.to_owned(), field.to_owned()));
    }

    /// Nothing is said to be noted or refused of which there is no sample.
    fn is_all(&self) {
        for (section, rows) in rows() {
            for (field, verdict) in rows {
                if verdict == "noted" || verdict == "refused" {
                    let key = (section.clone(), field.clone());
                    assert!(self.0.contains(&key), "{section}.{field} has no sample");
                }
            }
        }
    }
}

fn extension() -> TypedExtensionConfig {
    TypedExtensionConfig { name: "x".into(), typed_config: Some(Any::default()) }
}

fn yes() -> Option<BoolValue> {
    Some(BoolValue { value: true })
}

fn one<T: Default>() -> Vec<T> {
    vec![T::default()]
}

fn of_clusters(seen: &mut Seen) {
    let mut of = |field: &str, change: &dyn Fn(&mut PbCluster)| {
        let mut pb = eds("c");
        change(&mut pb);
        seen.is("Cluster", field, sidecar().cluster(&pb).map(|read| read.notes.clone()));
    };
    of("transport_socket_matcher", &|it| it.transport_socket_matcher = Some(Default::default()));
    of("alt_stat_name", &|it| it.alt_stat_name = "x".into());
    of("upstream_bind_config", &|it| it.upstream_bind_config = Some(BindConfig::default()));
    of("per_connection_buffer_limit_bytes", &|it| {
        it.per_connection_buffer_limit_bytes = wrapped(1);
    });
    of("preconnect_policy", &|it| it.preconnect_policy = Some(PreconnectPolicy::default()));
    of("upstream_config", &|it| it.upstream_config = Some(extension()));
    of("queuing_policies", &|it| it.queuing_policies = Some(QueuingPolicies::default()));
    of("filters", &|it| it.filters = one::<NetworkFilter>());
    of("typed_dns_resolver_config", &|it| {
        it.cluster_discovery_type =
            Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
        let group =
            LocalityLbEndpoints { lb_endpoints: vec![endpoint("a.b", 1)], ..Default::default() };
        (it.eds_cluster_config, it.load_assignment) = (None, Some(assignment("c", vec![group])));
        it.typed_dns_resolver_config = Some(extension());
    });
}

/// The options of HTTP, of which the older ones of the cluster are a part.
fn of_http(seen: &mut Seen) {
    let read = |typed: Typed| {
        let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
        let typed_extension_protocol_options = [(name, pack_any(typed))].into();
        let pb = PbCluster { typed_extension_protocol_options, ..eds("c") };
        sidecar().cluster(&pb).map(|read| read.notes.clone())
    };
    assert_eq!(read(Typed::default()), Ok(Vec::new()));
    let mut of = |field: &str, change: &dyn Fn(&mut Typed)| {
        let mut typed = Typed::default();
        change(&mut typed);
        let result = read(typed);
        if let Ok(notes) = &result {
            assert!(notes.iter().all(|note| note.contains(field)), "{field}: {notes:?}");
        }
        seen.is("HttpProtocolOptions", field, result);
    };
    of("http_filters", &|it| it.http_filters = vec![HttpFilter::default()]);
    of("header_validation_config", &|it| it.header_validation_config = Some(extension()));
    of("outlier_detection", &|it| it.outlier_detection = Some(Default::default()));
    of("request_mirror_policies", &|it| it.request_mirror_policies = one());
    of("hash_policy", &|it| it.hash_policy = one());
    of("retry_policy", &|it| it.retry_policy = Some(RetryPolicy::default()));
    let mut of = |field: &str, change: &dyn Fn(&mut HttpProtocolOptions)| {
        let mut common = HttpProtocolOptions::default();
        change(&mut common);
        let older = PbCluster { common_http_protocol_options: Some(common), ..eds("c") };
        let older = sidecar().cluster(&older).map(|read| read.notes.clone());
        seen.is("Common HttpProtocolOptions", field, older);
        let typed = Typed { common_http_protocol_options: Some(common), ..Typed::default() };
        seen.is("Common HttpProtocolOptions", field, read(typed));
    };
    of("max_headers_count", &|it| it.max_headers_count = wrapped(1));
    of("max_response_headers_kb", &|it| it.max_response_headers_kb = wrapped(1));
}

fn of_tls(seen: &mut Seen) {
    let context = |change: &dyn Fn(&mut UpstreamTlsContext)| {
        let mut context = UpstreamTlsContext {
            sni: "a.example".into(),
            common_tls_context: Some(CommonTlsContext {
                validation_context_type: Some(ValidationContextType::ValidationContext(
                    CertificateValidationContext {
                        ca_certificate_provider_instance: Some(CertificateProviderPluginInstance {
                            instance_name: "default".into(),
                            certificate_name: String::new(),
                        }),
                        match_subject_alt_names: vec![StringMatcher {
                            match_pattern: Some(string_matcher::MatchPattern::Exact("a".into())),
                            ..Default::default()
                        }],
                        ..Default::default()
                    },
                )),
                ..Default::default()
            }),
            ..Default::default()
        };
        change(&mut context);
        let socket = TransportSocket {
            name: "tls".into(),
            config_type: Some(ConfigType::TypedConfig(pack_any(context))),
        };
        let pb = PbCluster { transport_socket: Some(socket), ..eds("c") };
        sidecar().cluster(&pb).map(|read| read.notes.clone())
    };
    assert_eq!(context(&|_| {}), Ok(Vec::new()));
    let mut of = |field: &str, change: &dyn Fn(&mut UpstreamTlsContext)| {
        seen.is("UpstreamTlsContext", field, context(change));
    };
    of("allow_renegotiation", &|it| it.allow_renegotiation = true);
    of("max_session_keys", &|it| it.max_session_keys = wrapped(1));
    let mut of = |field: &str, change: &dyn Fn(&mut CommonTlsContext)| {
        let result = context(&|it| change(it.common_tls_context.as_mut().unwrap()));
        seen.is("CommonTlsContext", field, result);
    };
    of("custom_tls_certificate_selector", &|it| {
        it.custom_tls_certificate_selector = Some(extension());
    });
    of("tls_certificate_certificate_provider", &|it| {
        it.tls_certificate_certificate_provider = Some(CertificateProvider::default());
    });
    of("custom_handshaker", &|it| it.custom_handshaker = Some(extension()));
    of("key_log", &|it| it.key_log = Some(TlsKeyLog::default()));
    let mut of = |field: &str, change: &dyn Fn(&mut CertificateValidationContext)| {
        let result = context(&|it| {
            let common = it.common_tls_context.as_mut().unwrap();
            match &mut common.validation_context_type {
                Some(ValidationContextType::ValidationContext(it)) => change(it),
                other => panic!("{other:?}"),
            }
        });
        seen.is("CertificateValidationContext", field, result);
    };
    of("verify_certificate_spki", &|it| it.verify_certificate_spki = one());
    of("verify_certificate_hash", &|it| it.verify_certificate_hash = one());
    of("require_signed_certificate_timestamp", &|it| {
        it.require_signed_certificate_timestamp = yes();
    });
    of("crl", &|it| it.crl = Some(DataSource::default()));
    of("trust_chain_verification", &|it| it.trust_chain_verification = 1);
    of("custom_validator_config", &|it| it.custom_validator_config = Some(extension()));
    of("allow_expired_certificate", &|it| it.allow_expired_certificate = true);
}

fn of_endpoints(seen: &mut Seen) {
    let with = |change: &dyn Fn(&mut ClusterLoadAssignment)| {
        let group = LocalityLbEndpoints {
            lb_endpoints: vec![endpoint("10.0.0.1", 1)],
            ..Default::default()
        };
        let mut pb = assignment("c", vec![group]);
        change(&mut pb);
        sidecar().endpoints(&pb).map(|read| read.notes.clone())
    };
    let named = with(&|it| {
        it.named_endpoints.insert("x".into(), Endpoint::default());
    });
    seen.is("ClusterLoadAssignment", "named_endpoints", named);
    let mut of = |field: &str, change: &dyn Fn(&mut LocalityLbEndpoints)| {
        seen.is("LocalityLbEndpoints", field, with(&|it| change(&mut it.endpoints[0])));
    };
    of("proximity", &|it| it.proximity = wrapped(1));
    of("metadata", &|it| it.metadata = Some(metadata("a", &[])));
    // The field's own name is that of its choice.
    let leds = with(&|it| {
        let leds = LedsClusterLocalityConfig::default();
        it.endpoints[0].lb_config = Some(LbConfig::LedsClusterLocalityConfig(leds));
    });
    assert!(leds.unwrap_err().contains("leds_cluster_locality_config"));
    seen.0.insert(("LocalityLbEndpoints".into(), "lb_config".into()));
    let checked = with(&|it| match &mut it.endpoints[0].lb_endpoints[0].host_identifier {
        Some(HostIdentifier::Endpoint(it)) => {
            it.health_check_config =
                Some(HealthCheckConfig { port_value: 1, ..Default::default() });
        }
        other => panic!("{other:?}"),
    });
    seen.is("Endpoint", "health_check_config", checked);
}

fn of_routes(seen: &mut Seen) {
    let read = |change: &dyn Fn(&mut RouteConfiguration)| {
        let mut pb = configuration(vec![host(&["*"], vec![route(prefix("/"), to("c"))])]);
        change(&mut pb);
        let read = sidecar().routes(&pb)?;
        match &read.hosts[0].refused {
            Some(reason) => Err(reason.clone()),
            None => Ok(read.notes.clone()),
        }
    };
    assert_eq!(read(&|_| {}), Ok(Vec::new()));
    let mut of = |field: &str, change: &dyn Fn(&mut RouteConfiguration)| {
        seen.is("RouteConfiguration", field, read(change));
    };
    of("cluster_specifier_plugins", &|it| {
        it.cluster_specifier_plugins = one::<ClusterSpecifierPlugin>();
    });
    of("vhds", &|it| it.vhds = Some(Vhds::default()));
    of("internal_only_headers", &|it| it.internal_only_headers = vec!["x".into()]);
    of("vhost_header", &|it| it.vhost_header = "x".into());
    of("ignore_path_parameters_in_path_matching", &|it| {
        it.ignore_path_parameters_in_path_matching = true;
    });
    let mut of = |field: &str, change: &dyn Fn(&mut VirtualHost)| {
        seen.is("VirtualHost", field, read(&|it| change(&mut it.virtual_hosts[0])));
    };
    of("matcher", &|it| it.matcher = Some(Default::default()));
    of("require_tls", &|it| it.require_tls = 2);
    of("virtual_clusters", &|it| it.virtual_clusters = one::<VirtualCluster>());
    of("cors", &|it| it.cors = Some(CorsPolicy::default()));
    of("retry_policy_typed_config", &|it| it.retry_policy_typed_config = Some(Any::default()));
    of("per_request_buffer_limit_bytes", &|it| it.per_request_buffer_limit_bytes = wrapped(1));
    of("route_specifiers", &|it| it.route_specifiers = vec![extension()]);
    let mut of = |field: &str, change: &dyn Fn(&mut PbRoute)| {
        seen.is("Route", field, read(&|it| change(&mut it.virtual_hosts[0].routes[0])));
    };
    of("per_request_buffer_limit_bytes", &|it| it.per_request_buffer_limit_bytes = wrapped(1));
    of("route_specifiers", &|it| it.route_specifiers = vec![extension()]);
    let mut of = |field: &str, change: &dyn Fn(&mut RouteMatch)| {
        let result = read(&|it| change(it.virtual_hosts[0].routes[0].r#match.as_mut().unwrap()));
        seen.is("RouteMatch", field, result);
    };
    of("tls_context", &|it| it.tls_context = Some(Default::default()));
    of("filter_state", &|it| it.filter_state = one::<FilterStateMatcher>());
    let action = |it: &mut RouteConfiguration, change: &dyn Fn(&mut RouteAction)| match &mut it
        .virtual_hosts[0]
        .routes[0]
        .action
    {
        Some(Action::Route(action)) => change(action),
        other => panic!("{other:?}"),
    };
    let mut of = |field: &str, change: &dyn Fn(&mut RouteAction)| {
        seen.is("RouteAction", field, read(&|it| action(it, change)));
    };
    of("cluster_not_found_response_code", &|it| it.cluster_not_found_response_code = 1);
    of("path_rewrite", &|it| it.path_rewrite = "/x".into());
    of("retry_policy_typed_config", &|it| it.retry_policy_typed_config = Some(Any::default()));
    of("cors", &|it| it.cors = Some(CorsPolicy::default()));
    of("internal_redirect_policy", &|it| {
        it.internal_redirect_policy = Some(InternalRedirectPolicy::default());
    });
    of("internal_redirect_action", &|it| it.internal_redirect_action = 1);
    let mut of = |field: &str, change: &dyn Fn(&mut RetryPolicy)| {
        let mut policy = RetryPolicy { retry_on: "5xx".into(), ..Default::default() };
        change(&mut policy);
        let result = read(&|it| action(it, &|it| it.retry_policy = Some(policy.clone())));
        seen.is("RetryPolicy", field, result);
    };
    of("retry_options_predicates", &|it| it.retry_options_predicates = vec![extension()]);
    let mut of = |field: &str, change: &dyn Fn(&mut WeightedCluster)| {
        let target = ClusterWeight { name: "c".into(), weight: wrapped(7), ..Default::default() };
        let mut list = WeightedCluster { clusters: vec![target], ..Default::default() };
        change(&mut list);
        let result = read(&|it| {
            action(it, &|it| {
                it.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(list.clone()));
            });
        });
        seen.is("WeightedCluster", field, result);
    };
    of("total_weight", &|it| it.total_weight = wrapped(8));
    of("runtime_key_prefix", &|it| it.runtime_key_prefix = "k".into());
}

fn of_listeners(seen: &mut Seen) {
    let manager = |change: &dyn Fn(&mut HttpConnectionManager)| {
        let mut manager = HttpConnectionManager {
            http_filters: vec![HttpFilter {
                name: "router".into(),
                config_type: Some(http_filter::ConfigType::TypedConfig(
                    pack_any(Router::default()),
                )),
                ..Default::default()
            }],
            route_specifier: Some(RouteSpecifier::Rds(Rds {
                config_source: Some(ads()),
                route_config_name: "r".into(),
            })),
            ..Default::default()
        };
        change(&mut manager);
        PbListener {
            name: "l".into(),
            api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
            ..PbListener::default()
        }
    };
    let read = |pb: &PbListener| proxyless().listener(pb).map(|read| read.notes.clone());
    assert_eq!(read(&manager(&|_| {})), Ok(Vec::new()));
    let mut logged = manager(&|_| {});
    logged.access_log = one::<AccessLog>();
    seen.is("Listener", "access_log", read(&logged));
    let mut of = |field: &str, change: &dyn Fn(&mut HttpConnectionManager)| {
        seen.is("HttpConnectionManager", field, read(&manager(change)));
    };
    of("xff_num_trusted_hops", &|it| it.xff_num_trusted_hops = 1);
    of("original_ip_detection_extensions", &|it| {
        it.original_ip_detection_extensions = vec![extension()];
    });
    of("local_reply_config", &|it| it.local_reply_config = Some(LocalReplyConfig::default()));
    of("early_header_mutation_extensions", &|it| {
        it.early_header_mutation_extensions = vec![extension()];
    });
    of("access_log", &|it| it.access_log = one::<AccessLog>());
}

#[test]
fn what_is_noted_and_refused_is_as_the_table_says() {
    let mut seen = Seen::default();
    of_listeners(&mut seen);
    of_routes(&mut seen);
    of_clusters(&mut seen);
    of_http(&mut seen);
    of_tls(&mut seen);
    of_endpoints(&mut seen);
    seen.is_all();
}
