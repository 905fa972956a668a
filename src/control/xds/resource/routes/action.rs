//! Routes that lead to clusters.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::{
    config::{
        common::mutation_rules::v3::{HeaderMutation, header_mutation::Action},
        route::v3::{
            RouteAction, RouteConfiguration, VirtualHost as PbHost, WeightedCluster as PbWeighted,
            route_action::{
                ClusterNotFoundResponseCode as NotFound, ClusterSpecifier, HostRewriteSpecifier,
                RequestMirrorPolicy,
            },
            weighted_cluster::{
                ClusterWeight, RandomValueSpecifier,
                cluster_weight::HostRewriteSpecifier as ClusterHost,
            },
        },
    },
    extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig,
};

use super::{
    super::{
        Context, Dialect, Override, Route,
        listener::overrides,
        read::{bools, said, type_name, u32s},
        text,
        walk::{IGNORED, Result, Walk},
    },
    Edits, answer,
    headers::{editable, option_edit},
    limit::descriptors,
    policy, subset,
};
use crate::config::{
    self, ClusterChoice, Filter, HeaderEdit, HostRewrite, Mirror, PathRewrite, RateDescriptor,
    Rewrite, Upgrade, WeightedCluster, format::Side,
};

const TEMPLATE: &str = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig";
/// The largest weight of the model.
const HEAVIEST: u32 = 1_000_000;

/// Reads where a route leads; false: nowhere that is known here, and the route is left out.
pub(super) fn route(
    walk: &mut Walk,
    context: &Context,
    all: &RouteConfiguration,
    host: &PbHost,
    pb: &RouteAction,
    route: &mut Route,
    of_host: &[RateDescriptor],
) -> Result<bool> {
    match &pb.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
            route.config.clusters = vec![WeightedCluster::new(name.clone())];
        }
        Some(ClusterSpecifier::Cluster(_)) => {
            return walk.refuse("cluster", "", "must not be empty");
        }
        Some(ClusterSpecifier::WeightedClusters(it)) => {
            walk.within("weighted_clusters", |walk| weighted(walk, context, it, route))?;
        }
        //= gRFC A28: a route whose action gRPC does not know is left out
        Some(ClusterSpecifier::ClusterHeader(name)) if context.dialect == Dialect::Proxyless => {
            walk.note(
                "cluster_header",
                format!("{name}: not to clients of gRPC: the route is left out"),
            );
            return Ok(false);
        }
        Some(ClusterSpecifier::ClusterHeader(name)) => {
            if name.is_empty() || name.starts_with(':') {
                let reason = "must be the name of a header, and no pseudo-header";
                return walk.refuse("cluster_header", name, reason);
            }
            route.config.cluster_header = Some(name.clone());
            let field = "cluster_not_found_response_code";
            let code = pb.cluster_not_found_response_code;
            route.config.missing_cluster_status = match NotFound::try_from(code) {
                Ok(NotFound::ServiceUnavailable) => None,
                Ok(NotFound::NotFound) => Some(404),
                Ok(NotFound::InternalServerError) => Some(500),
                Err(_) => return walk.refuse(field, code, "is no such code"),
            };
        }
        Some(ClusterSpecifier::ClusterSpecifierPlugin(name)) => {
            let plugin = all.cluster_specifier_plugins.iter().find(|plugin| {
                plugin.extension.as_ref().is_some_and(|extension| extension.name == *name)
            });
            if plugin.is_none() {
                return walk.refuse("cluster_specifier_plugin", name, "is no plugin that is given");
            }
            walk.note("cluster_specifier_plugin", "not supported yet: the route is left out");
            return Ok(false);
        }
        Some(ClusterSpecifier::InlineClusterSpecifierPlugin(plugin)) => {
            let field = "inline_cluster_specifier_plugin";
            if !plugin.is_optional {
                return walk.refuse(field, "given", "not supported yet");
            }
            walk.note(field, "not supported yet: the route is left out");
            return Ok(false);
        }
        None => {
            walk.note("cluster_specifier", "is not given, or not known: the route is left out");
            return Ok(false);
        }
    }
    route.config.subset = subset(walk, "metadata_match", pb.metadata_match.as_ref())?;
    rewrites(walk, context, pb, route)?;
    let mirrors =
        [&pb.request_mirror_policies, &host.request_mirror_policies, &all.request_mirror_policies];
    if let Some(list) = mirrors.into_iter().find(|list| !list.is_empty()) {
        let mirrors = walk.each("request_mirror_policies", list, mirror)?;
        route.config.filters.extend(mirrors.into_iter().flatten().map(Filter::Mirror));
    }
    policy::policy(walk, context.dialect, host, pb, &mut route.config.policy)?;
    route.describe = descriptors(walk, "rate_limits", &pb.rate_limits)?;
    // Envoy: those of the host count where the route has none, or says so.
    if route.describe.is_empty() || bools(pb.include_vh_rate_limits.as_ref()) == Some(true) {
        route.describe.extend(of_host.iter().cloned());
    }
    for (is_said, field) in [
        (
            pb.cluster_not_found_response_code != 0 && route.config.cluster_header.is_none(),
            "cluster_not_found_response_code",
        ),
        (pb.internal_redirect_policy.is_some(), "internal_redirect_policy"),
        (pb.internal_redirect_action != 0, "internal_redirect_action"),
        (pb.cors.is_some(), "cors"),
        (!pb.path_rewrite.is_empty(), "path_rewrite"),
    ] {
        walk.note_if(is_said, field, "not supported yet");
    }
    upgrades(walk, pb, &mut route.config)?;
    Ok(true)
}

/// The protocols that connections on the route may change to.
pub(super) fn upgrades(walk: &mut Walk, pb: &RouteAction, route: &mut config::Route) -> Result<()> {
    for (index, pb) in pb.upgrade_configs.iter().enumerate() {
        let field = format!("upgrade_configs[{index}]");
        let is_off = bools(pb.enabled.as_ref()) == Some(false);
        let upgrade = upgrade(walk, &field, &pb.upgrade_type, is_off)?;
        add_upgrade(&mut route.upgrades, upgrade);
    }
    Ok(())
}

/// A protocol that connections may change to; none: it is never spoken here.
pub(in super::super) fn upgrade(
    walk: &mut Walk,
    field: &str,
    protocol: &str,
    disabled: bool,
) -> Result<Option<Upgrade>> {
    if protocol.eq_ignore_ascii_case("connect") {
        let reason = "CONNECT is never sent: a tunnel is no request to a service";
        walk.note_if(!disabled, field, reason);
        return Ok(None);
    }
    if protocol.is_empty() {
        return walk.refuse(&format!("{field}.upgrade_type"), "", "must not be empty");
    }
    let mut read = Upgrade::default();
    (read.protocol, read.disabled) = (protocol.to_owned(), disabled);
    Ok(Some(read))
}

/// Of a protocol that is there twice the first counts.
pub(in super::super) fn add_upgrade(list: &mut Vec<Upgrade>, upgrade: Option<Upgrade>) {
    let Some(upgrade) = upgrade else { return };
    if !list.iter().any(|it| it.protocol.eq_ignore_ascii_case(&upgrade.protocol)) {
        list.push(upgrade);
    }
}

fn weighted(walk: &mut Walk, context: &Context, pb: &PbWeighted, route: &mut Route) -> Result<()> {
    let PbWeighted { clusters, total_weight, runtime_key_prefix, random_value_specifier } = pb;
    walk.no_runtime("runtime_key_prefix", runtime_key_prefix);
    match random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => {
            if name.is_empty() {
                return walk.refuse("header_name", name, "must be the name of a header");
            }
            match http::HeaderName::try_from(name) {
                Ok(_) => route.config.choice_header = Some(name.clone()),
                // Envoy takes it, and never finds a number there.
                Err(_) => {
                    walk.note("header_name", "no request has such a header: shares go by chance");
                }
            }
        }
        Some(RandomValueSpecifier::UseHashPolicy(it)) if it.value => {
            route.config.choice = ClusterChoice::Hashed;
        }
        Some(RandomValueSpecifier::UseHashPolicy(_)) | None => {}
    }
    if clusters.is_empty() {
        return walk.refuse("clusters", "[]", "must not be empty");
    }
    let read = walk.each("clusters", clusters, |walk, pb| target(walk, context, pb))?;
    let (mut read, of_clusters): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    let sum: u64 = read.iter().map(|target| u64::from(target.weight)).sum();
    //= gRFC A28, Envoy: the sum is over 0, and fits 32 bits
    if sum == 0 || sum > u64::from(u32::MAX) {
        return walk.refuse("clusters.weight", sum, "the sum must be in 1..=4294967295");
    }
    if let Some(total) = u32s(total_weight.as_ref())
        && u64::from(total) != sum
    {
        walk.note(
            "total_weight",
            format!("is {total}, and the sum of the weights is {sum}, which counts"),
        );
    }
    let heaviest = read.iter().map(|target| target.weight).max().unwrap_or(0);
    if heaviest > HEAVIEST {
        walk.note("clusters.weight", "weights over 1000000 are scaled down, none below 1");
        for target in read.iter_mut().filter(|target| target.weight > 0) {
            let scaled = u64::from(target.weight) * u64::from(HEAVIEST) / u64::from(heaviest);
            target.weight = u32::try_from(scaled).unwrap_or(HEAVIEST).max(1);
        }
    }
    route.config.clusters = read;
    route.of_clusters = of_clusters;
    Ok(())
}

fn target(
    walk: &mut Walk,
    context: &Context,
    pb: &ClusterWeight,
) -> Result<(WeightedCluster, BTreeMap<String, Override>)> {
    let ClusterWeight {
        name,
        cluster_header,
        weight,
        metadata_match,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        typed_per_filter_config,
        host_rewrite_specifier,
    } = pb;
    if name.is_empty() && !cluster_header.is_empty() {
        return walk.lacks("cluster_header", cluster_header, "not supported yet: give `name`");
    }
    if name.is_empty() {
        return walk.refuse("name", "", "must not be empty");
    }
    let mut read = WeightedCluster::new(name.clone());
    //= gRFC A28: without a weight it gets nothing
    read.weight = u32s(weight.as_ref()).unwrap_or(0);
    read.subset = subset(walk, "metadata_match", metadata_match.as_ref())?;
    let edits = Edits::read(
        walk,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
    )?;
    read.filters = edits.filters().collect();
    if let Some(ClusterHost::HostRewriteLiteral(host)) = host_rewrite_specifier
        && let Some(host) = said(host)
        && may_rewrite(walk, context, "host_rewrite_literal")
    {
        let mut rewrite = Rewrite::default();
        rewrite.host = Some(HostRewrite::Literal(host));
        read.filters.push(Filter::Rewrite(rewrite));
    }
    Ok((read, overrides(walk, context, typed_per_filter_config)?))
}

/// Whether the control plane may change the authority of calls; that it may not is told.
//= gRFC A81: of gRPC's dialect only where it is trusted
fn may_rewrite(walk: &mut Walk, context: &Context, field: &str) -> bool {
    let may = context.trusted || context.dialect == Dialect::Sidecar;
    walk.note_if(
        !may,
        field,
        "is not allowed to this control plane (`trusted_xds_server`): the authority stays",
    );
    may
}

fn rewrites(walk: &mut Walk, context: &Context, pb: &RouteAction, route: &mut Route) -> Result<()> {
    let mut read = Rewrite::default();
    read.host = match &pb.host_rewrite_specifier {
        None => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => said(host)
            .filter(|_| may_rewrite(walk, context, "host_rewrite_literal"))
            .map(HostRewrite::Literal),
        Some(HostRewriteSpecifier::AutoHostRewrite(it)) => (it.value
            && may_rewrite(walk, context, "auto_host_rewrite"))
        .then_some(HostRewrite::Endpoint),
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            may_rewrite(walk, context, "host_rewrite_header")
                .then(|| HostRewrite::Header(name.clone()))
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(it)) => {
            let field = "host_rewrite_path_regex";
            let read = text::rewrite(walk, field, it)?;
            may_rewrite(walk, context, field).then_some(HostRewrite::PathRegex(read))
        }
        Some(HostRewriteSpecifier::HostRewrite(_)) => {
            return walk.lacks("host_rewrite", "given", "not supported yet");
        }
    };
    read.path = if let Some(prefix) = said(&pb.prefix_rewrite) {
        Some(answer::prefix_rewrite(&prefix, &route.config))
    } else if let Some(it) = &pb.regex_rewrite {
        Some(PathRewrite::Regex(text::rewrite(walk, "regex_rewrite", it)?))
    } else if let Some(policy) = &pb.path_rewrite_policy {
        let any = policy.typed_config.as_ref();
        match (any, any.map_or("", |any| type_name(&any.type_url))) {
            (Some(any), TEMPLATE) => {
                let pb: UriTemplateRewriteConfig = walk.unpack("path_rewrite_policy", any)?;
                Some(PathRewrite::Template(pb.path_template_rewrite))
            }
            (_, url) => return walk.lacks("path_rewrite_policy", url, "not supported yet"),
        }
    } else {
        None
    };
    read.forwarded_host = pb.append_x_forwarded_host;
    if read.host.is_some() || read.path.is_some() {
        route.config.filters.push(Filter::Rewrite(read));
    }
    Ok(())
}

/// None: it copies nothing here.
fn mirror(walk: &mut Walk, pb: &RequestMirrorPolicy) -> Result<Option<Mirror>> {
    let RequestMirrorPolicy {
        cluster,
        cluster_header,
        runtime_fraction,
        trace_sampled,
        disable_shadow_host_suffix_append,
        request_headers_mutations,
        host_rewrite_literal,
    } = pb;
    if cluster.is_empty() {
        if cluster_header.is_empty() {
            return walk.refuse("cluster", "", "must be given");
        }
        walk.note("cluster_header", "not supported yet: nothing is copied");
        return Ok(None);
    }
    let mut read = Mirror::default();
    read.cluster = Some(cluster.clone());
    if let Some((percent, key)) =
        walk.keyed_fraction("runtime_fraction", runtime_fraction.as_ref())?
    {
        (read.percent, read.key) = (Some(percent), key);
    }
    walk.note_if(trace_sampled.is_some(), "trace_sampled", "not supported yet: as the request");
    read.host = said(host_rewrite_literal);
    read.keep_host = (*disable_shadow_host_suffix_append && read.host.is_none()).then_some(true);
    read.request_headers =
        mutations(walk, "request_headers_mutations", Side::Request, request_headers_mutations)?;
    Ok(Some(read))
}

/// Edits as mutations say them.
pub(in super::super) fn mutations(
    walk: &mut Walk,
    field: &str,
    side: Side,
    list: &[HeaderMutation],
) -> Result<HeaderEdit> {
    let mut edit = HeaderEdit::default();
    for (index, HeaderMutation { action }) in list.iter().enumerate() {
        walk.within(&format!("{field}[{index}]"), |walk| {
            match action {
                Some(Action::Remove(name)) => {
                    if let Some(name) = editable(walk, "remove", name)? {
                        edit.remove.push(name);
                    }
                }
                Some(Action::Append(option)) => {
                    walk.within("append", |walk| option_edit(walk, option, side, &mut edit))?;
                }
                Some(Action::RemoveOnMatch(it)) => {
                    let Some(matcher) = &it.key_matcher else {
                        return walk.refuse("remove_on_match.key_matcher", "none", "must be given");
                    };
                    let (matcher, _without_case) = text::text(walk, "remove_on_match", matcher)?;
                    edit.remove_matching.push(matcher);
                }
                None => walk.note("action", IGNORED),
            }
            Ok(())
        })?;
    }
    Ok(edit)
}
