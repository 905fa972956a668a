//! Filters of a listener, and what routes make of them (gRFC A39).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    super::{
        Context, Dialect, HttpFilter, Override, Step,
        read::{TypedStruct, in_order, type_name},
        routes::mutations,
        walk::{IGNORED, Result, Walk},
    },
    limit, rbac, session,
};
use crate::config::{Filter, HeaderEdit, Role, format::Side};
use envoy_types::pb::{
    envoy::{
        config::route::v3::FilterConfig,
        extensions::filters::http::{
            adaptive_concurrency::v3::AdaptiveConcurrency,
            admission_control::v3::AdmissionControl,
            fault::v3::HttpFault,
            header_mutation::v3::{HeaderMutation, HeaderMutationPerRoute, Mutations},
            local_ratelimit::v3::LocalRateLimit,
            ratelimit::v3::{RateLimit, RateLimitPerRoute},
            rbac::v3::{Rbac, RbacPerRoute},
            stateful_session::v3::{
                StatefulSession, StatefulSessionPerRoute, stateful_session_per_route,
            },
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpFilter as Pb, http_filter::ConfigType,
        },
    },
    google::protobuf::Any,
};

const HTTP: &str = "envoy.extensions.filters.http.";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
/// A wrapper of what routes say (Envoy).
const CONFIG: &str = "envoy.config.route.v3.FilterConfig";
/// Decides who may call: only of those who call is it nothing.
const CSRF: &str = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy";
/// Filters of sidecars that only tell of calls, or are there for those who call from elsewhere: a
/// call of this process is the same without them. CORS lets nobody in and keeps nobody out: browsers obey it.
const HARMLESS: [&str; 8] = [
    "envoy.extensions.filters.http.cors.v3.Cors",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    CSRF,
    "io.istio.http.peer_metadata.Config",
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
    "stats.PluginConfig",
    "envoy.tcp.metadataexchange.config.MetadataExchange",
];

/// A filter as it was read.
enum Read {
    Filter(HttpFilter),
    /// It does nothing here.
    Nothing,
    /// It is off, and of a type that is not known here.
    Unknown(String),
}

/// Reads a chain; its last filter, and no other, is the router. The second: those that are off and not
/// known, which no route may turn on.
pub(super) fn chain(
    walk: &mut Walk,
    context: &Context,
    list: &[Pb],
) -> Result<(Vec<HttpFilter>, BTreeMap<String, String>)> {
    let mut names = HashSet::new();
    let (mut read, mut unknown) = (Vec::new(), BTreeMap::new());
    for (index, pb) in list.iter().enumerate() {
        let is_last = index + 1 == list.len();
        let filter = walk.within(&format!("http_filters[{index}]"), |walk| {
            if pb.name.is_empty() {
                return walk.refuse("name", "", "must not be empty");
            }
            if !names.insert(&pb.name) {
                return walk.refuse("name", &pb.name, "is used twice");
            }
            one(walk, context, pb, is_last)
        })?;
        match filter {
            Read::Filter(filter) => read.push(filter),
            Read::Nothing => {}
            Read::Unknown(url) => drop(unknown.insert(pb.name.clone(), url)),
        }
    }
    if list.is_empty() {
        return walk.refuse("http_filters", "[]", "must end with the router");
    }
    Ok((read, unknown))
}

fn one(walk: &mut Walk, context: &Context, pb: &Pb, is_last: bool) -> Result<Read> {
    let Pb { name, is_optional, disabled, config_type } = pb;
    let any = match config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        Some(ConfigType::ConfigDiscovery(_)) if *is_optional => {
            walk.note("config_discovery", "not supported yet: the filter is left out");
            last(walk, "config_discovery", is_last)?;
            return Ok(Read::Nothing);
        }
        Some(ConfigType::ConfigDiscovery(_)) => {
            return walk.refuse("config_discovery", name, "not supported yet");
        }
        None => return walk.refuse("typed_config", name, "must be given"),
    };
    let (url, any) = unwrapped(walk, any)?;
    if url == ROUTER {
        //= gRFC A39: the router ends the chain
        if !is_last {
            return walk.refuse("typed_config", name, "the router must be the last filter");
        }
        return Ok(Read::Nothing);
    }
    last(walk, &url, is_last)?;
    let steps = walk.within("typed_config", |walk| done(walk, context, &url, &any))?;
    match steps {
        Some(steps) => {
            let nearest_last = nearest_last(walk, &url, &any)?;
            let (name, disabled) = (name.clone(), *disabled);
            Ok(Read::Filter(HttpFilter { name, disabled, steps, nearest_last }))
        }
        None if does_nothing(context, &url) => Ok(Read::Nothing),
        None if *is_optional || *disabled => {
            walk.note("typed_config", format!("{url} is not supported yet: is left out"));
            Ok(if *is_optional { Read::Nothing } else { Read::Unknown(url) })
        }
        //= gRFC A39: a filter that is not known and not optional refuses the listener
        None => {
            walk.refuse("typed_config", url, "not supported yet, and the filter is not optional")
        }
    }
}

/// Whether a filter that is not known is one without which calls are the same.
fn does_nothing(context: &Context, url: &str) -> bool {
    let decides = url == CSRF && context.role == Role::Receiver;
    context.dialect == Dialect::Sidecar && HARMLESS.contains(&url) && !decides
}

fn last(walk: &Walk, url: &str, is_last: bool) -> Result<()> {
    if is_last {
        return walk.refuse("typed_config", url, "the last filter must be the router");
    }
    Ok(())
}

/// What a filter is, by its type or, of a struct, by the one that it names: only what does nothing
/// here is known so.
fn unwrapped(walk: &Walk, any: &Any) -> Result<(String, Any)> {
    let url = type_name(&any.type_url);
    if !TypedStruct::is_type(url) {
        return Ok((url.to_owned(), any.clone()));
    }
    let typed: TypedStruct = walk.unpack("typed_config", any)?;
    let name = type_name(&typed.type_url);
    let name =
        if HARMLESS.contains(&name) { name.to_owned() } else { format!("TypedStruct {name}") };
    Ok((name, any.clone()))
}

/// What a filter does; none: it is not known, or not done: where calls come in, they are authorised and no more.
fn done(walk: &mut Walk, context: &Context, url: &str, any: &Any) -> Result<Option<Vec<Step>>> {
    let steps = steps(walk, context, url, any)?;
    let is_done = |step: &Step| {
        context.role == Role::Caller || matches!(step, Step::Filter(Filter::Authorize(_)))
    };
    Ok(steps.filter(|steps| steps.iter().all(is_done)))
}

/// What a filter does; none: it is not known.
fn steps(walk: &mut Walk, context: &Context, url: &str, any: &Any) -> Result<Option<Vec<Step>>> {
    let Some(name) = url.strip_prefix(HTTP) else { return Ok(None) };
    Ok(Some(match name {
        "fault.v3.HTTPFault" => {
            let pb: HttpFault = walk.unpack("", any)?;
            limit::fault(walk, &pb)?.into_iter().map(Step::Filter).collect()
        }
        "rbac.v3.RBAC" => {
            let pb: Rbac = walk.unpack("", any)?;
            rbac::filters(walk, context, &pb)?.into_iter().map(Step::Filter).collect()
        }
        "stateful_session.v3.StatefulSession" => {
            let pb: StatefulSession = walk.unpack("", any)?;
            session::filter(walk, &pb)?.into_iter().map(Step::Filter).collect()
        }
        "local_ratelimit.v3.LocalRateLimit" => {
            let pb: LocalRateLimit = walk.unpack("", any)?;
            limit::local(walk, &pb)?
        }
        "ratelimit.v3.RateLimit" => {
            let pb: RateLimit = walk.unpack("", any)?;
            limit::global(walk, &pb)?
        }
        "header_mutation.v3.HeaderMutation" => {
            let pb: HeaderMutation = walk.unpack("", any)?;
            edits(walk, pb.mutations.as_ref())?
        }
        "adaptive_concurrency.v3.AdaptiveConcurrency" => {
            let pb: AdaptiveConcurrency = walk.unpack("", any)?;
            limit::concurrency(walk, &pb)?.into_iter().map(Step::Filter).collect()
        }
        "admission_control.v3.AdmissionControl" => {
            let pb: AdmissionControl = walk.unpack("", any)?;
            limit::admission(walk, &pb)?.into_iter().map(Step::Filter).collect()
        }
        _ => return Ok(None),
    }))
}

/// Whether what the nearest level of routes says of a filter that all levels add to comes last.
fn nearest_last(walk: &mut Walk, url: &str, any: &Any) -> Result<bool> {
    if url.strip_prefix(HTTP) != Some("header_mutation.v3.HeaderMutation") {
        return Ok(false);
    }
    let pb: HeaderMutation = walk.unpack("typed_config", any)?;
    Ok(pb.most_specific_header_mutations_wins)
}

fn edits(walk: &mut Walk, pb: Option<&Mutations>) -> Result<Vec<Step>> {
    let Some(pb) = pb else { return Ok(Vec::new()) };
    let Mutations {
        request_mutations,
        query_parameter_mutations,
        response_mutations,
        response_trailers_mutations,
        request_trailers_mutations,
    } = pb;
    for (is_said, field) in [
        (!query_parameter_mutations.is_empty(), "query_parameter_mutations"),
        (!response_trailers_mutations.is_empty(), "response_trailers_mutations"),
        (!request_trailers_mutations.is_empty(), "request_trailers_mutations"),
    ] {
        walk.note_if(is_said, field, "not supported yet");
    }
    let request = mutations(walk, "request_mutations", Side::Request, request_mutations)?;
    let response = mutations(walk, "response_mutations", Side::Response, response_mutations)?;
    let step = |edit: HeaderEdit, filter: fn(HeaderEdit) -> Filter| {
        (!edit.is_empty()).then(|| Step::Filter(filter(edit)))
    };
    let steps = [step(request, Filter::RequestHeaders), step(response, Filter::ResponseHeaders)];
    Ok(steps.into_iter().flatten().collect())
}

/// What a level of routes says of filters (`typed_per_filter_config`).
pub(in super::super) fn overrides(
    walk: &mut Walk,
    context: &Context,
    map: &HashMap<String, Any>,
) -> Result<BTreeMap<String, Override>> {
    let mut read = BTreeMap::new();
    for (name, any) in in_order(map) {
        let it = walk.within(&format!("typed_per_filter_config.{name}"), |walk| {
            override_of(walk, context, any)
        })?;
        if let Some(it) = it {
            read.insert(name.clone(), it);
        }
    }
    Ok(read)
}

fn override_of(walk: &mut Walk, context: &Context, any: &Any) -> Result<Option<Override>> {
    let mut is_optional = false;
    let mut inner = any.clone();
    if type_name(&any.type_url) == CONFIG {
        let FilterConfig { config, is_optional: optional, disabled } = walk.unpack("", any)?;
        if disabled {
            return Ok(Some(Override::Disabled));
        }
        is_optional = optional;
        match config {
            Some(config) => inner = config,
            None => return Ok(Some(Override::Enabled)),
        }
    }
    let (url, any) = unwrapped(walk, &inner)?;
    let name = url.strip_prefix(HTTP).unwrap_or_default();
    let of = |steps: Vec<Step>| Some(Override::Steps(steps));
    Ok(match name {
        "rbac.v3.RBACPerRoute" => {
            let RbacPerRoute { rbac } = walk.unpack("", &any)?;
            match rbac {
                Some(rbac) => {
                    of(rbac::filters(walk, context, &rbac)?.into_iter().map(Step::Filter).collect())
                }
                // Without rules, nobody is asked.
                None => Some(Override::Disabled),
            }
        }
        "stateful_session.v3.StatefulSessionPerRoute" => {
            let StatefulSessionPerRoute { r#override } = walk.unpack("", &any)?;
            match r#override {
                Some(stateful_session_per_route::Override::Disabled(true)) => {
                    Some(Override::Disabled)
                }
                Some(stateful_session_per_route::Override::StatefulSession(it)) => {
                    of(session::filter(walk, &it)?.into_iter().map(Step::Filter).collect())
                }
                Some(stateful_session_per_route::Override::Disabled(false)) | None => {
                    Some(Override::Enabled)
                }
            }
        }
        "ratelimit.v3.RateLimitPerRoute" => {
            let RateLimitPerRoute { rate_limits, domain, vh_rate_limits, override_option } =
                walk.unpack("", &any)?;
            limit::note_of_host(walk, vh_rate_limits);
            walk.note_if(override_option != 0, "override_option", "not supported yet");
            let is_said = !rate_limits.is_empty() || !domain.is_empty();
            walk.note_if(
                is_said,
                "",
                "`rate_limits` and `domain` of a route are not supported yet",
            );
            Some(Override::Enabled)
        }
        "header_mutation.v3.HeaderMutationPerRoute" => {
            let HeaderMutationPerRoute { mutations } = walk.unpack("", &any)?;
            //= Envoy HeaderMutationPerRoute: mutations of all levels are evaluated
            Some(Override::More(vec![edits(walk, mutations.as_ref())?]))
        }
        _ => match steps(walk, context, &url, &any)? {
            Some(steps) => Some(Override::Steps(steps)),
            None if is_optional => {
                walk.note("", format!("{url} is not supported yet: is left out"));
                None
            }
            // The same filters of sidecars have settings for routes.
            None if context.dialect == Dialect::Sidecar => {
                walk.note("", format!("{url}: {IGNORED}"));
                Some(Override::Unknown)
            }
            //= gRFC A39: unknown settings are refused unless optional
            None => return walk.refuse("", url, "not supported yet, and not optional"),
        },
    })
}
