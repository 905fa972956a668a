//! What a client knows, for people and for their tools: the same as values, as JSON, and as the service
//! of Envoy and gRPC (CSDS, gRFC A40).

mod gather;
mod message;
mod redacted;
mod service;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

use envoy_types::pb::envoy::service::status::v3::ClientConfig;

pub use self::service::StatusService;
use super::kind::Kind;

/// What is known of every resource, and of every server that is asked.
///
/// It is [`Xds::status`](super::Xds::status) of now. [`to_json`](Self::to_json) is what Envoy's tools read,
/// and [`service`](Self::service) the same over gRPC.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The id of the node as which servers are asked.
    pub node: Arc<str>,
    /// The servers of the bootstrap, in its order.
    pub servers: Vec<ServerStatus>,
    /// By type, then by name.
    pub resources: Vec<ResourceStatus>,
    /// What of the bootstrap is ignored, and what its dialect loses, in words.
    pub notes: Vec<String>,
    message: ClientConfig,
}

/// A control plane.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its `server_uri`.
    pub uri: Arc<str>,
    /// Whether there is a stream that it has answered on.
    pub is_connected: bool,
    /// Why it could not be reached the last time; nothing since it was heard.
    pub reason: Option<String>,
    /// What it is asked for, by type.
    pub asked: BTreeMap<Kind, Vec<Arc<str>>>,
    /// Streams that ended before it had answered.
    pub failures: u64,
    /// Resources of its that were accepted.
    pub accepted: u64,
    /// Resources of its that were refused.
    pub refused: u64,
}

/// A resource that is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResourceStatus {
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// Whose name it is (gRFC A47); nothing for one of no authority.
    pub authority: Option<Arc<str>>,
    /// How it stands.
    pub state: ResourceState,
    /// The version that is in use, if any is.
    pub version: Option<Arc<str>>,
    /// The server that this version came from.
    pub server: Option<Arc<str>>,
    /// When that was last said.
    pub updated: Option<SystemTime>,
    /// What is wrong with it. A version may be in use all the same.
    pub error: Option<ResourceError>,
    /// Whether a mesh needs it. What none needs any more lingers for a while.
    pub is_needed: bool,
    /// What it says and the mesh does not do.
    pub notes: Vec<String>,
    /// The resources that it names.
    pub leads_to: Vec<(Kind, Arc<str>)>,
}

/// Why a resource is not what its server last said, or is not there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResourceError {
    /// The version that was refused, if one was.
    pub version: Option<Arc<str>>,
    /// When that was last found.
    pub at: SystemTime,
    /// What, of which resource, who says so, and what to check.
    pub details: String,
}

/// How a resource stands, in the words of CSDS (`ClientResourceStatus`).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ResourceState {
    /// It was asked for, and nothing has come.
    Requested,
    /// Its server says, by word or by silence, that it does not exist.
    DoesNotExist,
    /// It was accepted.
    Acked,
    /// What came last was refused.
    Nacked,
    /// Its server has an error for it.
    ReceivedError,
    /// Its server has said nothing in time, which by its features means nothing.
    Timeout,
}

// === impl Status ===

impl Status {
    /// What `GET /config_dump` of CSDS answers: `ClientStatusResponse` as JSON, without the contents of
    /// resources.
    #[must_use]
    pub fn to_json(&self) -> String {
        message::json(std::slice::from_ref(&self.message)).to_string()
    }

    /// The service `envoy.service.status.v3.ClientStatusDiscoveryService` of this process: it tells of all
    /// of its clients, with the contents of resources unless the request excludes them. It is for
    /// operators: keep it from others.
    ///
    /// It is added to a server of tonic 0.14:
    ///
    /// ```no_run
    /// use tower_mesh::control::xds::Status;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let address = "127.0.0.1:15000".parse()?;
    /// tonic::transport::Server::builder().add_service(Status::service()).serve(address).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn service() -> StatusService {
        StatusService::new()
    }

    /// What is known of one resource.
    #[must_use]
    pub fn resource(&self, kind: Kind, name: &str) -> Option<&ResourceStatus> {
        self.resources.iter().find(|it| it.kind == kind && &*it.name == name)
    }
}

// === impl ResourceState ===

impl ResourceState {
    /// Its word in CSDS: `DOES_NOT_EXIST`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.code().as_str_name()
    }
}

impl fmt::Display for ResourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
