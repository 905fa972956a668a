//! Who has answered the calls: of a block of them that somebody asks for, and of all since the start.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::Code;

use crate::interop::messages::{
    LoadBalancerAccumulatedStatsResponse, LoadBalancerStatsRequest, LoadBalancerStatsResponse,
    MetadataEntry, MetadataKind, MethodStats, RpcMetadata, RpcType,
};

/// What a call came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) kind: RpcType,
    pub(crate) code: Code,
    /// Who answered, if anybody did.
    pub(crate) peer: Option<String>,
    /// The metadata of the response.
    pub(crate) metadata: Vec<MetadataEntry>,
}

/// All that is known of calls.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The next turn; in a turn there is a call of each kind.
    next: u64,
    watches: Vec<Watch>,
    all: LoadBalancerAccumulatedStatsResponse,
}

/// A block of turns that somebody waits for.
#[derive(Debug)]
struct Watch {
    turns: std::ops::Range<u64>,
    tell: UnboundedSender<Outcome>,
}

/// A turn, and who waits for its calls.
#[derive(Clone, Debug)]
pub(crate) struct Turn(Vec<UnboundedSender<Outcome>>);

// === impl Ledger ===

impl Ledger {
    /// The next turn begins.
    pub(crate) fn turn(&self) -> Turn {
        let mut state = self.state();
        let turn = state.next;
        state.next += 1;
        state.watches.retain(|watch| !watch.tell.is_closed() && turn < watch.turns.end);
        let waiting = state.watches.iter().filter(|watch| watch.turns.contains(&turn));
        Turn(waiting.map(|watch| watch.tell.clone()).collect())
    }

    /// A call begins.
    pub(crate) fn begins(&self, kind: RpcType) {
        let mut state = self.state();
        *state.all.num_rpcs_started_by_method.entry(name(kind).to_owned()).or_default() += 1;
        stats(&mut state.all, kind).rpcs_started += 1;
    }

    /// A call has ended.
    pub(crate) fn ends(&self, turn: &Turn, outcome: &Outcome) {
        let mut state = self.state();
        let all = &mut state.all;
        let counts = if outcome.code == Code::Ok {
            &mut all.num_rpcs_succeeded_by_method
        } else {
            &mut all.num_rpcs_failed_by_method
        };
        *counts.entry(name(outcome.kind).to_owned()).or_default() += 1;
        *stats(all, outcome.kind).result.entry(outcome.code.into()).or_default() += 1;
        for watch in &turn.0 {
            // Who has had enough has gone.
            drop(watch.send(outcome.clone()));
        }
    }

    /// All calls so far.
    pub(crate) fn all(&self) -> LoadBalancerAccumulatedStatsResponse {
        self.state().all.clone()
    }

    /// Waits for the next calls, and says who answered them.
    pub(crate) async fn watch(
        &self,
        asked: &LoadBalancerStatsRequest,
    ) -> LoadBalancerStatsResponse {
        let count = u64::try_from(asked.num_rpcs).unwrap_or_default();
        let timeout = Duration::from_secs(u64::try_from(asked.timeout_sec).unwrap_or_default());
        let mut outcomes = self.follow(count);
        let mut block = Block { left: asked.num_rpcs.max(0), ..Block::default() };
        let whole = async {
            while block.left > 0
                && let Some(outcome) = outcomes.recv().await
            {
                block.take(outcome, &asked.metadata_keys);
            }
        };
        drop(tokio::time::timeout(timeout, whole).await);
        block.response()
    }

    fn follow(&self, count: u64) -> UnboundedReceiver<Outcome> {
        let (tell, outcomes) = unbounded_channel();
        let mut state = self.state();
        let turns = state.next..state.next.saturating_add(count);
        state.watches.push(Watch { turns, tell });
        outcomes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stats(all: &mut LoadBalancerAccumulatedStatsResponse, kind: RpcType) -> &mut MethodStats {
    all.stats_per_method.entry(name(kind).to_owned()).or_default()
}

/// What it is called in the sums.
fn name(kind: RpcType) -> &'static str {
    match kind {
        RpcType::EmptyCall => "EMPTY_CALL",
        RpcType::UnaryCall => "UNARY_CALL",
    }
}

/// What it is called in the answers about a block.
fn method(kind: RpcType) -> &'static str {
    match kind {
        RpcType::EmptyCall => "EmptyCall",
        RpcType::UnaryCall => "UnaryCall",
    }
}

/// A block of calls, as they end.
#[derive(Debug, Default)]
struct Block {
    left: i32,
    told: LoadBalancerStatsResponse,
}

impl Block {
    fn take(&mut self, outcome: Outcome, keys: &[String]) {
        self.left -= 1;
        let Outcome { kind, peer, metadata, .. } = outcome;
        let Some(peer) = peer else {
            self.told.num_failures += 1;
            return;
        };
        let by_method = self.told.rpcs_by_method.entry(method(kind).to_owned()).or_default();
        *by_method.rpcs_by_peer.entry(peer.clone()).or_default() += 1;
        *self.told.rpcs_by_peer.entry(peer.clone()).or_default() += 1;
        if !keys.is_empty() {
            let is_asked = |entry: &MetadataEntry| {
                keys.iter().any(|key| key == "*" || key.eq_ignore_ascii_case(&entry.key))
            };
            let metadata = metadata.into_iter().filter(is_asked).collect();
            let of_peer = self.told.metadatas_by_peer.entry(peer).or_default();
            of_peer.rpc_metadata.push(RpcMetadata { metadata });
        }
    }

    /// What has not ended counts as failed.
    fn response(mut self) -> LoadBalancerStatsResponse {
        self.told.num_failures += self.left;
        self.told
    }
}

/// The entries of a response's metadata that are text.
pub(crate) fn entries(
    metadata: &tonic::metadata::MetadataMap,
    kind: MetadataKind,
) -> impl Iterator<Item = MetadataEntry> {
    let headers = metadata.clone().into_headers();
    let mut entries = Vec::new();
    for (key, value) in &headers {
        let Ok(value) = value.to_str() else { continue };
        let (key, value) = (key.to_string(), value.to_owned());
        entries.push(MetadataEntry { key, value, kind: kind.into() });
    }
    entries.into_iter()
}
