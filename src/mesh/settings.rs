//! Every setting of a route or a cluster with its value and origin, in the words of the mesh file.

mod asked;
mod cluster;
mod connections;
mod hashing;
mod health;
mod hedge;
mod layers;
mod limits;
pub(super) mod protection;
mod retry;
mod route;
mod security;
mod words;

pub(crate) use self::layers::By;
pub(super) use self::{
    asked::of_asked, cluster::of_cluster, route::of_route, security::identity, words::name_of,
};
use self::{
    layers::Layers,
    words::{chosen, debug, limit, text, time},
};
use super::{
    describe::{Setting, SettingOrigin},
    inner::Inner,
};

/// What holds for the whole mesh: the code says that, and of unknown names the source that is there for
/// them.
pub(super) fn of_mesh(inner: &Inner) -> Vec<Setting> {
    let by = match inner.unknown_source {
        Some(place) => By::Source(inner.sources.get(place).map(String::as_str)),
        None => By::Code,
    };
    let mesh = Layers::of_one(&inner.unknown_names, by);
    let mut list = vec![mesh.setting("unknown_names", "refuse", chosen)];
    list.extend(inner.code.labels.iter().map(|(name, value)| Setting {
        name: format!("label.{name}").into(),
        value: value.clone(),
        origin: SettingOrigin::Code,
        source: None,
    }));
    let keys = inner.state().runtime.told();
    list.extend(keys.into_iter().map(|(key, percent, origin, source)| Setting {
        name: format!("runtime.{key}").into(),
        value: format!("{percent} %"),
        origin,
        source: source.map(|source| inner.source_name(source).to_owned()),
    }));
    list
}

/// What the mesh tells of itself: only the code says that.
pub(super) fn of_telemetry(inner: &Inner) -> Vec<Setting> {
    let told = Layers::of_code(&inner.telemetry);
    let given = |is_given: bool| is_given.then(|| "given".to_owned());
    vec![
        told.setting("telemetry.endpoint_metrics", "true", |told| text(told.endpoint_metrics)),
        told.setting("telemetry.meter_provider", "none", |_| given(inner.hub.is_exported())),
        told.setting("telemetry.propagation", "w3c", |_| {
            inner.tracing.propagation.map(|it| name_of(&it))
        }),
        told.setting("telemetry.tracer_provider", "none", |_| {
            given(inner.tracing.tracer.is_some())
        }),
        told.setting("telemetry.tracing_spans", "false", |_| {
            text(inner.tracing.spans.as_ref().map(|_| true))
        }),
    ]
}
