//! Messages of `grpc.testing`: the fields that the programs of the interop tests of xDS read and write.

use std::collections::BTreeMap;

/// Nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Empty {}

/// Bytes that make a message larger.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Payload {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) body: Vec<u8>,
}

/// A status that the server is to answer with.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EchoStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// What `UnaryCall` takes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SimpleRequest {
    #[prost(int32, tag = "2")]
    pub(crate) response_size: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) payload: Option<Payload>,
    #[prost(message, optional, tag = "7")]
    pub(crate) response_status: Option<EchoStatus>,
    #[prost(bool, tag = "9")]
    pub(crate) fill_server_id: bool,
}

/// What `UnaryCall` answers.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SimpleResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) payload: Option<Payload>,
    #[prost(string, tag = "4")]
    pub(crate) server_id: String,
    #[prost(string, tag = "6")]
    pub(crate) hostname: String,
}

/// Asks for the next calls.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LoadBalancerStatsRequest {
    /// How many of them.
    #[prost(int32, tag = "1")]
    pub(crate) num_rpcs: i32,
    /// What has not ended by then is not waited for.
    #[prost(int32, tag = "2")]
    pub(crate) timeout_sec: i32,
    /// Which metadata of the responses are told; `*` means all.
    #[prost(string, repeated, tag = "3")]
    pub(crate) metadata_keys: Vec<String>,
}

/// Who answered them.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LoadBalancerStatsResponse {
    #[prost(btree_map = "string, int32", tag = "1")]
    pub(crate) rpcs_by_peer: BTreeMap<String, i32>,
    /// Those that nobody answered.
    #[prost(int32, tag = "2")]
    pub(crate) num_failures: i32,
    #[prost(btree_map = "string, message", tag = "3")]
    pub(crate) rpcs_by_method: BTreeMap<String, RpcsByPeer>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(crate) metadatas_by_peer: BTreeMap<String, MetadataByPeer>,
}

/// Who answered the calls of a method.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcsByPeer {
    #[prost(btree_map = "string, int32", tag = "1")]
    pub(crate) rpcs_by_peer: BTreeMap<String, i32>,
}

/// The metadata of all calls that a peer answered.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MetadataByPeer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) rpc_metadata: Vec<RpcMetadata>,
}

/// The metadata of a call.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcMetadata {
    #[prost(message, repeated, tag = "1")]
    pub(crate) metadata: Vec<MetadataEntry>,
}

/// An entry of it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MetadataEntry {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
    #[prost(enumeration = "MetadataKind", tag = "3")]
    pub(crate) kind: i32,
}

/// Where it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum MetadataKind {
    Unknown = 0,
    Initial = 1,
    Trailing = 2,
}

/// Asks for all calls so far.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LoadBalancerAccumulatedStatsRequest {}

/// All calls so far, by kind (`EMPTY_CALL`, `UNARY_CALL`).
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LoadBalancerAccumulatedStatsResponse {
    #[prost(btree_map = "string, int32", tag = "1")]
    pub(crate) num_rpcs_started_by_method: BTreeMap<String, i32>,
    #[prost(btree_map = "string, int32", tag = "2")]
    pub(crate) num_rpcs_succeeded_by_method: BTreeMap<String, i32>,
    #[prost(btree_map = "string, int32", tag = "3")]
    pub(crate) num_rpcs_failed_by_method: BTreeMap<String, i32>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(crate) stats_per_method: BTreeMap<String, MethodStats>,
}

/// The calls of a kind.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MethodStats {
    #[prost(int32, tag = "1")]
    pub(crate) rpcs_started: i32,
    /// Those that have ended, by their status.
    #[prost(btree_map = "int32, int32", tag = "2")]
    pub(crate) result: BTreeMap<i32, i32>,
}

/// What the client is to call from now on.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ClientConfigureRequest {
    #[prost(enumeration = "RpcType", repeated, tag = "1")]
    pub(crate) types: Vec<i32>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) metadata: Vec<CallMetadata>,
    /// 0: as the flag says.
    #[prost(int32, tag = "3")]
    pub(crate) timeout_sec: i32,
}

/// Metadata of the calls of a kind.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CallMetadata {
    #[prost(enumeration = "RpcType", tag = "1")]
    pub(crate) kind: i32,
    #[prost(string, tag = "2")]
    pub(crate) key: String,
    #[prost(string, tag = "3")]
    pub(crate) value: String,
}

/// The kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum RpcType {
    EmptyCall = 0,
    UnaryCall = 1,
}

/// It was done.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ClientConfigureResponse {}
