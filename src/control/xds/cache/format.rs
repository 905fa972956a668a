//! What the file holds: a mark, the number of the format, a checksum, and one message of protobuf.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use prost::Message;

use super::identity::Identity;
use crate::control::xds::{client::Kept, kind::Kind};

const MARK: &[u8; 16] = b"tower-mesh xds\r\n";
/// Raised with every change that an older or newer version would read wrongly.
const FORMAT: u32 = 1;
/// Before the message: mark, format, checksum.
const HEAD: usize = MARK.len() + 4 + 8;

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(string, tag = "2")]
    asks: String,
    #[prost(string, tag = "3")]
    planes: String,
    #[prost(message, repeated, tag = "4")]
    resources: Vec<Resource>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    version: String,
    /// As it came.
    #[prost(bytes = "bytes", tag = "4")]
    value: Bytes,
    /// The server that said it.
    #[prost(string, tag = "5")]
    server: String,
    /// When it was last known to be so: seconds since 1970.
    #[prost(uint64, tag = "6")]
    known: u64,
}

/// A resource that was found in a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) value: Bytes,
    pub(crate) server: String,
    pub(crate) age: Duration,
}

/// What is to be written: no bytes of it are copied before it is.
pub(crate) struct Snapshot {
    identity: Identity,
    all: Vec<One>,
}

/// A resource that is to be written.
struct One {
    kind: Kind,
    name: Arc<str>,
    version: Arc<str>,
    value: Bytes,
    server: Arc<str>,
    known: u64,
}

// === impl Snapshot ===

impl Snapshot {
    pub(crate) fn of<'a>(
        identity: &Identity,
        now: SystemTime,
        kept: impl Iterator<Item = Kept<'a>>,
    ) -> Self {
        let all = kept.map(|kept| One {
            kind: kept.kind,
            name: Arc::clone(kept.name),
            version: Arc::clone(kept.version),
            value: kept.value.clone(),
            server: Arc::clone(kept.server),
            known: now.checked_sub(kept.age).map_or(0, seconds),
        });
        Self { identity: identity.clone(), all: all.collect() }
    }

    /// As it is written, in the order of types and names. Takes as long as there is much of it.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let Self { identity, mut all } = self;
        all.sort_by(|a, b| (a.kind.url(), &a.name).cmp(&(b.kind.url(), &b.name)));
        let resources = all.into_iter().map(|one| Resource {
            type_url: one.kind.url().to_owned(),
            name: one.name.to_string(),
            version: one.version.to_string(),
            value: one.value,
            server: one.server.to_string(),
            known: one.known,
        });
        let resources = resources.collect();
        let Identity { node, asks, planes } = identity;
        let message = File { node, asks, planes, resources }.encode_to_vec();
        let mut bytes = Vec::with_capacity(HEAD + message.len());
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&checksum(&message).to_le_bytes());
        bytes.extend_from_slice(&message);
        bytes
    }
}

/// Reads a file, whole.
///
/// # Errors
///
/// Why nothing of it is used.
pub(crate) fn read(
    bytes: &[u8],
    identity: &Identity,
    now: SystemTime,
) -> Result<Vec<Found>, String> {
    let rest = bytes.strip_prefix(MARK).ok_or("it is no cache of this kind, or it was cut off")?;
    let (format, rest) = rest.split_first_chunk::<4>().ok_or("it was cut off")?;
    let format = u32::from_le_bytes(*format);
    if format != FORMAT {
        return Err(format!(
            "its format is number {format}, and this version reads number {FORMAT}"
        ));
    }
    let (sum, message) = rest.split_first_chunk::<8>().ok_or("it was cut off")?;
    if u64::from_le_bytes(*sum) != checksum(message) {
        return Err("its checksum is wrong: it was cut off or changed".to_owned());
    }
    let file = File::decode(message).map_err(|error| format!("it cannot be read: {error}"))?;
    let File { node, asks, planes, resources } = file;
    if let Some(what) = (Identity { node, asks, planes }).differs(identity) {
        return Err(what);
    }
    let mut seen = HashSet::new();
    let now = seconds(now);
    let mut found = Vec::with_capacity(resources.len());
    for resource in resources {
        let Resource { type_url, name, version, value, server, known } = resource;
        let kind = Kind::of_url(&type_url)
            .ok_or_else(|| format!("it has a resource of type `{}`", type_url.escape_debug()))?;
        let name: Arc<str> = name.into();
        if !seen.insert((kind, Arc::clone(&name))) {
            return Err(format!("it has the {kind} resource `{}` twice", name.escape_debug()));
        }
        // A clock that went back makes nothing younger than now.
        let age = Duration::from_secs(now.saturating_sub(known));
        found.push(Found { kind, name, version: version.into(), value, server, age });
    }
    Ok(found)
}

fn checksum(message: &[u8]) -> u64 {
    twox_hash::XxHash64::oneshot(u64::from(FORMAT), message)
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Reads any bytes as a file of somebody's, and as the message of one that is whole: what is read is
/// the same when it is written again.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    let nobody = Identity { node: String::new(), asks: String::new(), planes: String::new() };
    drop(read(bytes, &nobody, now));
    let mut whole = MARK.to_vec();
    whole.extend_from_slice(&FORMAT.to_le_bytes());
    whole.extend_from_slice(&checksum(bytes).to_le_bytes());
    whole.extend_from_slice(bytes);
    let Ok(mut found) = read(&whole, &nobody, now) else { return };
    let servers: Vec<Arc<str>> = found.iter().map(|it| it.server.as_str().into()).collect();
    let kept = found.iter().zip(&servers).map(|(it, server)| Kept {
        kind: it.kind,
        name: &it.name,
        version: &it.version,
        value: &it.value,
        server,
        age: it.age,
        is_live: false,
    });
    let again = read(&Snapshot::of(&nobody, now, kept).bytes(), &nobody, now);
    found.sort_by(|a, b| (a.kind.url(), &a.name).cmp(&(b.kind.url(), &b.name)));
    assert_eq!(again, Ok(found));
}
