//! Routes that lead to clusters.

use envoy_types::pb::envoy::{
    config::{
        common::mutation_rules::v3::{HeaderMutation, header_mutation::Action},
        route::v3::{
            RouteAction, RouteConfiguration, VirtualHost as PbHost, WeightedCluster as PbWeighted,
            route_action::{ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy},
            weighted_cluster::{ClusterWeight, RandomValueSpecifier},
        },
    },
    extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig,
};

use super::{
    super::{
        Context, Override, Route, Step,
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
    Filter, HeaderEdit, HostRewrite, Mirror, PathRewrite, RateDescriptor, Rewrite, WeightedCluster,
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
            route.config.clusters =
                walk.within("weighted_clusters", |walk| weighted(walk, context, it))?;
        }
        //= gRFC A28: a route whose action is not known is left out
        Some(ClusterSpecifier::ClusterHeader(name)) => {
            walk.note(
                "cluster_header",
                format!("{name}: not supported yet: the route is left out"),
            );
            return Ok(false);
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
        (pb.cluster_not_found_response_code != 0, "cluster_not_found_response_code"),
        (pb.internal_redirect_policy.is_some(), "internal_redirect_policy"),
        (pb.internal_redirect_action != 0, "internal_redirect_action"),
        (pb.cors.is_some(), "cors"),
        (!pb.path_rewrite.is_empty(), "path_rewrite"),
    ] {
        walk.note_if(is_said, field, "not supported yet");
    }
    for upgrade in &pb.upgrade_configs {
        if bools(upgrade.enabled.as_ref()) != Some(false) {
            walk.note("upgrade_configs", format!("{} is not supported yet", upgrade.upgrade_type));
        }
    }
    Ok(true)
}

fn weighted(walk: &mut Walk, context: &Context, pb: &PbWeighted) -> Result<Vec<WeightedCluster>> {
    let PbWeighted { clusters, total_weight, runtime_key_prefix, random_value_specifier } = pb;
    walk.no_runtime("runtime_key_prefix", runtime_key_prefix);
    match random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(_)) => {
            walk.note("header_name", "not supported yet: the share is by chance");
        }
        Some(RandomValueSpecifier::UseHashPolicy(it)) if it.value => {
            walk.note("use_hash_policy", "not supported yet: the share is by chance");
        }
        Some(RandomValueSpecifier::UseHashPolicy(_)) | None => {}
    }
    if clusters.is_empty() {
        return walk.refuse("clusters", "[]", "must not be empty");
    }
    let mut read = walk.each("clusters", clusters, |walk, pb| target(walk, context, pb))?;
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
    Ok(read)
}

fn target(walk: &mut Walk, context: &Context, pb: &ClusterWeight) -> Result<WeightedCluster> {
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
    if name.is_empty() {
        let value = if cluster_header.is_empty() { "" } else { "cluster_header" };
        return walk.refuse("name", value, "must not be empty");
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
    walk.note_if(host_rewrite_specifier.is_some(), "host_rewrite_literal", "not supported yet");
    for (name, it) in overrides(walk, context, typed_per_filter_config)? {
        let field = format!("typed_per_filter_config.{name}");
        let is_safe = |step: &Step| matches!(step, Step::Filter(Filter::Authorize(_)));
        match it {
            // Only one thing is done to the requests of one cluster of several: edits.
            Override::Steps(steps) if !steps.is_empty() && steps.iter().all(is_edit) => {
                read.filters
                    .extend(steps.into_iter().map(|(Step::Filter(it) | Step::Limited(it))| it));
            }
            Override::Steps(steps) if steps.iter().any(is_safe) => {
                let reason = "not supported yet: say who may call on the route";
                return walk.refuse(&field, "rbac", reason);
            }
            _ => walk
                .note(&field, "not supported yet for one cluster of several: the route's counts"),
        }
    }
    Ok(read)
}

fn is_edit(step: &Step) -> bool {
    matches!(step, Step::Filter(Filter::RequestHeaders(_) | Filter::ResponseHeaders(_)))
}

fn rewrites(walk: &mut Walk, context: &Context, pb: &RouteAction, route: &mut Route) -> Result<()> {
    let mut read = Rewrite::default();
    read.host = match &pb.host_rewrite_specifier {
        None => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => {
            said(host).map(HostRewrite::Literal)
        }
        Some(HostRewriteSpecifier::AutoHostRewrite(it)) => {
            //= gRFC A81: only where the control plane is trusted
            if it.value {
                let reason = if context.trusted {
                    "not supported yet: the authority stays"
                } else {
                    "is not allowed to this control plane (`trusted_xds_server`): the authority stays"
                };
                walk.note("auto_host_rewrite", reason);
            }
            None
        }
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            Some(HostRewrite::Header(name.clone()))
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(it)) => {
            Some(HostRewrite::PathRegex(text::rewrite(walk, "host_rewrite_path_regex", it)?))
        }
        Some(HostRewriteSpecifier::HostRewrite(_)) => {
            return walk.refuse("host_rewrite", "given", "not supported yet");
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
            (_, url) => return walk.refuse("path_rewrite_policy", url, "not supported yet"),
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
    read.percent = walk.runtime_fraction("runtime_fraction", runtime_fraction.as_ref())?;
    walk.note_if(trace_sampled.is_some(), "trace_sampled", "not supported yet: as the request");
    read.host = said(host_rewrite_literal);
    read.keep_host = (*disable_shadow_host_suffix_append && read.host.is_none()).then_some(true);
    read.request_headers = mutations(walk, "request_headers_mutations", request_headers_mutations)?;
    Ok(Some(read))
}

/// Edits as mutations say them.
pub(in super::super) fn mutations(
    walk: &mut Walk,
    field: &str,
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
                    walk.within("append", |walk| option_edit(walk, option, &mut edit))?;
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
