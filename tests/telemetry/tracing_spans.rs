//! Users of `tracing` get the same spans, under the same field names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use tower_mesh::{Body, Mesh, Retry, TraceContext};
use tracing::{
    Event, Instrument, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::with_default,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use crate::support::{
    Leaves, SERVICE, get,
    leaf::{answer, ok},
};

/// A span as a subscriber saw it.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    target: String,
    level: Option<Level>,
    parent: Option<u64>,
    fields: BTreeMap<String, String>,
    events: Vec<BTreeMap<String, String>>,
    closed: bool,
}

/// Keeps what happens to spans up to a level.
#[derive(Clone)]
struct Keeper {
    most: Level,
    seen: Arc<Mutex<BTreeMap<u64, Seen>>>,
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.most
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        let mut seen = Seen {
            name: metadata.name(),
            target: metadata.target().to_owned(),
            level: Some(*metadata.level()),
            parent: context.span(id).and_then(|span| Some(span.parent()?.id().into_u64())),
            ..Seen::default()
        };
        attributes.record(&mut Fields(&mut seen.fields));
        self.seen.lock().unwrap().insert(id.into_u64(), seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut seen = self.seen.lock().unwrap();
        values.record(&mut Fields(&mut seen.get_mut(&id.into_u64()).unwrap().fields));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(parent) = event.parent() else { return };
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let mut seen = self.seen.lock().unwrap();
        seen.get_mut(&parent.into_u64()).unwrap().events.push(fields);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.seen.lock().unwrap().get_mut(&id.into_u64()).unwrap().closed = true;
    }
}

impl Keeper {
    fn up_to(most: Level) -> Self {
        Self { most, seen: Arc::default() }
    }

    fn spans(&self) -> Vec<(u64, Seen)> {
        self.seen.lock().unwrap().iter().map(|(id, seen)| (*id, seen.clone())).collect()
    }
}

/// A mesh whose first call meets a 503.
fn flaky() -> Mesh {
    let leaves = Leaves::new(2);
    let counter = leaves.clone();
    leaves
        .mesh(move |_, _| {
            let first = counter.total() == 1;
            async move { Ok(if first { answer(503) } else { ok("hello") }) }
        })
        .service(SERVICE, |s| {
            s.retry(Retry::standard().backoff(Duration::from_millis(1), Duration::from_millis(1)))
        })
        .tracing_spans()
        .build()
        .unwrap()
}

/// One call in a span of the application, under this subscriber.
fn run(keeper: &Keeper) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    with_default(Registry::default().with(keeper.clone()), || {
        runtime.block_on(async {
            let mesh = flaky();
            mesh.ready().await.unwrap();
            let call = mesh.client(SERVICE).unwrap().send(get("http://users.prod/1"));
            call.instrument(tracing::error_span!("application")).await.unwrap();
        });
    });
}

#[test]
fn a_call_is_a_span_and_each_attempt_a_child_of_it() {
    let keeper = Keeper::up_to(Level::DEBUG);
    run(&keeper);
    let spans: Vec<_> =
        keeper.spans().into_iter().filter(|(_, seen)| seen.target != module_path!()).collect();
    let application = keeper.spans().into_iter().find(|(_, seen)| seen.name == "application");
    let mesh: Vec<_> = spans.iter().filter(|(_, seen)| seen.target == "tower_mesh").collect();
    let [(id, call), (_, first), (_, second)] = &mesh[..] else { panic!("{mesh:#?}") };
    assert_eq!((call.name, first.name), ("call", "attempt"));
    assert_eq!((call.level, first.level), (Some(Level::INFO), Some(Level::DEBUG)));
    assert_eq!(call.parent, application.map(|(id, _)| id));
    assert_eq!((first.parent, second.parent), (Some(*id), Some(*id)));
    assert!(call.closed && first.closed && second.closed);
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("mesh.attempts", "2"),
        ("mesh.cluster", "users.prod"),
        ("mesh.outcome", "response"),
        ("mesh.service", "users.prod"),
        ("otel.kind", "internal"),
        ("otel.name", "GET"),
        ("server.address", "users.prod"),
        ("server.port", "80"),
        ("url.full", "http://users.prod/1"),
    ];
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    assert_eq!(call.fields, expected);
    assert_eq!(call.events.len(), 1);
    assert_eq!(call.events[0]["mesh.retry.reason"], "status");
    assert_eq!(call.events[0]["mesh.retry.status"], "503");
    assert_eq!(first.fields["error.type"], "503");
    assert_eq!(first.fields["otel.status_code"], "ERROR");
    assert_eq!(first.fields["otel.kind"], "client");
    assert_eq!(second.fields["mesh.retry.reason"], "status");
    assert_eq!(second.fields["mesh.retry.status"], "503");
    assert_eq!(second.fields["http.request.resend_count"], "1");
    assert!(second.fields["mesh.endpoint"].starts_with("10.0.0."));
}

#[test]
fn what_no_subscriber_wants_is_not_made() {
    let keeper = Keeper::up_to(Level::INFO);
    run(&keeper);
    let names: Vec<_> = keeper.spans().iter().map(|(_, seen)| seen.name).collect();
    assert_eq!(names, ["application", "call"], "attempts are of level DEBUG");
    let keeper = Keeper::up_to(Level::ERROR);
    run(&keeper);
    assert_eq!(keeper.spans().len(), 1);
}

#[test]
fn alone_they_tell_endpoints_of_no_trace_and_pass_one_on() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let keeper = Keeper::up_to(Level::DEBUG);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let told: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    with_default(Registry::default().with(keeper.clone()), || {
        runtime.block_on(async {
            let heard = Arc::clone(&told);
            let mesh = Leaves::new(1).mesh(move |_, request: Request<Body>| {
                let parent = request.headers().get("traceparent");
                let parent = parent.map(|parent| parent.to_str().unwrap().to_owned());
                heard.lock().unwrap().push(parent);
                async { Ok(ok("hello")) }
            });
            let mesh = mesh.tracing_spans().build().unwrap();
            mesh.ready().await.unwrap();
            let client = mesh.client(SERVICE).unwrap();
            client.send(get("/")).await.unwrap();
            let mut request = get("/");
            request.extensions_mut().insert(PARENT.parse::<TraceContext>().unwrap());
            client.send(request).await.unwrap();
        });
    });
    assert_eq!(keeper.spans().len(), 4, "a call and an attempt of each");
    assert_eq!(*told.lock().unwrap(), [None, Some(PARENT.to_owned())]);
}
