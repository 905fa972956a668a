//! What a control plane knows, what it was told to do, and what it answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use envoy_types::pb::{
    envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryResponse, Resource as Wrapper, ResourceError, ResourceName,
    },
    google::{protobuf, rpc},
};
use prost::{Message as _, Name};
use tokio::sync::mpsc::UnboundedSender;
use tonic::Status;

use super::{
    Request, Resource,
    resource::{CDS, LDS},
};

/// An answer that a test makes up.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Answer {
    type_url: String,
    version: String,
    nonce: String,
    resources: Vec<Resource>,
    removed: Vec<String>,
}

/// In which order answers that were held are given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Order {
    /// As they were made.
    Made,
    /// The last one first.
    Reversed,
}

/// What a control plane knew once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot(BTreeMap<String, Known>);

/// What is known of one type.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    changes: u64,
    version: String,
    resources: BTreeMap<String, (Resource, String)>,
    errors: BTreeMap<String, (i32, String)>,
}

#[derive(Default)]
pub(super) struct State {
    known: BTreeMap<String, Known>,
    streams: BTreeMap<u64, Stream>,
    last_stream: u64,
    pub(super) requests: Vec<Request>,
    pub(super) script: Script,
    held: Vec<(u64, Out)>,
}

/// What it was told to do.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "a test combines them as it likes")]
pub(super) struct Script {
    pub(super) silent: bool,
    pub(super) deaf: bool,
    pub(super) silent_about: BTreeSet<String>,
    pub(super) hold: bool,
    pub(super) hold_headers: bool,
    pub(super) resend_refused: bool,
    pub(super) ignore_names_in_nacks: bool,
    pub(super) quiet_about_missing: bool,
    pub(super) trust_versions: bool,
    pub(super) wrapped: bool,
    pub(super) refuse: Option<(i32, String)>,
}

/// One stream.
struct Stream {
    delta: bool,
    out: UnboundedSender<Result<Out, Status>>,
    nonces: u64,
    types: BTreeMap<String, Subscription>,
}

/// What of one type a stream asks for.
#[derive(Clone, Default)]
struct Subscription {
    names: BTreeSet<String>,
    all: bool,
    nonce: String,
}

/// What goes out.
#[derive(Clone, Debug)]
pub(super) enum Out {
    Sotw(DiscoveryResponse),
    Delta(DeltaDiscoveryResponse),
}

impl Answer {
    /// Of this type and version, without a resource.
    pub fn new(type_url: impl Into<String>, version: impl Into<String>) -> Self {
        Self { type_url: type_url.into(), version: version.into(), ..Self::default() }
    }

    /// Adds a resource. It may be of another type.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// By which it is replied to; without one it is given the next of its stream.
    pub fn nonce(mut self, nonce: impl Into<String>) -> Self {
        self.nonce = nonce.into();
        self
    }

    /// Says that a resource is gone; by the delta protocol alone.
    pub fn removed(mut self, name: impl Into<String>) -> Self {
        self.removed.push(name.into());
        self
    }
}

impl Known {
    fn change(&mut self, version: Option<&str>) {
        self.changes += 1;
        self.version = version.map_or_else(|| self.changes.to_string(), str::to_owned);
    }
}

impl State {
    // === content ===

    /// Says these from now on; tells who has asked for them.
    pub(super) fn set(&mut self, resources: Vec<Resource>, version: Option<&str>) {
        let mut changed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for resource in resources {
            let names = changed.entry(resource.type_url.clone()).or_default();
            let known = self.known.entry(resource.type_url.clone()).or_default();
            if names.is_empty() {
                known.change(version);
            }
            names.insert(resource.name.clone());
            known.errors.remove(&resource.name);
            let at = known.version.clone();
            known.resources.insert(resource.name.clone(), (resource, at));
        }
        for (type_url, names) in changed {
            self.tell(&type_url, &names);
        }
    }

    pub(super) fn remove(&mut self, type_url: &str, name: &str) {
        let known = self.known.entry(type_url.to_owned()).or_default();
        known.errors.remove(name);
        if known.resources.remove(name).is_some() {
            known.change(None);
            self.tell(type_url, &BTreeSet::from([name.to_owned()]));
        }
    }

    pub(super) fn fail(&mut self, type_url: &str, name: &str, code: i32, text: &str) {
        let known = self.known.entry(type_url.to_owned()).or_default();
        known.resources.remove(name);
        known.errors.insert(name.to_owned(), (code, text.to_owned()));
        known.change(None);
        self.tell(type_url, &BTreeSet::from([name.to_owned()]));
    }

    pub(super) fn version(&self, type_url: &str) -> String {
        self.known.get(type_url).map(|known| known.version.clone()).unwrap_or_default()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot(self.known.clone())
    }

    /// Nobody is told.
    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        self.known = snapshot.0;
    }

    // === streams ===

    pub(super) fn open(&mut self, delta: bool, out: UnboundedSender<Result<Out, Status>>) -> u64 {
        self.last_stream += 1;
        let stream = Stream { delta, out, nonces: 0, types: BTreeMap::new() };
        self.streams.insert(self.last_stream, stream);
        self.last_stream
    }

    pub(super) fn gone(&mut self, stream: u64) {
        self.streams.remove(&stream);
    }

    /// Ends every stream with a status.
    pub(super) fn cut(&mut self, code: i32, text: &str) {
        for (_, stream) in std::mem::take(&mut self.streams) {
            if code != 0 {
                drop(stream.out.send(Err(Status::new(code.into(), text))));
            }
        }
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn streams_begun(&self) -> u64 {
        self.last_stream
    }

    /// What each stream asks for.
    pub(super) fn subscriptions(&self, type_url: &str) -> Vec<BTreeSet<String>> {
        let of = |stream: &Stream| {
            stream.types.get(type_url).map(|it| it.names.clone()).unwrap_or_default()
        };
        self.streams.values().map(of).collect()
    }

    // === requests ===

    pub(super) fn received(&mut self, request: Request) {
        if request.delta {
            self.delta(&request);
        } else {
            self.sotw(&request);
        }
        if self.requests.len() < MOST {
            self.requests.push(request);
        }
    }

    fn sotw(&mut self, request: &Request) {
        let Some(stream) = self.streams.get_mut(&request.stream) else { return };
        let is_first = !stream.types.contains_key(&request.type_url);
        let of = stream.types.entry(request.type_url.clone()).or_default();
        if !is_first && !request.nonce.is_empty() && request.nonce != of.nonce {
            // It answers what is out of date.
            return;
        }
        if request.error.is_some() && self.script.ignore_names_in_nacks {
            if self.script.resend_refused {
                self.answer(request.stream, &request.type_url, None);
            }
            return;
        }
        let names: BTreeSet<String> = request.names.iter().cloned().collect();
        // Once a name was asked for, no name means none.
        let all = if names.is_empty() { is_first || of.all } else { false };
        let new: BTreeSet<String> = names.difference(&of.names).cloned().collect();
        let asks = is_first || !new.is_empty() || (all && !of.all);
        (of.names, of.all) = (names, all);
        let is_known = is_first
            && self.script.trust_versions
            && !request.version.is_empty()
            && request.version == self.version(&request.type_url);
        let again = request.error.is_some() && self.script.resend_refused;
        if (asks && !is_known) || again {
            let named = if is_first || again { None } else { Some(&new) };
            self.answer(request.stream, &request.type_url, named);
        }
    }

    fn delta(&mut self, request: &Request) {
        let Some(stream) = self.streams.get_mut(&request.stream) else { return };
        let is_first = !stream.types.contains_key(&request.type_url);
        let of = stream.types.entry(request.type_url.clone()).or_default();
        for name in &request.unsubscribed {
            if name == "*" {
                of.all = false;
            } else {
                of.names.remove(name);
            }
        }
        let mut asked: BTreeSet<String> = BTreeSet::new();
        let is_all =
            request.names.iter().any(|name| name == "*") || (is_first && request.names.is_empty());
        if is_all {
            of.all = true;
        }
        for name in request.names.iter().filter(|name| *name != "*") {
            of.names.insert(name.clone());
            asked.insert(name.clone());
        }
        if is_all && let Some(known) = self.known.get(&request.type_url) {
            asked.extend(known.resources.keys().cloned());
        }
        let again = request.error.is_some() && self.script.resend_refused;
        if again {
            let of = stream.types.get(&request.type_url);
            asked.extend(of.map(|of| of.names.clone()).unwrap_or_default());
        }
        // What the client has already is not sent again.
        if let Some(known) = self.known.get(&request.type_url) {
            asked.retain(|name| {
                let has = request.initial_versions.get(name);
                let is = known.resources.get(name).map(|(_, version)| version);
                has.is_none() || has != is
            });
        }
        if !asked.is_empty() {
            self.answer(request.stream, &request.type_url, Some(&asked));
        }
    }

    // === answers ===

    fn tell(&mut self, type_url: &str, names: &BTreeSet<String>) {
        let asked = |stream: &Stream| {
            stream.types.get(type_url).is_some_and(|of| of.all || !of.names.is_disjoint(names))
        };
        let streams: Vec<u64> =
            self.streams.iter().filter(|(_, stream)| asked(stream)).map(|(id, _)| *id).collect();
        for stream in streams {
            self.answer(stream, type_url, Some(names));
        }
    }

    /// Answers everybody anew, of everything.
    pub(super) fn answer_all(&mut self) {
        let all: Vec<(u64, String)> = self
            .streams
            .iter()
            .flat_map(|(id, stream)| stream.types.keys().map(|type_url| (*id, type_url.clone())))
            .collect();
        for (stream, type_url) in all {
            self.answer(stream, &type_url, None);
        }
    }

    /// Answers one stream; `only` is what has changed, or was asked for now.
    fn answer(&mut self, id: u64, type_url: &str, only: Option<&BTreeSet<String>>) {
        let Some(stream) = self.streams.get(&id) else { return };
        let Some(of) = stream.types.get(type_url) else { return };
        let empty = Known::default();
        let known = self.known.get(type_url).unwrap_or(&empty);
        let is_asked = |name: &String| of.all || of.names.contains(name);
        //= xDS: an answer of the state of the world lists all listeners, and all clusters
        let is_whole = !stream.delta && (type_url == LDS || type_url == CDS);
        let is_meant = |name: &String| {
            is_asked(name) && (is_whole || only.is_none_or(|only| only.contains(name)))
        };
        let meant = known.resources.iter().filter(|(name, _)| is_meant(name));
        let meant: Vec<&(Resource, String)> = meant.map(|(_, resource)| resource).collect();
        let errors = known.errors.iter().filter(|(name, _)| is_meant(name));
        let errors: Vec<ResourceError> = errors.map(|(name, why)| failed(name, why)).collect();
        let wanted = only.unwrap_or(&of.names).iter().filter(|name| is_asked(name));
        let missing = wanted.filter(|name| {
            !known.resources.contains_key(*name) && !known.errors.contains_key(*name)
        });
        let missing: Vec<String> = missing.cloned().collect();
        let is_quiet = self.script.quiet_about_missing && !missing.is_empty();
        let out = if stream.delta {
            let removed = if is_quiet { Vec::new() } else { missing };
            if meant.is_empty() && removed.is_empty() && errors.is_empty() {
                return;
            }
            Out::Delta(DeltaDiscoveryResponse {
                system_version_info: known.version.clone(),
                resources: meant.iter().map(|(it, version)| wrapper(it, version)).collect(),
                type_url: type_url.to_owned(),
                removed_resources: removed,
                resource_errors: errors,
                ..DeltaDiscoveryResponse::default()
            })
        } else {
            if is_quiet || (!is_whole && meant.is_empty() && errors.is_empty()) {
                return;
            }
            let wrapped = self.script.wrapped;
            Out::Sotw(DiscoveryResponse {
                version_info: known.version.clone(),
                resources: meant.iter().map(|(it, version)| any(it, version, wrapped)).collect(),
                type_url: type_url.to_owned(),
                resource_errors: errors,
                ..DiscoveryResponse::default()
            })
        };
        if !self.script.silent && !self.script.silent_about.contains(type_url) {
            self.emit(id, out);
        }
    }

    /// Sends what a test has made up, to everybody.
    pub(super) fn send(&mut self, answer: &Answer) {
        let streams: Vec<(u64, bool)> =
            self.streams.iter().map(|(id, stream)| (*id, stream.delta)).collect();
        for (id, delta) in streams {
            let resources = answer.resources.iter();
            let out = if delta {
                Out::Delta(DeltaDiscoveryResponse {
                    system_version_info: answer.version.clone(),
                    resources: resources.map(|it| wrapper(it, &answer.version)).collect(),
                    type_url: answer.type_url.clone(),
                    nonce: answer.nonce.clone(),
                    removed_resources: answer.removed.clone(),
                    ..DeltaDiscoveryResponse::default()
                })
            } else {
                let wrapped = self.script.wrapped;
                Out::Sotw(DiscoveryResponse {
                    version_info: answer.version.clone(),
                    resources: resources.map(|it| any(it, &answer.version, wrapped)).collect(),
                    type_url: answer.type_url.clone(),
                    nonce: answer.nonce.clone(),
                    ..DiscoveryResponse::default()
                })
            };
            self.emit(id, out);
        }
    }

    /// The nonce is given when it is made: an answer that is held is out of date by then, as on a
    /// network.
    fn emit(&mut self, id: u64, mut out: Out) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.nonces += 1;
        let (type_url, nonce) = match &mut out {
            Out::Sotw(answer) => (answer.type_url.clone(), &mut answer.nonce),
            Out::Delta(answer) => (answer.type_url.clone(), &mut answer.nonce),
        };
        if nonce.is_empty() {
            *nonce = format!("{id}-{}", stream.nonces);
        }
        let nonce = nonce.clone();
        if self.script.hold {
            self.held.push((id, out));
            return;
        }
        stream.types.entry(type_url).or_default().nonce = nonce;
        drop(stream.out.send(Ok(out)));
    }

    pub(super) fn release(&mut self, order: Order) {
        self.script.hold = false;
        let mut held = std::mem::take(&mut self.held);
        if order == Order::Reversed {
            held.reverse();
        }
        for (id, out) in held {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let (type_url, nonce) = match &out {
                Out::Sotw(answer) => (answer.type_url.clone(), answer.nonce.clone()),
                Out::Delta(answer) => (answer.type_url.clone(), answer.nonce.clone()),
            };
            stream.types.entry(type_url).or_default().nonce = nonce;
            drop(stream.out.send(Ok(out)));
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

fn any(resource: &Resource, version: &str, wrapped: bool) -> protobuf::Any {
    if !wrapped {
        return resource.any();
    }
    let value = wrapper(resource, version).encode_to_vec();
    protobuf::Any { type_url: Wrapper::type_url(), value }
}

fn wrapper(resource: &Resource, version: &str) -> Wrapper {
    Wrapper {
        name: resource.name.clone(),
        version: version.to_owned(),
        resource: Some(resource.any()),
        ttl: resource.ttl.map(duration),
        ..Wrapper::default()
    }
}

fn duration(duration: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

fn failed(name: &str, (code, text): &(i32, String)) -> ResourceError {
    ResourceError {
        resource_name: Some(ResourceName { name: name.to_owned(), ..ResourceName::default() }),
        error_detail: Some(rpc::Status {
            code: *code,
            message: text.clone(),
            ..rpc::Status::default()
        }),
    }
}

/// Requests that are remembered.
const MOST: usize = 100_000;
