//! How an answer is read: both protocols, resources with and without their wrapper, as one.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use envoy_types::pb::{
    envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryResponse, Resource, ResourceError,
    },
    google::protobuf::Any,
};
use prost::Message as _;
use twox_hash::XxHash64;

use crate::control::xds::kind::Kind;

/// A message of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Sotw(DiscoveryResponse),
    Delta(DeltaDiscoveryResponse),
}

/// An answer about one type of resources.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) version: Arc<str>,
    pub(crate) nonce: String,
    pub(crate) items: Vec<Item>,
    /// Names that are said to be gone (delta).
    pub(crate) removed: Vec<String>,
    /// Names that the server has an error for (gRFC A88).
    pub(crate) failed: Vec<Failed>,
    /// What is not named in it is gone.
    pub(crate) is_whole: bool,
}

/// A resource of an answer.
#[derive(Debug)]
pub(crate) struct Item {
    /// As its wrapper says.
    pub(crate) name: Option<String>,
    pub(crate) version: Arc<str>,
    pub(crate) ttl: Option<Duration>,
    /// `None`: only its time to live is renewed.
    pub(crate) value: Result<Option<Vec<u8>>, String>,
}

#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) name: String,
    pub(crate) code: i32,
    pub(crate) message: String,
}

/// The longest version and the longest nonce: they are kept, and said again. Unit: bytes.
const LONGEST_TOKEN: usize = 16 * 1024;

/// The URL of the wrapper (`xds.config.resource-in-sotw`).
const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

// === impl Message ===

impl Message {
    pub(crate) fn type_url(&self) -> &str {
        match self {
            Self::Sotw(message) => &message.type_url,
            Self::Delta(message) => &message.type_url,
        }
    }

    /// Whether it can be replied to.
    ///
    /// # Errors
    ///
    /// What of it is too large to be kept.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (version, nonce) = match self {
            Self::Sotw(message) => (&message.version_info, &message.nonce),
            Self::Delta(message) => (&message.system_version_info, &message.nonce),
        };
        too_long("version", version).or_else(|| too_long("nonce", nonce)).map_or(Ok(()), Err)
    }
}

fn too_long(what: &str, text: &str) -> Option<String> {
    let long = text.len();
    let reason = || format!("too large: its {what} has {long} bytes, the limit is {LONGEST_TOKEN}");
    (long > LONGEST_TOKEN).then(reason)
}

// === impl Answer ===

impl Answer {
    pub(crate) fn read(kind: Kind, message: Message) -> Self {
        match message {
            Message::Sotw(message) => {
                let version: Arc<str> = message.version_info.into();
                let item = |any| Item::unwrap(kind, &version, any);
                let items: Vec<Item> = message.resources.into_iter().map(item).collect();
                //= xDS "TTL": a heartbeat has what lives on, and nothing else
                let is_heartbeat = !items.is_empty() && items.iter().all(Item::is_heartbeat);
                Self {
                    nonce: message.nonce,
                    items,
                    removed: Vec::new(),
                    failed: message.resource_errors.into_iter().filter_map(Failed::read).collect(),
                    is_whole: kind.is_whole() && !is_heartbeat,
                    version,
                }
            }
            Message::Delta(message) => {
                let named = message.removed_resource_names.into_iter().map(|name| name.name);
                Self {
                    version: message.system_version_info.into(),
                    nonce: message.nonce,
                    items: message
                        .resources
                        .into_iter()
                        .map(|resource| Item::of(kind, resource, None))
                        .collect(),
                    removed: message.removed_resources.into_iter().chain(named).collect(),
                    failed: message.resource_errors.into_iter().filter_map(Failed::read).collect(),
                    is_whole: false,
                }
            }
        }
    }

    /// Its content, by which it is known again under another version and nonce: a fast hash, for it may be
    /// megabytes.
    pub(crate) fn content(&self) -> u64 {
        let mut hasher = XxHash64::with_seed(0);
        for item in &self.items {
            (&item.name, &item.value).hash(&mut hasher);
        }
        self.removed.hash(&mut hasher);
        for failed in &self.failed {
            (&failed.name, failed.code).hash(&mut hasher);
        }
        hasher.finish()
    }
}

// === impl Item ===

impl Item {
    /// Whether it says no more than that it lives on.
    fn is_heartbeat(&self) -> bool {
        matches!(self.value, Ok(None))
    }

    /// A resource of the state of the world: bare, or in its wrapper.
    fn unwrap(kind: Kind, version: &Arc<str>, any: Any) -> Self {
        let bad = |value| Self { name: None, version: Arc::clone(version), ttl: None, value };
        if any.type_url != WRAPPER {
            return bad(value(kind, any));
        }
        match Resource::decode(any.value.as_slice()) {
            Ok(resource) => Self::of(kind, resource, Some(version)),
            Err(error) => bad(Err(format!("its wrapper cannot be read: {error}"))),
        }
    }

    fn of(kind: Kind, resource: Resource, version: Option<&Arc<str>>) -> Self {
        let name = match resource.resource_name {
            Some(name) if resource.name.is_empty() => name.name,
            _ => resource.name,
        };
        // The state of the world has one version for all; a wrapper may have one of its own.
        let long = too_long("version", &resource.version);
        let version = match version {
            _ if long.is_some() => Arc::from(""),
            Some(version) if resource.version.is_empty() => Arc::clone(version),
            _ => resource.version.into(),
        };
        let ttl = resource.ttl.and_then(|ttl| {
            let seconds = u64::try_from(ttl.seconds).ok()?;
            let nanos = u32::try_from(ttl.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
            Some(Duration::new(seconds, nanos))
        });
        Self {
            name: Some(name).filter(|name| !name.is_empty()),
            version,
            ttl,
            value: match (long, resource.resource) {
                (Some(reason), _) => Err(reason),
                (None, Some(any)) => value(kind, any),
                (None, None) => Ok(None),
            },
        }
    }
}

/// The bytes of a resource, when it is of the type of its answer.
fn value(kind: Kind, any: Any) -> Result<Option<Vec<u8>>, String> {
    if any.type_url == kind.url() {
        Ok(Some(any.value))
    } else {
        let url: String = any.type_url.chars().take(200).collect();
        Err(format!("its type is `{}`, not `{}`", url.escape_debug(), kind.url()))
    }
}

// === impl Failed ===

impl Failed {
    fn read(error: ResourceError) -> Option<Self> {
        let status = error.error_detail.unwrap_or_default();
        let name = error.resource_name?.name;
        Some(Self { name, code: status.code, message: status.message })
    }
}
