//! The gates, row by row: each limit is stated here, once.

use super::gates::{
    Kind::{Hard, Report},
    Limit::{AtMost, Fewer, More, Percent, TimesFewer, Told, Within},
    Row,
};

/// The same keepalive, windows and kind of stream.
const HYPER: &str = "bare hyper h2";
const HYPER_TIMEOUT: &str = "bare hyper h2, same headers";
const HYPER_TRACED: &str = "bare hyper h2, same headers and a traceparent";
const HYPER_DEFAULT: &str = "bare hyper h2 by its defaults, no keepalive";
const RUSTLS: &str = "bare tokio-rustls, DNS name";
const TOWER: &str = "tower layers, buffer, p2c";
const RESILIENCE: &str = "tower-resilience 0.13";
const BALANCE_LIST: &str = "tonic `Channel::balance_list`";
const BALANCE_LIST_TRACED: &str = "tonic `Channel::balance_list`, same `traceparent`";
const REQWEST: &str = "plain reqwest 0.13";
const P2C: &str = "tower p2c, pending requests";
const P2C_EWMA: &str = "tower p2c, peak EWMA";

macro_rules! rows {
    ($($gate:ident $kind:ident $limit:ident $(($bound:literal))? $(held $held:ident ($at:literal))?
        $what:literal $ours:literal $(beside $name:tt $peer:literal)?;)*) => {
        &[$(Row {
            gate: stringify!($gate),
            what: $what,
            ours: $ours,
            peer_name: first!($($name)?),
            peer: first!($($peer)?),
            limit: $limit $(($bound))?,
            held: held!($($held($at))?),
            kind: $kind,
        }),*]
    };
}

macro_rules! held {
    () => {
        None
    };
    ($held:ident($at:literal)) => {
        Some($held($at))
    };
}

/// What there is, or nothing.
macro_rules! first {
    () => {
        ""
    };
    ($what:tt) => {
        $what
    };
}

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = rows! {
    // What is held of G2a, G2b and G3 where one call is made at a time was raised on 2026-11-26, by 0.5 to 1.5
    // points: of G1 a call cost 983 instructions more than before, all of them h2's code, inlined otherwise. Since
    // 2026-11-27 it costs less than before that; what is held at 32 at a time was lowered then, to about 2 points over
    // what was measured. One at a time the same code differs by that much from build to build.
    // Balancing and counters only.
    G1 Hard Percent(3.0) "instructions per call, one at a time"
        "path.mesh_1.balance"
        beside HYPER "path.bare_1.settings";
    G1 Report Told "the same"
        "path.mesh_1.balance"
        beside HYPER_DEFAULT "path.bare_1.plain";
    G1 Report Told "the same by `mesh.http()`"
        "path.mesh_http_1.balance"
        beside HYPER "path.bare_1.settings";
    G1 Hard Percent(3.0) "instructions per call, 32 at a time"
        "path.mesh_32.balance"
        beside HYPER "path.bare_32.settings";
    G1 Report Told "the same"
        "path.mesh_32.balance"
        beside HYPER_DEFAULT "path.bare_32.plain";
    G1 Hard More(0.0) "allocations per call, one at a time"
        "allocations.path.mesh_1.balance"
        beside HYPER "allocations.path.bare_1.settings";
    G1 Hard More(0.0) "allocations per call, 32 at a time"
        "allocations.path.mesh_32.balance"
        beside HYPER "allocations.path.bare_32.settings";
    // The full path.
    G2a Hard Percent(8.0) "full path, retry not armed: instructions, one at a time"
        "path.mesh_1.full"
        beside HYPER_TIMEOUT "path.bare_1.timeout";
    G2a Hard Percent(8.0) "instructions, 32 at a time"
        "path.mesh_32.full"
        beside HYPER_TIMEOUT "path.bare_32.timeout";
    G2a Hard More(2.0) "allocations, one at a time"
        "allocations.path.mesh_1.full"
        beside HYPER_TIMEOUT "allocations.path.bare_1.timeout";
    G2a Hard More(2.0) "allocations, 32 at a time"
        "allocations.path.mesh_32.full"
        beside HYPER_TIMEOUT "allocations.path.bare_32.timeout";
    G2a Report Told "full path, kept for a refusal (a POST by default): instructions, one at a time"
        "path.mesh_1.safe"
        beside HYPER_TIMEOUT "path.bare_1.timeout";
    G2a Hard Percent(8.0) held Percent(10.5) "full path with a tracer, caller not sampled: instructions, one at a time"
        "all.traced.traced_1.parent_off"
        beside HYPER_TRACED "all.traced.bare_1.traced";
    G2a Hard Percent(8.0) held Percent(10.0) "the same, 32 at a time"
        "all.traced.traced_32.parent_off"
        beside HYPER_TRACED "all.traced.bare_32.traced";
    G2a Hard More(2.0) "allocations, one at a time"
        "allocations.traced.traced_1.parent_off"
        beside HYPER_TRACED "allocations.traced.bare_1.traced";
    G2a Hard More(2.0) "allocations, 32 at a time"
        "allocations.traced.traced_32.parent_off"
        beside HYPER_TRACED "allocations.traced.bare_32.traced";
    G2a Hard Percent(8.0) held Percent(10.5) "with a tracer whose sampler wants nothing: instructions, one at a time"
        "all.traced.traced_1.root_off"
        beside HYPER_TRACED "all.traced.bare_1.traced";
    G2a Hard Percent(8.0) held Percent(10.0) "the same, 32 at a time"
        "all.traced.traced_32.root_off"
        beside HYPER_TRACED "all.traced.bare_32.traced";
    G2a Hard More(2.0) "allocations, one at a time"
        "allocations.traced.traced_1.root_off"
        beside HYPER_TRACED "allocations.traced.bare_1.traced";
    G2a Hard More(2.0) "allocations, 32 at a time"
        "allocations.traced.traced_32.root_off"
        beside HYPER_TRACED "allocations.traced.bare_32.traced";
    G2a Hard Percent(8.0) held Percent(12.0) "full path with a meter provider: instructions, one at a time"
        "all.traced.traced_1.metered"
        beside HYPER_TIMEOUT "all.traced.bare_1.timeout";
    G2a Hard Percent(8.0) held Percent(13.5) "the same, 32 at a time"
        "all.traced.traced_32.metered"
        beside HYPER_TIMEOUT "all.traced.bare_32.timeout";
    G2a Hard More(2.0) "allocations, one at a time"
        "allocations.traced.traced_1.metered"
        beside HYPER_TIMEOUT "allocations.path.bare_1.timeout";
    G2a Hard More(2.0) "allocations, 32 at a time"
        "allocations.traced.traced_32.metered"
        beside HYPER_TIMEOUT "allocations.path.bare_32.timeout";
    G2a Hard Percent(8.0) held Percent(14.0) "with a tracer and a meter provider: instructions, one at a time"
        "all.traced.traced_1.both"
        beside HYPER_TRACED "all.traced.bare_1.traced";
    G2a Hard Percent(8.0) held Percent(15.0) "the same, 32 at a time"
        "all.traced.traced_32.both"
        beside HYPER_TRACED "all.traced.bare_32.traced";
    G2a Hard More(2.0) "allocations, one at a time"
        "allocations.traced.traced_1.both"
        beside HYPER_TRACED "allocations.traced.bare_1.traced";
    G2a Hard More(2.0) "allocations, 32 at a time"
        "allocations.traced.traced_32.both"
        beside HYPER_TRACED "allocations.traced.bare_32.traced";
    G2a Report Told "full path, sampled, spans thrown away: instructions, one at a time"
        "all.traced.traced_1.parent_on"
        beside HYPER_TRACED "all.traced.bare_1.traced";
    G2a Report Told "the same, 32 at a time"
        "all.traced.traced_32.parent_on"
        beside HYPER_TRACED "all.traced.bare_32.traced";
    G2a Report Told "sampled without a parent: instructions, one at a time"
        "all.traced.traced_1.root_on"
        beside HYPER_TRACED "all.traced.bare_1.traced";
    G2a Report Told "a context passed on, and no tracer: instructions, one at a time"
        "all.traced.traced_1.carried"
        beside HYPER_TRACED "all.traced.bare_1.traced";
    G2a Report Told "spans of `tracing` without a subscriber: instructions, one at a time"
        "all.traced.traced_1.no_subscriber"
        beside HYPER_TIMEOUT "all.traced.bare_1.timeout";
    G2b Hard Percent(12.0) "full path, retry armed: instructions, one at a time"
        "path.mesh_1.armed"
        beside HYPER_TIMEOUT "path.bare_1.timeout";
    G2b Hard Percent(12.0) "instructions, 32 at a time"
        "path.mesh_32.armed"
        beside HYPER_TIMEOUT "path.bare_32.timeout";
    G2b Hard More(4.0) "allocations, one at a time"
        "allocations.path.mesh_1.armed"
        beside HYPER_TIMEOUT "allocations.path.bare_1.timeout";
    G2b Hard More(4.0) "allocations, 32 at a time"
        "allocations.path.mesh_32.armed"
        beside HYPER_TIMEOUT "allocations.path.bare_32.timeout";
    G2b Hard Percent(12.0) held Percent(15.0) "with a tracer, caller not sampled: instructions, one at a time"
        "all.traced.traced_1.armed_parent_off"
        beside HYPER_TRACED "all.traced.bare_1.traced";
    G2b Hard Percent(12.0) held Percent(14.0) "the same, 32 at a time"
        "all.traced.traced_32.armed_parent_off"
        beside HYPER_TRACED "all.traced.bare_32.traced";
    G2b Hard More(4.0) held More(6.5) "allocations, one at a time"
        "allocations.traced.traced_1.armed_parent_off"
        beside HYPER_TRACED "allocations.traced.bare_1.traced";
    G2b Hard More(4.0) held More(6.5) "allocations, 32 at a time"
        "allocations.traced.traced_32.armed_parent_off"
        beside HYPER_TRACED "allocations.traced.bare_32.traced";
    G2b Hard Percent(12.0) held Percent(15.0) "with a tracer whose sampler wants nothing: instructions, one at a time"
        "all.traced.traced_1.armed_root_off"
        beside HYPER_TRACED "all.traced.bare_1.traced";
    G2b Hard Percent(12.0) held Percent(14.5) "the same, 32 at a time"
        "all.traced.traced_32.armed_root_off"
        beside HYPER_TRACED "all.traced.bare_32.traced";
    G2b Hard More(4.0) "allocations, one at a time"
        "allocations.traced.traced_1.armed_root_off"
        beside HYPER_TRACED "allocations.traced.bare_1.traced";
    G2b Hard More(4.0) "allocations, 32 at a time"
        "allocations.traced.traced_32.armed_root_off"
        beside HYPER_TRACED "allocations.traced.bare_32.traced";
    G2b Hard Percent(12.0) held Percent(16.0) "with a meter provider: instructions, one at a time"
        "all.traced.traced_1.armed_metered"
        beside HYPER_TIMEOUT "all.traced.bare_1.timeout";
    G2b Hard Percent(12.0) held Percent(17.0) "the same, 32 at a time"
        "all.traced.traced_32.armed_metered"
        beside HYPER_TIMEOUT "all.traced.bare_32.timeout";
    G2b Hard More(4.0) "allocations, one at a time"
        "allocations.traced.traced_1.armed_metered"
        beside HYPER_TIMEOUT "allocations.path.bare_1.timeout";
    G2b Hard More(4.0) "allocations, 32 at a time"
        "allocations.traced.traced_32.armed_metered"
        beside HYPER_TIMEOUT "allocations.path.bare_32.timeout";
    G2b Hard Percent(12.0) held Percent(19.5) "with a tracer and a meter provider: instructions, one at a time"
        "all.traced.traced_1.armed_both"
        beside HYPER_TRACED "all.traced.bare_1.traced";
    G2b Hard Percent(12.0) held Percent(19.0) "the same, 32 at a time"
        "all.traced.traced_32.armed_both"
        beside HYPER_TRACED "all.traced.bare_32.traced";
    G2b Hard More(4.0) held More(6.5) "allocations, one at a time"
        "allocations.traced.traced_1.armed_both"
        beside HYPER_TRACED "allocations.traced.bare_1.traced";
    G2b Hard More(4.0) held More(6.5) "allocations, 32 at a time"
        "allocations.traced.traced_32.armed_both"
        beside HYPER_TRACED "allocations.traced.bare_32.traced";
    // The same, and all of traffic management beside it, none of which has anything to do.
    G2c Hard Percent(12.0) held Percent(18.5) "traffic management configured and idle: instructions, one at a time"
        "path.mesh_1.idle"
        beside HYPER_TIMEOUT "path.bare_1.timeout";
    G2c Hard Percent(12.0) held Percent(20.5) "instructions, 32 at a time"
        "path.mesh_32.idle"
        beside HYPER_TIMEOUT "path.bare_32.timeout";
    G2c Report Told "the same beside a mesh with its retry armed: instructions, one at a time"
        "path.mesh_1.idle"
        beside "full path, retry armed" "path.mesh_1.armed";
    G2c Hard More(4.0) held More(5.0) "allocations, one at a time"
        "allocations.path.mesh_1.idle"
        beside HYPER_TIMEOUT "allocations.path.bare_1.timeout";
    G2c Hard More(4.0) held More(5.5) "allocations, 32 at a time"
        "allocations.path.mesh_32.idle"
        beside HYPER_TIMEOUT "allocations.path.bare_32.timeout";
    // Under a generated tonic client.
    G3 Hard Fewer held Percent(1.0) "tonic call: instructions, one at a time"
        "grpc.tonic_1.mesh"
        beside BALANCE_LIST "grpc.tonic_1.balance_list";
    G3 Hard Fewer "tonic call: instructions, 32 at a time"
        "grpc.tonic_32.mesh"
        beside BALANCE_LIST "grpc.tonic_32.balance_list";
    G3 Hard Fewer "tonic call with a tracer, caller not sampled: instructions, one at a time"
        "all.traced.tonic_1.mesh"
        beside BALANCE_LIST_TRACED "all.traced.tonic_1.balance_list";
    G3 Hard Fewer "the same, 32 at a time"
        "all.traced.tonic_32.mesh"
        beside BALANCE_LIST_TRACED "all.traced.tonic_32.balance_list";
    G3 Hard Fewer held Percent(3.5) "with a tracer and a meter provider: instructions, one at a time"
        "all.traced.tonic_1.both"
        beside BALANCE_LIST_TRACED "all.traced.tonic_1.balance_list";
    G3 Hard Fewer held Percent(2.5) "the same, 32 at a time"
        "all.traced.tonic_32.both"
        beside BALANCE_LIST_TRACED "all.traced.tonic_32.balance_list";
    G3 Report Told "tonic call: allocations"
        "allocations.grpc.tonic_1.mesh"
        beside BALANCE_LIST "allocations.grpc.tonic_1.balance_list";
    G3 Report Told "with a tracer, caller not sampled: allocations"
        "allocations.traced.tonic_1.mesh"
        beside BALANCE_LIST_TRACED "allocations.traced.tonic_1.balance_list";
    G3 Report Told "with a tracer and a meter provider: allocations"
        "allocations.traced.tonic_1.both"
        beside BALANCE_LIST_TRACED "allocations.traced.tonic_1.balance_list";
    // Picks.
    G4 Hard AtMost(200.0) "pick, random, 10k endpoints: instructions"
        "pick.random.n10k";
    G4 Hard AtMost(200.0) held AtMost(202.0) "pick, least request"
        "pick.least_request.n10k";
    G4 Hard AtMost(400.0) "pick, peak EWMA"
        "pick.peak_ewma.n10k";
    G4 Hard AtMost(200.0) "pick, round robin"
        "pick.round_robin.n10k";
    G4 Hard AtMost(200.0) "pick, weighted round robin"
        "pick.weighted_round_robin.n10k";
    G4 Hard AtMost(300.0) "pick, ring hash"
        "pick.ring_hash.n10k";
    G4 Hard AtMost(300.0) "pick, maglev"
        "pick.maglev.n10k";
    G4 Hard AtMost(300.0) "pick, maglev with a bounded load"
        "pick.bounded_load.n10k";
    G4 Hard AtMost(600.0) held AtMost(815.0) "pick, Prequal, and the report of its answer"
        "reports.prequal_reported.n10k";
    G4 Hard AtMost(200.0) "pick, weighted by reports"
        "reports.client_weighted.n10k";
    G4 Hard TimesFewer(8.0) "pick, least request"
        "pick.least_request.n10k"
        beside P2C "pick.tower_pending_requests.n10k";
    G4 Hard TimesFewer(4.0) "pick, peak EWMA"
        "pick.peak_ewma.n10k"
        beside P2C_EWMA "pick.tower_peak_ewma.n10k";
    G4 Hard Within(2.0) "flat: random, 100"
        "pick.random.n100"
        beside "10 endpoints" "pick.random.n10";
    G4 Hard Within(2.0) "flat: random, 1k"
        "pick.random.n1k"
        beside "10 endpoints" "pick.random.n10";
    G4 Hard Within(2.0) "flat: least request, 100"
        "pick.least_request.n100"
        beside "10 endpoints" "pick.least_request.n10";
    G4 Hard Within(2.0) "flat: least request, 1k"
        "pick.least_request.n1k"
        beside "10 endpoints" "pick.least_request.n10";
    G4 Hard Within(2.0) "flat: peak EWMA, 100"
        "pick.peak_ewma.n100"
        beside "10 endpoints" "pick.peak_ewma.n10";
    G4 Hard Within(2.0) "flat: peak EWMA, 1k"
        "pick.peak_ewma.n1k"
        beside "10 endpoints" "pick.peak_ewma.n10";
    G4 Hard Within(2.0) "flat: round robin, 100"
        "pick.round_robin.n100"
        beside "10 endpoints" "pick.round_robin.n10";
    G4 Hard Within(2.0) "flat: round robin, 1k"
        "pick.round_robin.n1k"
        beside "10 endpoints" "pick.round_robin.n10";
    G4 Hard Within(2.0) "flat: weighted round robin, 100"
        "pick.weighted_round_robin.n100"
        beside "10 endpoints" "pick.weighted_round_robin.n10";
    G4 Hard Within(2.0) "flat: weighted round robin, 1k"
        "pick.weighted_round_robin.n1k"
        beside "10 endpoints" "pick.weighted_round_robin.n10";
    G4 Hard Within(2.0) "flat: ring hash, 100"
        "pick.ring_hash.n100"
        beside "10 endpoints" "pick.ring_hash.n10";
    G4 Hard Within(2.0) "flat: ring hash, 1k"
        "pick.ring_hash.n1k"
        beside "10 endpoints" "pick.ring_hash.n10";
    G4 Hard Within(2.0) "flat: maglev, 100"
        "pick.maglev.n100"
        beside "10 endpoints" "pick.maglev.n10";
    G4 Hard Within(2.0) "flat: maglev, 1k"
        "pick.maglev.n1k"
        beside "10 endpoints" "pick.maglev.n10";
    G4 Hard Within(2.0) "flat: maglev with a bounded load, 100"
        "pick.bounded_load.n100"
        beside "10 endpoints" "pick.bounded_load.n10";
    G4 Hard Within(2.0) "flat: maglev with a bounded load, 1k"
        "pick.bounded_load.n1k"
        beside "10 endpoints" "pick.bounded_load.n10";
    G4 Hard Within(2.0) "flat: random, 100k"
        "pick.random.n100k"
        beside "10 endpoints" "pick.random.n10";
    G4 Hard Within(2.0) "flat: least request, 100k"
        "pick.least_request.n100k"
        beside "10 endpoints" "pick.least_request.n10";
    G4 Hard Within(2.0) "flat: peak EWMA, 100k"
        "pick.peak_ewma.n100k"
        beside "10 endpoints" "pick.peak_ewma.n10";
    G4 Hard Within(2.0) "flat: round robin, 100k"
        "pick.round_robin.n100k"
        beside "10 endpoints" "pick.round_robin.n10";
    G4 Hard Within(2.0) "flat: weighted round robin, 100k"
        "pick.weighted_round_robin.n100k"
        beside "10 endpoints" "pick.weighted_round_robin.n10";
    G4 Hard Within(2.0) "flat: Prequal, 100k"
        "reports.prequal_reported.n100k"
        beside "100 endpoints" "reports.prequal_reported.n100";
    G4 Hard Within(2.0) "flat: weighted by reports, 100k"
        "reports.client_weighted.n100k"
        beside "100 endpoints" "reports.client_weighted.n100";
    G4 Hard Within(2.0) "flat: ring hash, 100k"
        "pick.ring_hash.n100k"
        beside "10 endpoints" "pick.ring_hash.n10";
    G4 Hard Within(2.0) "flat: maglev, 100k"
        "pick.maglev.n100k"
        beside "10 endpoints" "pick.maglev.n10";
    G4 Hard Within(2.0) "flat: maglev with a bounded load, 100k"
        "pick.bounded_load.n100k"
        beside "10 endpoints" "pick.bounded_load.n10";
    G4 Hard Within(2.0) "flat: pick first, 100k"
        "pick.pick_first.n100k"
        beside "10 endpoints" "pick.pick_first.n10";
    G4 Report Told "flat: sharded, 100k"
        "pick.sharded.n100k"
        beside "100 endpoints" "pick.sharded.n100";
    G4 Report Told "flat: the endpoint that a call names, 100k"
        "pick.override_host.n100k"
        beside "100 endpoints" "pick.override_host.n100";
    G4 Report Told "pick, least request of 3, 10k endpoints: instructions"
        "pick.three_choices.n10k";
    G4 Report Told "pick, least request by turns, weights of 1 : 2 : 3"
        "pick.biased.n10k";
    G4 Report Told "pick, least request of all, 100 endpoints"
        "pick.full_scan.n100";
    G4 Report Told "pick, least request of all, 10k endpoints"
        "pick.full_scan.n10k"
        beside "100 endpoints" "pick.full_scan.n100";
    G4 Report Told "pick, pick first"
        "pick.pick_first.n10k";
    G4 Hard AtMost(0.0) "allocations per pick, random"
        "allocations.pick.random";
    G4 Hard AtMost(0.0) "allocations per pick, least request"
        "allocations.pick.least_request"
        beside P2C "allocations.pick.tower_pending_requests";
    G4 Hard AtMost(0.0) "allocations per pick, peak EWMA"
        "allocations.pick.peak_ewma"
        beside P2C_EWMA "allocations.pick.tower_peak_ewma";
    G4 Hard AtMost(0.0) "allocations per pick, round robin"
        "allocations.pick.round_robin";
    G4 Hard AtMost(0.0) "allocations per pick, weighted round robin"
        "allocations.pick.weighted_round_robin";
    G4 Hard AtMost(0.0) "allocations per pick, ring hash"
        "allocations.pick.ring_hash";
    G4 Hard AtMost(0.0) "allocations per pick, maglev"
        "allocations.pick.maglev";
    G4 Hard AtMost(0.0) "allocations per pick, maglev with a bounded load"
        "allocations.pick.bounded_load";
    G4 Hard AtMost(0.0) "allocations per pick, least request of 3"
        "allocations.pick.three_choices";
    G4 Hard AtMost(0.0) "allocations per pick, pick first"
        "allocations.pick.pick_first";
    G4 Hard AtMost(0.0) "allocations per pick, sharded"
        "allocations.pick.sharded";
    G4 Hard AtMost(0.0) "allocations per pick, the endpoint that a call names"
        "allocations.pick.override_host";
    G4 Hard AtMost(0.0) "allocations per pick, Prequal, and the report of its answer"
        "allocations.pick.prequal";
    G4 Hard AtMost(0.0) "allocations per pick, weighted by reports, and the report of its answer"
        "allocations.pick.client_weighted";
    G4 Hard AtMost(0.0) "allocations per pick, priorities and localities"
        "allocations.pick.planned";
    // The policy path above nothing. Until 2026-11-27 a mesh copied the head of each request to an own leaf, and
    // so did its ground (`leaf`), which did not count. Neither does now: the mesh alone takes 4 to 6 allocations less,
    // and what is held of G5b beside the ground is more than before by what the ground has lost.
    G5a Hard AtMost(1200.0) held AtMost(6650.0) "policy path, not armed: instructions added by the mesh"
        "layers.unarmed.mesh - layers.unarmed.leaf"
        beside TOWER "layers.unarmed.tower_mesh - layers.unarmed.nothing";
    G5a Report Told "the same"
        "layers.unarmed.mesh - layers.unarmed.leaf"
        beside RESILIENCE "layers.unarmed.resilience - layers.unarmed.nothing";
    G5a Hard AtMost(0.0) held AtMost(1.0) "allocations added to a leaf without a box"
        "allocations.layers.unarmed.mesh - allocations.layers.unarmed.nothing"
        beside TOWER "allocations.layers.unarmed.tower_mesh - allocations.layers.unarmed.nothing";
    G5a Hard AtMost(0.0) "allocations added to a boxed leaf"
        "allocations.layers.unarmed.mesh - allocations.layers.unarmed.leaf"
        beside TOWER "allocations.layers.unarmed.tower_mesh - allocations.layers.unarmed.nothing";
    G5a Report Told "instructions added by our layers and a pick"
        "layers.unarmed.layers - layers.unarmed.header"
        beside TOWER "layers.unarmed.tower_mesh - layers.unarmed.nothing";
    G5b Hard AtMost(2600.0) held AtMost(8800.0) "policy path, armed: instructions added by the mesh"
        "layers.armed.mesh - layers.unarmed.leaf"
        beside TOWER "layers.armed.tower_mesh - layers.unarmed.nothing";
    G5b Report Told "the same"
        "layers.armed.mesh - layers.unarmed.leaf"
        beside RESILIENCE "layers.armed.resilience - layers.unarmed.nothing";
    G5b Hard AtMost(2.0) held AtMost(5.0) "allocations added to a leaf without a box"
        "allocations.layers.armed.mesh - allocations.layers.unarmed.nothing"
        beside TOWER "allocations.layers.armed.tower_mesh - allocations.layers.unarmed.nothing";
    G5b Hard AtMost(2.0) held AtMost(3.0) "allocations added to a boxed leaf"
        "allocations.layers.armed.mesh - allocations.layers.unarmed.leaf"
        beside TOWER "allocations.layers.armed.tower_mesh - allocations.layers.unarmed.nothing";
    G5b Report Told "instructions added by our layers and a pick"
        "layers.armed.layers - layers.unarmed.header"
        beside TOWER "layers.armed.tower_mesh - layers.unarmed.nothing";
    // Routes. The target is 2 µs; 4,000 instructions take less on any machine of today.
    R Hard AtMost(4000.0) "route of a request among 1,000: instructions"
        "routes.look_up.n1k"
        beside "among 5 routes" "routes.look_up.few";
    R Report Told "among 10,000"
        "routes.look_up.n10k";
    // Nothing has set a target for these. They are held a tenth above what they took on 2026-11-27, so that
    // one that takes quadratic or exponential time fails the run.
    R Hard AtMost(490000.0) "among 1,000 of one path, the last by a header"
        "routes.look_up.specific_1k";
    R Hard AtMost(2.2) "hostile: a path of 30,000 elements among 1,000 routes: thousands of instructions"
        "routes.hostile.slashes_1k";
    R Hard AtMost(395.0) "the last of 1,000 regular expressions takes the request: thousands of instructions"
        "routes.hostile.patterns_1k";
    R Hard AtMost(51250.0) "hostile: 60,000 characters against 100 regular expressions: thousands of instructions"
        "routes.hostile.regexes_100";
    R Report AtMost(2.0) "route of a request among 1,000: µs of CPU"
        "updates.route_of_1k_us";
    R Report AtMost(50000.0) "10,000 routes published: µs of CPU"
        "updates.compile_10k_routes_us";
    // Changes of endpoints.
    G6 Report AtMost(3000.0) "10k endpoints in use replaced: µs of CPU"
        "updates.replace_10k_us"
        beside "tower p2c, inside the next call" "updates.tower_replace_10k_us";
    G6 Report AtMost(100.0) "1 of 100k changed: µs of CPU"
        "updates.change_1_of_100k_us";
    G6 Report AtMost(5000.0) "maglev of 65537 entries over 10k: µs of CPU"
        "updates.maglev_of_10k_us";
    G6 Report AtMost(5000.0) "ring over 10k: µs of CPU"
        "updates.ring_of_10k_us";
    G6 Report AtMost(50.0) "longest pick during 100 replacements: µs of CPU"
        "updates.worst_pick_us"
        beside "as many instructions that touch nothing" "updates.worst_nothing_us";
    G6 Report Told "100k endpoints of a plan replaced 10 times a second: µs of CPU"
        "updates.replace_100k_of_a_plan_us";
    G6 Report Told "longest pick meanwhile: µs of CPU"
        "updates.worst_pick_of_a_plan_us";
    G6 Report Told "picks per second meanwhile"
        "updates.picks_per_second_of_a_plan";
    G6 Report Told "100k endpoints of a ring replaced 10 times a second: µs of CPU"
        "updates.replace_100k_of_a_ring_us";
    G6 Report Told "longest pick meanwhile: µs of CPU"
        "updates.worst_pick_of_a_ring_us";
    G6 Report Told "picks per second meanwhile"
        "updates.picks_per_second_of_a_ring";
    // A control plane's answers: all that a change costs the mesh's thread, from the bytes on. Times, if only
    // of its own work, which one machine has told as 16 and as 37 ms: held at three and four times the gate, which
    // what is quadratic goes over.
    G14 Hard AtMost(20000.0) held AtMost(60000.0) "10k endpoints pushed, state of the world: µs of CPU"
        "xds.push_10k_us.sotw";
    G14 Hard AtMost(20000.0) held AtMost(60000.0) "the same, delta"
        "xds.push_10k_us.delta";
    G14 Hard AtMost(20000.0) held AtMost(60000.0) "10k endpoints replaced, state of the world: µs of CPU"
        "xds.replace_10k_us.sotw";
    G14 Hard AtMost(20000.0) held AtMost(60000.0) "the same, delta"
        "xds.replace_10k_us.delta";
    G14 Hard AtMost(1000.0) held AtMost(4000.0) "1 of 10k changed, state of the world: µs of CPU"
        "xds.change_1_of_10k_us.sotw";
    G14 Hard AtMost(1000.0) held AtMost(4000.0) "the same, delta"
        "xds.change_1_of_10k_us.delta";
    G14 Hard AtMost(60.0) "1,000 clusters of 10 endpoints: MB"
        "xds.clusters_1k_mb";
    G14 Report AtMost(20.0) "from nothing to the first answer: ms"
        "xds.cold_start_ms";
    G14 Report AtMost(50.0) "the same, past a plane that is dead: ms"
        "xds.fallback_ms";
    // Threads: what a pick writes lies on lines of its endpoint's own. Of policies that draw: round robin,
    // weighted turns, least request by turns and a bounded load write one counter that all picks share.
    G12 Report TimesFewer(1.7) "wall time of a pick, two threads: ns"
        "updates.pick_of_two_threads_ns"
        beside "one thread" "updates.pick_of_one_thread_ns";
    // Memory.
    G7 Hard AtMost(1.0) "bytes per endpoint that 20 replacements of 100k leave behind, plan"
        "memory.kept_plan"
        beside "while they are there" "memory.replaced_plan";
    G7 Hard AtMost(1.0) "the same, ring"
        "memory.kept_ring"
        beside "while they are there" "memory.replaced_ring";
    G7 Hard AtMost(256.0) "bytes per endpoint never picked, 1k known"
        "memory.mesh_1k";
    G7 Hard AtMost(256.0) "10k known"
        "memory.mesh_10k"
        beside "tower p2c, peak EWMA" "memory.tower_10k";
    G7 Hard AtMost(256.0) "100k known"
        "memory.mesh_100k";
    // Handshakes of mutual TLS 1.3, P-256, in memory, both sides together.
    G9 Hard TimesFewer(2.0) "reconnect that resumes a session: instructions"
        "tls.mesh.resumed"
        beside "full mutual handshake" "tls.mesh.full";
    G9 Hard Percent(5.0) "full mutual handshake: instructions"
        "tls.mesh.full"
        beside RUSTLS "tls.bare.full";
    G9 Hard Percent(5.0) "reconnect that resumes: instructions"
        "tls.mesh.resumed"
        beside RUSTLS "tls.bare.resumed";
    // A call over mutual TLS; the peer's side of TLS is in both.
    G9 Report Told "call over mutual TLS, h2: instructions, one at a time"
        "mtls.mesh_mtls.one"
        beside "bare hyper h2 on rustls" "mtls.bare_mtls.one";
    G9 Report Told "32 at a time"
        "mtls.mesh_mtls.many"
        beside "bare hyper h2 on rustls" "mtls.bare_mtls.many";
    // reqwest. The gate is 5 % more than plain; it was met by so much that it is tightened.
    G10 Hard TimesFewer(1.4) "POST in reqwest's words, HTTP/1.1: instructions"
        "reqwest.http1.mesh"
        beside REQWEST "reqwest.http1.plain";
    G10 Hard TimesFewer(1.15) "HTTP/2"
        "reqwest.http2.mesh"
        beside REQWEST "reqwest.http2.plain";
    G10 Hard TimesFewer(1.35) "with a timeout of the request, HTTP/1.1"
        "reqwest.http1.mesh_timeout"
        beside REQWEST "reqwest.http1.plain_timeout";
    G10 Hard TimesFewer(1.1) "with a timeout of the request, HTTP/2"
        "reqwest.http2.mesh_timeout"
        beside REQWEST "reqwest.http2.plain_timeout";
    // Features. Without LTO it is up to how the compiler cuts the crates into units whether h2's
    // connection is one function or a dozen that call each other, which is a percent by itself: by its
    // functions, what is ours differs by about 100 instructions.
    G11 Hard Within(1.0) held Within(2.5) "G1 with every feature compiled, one at a time"
        "all.path.mesh_1.balance"
        beside "default features" "path.mesh_1.balance";
    G11 Hard Within(1.0) held Within(2.5) "32 at a time"
        "all.path.mesh_32.balance"
        beside "default features" "path.mesh_32.balance";
};
