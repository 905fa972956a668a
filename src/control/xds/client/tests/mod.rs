//! The client against scripts, and against servers that misbehave, in virtual time.
//!
//! Tests that are named as those of grpc-go (`TestADS_ACK_NACK_Simple` is `ads_ack_nack_simple`)
//! hold what those hold; `docs/XDS-PORTS.md` lists them.

mod ack_nack;
mod blame;
mod chaos;
mod defects;
mod delta;
mod errors;
mod fallback;
mod federation;
mod legacy;
mod random;
mod sim;
mod stock;
mod timers;
mod unread;
mod watch;
mod watchers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            Resource,
        },
    },
    google::protobuf::Any,
};
use prost::Message as _;

use super::{
    script::{Text, bytes},
    *,
};

pub(super) fn any(kind: Kind, name: &str, content: &str) -> Any {
    Any { type_url: kind.url().to_owned(), value: bytes(name, content.as_bytes()) }
}

pub(super) fn node() -> Node {
    Node { id: "n1".to_owned(), ..Node::default() }
}

pub(super) fn settings(mode: Mode, features: Features, servers: usize) -> ClientSettings {
    let server = |at: usize| ServerSettings { name: format!("s{at}").into(), mode, features };
    ClientSettings {
        node: node(),
        servers: (0..servers).map(server).collect(),
        default: (0..servers).map(ServerId).collect(),
        authorities: BTreeMap::new(),
        linger: Linger { grace: Duration::ZERO, names: 256 },
    }
}

/// A client, its streams as the script has them, and what it has said.
pub(super) struct Bed {
    pub(super) client: Client<Text>,
    pub(super) now: Instant,
    /// The stream of each server, and whether it is open.
    pub(super) streams: BTreeMap<usize, u64>,
    /// Whether streams are open at once.
    pub(super) opens: bool,
    /// `open s0`, `close s0`.
    pub(super) links: Vec<String>,
    pub(super) sent: Vec<(usize, Request)>,
    /// `CDS c = v1`, `CDS c missing …`, `CDS c ambient …`.
    pub(super) told: Vec<String>,
}

impl Bed {
    pub(super) fn new(settings: ClientSettings) -> Self {
        Self {
            client: Client::new(settings, Text, 1),
            now: Instant::now(),
            streams: BTreeMap::new(),
            opens: true,
            links: Vec::new(),
            sent: Vec::new(),
            told: Vec::new(),
        }
    }

    pub(super) fn sotw() -> Self {
        Self::new(settings(Mode::Sotw, Features::default(), 1))
    }

    pub(super) fn delta() -> Self {
        Self::new(settings(Mode::Delta, Features::default(), 1))
    }

    /// Does all there is to do now.
    pub(super) fn run(&mut self) {
        for _ in 0..10_000 {
            let Some(action) = self.client.next(self.now) else { return };
            match action {
                Action::Open { server, stream, .. } => {
                    self.links.push(format!("open s{}", server.0));
                    self.streams.insert(server.0, stream);
                    if self.opens {
                        self.client.opened(self.now, server, stream);
                    }
                }
                Action::Close { server, stream } => {
                    self.links.push(format!("close s{}", server.0));
                    assert_eq!(self.streams.remove(&server.0), Some(stream));
                }
                Action::Send { server, stream, request } => {
                    assert_eq!(self.streams.get(&server.0), Some(&stream), "sent to no stream");
                    self.sent.push((server.0, request));
                }
                Action::Tell { kind, name, watched } => {
                    let text = match watched {
                        Watched::Resource { resource, .. } => format!("= {resource}"),
                        Watched::Missing(trouble) => format!("missing {}", trouble.cause),
                        Watched::Ambient(trouble) => format!("ambient {}", trouble.cause),
                        Watched::Cached { resource, age, trouble, .. } => {
                            let age = age.now(self.now).as_secs();
                            format!("= {resource}, {age} s old: {}", trouble.cause)
                        }
                    };
                    self.told.push(format!("{kind} {name} {text}"));
                }
            }
        }
        panic!("it never ends");
    }

    pub(super) fn watch(&mut self, kind: Kind, name: &str) {
        self.client.watch(self.now, kind, name);
        self.run();
    }

    pub(super) fn unwatch(&mut self, kind: Kind, name: &str) {
        self.client.unwatch(self.now, kind, name);
        self.run();
    }

    /// Time passes, with all that it brings.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..10_000 {
            match self.client.wake_at() {
                Some(at) if at <= until => {
                    self.now = self.now.max(at);
                    self.run();
                }
                _ => {
                    self.now = until;
                    return self.run();
                }
            }
        }
        panic!("it wakes without end");
    }

    /// Waits until there is a stream again.
    pub(super) fn reopen(&mut self) {
        while self.streams.is_empty() {
            let at = self.client.wake_at().expect("it comes back");
            self.now = self.now.max(at);
            self.run();
        }
    }

    /// What the client said since the last time.
    pub(super) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn links(&mut self) -> Vec<String> {
        std::mem::take(&mut self.links)
    }

    pub(super) fn sent(&mut self) -> Vec<DiscoveryRequest> {
        let sotw = |(_, request)| match request {
            Request::Sotw(request) => request,
            Request::Delta(_) => panic!("delta"),
        };
        std::mem::take(&mut self.sent).into_iter().map(sotw).collect()
    }

    /// In short: `CDS a,b v=1 n=2 node error`.
    pub(super) fn requests(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sent).iter().map(|(_, request)| short(request)).collect()
    }

    pub(super) fn sent_delta(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let delta = |(_, request)| match request {
            Request::Delta(request) => request,
            Request::Sotw(_) => panic!("state of the world"),
        };
        std::mem::take(&mut self.sent).into_iter().map(delta).collect()
    }

    pub(super) fn message(&mut self, server: usize, message: Message) {
        let stream = self.streams[&server];
        self.client.received(self.now, ServerId(server), stream, message);
        self.run();
    }

    pub(super) fn answer_from(
        &mut self,
        server: usize,
        kind: Kind,
        version: &str,
        nonce: &str,
        resources: &[(&str, &str)],
    ) {
        self.message(server, answer(kind, version, nonce, resources));
    }

    pub(super) fn answer(
        &mut self,
        kind: Kind,
        version: &str,
        nonce: &str,
        resources: &[(&str, &str)],
    ) {
        self.answer_from(0, kind, version, nonce, resources);
    }

    pub(super) fn close(&mut self, server: usize, text: &str) {
        self.ended(server, 14, text);
    }

    /// The stream ends with this status of gRPC.
    pub(super) fn ended(&mut self, server: usize, code: i32, text: &str) {
        let stream = self.streams.remove(&server).expect("a stream");
        self.client.closed(self.now, ServerId(server), stream, code, text);
        self.run();
    }

    /// An answer on the stream cannot be read.
    pub(super) fn cut(&mut self, server: usize) {
        let stream = self.streams.remove(&server).expect("a stream");
        let out_of_range = 11;
        self.client.cut(self.now, ServerId(server), stream, out_of_range, "too large");
        self.run();
    }

    /// The names asked of a server, over all types.
    pub(super) fn asked(&self, server: usize) -> Vec<String> {
        let ads = &self.client.servers[server].ads;
        let entries = Kind::ALL.into_iter().flat_map(|kind| {
            self.client.entries[kind as usize].keys().map(move |name| (kind, name))
        });
        let mut names: Vec<String> = entries
            .filter(|(kind, name)| ads.is_subscribed(*kind, name))
            .map(|(kind, name)| format!("{kind} {name}"))
            .collect();
        names.sort();
        names
    }
}

pub(super) fn answer(
    kind: Kind,
    version: &str,
    nonce: &str,
    resources: &[(&str, &str)],
) -> Message {
    Message::Sotw(DiscoveryResponse {
        version_info: version.to_owned(),
        nonce: nonce.to_owned(),
        type_url: kind.url().to_owned(),
        resources: resources.iter().map(|(name, content)| any(kind, name, content)).collect(),
        ..DiscoveryResponse::default()
    })
}

pub(super) fn delta(
    kind: Kind,
    nonce: &str,
    resources: &[(&str, &str, &str)],
    removed: &[&str],
) -> Message {
    let resource = |(name, version, content): &(&str, &str, &str)| Resource {
        name: (*name).to_owned(),
        version: (*version).to_owned(),
        resource: Some(any(kind, name, content)),
        ..Resource::default()
    };
    Message::Delta(DeltaDiscoveryResponse {
        nonce: nonce.to_owned(),
        type_url: kind.url().to_owned(),
        resources: resources.iter().map(resource).collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    })
}

fn short(request: &Request) -> String {
    let kind = |url: &str| Kind::of_url(url).expect("a known type");
    let versions = |versions: &HashMap<String, String>| {
        let sorted: BTreeMap<_, _> = versions.iter().collect();
        sorted
            .iter()
            .map(|(name, version)| format!("{name}@{version}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let (mut text, node, nonce, error) = match request {
        Request::Sotw(request) => (
            format!(
                "{} [{}] v={}",
                kind(&request.type_url),
                request.resource_names.join(","),
                request.version_info
            ),
            request.node.is_some(),
            &request.response_nonce,
            request.error_detail.is_some(),
        ),
        Request::Delta(request) => (
            format!(
                "{} +[{}] -[{}] i=[{}]",
                kind(&request.type_url),
                request.resource_names_subscribe.join(","),
                request.resource_names_unsubscribe.join(","),
                versions(&request.initial_resource_versions)
            ),
            request.node.is_some(),
            &request.response_nonce,
            request.error_detail.is_some(),
        ),
    };
    text.push_str(&format!(" n={nonce}"));
    if node {
        text.push_str(" node");
    }
    if error {
        text.push_str(" error");
    }
    text
}
