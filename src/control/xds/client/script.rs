//! A client driven by bytes, for the fuzz target and the property tests: whatever servers send and
//! streams do, it never panics, never asks for everything, tells nobody who does not watch, sends no
//! more than it was given reason to, and leaves nothing behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryResponse, DiscoveryResponse, Resource, ResourceError, ResourceName,
        },
    },
    google::{protobuf, rpc},
};
use prost::Message as _;

use super::*;

/// A resource: its name is its first field, its content the second.
pub(crate) fn bytes(name: &str, content: &[u8]) -> Vec<u8> {
    protobuf::Any { type_url: name.to_owned(), value: content.to_vec() }.encode_to_vec()
}

/// Content that begins with `bad` is refused; with `nameless`, without a name.
#[derive(Debug)]
pub(crate) struct Text;

impl Decode for Text {
    type Resource = String;

    fn decode(&self, _: Kind, value: &[u8]) -> Result<Decoded<String>, Invalid> {
        let nameless = |reason: String| Invalid { name: None, reason };
        let any = protobuf::Any::decode(value).map_err(|error| nameless(error.to_string()))?;
        let text = String::from_utf8(any.value).map_err(|error| nameless(error.to_string()))?;
        let name: Arc<str> = any.type_url.into();
        if text.starts_with("nameless") {
            return Err(nameless(text));
        }
        if text.starts_with("bad") {
            return Err(Invalid { name: Some(name), reason: text });
        }
        Ok(Decoded { name, resource: text })
    }
}

const NAMES: [&str; 12] = [
    "a",
    "b",
    "c",
    "d",
    "\u{7}\u{fffd}",
    "",
    "*",
    "xdstp://x/envoy.config.cluster.v3.Cluster/a?b=1&a=2",
    "xdstp://x/envoy.config.cluster.v3.Cluster/a?a=2&b=1",
    "xdstp://y/envoy.config.cluster.v3.Cluster/a",
    "xdstp://x/envoy.config.cluster.v3.Cluster/*",
    "xdstp:",
];

const CONTENTS: [&[u8]; 6] = [b"v1", b"v2", b"bad 1", b"bad 2", b"nameless", b"\xff"];

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % most
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn text(&mut self) -> String {
        ["", "1", "2", "\u{0}x"][self.below(4)].to_owned()
    }

    fn url(&mut self) -> String {
        match self.below(10) {
            0 => String::new(),
            1 => "type.googleapis.com/x.Y".to_owned(),
            at => Kind::ALL[at % Kind::COUNT].url().to_owned(),
        }
    }

    fn any(&mut self) -> protobuf::Any {
        let value = bytes(self.of(&NAMES), self.of(&CONTENTS));
        match self.below(6) {
            0 => protobuf::Any { type_url: self.url(), value: vec![self.next().unwrap_or(0); 3] },
            1 | 2 => {
                let type_url = "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned();
                protobuf::Any { type_url, value: self.resource().encode_to_vec() }
            }
            _ => protobuf::Any { type_url: self.url(), value },
        }
    }

    fn resource(&mut self) -> Resource {
        let value = bytes(self.of(&NAMES), self.of(&CONTENTS));
        let ttl = protobuf::Duration { seconds: i64::from(self.below(9) as u8) - 1, nanos: 5 };
        Resource {
            name: self.of(&NAMES).to_owned(),
            version: self.text(),
            resource: (self.below(4) > 0).then(|| protobuf::Any { type_url: self.url(), value }),
            ttl: (self.below(4) == 0).then_some(ttl),
            ..Resource::default()
        }
    }

    fn errors(&mut self) -> Vec<ResourceError> {
        let count = self.below(6) / 4;
        let name = |name: &str| ResourceName { name: name.to_owned(), ..ResourceName::default() };
        let error = |of: &mut Self| ResourceError {
            resource_name: (of.below(8) > 0).then(|| name(of.of(&NAMES))),
            error_detail: Some(rpc::Status { code: 5, ..rpc::Status::default() }),
        };
        (0..count).map(|_| error(self)).collect()
    }

    fn message(&mut self, mode: Mode) -> Message {
        let count = self.below(5);
        match mode {
            Mode::Sotw => Message::Sotw(DiscoveryResponse {
                version_info: self.text(),
                nonce: self.text(),
                type_url: self.url(),
                resources: (0..count).map(|_| self.any()).collect(),
                resource_errors: self.errors(),
                ..DiscoveryResponse::default()
            }),
            Mode::Delta => Message::Delta(DeltaDiscoveryResponse {
                nonce: self.text(),
                type_url: self.url(),
                resources: (0..count).map(|_| self.resource()).collect(),
                removed_resources: (0..self.below(3)).map(|_| self.of(&NAMES).to_owned()).collect(),
                resource_errors: self.errors(),
                ..DeltaDiscoveryResponse::default()
            }),
        }
    }
}

/// What the streams have seen.
#[derive(Default)]
struct Seen {
    /// By server: its stream, and whether it is open.
    streams: BTreeMap<usize, (u64, bool)>,
    /// Streams that were told the node, and types that were named on them.
    introduced: BTreeSet<(usize, u64)>,
    named: BTreeSet<(usize, u64, String)>,
    nonces: BTreeSet<(usize, u64, String)>,
    watched: BTreeMap<(Kind, &'static str), usize>,
    /// Requests that there was reason for, and those that were sent.
    reasons: usize,
    sent: usize,
}

impl Seen {
    fn request(&mut self, server: usize, stream: u64, request: &Request) {
        assert_eq!(self.streams.get(&server), Some(&(stream, true)), "sent to no open stream");
        self.sent += 1;
        let (node, url, nonce, names) = match request {
            Request::Sotw(it) => {
                (it.node.is_some(), &it.type_url, &it.response_nonce, &it.resource_names)
            }
            Request::Delta(it) => {
                let names = &it.resource_names_subscribe;
                (it.node.is_some(), &it.type_url, &it.response_nonce, names)
            }
        };
        assert_eq!(node, self.introduced.insert((server, stream)), "the node, once");
        assert!(names.iter().all(|name| !name.is_empty() && !name.ends_with('*')), "{names:?}");
        let is_first = self.named.insert((server, stream, url.clone()));
        assert!(!is_first || !names.is_empty(), "an empty list is a wildcard");
        let is_known = self.nonces.contains(&(server, stream, nonce.clone()));
        assert!(nonce.is_empty() || is_known, "a nonce of another stream");
    }

    fn act(&mut self, client: &mut Client<Text>, now: Instant) {
        for step in 0.. {
            assert!(step < 10_000, "it never ends");
            let Some(action) = client.next(now) else { return };
            match action {
                Action::Open { server, stream, .. } => {
                    assert!(self.streams.insert(server.0, (stream, false)).is_none());
                    self.reasons += 8;
                }
                Action::Close { server, stream } => {
                    assert_eq!(self.streams.remove(&server.0).map(|of| of.0), Some(stream));
                }
                Action::Send { server, stream, request } => {
                    self.request(server.0, stream, &request);
                }
                Action::Tell { kind, name, .. } => {
                    let is_watched = self.watched.keys().any(|one| *one == (kind, &*name));
                    assert!(is_watched, "{kind} {name} is watched by nobody");
                }
            }
        }
    }
}

/// Runs what the bytes say.
pub(crate) fn run(script: &[u8]) {
    let mut script = Bytes(script);
    let first = script.next().unwrap_or(0);
    let mode = if first & 1 == 0 { Mode::Sotw } else { Mode::Delta };
    let features = Features {
        fail_on_data_errors: first & 2 != 0,
        ignore_resource_deletion: first & 4 != 0,
        resource_timer_is_transient_error: first & 8 != 0,
    };
    let server = |at: usize| ServerSettings { name: format!("s{at}").into(), mode, features };
    let grace = Duration::from_secs(if first & 16 != 0 { 5 } else { 0 });
    let settings = ClientSettings {
        node: Node::default(),
        servers: (0..3).map(server).collect(),
        default: vec![ServerId(0), ServerId(1)],
        authorities: [("x".into(), vec![ServerId(1), ServerId(2)])].into_iter().collect(),
        linger: Linger { grace, names: 2 },
    };
    let mut client = Client::new(settings, Text, u64::from(first));
    let mut seen = Seen::default();
    let mut now = Instant::now();
    while let Some(word) = script.next() {
        seen.reasons += 4;
        let server = script.below(3);
        let stream = seen.streams.get(&server).copied();
        match (word % 12, stream) {
            (0 | 1, _) => {
                let (kind, name) = (script.of(&Kind::ALL), script.of(&NAMES));
                *seen.watched.entry((kind, name)).or_default() += 1;
                client.watch(now, kind, name);
            }
            (2, _) => {
                let (kind, name) = (script.of(&Kind::ALL), script.of(&NAMES));
                if let Some(count) = seen.watched.get_mut(&(kind, name)) {
                    *count -= 1;
                    // What was told before is told still.
                    seen.act(&mut client, now);
                    if seen.watched.get(&(kind, name)) == Some(&0) {
                        seen.watched.remove(&(kind, name));
                    }
                    client.unwatch(now, kind, name);
                }
            }
            (3..=5, Some((stream, false))) => {
                seen.streams.insert(server, (stream, true));
                client.opened(now, ServerId(server), stream);
            }
            (3..=8, Some((stream, true))) => {
                let message = script.message(mode);
                let nonce = match &message {
                    Message::Sotw(message) => message.nonce.clone(),
                    Message::Delta(message) => message.nonce.clone(),
                };
                seen.nonces.insert((server, stream, nonce));
                client.received(now, ServerId(server), stream, message);
            }
            (9, Some((stream, _))) => {
                seen.streams.remove(&server);
                let code = script.of(&[14, 2]);
                client.closed(now, ServerId(server), stream, code, &script.text());
            }
            (10, _) => {
                // What comes late, from a stream or server that is not there.
                let at = ServerId(if word > 200 { 3 } else { server });
                let stream = stream.map_or(9, |(stream, _)| stream + 1);
                let other = if mode == Mode::Sotw { Mode::Delta } else { Mode::Sotw };
                client.opened(now, at, stream);
                client.received(now, at, stream, script.message(mode));
                client.received(now, at, stream.saturating_sub(1), script.message(other));
                client.closed(now, at, stream, 2, "late");
            }
            _ => pass(&mut client, &mut seen, &mut now, script.next().unwrap_or(0).into()),
        }
        seen.act(&mut client, now);
        let bound = 8 + 4 * seen.reasons;
        assert!(seen.sent <= bound, "{} requests for {bound} reasons", seen.sent);
    }
    for ((kind, name), count) in std::mem::take(&mut seen.watched) {
        for _ in 0..count {
            client.unwatch(now, kind, name);
        }
    }
    while client.next(now).is_some() {}
    now += Duration::from_secs(60);
    while client.next(now).is_some() {}
    assert_eq!(client.dump().count(), 0, "something stays");
    assert_eq!(client.wake_at(), None, "it wakes for nothing");
}

/// Time passes, up to so many tenths of a second.
fn pass(client: &mut Client<Text>, seen: &mut Seen, now: &mut Instant, tenths: u64) {
    let until = *now + Duration::from_millis(100 * tenths);
    seen.reasons += usize::try_from(tenths).unwrap_or(0) / 4;
    for step in 0.. {
        assert!(step < 1_000, "it wakes without end");
        match client.wake_at() {
            Some(at) if at <= until => *now = at.max(*now),
            _ => break,
        }
        seen.act(client, *now);
    }
    *now = until;
}
