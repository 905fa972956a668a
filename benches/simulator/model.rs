//! The model: every number that the simulator takes as given, and where it comes from.
//!
//! Seeds and bounds were committed before any policy was tuned; what was changed in this file since,
//! ADR 0030 says. A gate is judged by the seeds in it alone; whoever tunes uses [`TUNING_SEEDS`]. "Paper" is Prequal (Wydrowski et al., "Load is
//! not what you should balance", NSDI 2024); "ours" is a choice of this project.
//!
//! # What happens
//! Calls arrive in a Poisson stream and are made by a client that is drawn uniformly, so that
//! each client is an independent Poisson stream. A client picks a server by its policy, with what
//! it alone has seen. A server shares its processors among the calls in it; none gets more than
//! one processor. There is no queue, and the network takes no time. An antagonist on the same
//! machine comes and goes, and takes the processors from the server. Whoever waits longer than
//! the timeout gets an error, and the server stops working on it, unless said otherwise.
//!
//! All times are nanoseconds of virtual time.

/// Milliseconds, in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;
/// Seconds, in nanoseconds.
pub(crate) const S: u64 = 1_000_000_000;

/// The seeds of every gate and table; the worst one counts. Primes without a pattern (ours).
pub(crate) const SEEDS: [u64; 10] =
    [1_009, 2_711, 4_001, 5_881, 7_919, 10_007, 12_553, 15_485, 17_389, 19_997];
/// The seeds of whoever tunes a policy: none of them is in [`SEEDS`].
#[allow(dead_code, reason = "named on the command line: `--tuning`")]
pub(crate) const TUNING_SEEDS: [u64; 4] = [31, 37, 41, 43];

/// Servers. Paper §5: 100.
pub(crate) const SERVERS: u32 = 100;
/// Clients. Paper §5: 100. 1,000 is the same traffic from many clients that each see little of
/// it, as microservices are (ours).
pub(crate) const CLIENTS: [u32; 2] = [100, 1_000];

/// The processors that a server has been allotted: the unit of load (ours; the paper speaks of
/// allocations, not of cores).
pub(crate) const ALLOTTED: f64 = 6.4;
/// What it can use while it is alone on its machine, in allotments. Paper §2: spare cycles are
/// there to be used (the factor is ours).
pub(crate) const ALONE: f64 = 2.0;
/// What is left to it while the antagonist is on, in allotments. Paper §2: isolation is not
/// perfect, and a server is hobbled below its allotment (the factor is ours).
pub(crate) const HOBBLED: f64 = 0.7;
/// The mean times that an antagonist is on and off; both exponential (ours).
pub(crate) const ANTAGONIST_ON: u64 = 8 * S;
pub(crate) const ANTAGONIST_OFF: u64 = 12 * S;
/// The mean of what servers can do, in allotments: 1.48. From there on the whole is saturated.
pub(crate) const SATURATION: f64 = {
    let on = ANTAGONIST_ON as f64 / (ANTAGONIST_ON + ANTAGONIST_OFF) as f64;
    on * HOBBLED + (1.0 - on) * ALONE
};

/// The work of a call is max(0, N(mean, deviation)) of one processor's time. Paper §5: normal,
/// the deviation is the mean, truncated at 0; 80 ms is its median latency without contention.
pub(crate) const WORK_MEAN: f64 = 80.0 * MS as f64;
pub(crate) const WORK_DEVIATION: f64 = WORK_MEAN;
/// The mean of that, with the lower half cut: mean · (Φ(1) + φ(1)).
pub(crate) const WORK_EXPECTED: f64 = WORK_MEAN * (0.841_344_746_068_543 + 0.241_970_724_519_143);

/// After this a call is an error, and its latency is this. Paper §5: 5 s.
pub(crate) const TIMEOUT: u64 = 5 * S;

/// The steps of the ramp: 0.75 to 1.74 allotments by tenths-of-nine. Paper §5, Fig. 6.
pub(crate) const RAMP: [f64; 9] = {
    let mut steps = [0.75; 9];
    let mut at = 1;
    while at < 9 {
        steps[at] = steps[at - 1] * 10.0 / 9.0;
        at += 1;
    }
    steps
};
/// How long a step lasts (ours). Calls count to the step in which they began.
pub(crate) const RAMP_STEP: u64 = 60 * S;

/// What is run before anything is counted, and what is counted then (ours).
pub(crate) const WARM_UP: u64 = 20 * S;
pub(crate) const MEASURED: u64 = 100 * S;

/// Of the textbook's Prequal. Paper §5: a pool of 16, of at most 1 s, 3 probes per call, 1
/// removed per call, delta 1, `Q_RIF` 2^-0.25 = 0.84. A probe takes no time (ours).
pub(crate) mod prequal {
    pub(crate) const POOL: usize = 16;
    pub(crate) const AGE: u64 = super::S;
    pub(crate) const PROBES: u32 = 3;
    pub(crate) const REMOVED: u32 = 1;
    pub(crate) const DELTA: f64 = 1.0;
    pub(crate) const HOT: f64 = 0.84;
    /// Reports of calls in flight of which the quantile is taken (ours; prequal-rs has 64).
    pub(crate) const HISTORY: usize = 64;
    /// The server's estimate is the median of so many of its latest samples that are nearest in
    /// calls in flight, out of those of this age (ours: the paper has "the last few 10 ms" at
    /// rates of thousands per second and server; here it is about 66).
    pub(crate) const NEAREST: usize = 16;
    pub(crate) const SAMPLES: usize = 128;
    pub(crate) const SAMPLE_AGE: u64 = 2 * super::S;
}

/// How old a call may be whose latency counts in what servers tell the crate's clients: the default
/// of the crate's layer.
pub(crate) const ESTIMATE_AGE: u64 = S;

/// Of the textbook's weighted round robin: weights q/u (calls over utilisation), every so often,
/// blended by this. Paper §2 for q/u; the numbers are ours.
pub(crate) const WRR_PERIOD: u64 = S;
pub(crate) const WRR_BLEND: f64 = 0.2;

/// Gate G13.
pub(crate) mod gate {
    use super::MS;

    /// The load in allotments and the clients of the first bound.
    pub(crate) const LOAD: f64 = 0.9;
    pub(crate) const CLIENTS: u32 = 1_000;
    /// p99 at most, and no error at all.
    pub(crate) const P99: u64 = 600 * MS;
    /// The share of calls that a sinkhole gets at most.
    pub(crate) const SINKHOLE: f64 = 0.01;
    /// p99 and p99.9 at each step of the ramp below saturation: at most so many times those of
    /// the better of two by the client's own calls in flight, with 100 and with 1,000 clients.
    pub(crate) const BESIDE_P2C: f64 = 1.05;
}

/// Half of the servers do every work twice as slowly. Paper §5.3. The load is of what they can do
/// on the mean, antagonists included (ours).
pub(crate) mod fast_slow {
    pub(crate) const SLOWNESS: f64 = 2.0;
    pub(crate) const LOAD: f64 = 0.75;
    pub(crate) const CLIENTS: u32 = 100;
    /// The hot quantiles that are swept.
    pub(crate) const HOT: [f64; 6] = [0.0, 0.35, 0.6, 0.75, 0.84, 0.99];
}

/// One server of 20 fails every call at once, as a broken deployment does (ours).
pub(crate) mod sinkhole {
    pub(crate) const SERVERS: u32 = 20;
    pub(crate) const LOAD: f64 = 0.7;
    /// The gate is judged at 100 clients; 1,000 are told.
    pub(crate) const CLIENTS: [u32; 2] = [100, 1_000];
}

/// Two servers of 20 refuse connections for ever (ours).
pub(crate) mod dead {
    pub(crate) const SERVERS: u32 = 20;
    pub(crate) const DEAD: u32 = 2;
    pub(crate) const LOAD: f64 = 0.7;
    pub(crate) const CLIENTS: u32 = 100;
}

/// A tenth of the servers is replaced every 10 s (ours): at once they refuse connections and
/// finish what is in them; the new ones are there at once. Clients hear of it later, each at its
/// own time.
pub(crate) mod rotation {
    use super::S;

    pub(crate) const EVERY: u64 = 10 * S;
    pub(crate) const SHARE: f64 = 0.1;
    /// Uniform between 0 and this.
    pub(crate) const HEARD_WITHIN: u64 = 2 * S;
    pub(crate) const LOAD: f64 = 0.7;
    pub(crate) const CLIENTS: u32 = 100;
}

/// Calls with keys, for policies that hash (ours).
pub(crate) mod keys {
    pub(crate) const KEYS: u32 = 10_000;
    /// The n-th key weighs `1 / n^skew`. At 0.6 the first has 1 % of the calls, an even share of a
    /// server; at 1 it has 10 %.
    pub(crate) const SKEWS: [f64; 2] = [0.6, 1.0];
    pub(crate) const LOAD: f64 = 0.5;
    pub(crate) const CLIENTS: u32 = 100;
    /// The most calls in flight to one server where the load is bounded, in percent of the mean.
    pub(crate) const BOUND: u32 = 150;
    /// Entries of the large ring.
    pub(crate) const RING: u32 = 65_536;
    /// Shards, each on an equal part of the servers.
    pub(crate) const SHARDS: u32 = 20;
}

/// How many servers a client of a part uses. Paper on aperture and gRFC A68: 20.
pub(crate) const PART: u32 = 20;

/// Stragglers: one attempt of a hundred takes 20 times as long ("The Tail at Scale", Dean and
/// Barroso 2013, for the kind; the numbers are ours). No antagonists.
pub(crate) mod hedging {
    use super::MS;

    /// The work is lognormal.
    pub(crate) const MEDIAN: f64 = 10.0 * MS as f64;
    pub(crate) const SIGMA: f64 = 0.5;
    pub(crate) const STRAGGLERS: f64 = 0.01;
    pub(crate) const STRAGGLING: f64 = 20.0;
    pub(crate) const LOAD: f64 = 0.3;
    pub(crate) const CLIENTS: u32 = 20;
    /// What `hedge.max_extra_percent` says, one after the other: as much as there are stragglers,
    /// twice as much, and five times as much.
    pub(crate) const EXTRA_PERCENT: [f64; 3] = [1.0, 2.0, 5.0];
}

/// Half of the servers are gone for 3 s at 80 % of what all can do ("Metastable failures in the
/// wild", Huang et al., OSDI 2022, for the kind; the numbers are ours). No antagonists, capacity
/// is the allotment, and a server works on though the caller has left.
pub(crate) mod metastable {
    use super::{MS, S};

    pub(crate) const LOAD: f64 = 0.8;
    pub(crate) const CLIENTS: u32 = 100;
    pub(crate) const OUTAGE_AT: u64 = 30 * S;
    pub(crate) const OUTAGE: u64 = 3 * S;
    /// Long enough to tell slow from never: 120 s were not.
    pub(crate) const END: u64 = 300 * S;
    /// Of an attempt: about four times the p99 in quiet times.
    pub(crate) const ATTEMPT_TIMEOUT: u64 = 1_000 * MS;
    pub(crate) const ATTEMPTS: u32 = 4;
    /// It has recovered when, from then on, so much of each second's calls succeeds.
    pub(crate) const RECOVERED: f64 = 0.95;
}
