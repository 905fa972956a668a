//! Resources, in protobuf's JSON.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use crate::support::Server;

const PREFIX: &str = "type.googleapis.com/envoy";

fn typed(kind: &str, fields: Value) -> Value {
    let mut out = Map::new();
    out.insert("@type".into(), format!("{PREFIX}.{kind}").into());
    if let Value::Object(fields) = fields {
        out.extend(fields);
    }
    Value::Object(out)
}

fn manager(routes: &str, filters: &[Value]) -> Value {
    let router = json!({"name": "router", "typedConfig": typed("extensions.filters.http.router.v3.Router", json!({}))});
    let filters: Vec<Value> = filters.iter().cloned().chain([router]).collect();
    typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "statPrefix": "calls",
            "rds": {"routeConfigName": routes, "configSource": {"ads": {}, "resourceApiVersion": "V3"}},
            "httpFilters": filters,
        }),
    )
}

/// A listener for clients: its routes are those of this name.
pub(crate) fn listener(name: &str, routes: &str, filters: &[Value]) -> Value {
    typed(
        "config.listener.v3.Listener",
        json!({"name": name, "apiListener": {"apiListener": manager(routes, filters)}}),
    )
}

/// The same manager at a port, as Envoy has it.
pub(crate) fn socket_listener(port: u16, manager: &Value) -> Value {
    let filter = json!({"name": "manager", "typedConfig": manager});
    typed(
        "config.listener.v3.Listener",
        json!({
            "name": "port",
            "address": {"socketAddress": {"address": "127.0.0.1", "portValue": port}},
            "filterChains": [{"filters": [filter]}],
        }),
    )
}

/// A listener of a server at a port: who may call, and how TLS is spoken.
pub(crate) fn server_listener(name: &str, port: u16, rbac: &Value, tls: &Value) -> Value {
    let router = json!({"name": "router", "typedConfig": typed("extensions.filters.http.router.v3.Router", json!({}))});
    let here = json!({"match": {"prefix": ""}, "nonForwardingAction": {}});
    let manager = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "routeConfig": {"virtualHosts": [{"name": "all", "domains": ["*"], "routes": [here]}]},
            "httpFilters": [rbac, router],
        }),
    );
    typed(
        "config.listener.v3.Listener",
        json!({
            "name": name,
            "address": {"socketAddress": {"address": "127.0.0.1", "portValue": port}},
            "filterChains": [{
                "filters": [{"name": "manager", "typedConfig": manager}],
                "transportSocket": tls,
            }],
        }),
    )
}

/// Only a caller of this name may call.
pub(crate) fn rbac(caller: &str) -> Value {
    let rules = json!({"rules": {"action": "ALLOW", "policies": {"caller": {
        "permissions": [{"any": true}],
        "principals": [{"authenticated": {"principalName": {"exact": caller}}}],
    }}}});
    json!({"name": "rbac", "typedConfig": typed("extensions.filters.http.rbac.v3.RBAC", rules)})
}

/// TLS of a server that asks its callers for certificates.
pub(crate) fn downstream() -> Value {
    let context = json!({
        "requireClientCertificate": true,
        "commonTlsContext": {
            "tlsCertificateProviderInstance": {"instanceName": "default"},
            "validationContext": {"caCertificateProviderInstance": {"instanceName": "default"}},
        },
    });
    tls("DownstreamTlsContext", context)
}

/// TLS with a server that must have this name, said in this field.
pub(crate) fn upstream(field: &str, server: &str) -> Value {
    let matcher = json!({"exact": server});
    let matcher = if field == "matchTypedSubjectAltNames" {
        json!({"sanType": "URI", "matcher": matcher})
    } else {
        matcher
    };
    let context = json!({"commonTlsContext": {
        "tlsCertificateProviderInstance": {"instanceName": "default"},
        "validationContext": {
            "caCertificateProviderInstance": {"instanceName": "default"},
            field: [matcher],
        },
    }});
    tls("UpstreamTlsContext", context)
}

/// TLS with a server whom this secret of the control plane (SDS) vouches for.
pub(crate) fn by_secret(name: &str) -> Value {
    let source = json!({"ads": {}, "resourceApiVersion": "V3"});
    let context = json!({"commonTlsContext": {
        "validationContextSdsSecretConfig": {"name": name, "sdsConfig": source},
    }});
    tls("UpstreamTlsContext", context)
}

fn tls(kind: &str, context: Value) -> Value {
    let kind = format!("extensions.transport_sockets.tls.v3.{kind}");
    json!({"name": "envoy.transport_sockets.tls", "typedConfig": typed(&kind, context)})
}

/// So many calls of a hundred fail, with UNAVAILABLE.
pub(crate) fn abort(percent: u32) -> Value {
    let fault = json!({"abort": {
        "grpcStatus": 14,
        "percentage": {"numerator": percent, "denominator": "HUNDRED"},
    }});
    json!({
        "name": "fault",
        "typedConfig": typed("extensions.filters.http.fault.v3.HTTPFault", fault),
    })
}

/// Routes of one virtual host for all names.
pub(crate) fn routes(name: &str, routes: &[Value]) -> Value {
    typed(
        "config.route.v3.RouteConfiguration",
        json!({
            "name": name,
            "virtualHosts": [{"name": "all", "domains": ["*"], "routes": routes}],
        }),
    )
}

/// A route of everything to one cluster.
pub(crate) fn to(cluster: &str) -> Value {
    json!({"match": {"prefix": ""}, "route": {"cluster": cluster}})
}

/// A route of everything, by weights.
pub(crate) fn split(clusters: &[(&str, u32)]) -> Value {
    let one = |(name, weight): &(&str, u32)| json!({"name": name, "weight": weight});
    let clusters: Vec<Value> = clusters.iter().map(one).collect();
    json!({"match": {"prefix": ""}, "route": {"weightedClusters": {"clusters": clusters}}})
}

/// A cluster whose endpoints are told beside it.
pub(crate) fn cluster(name: &str) -> Value {
    cluster_with(name, json!({}))
}

/// The same with these further fields.
pub(crate) fn cluster_with(name: &str, fields: Value) -> Value {
    let http = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        json!({"explicitHttpConfig": {"http2ProtocolOptions": {}}}),
    );
    let mut cluster = typed(
        "config.cluster.v3.Cluster",
        json!({
            "name": name,
            "type": "EDS",
            "edsClusterConfig": {"edsConfig": {"ads": {}, "resourceApiVersion": "V3"}},
            "connectTimeout": "2s",
            // Only Envoy has to be told that it is HTTP/2.
            "typedExtensionProtocolOptions": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http,
            },
        }),
    );
    if let (Value::Object(cluster), Value::Object(fields)) = (&mut cluster, fields) {
        cluster.extend(fields);
    }
    cluster
}

/// Endpoints of one locality.
pub(crate) fn endpoints(cluster: &str, servers: &[&Server]) -> Value {
    let servers: Vec<SocketAddr> = servers.iter().map(|it| it.socket()).collect();
    at(cluster, &servers)
}

/// The same by their addresses.
pub(crate) fn at(cluster: &str, servers: &[SocketAddr]) -> Value {
    let endpoints = servers.iter().map(|server| endpoint(*server, "HEALTHY"));
    localities(cluster, &[(0, endpoints.collect())])
}

/// An endpoint of this health.
pub(crate) fn endpoint(server: SocketAddr, health: &str) -> Value {
    json!({
        "endpoint": {"address": {"socketAddress": {
            "address": server.ip().to_string(), "portValue": server.port(),
        }}},
        "healthStatus": health,
    })
}

/// Endpoints by priority, a locality each.
pub(crate) fn localities(cluster: &str, localities: &[(u32, Vec<Value>)]) -> Value {
    let one = |(priority, endpoints): &(u32, Vec<Value>)| {
        json!({
            "locality": {"zone": format!("zone-{priority}")},
            "priority": priority,
            "loadBalancingWeight": 1,
            "lbEndpoints": endpoints,
        })
    };
    let localities: Vec<Value> = localities.iter().map(one).collect();
    typed(
        "config.endpoint.v3.ClusterLoadAssignment",
        json!({"clusterName": cluster, "endpoints": localities}),
    )
}
