//! How it runs: by flags, and by what it is told later.

use std::{collections::BTreeMap, time::Duration};

use tonic::{
    Code, Status,
    metadata::{AsciiMetadataKey, AsciiMetadataValue},
};

use crate::interop::{
    Flags,
    messages::{ClientConfigureRequest, RpcType},
};

/// The flags that there are.
pub(crate) const FLAGS: &[&str] = &[
    "fail_on_failed_rpc?",
    "fail_on_failed_rpcs?",
    "num_channels",
    "print_response?",
    "qps",
    "rpc",
    "metadata",
    "rpc_timeout",
    "rpc_timeout_sec",
    "server",
    "stats_port",
    "secure_mode?",
    "enable_csm_observability?",
    "request_payload_size",
    "response_payload_size",
    "expect_status",
];

/// How it runs.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Ends with an error when a call fails after one that did not.
    pub(crate) fail_on_failed_rpc: bool,
    pub(crate) channels: usize,
    pub(crate) print_response: bool,
    /// Turns a second, per channel.
    pub(crate) qps: u32,
    pub(crate) calls: Calls,
    pub(crate) timeout: Duration,
    /// `xds:///name`, `dns:///host:port`, or `host:port`.
    pub(crate) server: String,
    pub(crate) stats_port: u16,
    pub(crate) request_size: usize,
    pub(crate) response_size: i32,
    /// A call that ends otherwise has failed (`--fail_on_failed_rpc`).
    pub(crate) expected: Code,
}

/// The calls of a turn, and their metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Calls {
    pub(crate) kinds: BTreeMap<RpcType, Vec<(AsciiMetadataKey, AsciiMetadataValue)>>,
    /// None: as the flag says.
    pub(crate) timeout: Option<Duration>,
}

// === impl Options ===

impl Options {
    /// As the flags say.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let flags = Flags::parse(arguments, FLAGS)?;
        if flags.switch("enable_csm_observability")? {
            return Err("--enable_csm_observability: it has no exporter of its own".to_owned());
        }
        // Who is to be spoken to by TLS is what the control plane says, with or without it.
        let _: bool = flags.switch("secure_mode")?;
        let seconds = flags.time("rpc_timeout_sec", Duration::from_secs(20))?;
        let options = Self {
            fail_on_failed_rpc: flags.switch("fail_on_failed_rpc")?
                || flags.switch("fail_on_failed_rpcs")?,
            channels: flags.value("num_channels", 1)?,
            print_response: flags.switch("print_response")?,
            qps: flags.value("qps", 1)?,
            calls: Calls::of_flags(
                flags.get("rpc").unwrap_or("UnaryCall"),
                flags.get("metadata").unwrap_or_default(),
            )?,
            timeout: flags.time("rpc_timeout", seconds)?,
            server: flags.value("server", "localhost:8080".to_owned())?,
            stats_port: flags.value("stats_port", 8081)?,
            request_size: flags.value("request_payload_size", 0)?,
            response_size: flags.value("response_payload_size", 0)?,
            expected: status(flags.get("expect_status").unwrap_or("OK"))?,
        };
        if options.qps == 0 || options.channels == 0 {
            return Err("--qps and --num_channels are to be at least 1".to_owned());
        }
        Ok(options)
    }

    /// The time between two turns: each channel has as many a second as `qps` says.
    pub(crate) fn interval(&self) -> Duration {
        let a_second = self.qps.saturating_mul(u32::try_from(self.channels).unwrap_or(u32::MAX));
        (Duration::from_secs(1) / a_second.max(1)).max(Duration::from_micros(1))
    }
}

// === impl Calls ===

impl Calls {
    /// `EmptyCall,UnaryCall`, and `EmptyCall:key:value,UnaryCall:key:value`.
    fn of_flags(rpc: &str, metadata: &str) -> Result<Self, String> {
        let mut calls = Self::default();
        for name in rpc.split(',').filter(|name| !name.is_empty()) {
            calls.kinds.insert(kind(name)?, Vec::new());
        }
        for entry in metadata.split(',').filter(|entry| !entry.is_empty()) {
            let words: Vec<&str> = entry.split(':').collect();
            let [name, pairs @ ..] = words.as_slice() else { continue };
            if pairs.len() % 2 != 0 {
                return Err(format!("--metadata: `{entry}` is to be `EmptyCall:key:value`"));
            }
            let kind = kind(name)?;
            for pair in pairs.chunks_exact(2) {
                let [key, value] = pair else { continue };
                let wrong = || format!("--metadata: `{key}: {value}` is no metadata");
                let pair = (
                    AsciiMetadataKey::from_bytes(key.as_bytes()).map_err(|_| wrong())?,
                    value.parse().map_err(|_| wrong())?,
                );
                // Of a kind that is not called it says nothing.
                if let Some(of_kind) = calls.kinds.get_mut(&kind) {
                    of_kind.push(pair);
                }
            }
        }
        if calls.kinds.is_empty() {
            calls.kinds.insert(RpcType::UnaryCall, Vec::new());
        }
        Ok(calls)
    }

    /// As a test driver says.
    pub(crate) fn told(asked: &ClientConfigureRequest) -> Result<Self, Status> {
        let kind = |number| {
            let unknown = |_| Status::invalid_argument(format!("{number} is no type of RPC"));
            RpcType::try_from(number).map_err(unknown)
        };
        let mut calls = Self::default();
        for &number in &asked.types {
            calls.kinds.insert(kind(number)?, Vec::new());
        }
        for entry in &asked.metadata {
            let wrong = || Status::invalid_argument(format!("{entry:?} is no metadata"));
            let key = AsciiMetadataKey::from_bytes(entry.key.as_bytes()).map_err(|_| wrong())?;
            let value = entry.value.parse().map_err(|_| wrong())?;
            if let Some(of_kind) = calls.kinds.get_mut(&kind(entry.kind)?) {
                of_kind.push((key, value));
            }
        }
        let seconds = u64::try_from(asked.timeout_sec).unwrap_or_default();
        calls.timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
        Ok(calls)
    }
}

/// A status by its name, as `DATA_LOSS`.
fn status(name: &str) -> Result<Code, String> {
    let plain = name.replace('_', "");
    let mut all = (0..=16).map(Code::from_i32);
    let found = all.find(|code| format!("{code:?}").eq_ignore_ascii_case(&plain));
    found.ok_or_else(|| format!("--expect_status: `{name}` is no status of gRPC"))
}

fn kind(name: &str) -> Result<RpcType, String> {
    match name {
        "EmptyCall" => Ok(RpcType::EmptyCall),
        "UnaryCall" => Ok(RpcType::UnaryCall),
        _ => Err(format!("`{name}` is neither EmptyCall nor UnaryCall")),
    }
}
