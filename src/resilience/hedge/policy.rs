//! What the hedging of a route is made of, and what its calls share: the recent latencies, and the
//! account of the extra attempts.

use std::time::Duration;

use super::{
    course::{Course, Word},
    recent::Recent,
};
use crate::{
    config::{self, Hedge},
    core::{HedgeRefusal, Random, nanos},
    resilience::{
        Budget,
        retry::{self, after},
    },
};

/// How long a latency counts. Source: the window that a percentile of 1 % of the calls needs.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);
/// Its parts.
const SLOT: Duration = Duration::from_secs(3);

/// The hedging of a route.
#[derive(Debug)]
pub(crate) struct Hedging {
    delay: Option<u64>,
    attempts: u32,
    /// The gRPC codes that do not end it, if they are said.
    non_fatal: Option<Vec<i32>>,
    initial: u32,
    /// The chance of one more at once, in 0..=1.
    additional: f64,
    on_attempt_timeout: bool,
    /// The extra attempts that are allowed, as a share of the calls.
    share: Option<Budget>,
    /// Where the wait is a quantile.
    recent: Option<Box<Recent>>,
}

/// What an attempt's end says of its call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// It is the call's answer.
    Final,
    /// Another may do better.
    Open(Word),
}

impl Hedging {
    /// Nothing if it is off.
    pub(crate) fn new(config: &Hedge) -> Option<Self> {
        if !config.is_on() {
            return None;
        }
        let share = config.max_extra_percent.map(|percent| percent / 100.0);
        let is_quantile = config.is_by_percentile();
        let slot = nanos(SLOT);
        Some(Self {
            delay: config.delay.map(nanos),
            attempts: config.attempts(),
            non_fatal: (!config.non_fatal_grpc.is_empty()).then(|| config.non_fatal_grpc.clone()),
            initial: config.initial_attempts.unwrap_or(1).max(1),
            additional: config.additional_percent.unwrap_or(0.0) / 100.0,
            on_attempt_timeout: config.on_attempt_timeout.unwrap_or(false),
            share: share.map(|share| Budget::new(&account(share))),
            recent: share.filter(|_| is_quantile).map(|share| Box::new(Recent::new(share, slot))),
        })
    }

    /// A call that may be hedged has begun.
    pub(crate) fn deposit(&self, now: u64) {
        if let Some(share) = &self.share {
            share.deposit(now);
        }
    }

    /// It was refused before anything of it was sent.
    pub(crate) fn take_back(&self, now: u64) {
        if let Some(share) = &self.share {
            share.take_back(now);
        }
    }

    /// Its first attempt is sent at `now`.
    pub(crate) fn begin(&self, now: u64, random: &Random) -> Course {
        let mut upfront = self.initial - 1;
        if self.additional > 0.0 && random.ratio() < self.additional {
            upfront += 1;
        }
        //= gRFC A6 §"Hedging Policy": a failure sends the next at once; Envoy and Finagle leave it to
        //= their retries
        let replaces = self.delay.is_some();
        Course::new(now, self.attempts, upfront, self.wait(now), replaces)
    }

    /// The wait before a hedge.
    pub(crate) fn wait(&self, now: u64) -> Option<u64> {
        self.delay.or_else(|| self.recent.as_ref()?.wait(now))
    }

    /// Whether a further attempt may be sent, which is paid for then: from the allowed share, and from
    /// the retry budget by `withdraw`.
    ///
    //= Finagle BackupRequestFilter: its own budget first, then the client's
    pub(crate) fn pay<T>(
        &self,
        now: u64,
        withdraw: impl FnOnce() -> Option<T>,
    ) -> Result<T, HedgeRefusal> {
        if self.share.as_ref().is_some_and(|share| !share.withdraw(now)) {
            return Err(HedgeRefusal::Share);
        }
        withdraw().ok_or_else(|| {
            self.refund(now);
            HedgeRefusal::Budget
        })
    }

    /// What was paid for was not sent.
    pub(crate) fn refund(&self, now: u64) {
        if let Some(share) = &self.share {
            share.refund(now);
        }
    }

    /// The first attempt of a call has given a final answer after so long.
    pub(crate) fn answered(&self, now: u64, took: u64) {
        if let Some(recent) = &self.recent {
            recent.record(now, took);
        }
    }

    /// It has not: it took at least so long. That may raise the wait, and never lowers it.
    pub(crate) fn unanswered(&self, now: u64, age: u64) {
        if let Some(recent) = &self.recent
            && recent.last_wait().is_none_or(|wait| age >= wait)
        {
            recent.record(now, age);
        }
    }

    /// What an answer comes to: the codes that it names itself, else what the retry policy would
    /// try again.
    pub(crate) fn fate(&self, met: retry::Met<'_>, retry: &retry::Policy, random: &Random) -> Fate {
        let is_open = match (met, &self.non_fatal) {
            (retry::Met::GrpcStatus { code, .. }, Some(codes)) => codes.contains(&code),
            _ => retry.decide(0, met, random) != retry::Decision::Return,
        };
        if is_open { Fate::Open(word_of(met)) } else { Fate::Final }
    }

    /// Whether an attempt goes on beside its successor when its time is over.
    pub(crate) fn goes_on(&self) -> bool {
        self.on_attempt_timeout
    }

    /// What it would do now, in words.
    pub(crate) fn told(&self, now: u64) -> String {
        let Some(recent) = self.recent.as_ref().filter(|_| self.delay.is_none()) else {
            return match self.delay {
                Some(delay) => format!("after {:?}", Duration::from_nanos(delay)),
                None => "not by itself".to_owned(),
            };
        };
        match recent.wait(now) {
            Some(wait) => format!(
                "after {:?}, by {} latencies of the last {WINDOW:?}",
                Duration::from_nanos(wait),
                recent.count(),
            ),
            None => format!("not yet: {} latencies are known", recent.count()),
        }
    }
}

/// What the extra attempts are paid from: nothing but the calls.
fn account(share: f64) -> config::Budget {
    config::Budget::new(share).min_per_second(0).ttl(WINDOW)
}

fn word_of(met: retry::Met<'_>) -> Word {
    use after::Pushback;
    let (retry::Met::Response { headers, .. } | retry::Met::GrpcStatus { headers, .. }) = met
    else {
        return Word::Nothing;
    };
    match after::grpc(headers) {
        Pushback::None => Word::Nothing,
        Pushback::After(after) | Pushback::AtLeast(after) => Word::After(after),
        Pushback::Stop => Word::Stop,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;
    use crate::config::Retry;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MS;

    fn rich() -> Budget {
        Budget::new(&config::Budget::new(0.0).min_per_second(1_000_000))
    }

    fn poor() -> Budget {
        Budget::new(&config::Budget::new(0.0).min_per_second(0))
    }

    fn within(percent: f64) -> Hedging {
        Hedging::new(&Hedge::within(percent)).unwrap()
    }

    /// So many calls a second, each as slow as that says of its number; how many were hedged.
    fn run(hedging: &Hedging, calls: u64, latency: impl Fn(u64) -> u64) -> u64 {
        let (random, budget) = (Random::seeded(1), rich());
        let mut hedges = 0;
        for n in 0..calls {
            let now = n * 10 * MS;
            hedging.deposit(now);
            let course = hedging.begin(now, &random);
            let took = latency(n);
            match course.next() {
                Some(next)
                    if next < now + took
                        && hedging.pay(next, || budget.withdraw(next).then_some(())).is_ok() =>
                {
                    hedges += 1;
                    // The other is as fast as most; the first is cancelled with its answer.
                    let end = (next + 5 * MS).min(now + took);
                    hedging.unanswered(end, end - now);
                }
                _ => hedging.answered(now + took, took),
            }
        }
        hedges
    }

    /// A share of the calls takes long.
    fn slow(n: u64) -> u64 {
        let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        if word % 100 < 5 { 300 * MS + (word % 64) * MS } else { 2 * MS + word % 4 * MS }
    }

    #[test]
    fn hedges_are_sent_at_the_percentile_that_yields_the_share() {
        for percent in [1.0, 2.0, 5.0, 10.0] {
            let (hedging, calls) = (within(percent), 20_000_u64);
            let hedges = run(&hedging, calls, |n| MS + n.wrapping_mul(7919) % 1_000 * MS / 4);
            let allowed = calls as f64 * percent / 100.0;
            assert!(hedges as f64 <= allowed, "{hedges} of {allowed} at {percent} %");
            assert!(hedges as f64 > allowed * 0.5, "{hedges} of {allowed} at {percent} %");
        }
    }

    #[test]
    fn when_everything_degrades_at_once_the_extra_load_stays_at_the_number() {
        let hedging = within(2.0);
        run(&hedging, 3_000, slow);
        let (random, budget) = (Random::seeded(1), rich());
        let begun = 30 * SECOND;
        let mut hedges = 0;
        for n in 0..1_000 {
            let now = begun + n * MS;
            hedging.deposit(now);
            let course = hedging.begin(now, &random);
            // Each is slower than any was before: at a fixed delay all would be hedged.
            let next = course.next().unwrap();
            assert!(next < now + SECOND);
            hedges += u64::from(hedging.pay(next, || budget.withdraw(next).then_some(())).is_ok());
        }
        // What was left of the window before, and the share of these.
        assert!(hedges <= 20 + 60, "{hedges}");
    }

    #[test]
    fn the_extra_attempts_are_counted_exactly() {
        let (hedging, budget) = (within(5.0), rich());
        for n in 0..1_000 {
            hedging.deposit(n);
        }
        let paid = (0..1_000)
            .filter(|_| hedging.pay(1_000, || budget.withdraw(1_000).then_some(())).is_ok())
            .count();
        assert_eq!(paid, 50);
    }

    #[test]
    fn an_empty_retry_budget_allows_none() {
        let hedging = within(50.0);
        for n in 0..100 {
            hedging.deposit(n);
        }
        assert_eq!(
            hedging.pay(100, || poor().withdraw(100).then_some(())),
            Err(HedgeRefusal::Budget)
        );
        let paid = (0..100).filter(|_| hedging.pay(100, || Some(())).is_ok()).count();
        assert_eq!(paid, 50, "what was not sent has cost nothing of the share");
        assert_eq!(
            within(50.0).pay(0, || Some(())),
            Err(HedgeRefusal::Share),
            "nothing was called"
        );
    }

    #[test]
    fn what_was_left_raises_the_wait_and_never_lowers_it() {
        let hedging = within(10.0);
        for n in 0..1_000 {
            hedging.answered(n, 50 * MS);
        }
        let before = hedging.wait(SECOND).unwrap();
        for n in 0..5_000 {
            hedging.unanswered(SECOND + n, MS);
        }
        assert_eq!(hedging.wait(2 * SECOND), Some(before));
        for n in 0..5_000 {
            hedging.unanswered(2 * SECOND + n, 500 * MS);
        }
        assert!(hedging.wait(3 * SECOND).unwrap() >= 500 * MS);
    }

    #[test]
    fn of_a_hundred_percent_every_call_is_hedged_after_a_millisecond() {
        let (hedging, random) = (within(100.0), Random::seeded(1));
        for n in 0..100 {
            hedging.answered(n, 50 * MS);
        }
        assert_eq!(hedging.begin(200, &random).next(), Some(200 + MS));
    }

    #[test]
    fn of_nothing_it_is_off() {
        assert!(Hedging::new(&Hedge::within(0.0)).is_none());
        let mut off = Hedge::after(Duration::from_millis(5));
        off.max_extra_percent = Some(0.0);
        assert!(Hedging::new(&off).is_none());
    }

    #[test]
    fn one_more_begins_at_once_by_chance() {
        let mut config = Hedge::default();
        config.additional_percent = Some(30.0);
        let (hedging, random) = (Hedging::new(&config).unwrap(), Random::seeded(3));
        let more = (0..10_000).filter(|n| hedging.begin(*n, &random).is_due(*n)).count();
        assert!((2_800..3_200).contains(&more), "{more}");
    }

    #[test]
    fn fatal_codes_end_it_and_a_server_may_stop_it() {
        let mut config = Hedge::after(Duration::from_millis(5));
        config.non_fatal_grpc = vec![13];
        let (hedging, random) = (Hedging::new(&config).unwrap(), Random::seeded(1));
        let retry = retry::Policy::new(&Retry::standard());
        let mut headers = HeaderMap::new();
        let fate = |code, headers: &HeaderMap| {
            hedging.fate(retry::Met::GrpcStatus { code, headers }, &retry, &random)
        };
        assert_eq!(fate(0, &headers), Fate::Final);
        assert_eq!(fate(14, &headers), Fate::Final, "its own list counts alone");
        assert_eq!(fate(13, &headers), Fate::Open(Word::Nothing));
        headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static("20"));
        assert_eq!(fate(13, &headers), Fate::Open(Word::After(Duration::from_millis(20))));
        headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static("-1"));
        assert_eq!(fate(13, &headers), Fate::Open(Word::Stop));
    }

    #[test]
    fn without_a_list_what_the_retry_policy_names_is_not_final() {
        let (hedging, random) = (within(1.0), Random::seeded(1));
        // Whether it retries itself or not.
        let retry = retry::Policy::new(&Retry::standard().attempts(1));
        let headers = HeaderMap::new();
        let status = |status| retry::Met::Response { status, headers: &headers };
        assert_eq!(hedging.fate(status(StatusCode::OK), &retry, &random), Fate::Final);
        assert_eq!(hedging.fate(status(StatusCode::NOT_FOUND), &retry, &random), Fate::Final);
        let unavailable = hedging.fate(status(StatusCode::SERVICE_UNAVAILABLE), &retry, &random);
        assert_eq!(unavailable, Fate::Open(Word::Nothing));
    }
}
