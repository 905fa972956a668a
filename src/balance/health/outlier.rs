//! Envoy's outlier detection: what it counts, and what it concludes. No time is read here and
//! nobody is ejected.
//!
//! An ejection lasts `min(base · n, max) + jitter`, where *n* grows by one with each and falls by
//! one for each interval that the endpoint has been well since.
//!
//! Windows are counted once for both kinds of comparison and taken at every interval. Envoy keeps
//! two and reads the one that was filled last; taking the one that is full is the same. A window is one
//! word: whoever takes it has each outcome as a whole, or leaves it to the next one.

use super::{
    EjectReason, Fault,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    rules::{FailurePercentage, Rules, SuccessRate, Time},
};

/// One outcome in the word of a window.
const OUTCOME: u64 = 1 << 32;
/// A window with so many of them is halved: as many again are between that and the end of the word.
const FULL: u64 = OUTCOME << 31;

/// What is counted of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By [`Fault`]: failures in a row.
    rows: [AtomicU32; 3],
    /// Of the endpoint's own outcomes, and of those of our own side.
    windows: [Window; 2],
    /// How often the base time an ejection lasts.
    times: AtomicU32,
    /// When the last one ended.
    returned: AtomicU64,
}

/// How many outcomes there were, above [`OUTCOME`], and how many of them were good, below it.
#[derive(Debug, Default)]
struct Window(AtomicU64);

/// A window that is over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) good: u32,
    pub(super) all: u32,
}

/// Where failures came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    External,
    Local,
}

impl Origin {
    pub(super) const ALL: [Self; 2] = [Self::External, Self::Local];
}

// === impl Tally ===

impl Tally {
    /// One that has counted so many outcomes of its endpoint.
    #[cfg(test)]
    pub(super) fn of(Counts { good, all }: Counts) -> Self {
        let window = Window(AtomicU64::new(u64::from(all) * OUTCOME + u64::from(good)));
        Self { windows: [window, Window::default()], ..Self::default() }
    }

    /// Counts an outcome; tells what that makes of it, at most two reasons, the first of which may
    /// eject.
    pub(super) fn count(&self, rules: &Rules, fault: Option<Fault>, mut tell: impl FnMut(Fault)) {
        let windows = rules.compares();
        let window = |origin: Origin, good: bool| {
            if windows {
                self.windows[origin as usize].count(good);
            }
        };
        if rules.split {
            //= Envoy `putResultWithLocalExternalSplit`: an answer of any kind is a success of ours
            let local = fault == Some(Fault::LocalOrigin);
            window(Origin::Local, !local);
            if local {
                return self.row(rules, Fault::LocalOrigin, &mut tell);
            }
            self.reset(Fault::LocalOrigin);
        }
        window(Origin::External, fault.is_none());
        let Some(fault) = fault else {
            self.reset(Fault::Gateway);
            self.reset(Fault::Server);
            return;
        };
        //= Envoy `resultToHttpCode`: unless they are split, failures of our own side are 503 or 504
        if fault == Fault::Server {
            self.reset(Fault::Gateway);
        } else {
            self.row(rules, Fault::Gateway, &mut tell);
        }
        self.row(rules, Fault::Server, &mut tell);
    }

    fn row(&self, rules: &Rules, fault: Fault, tell: &mut impl FnMut(Fault)) {
        let (limit, _) = rules.consecutive[fault as usize];
        let count = self.rows[fault as usize].fetch_add(1, Relaxed).saturating_add(1);
        // Envoy asks whether it is equal: a row that is longer already when the limit is lowered to
        // less, or set at all, is as bad as one that grows up to it.
        if limit > 0 && count >= limit {
            self.reset(fault);
            tell(fault);
        }
    }

    /// The row starts anew: it was broken, or has been judged.
    pub(super) fn reset(&self, fault: Fault) {
        if self.rows[fault as usize].load(Relaxed) != 0 {
            self.rows[fault as usize].store(0, Relaxed);
        }
    }

    /// Takes a window that is over.
    pub(super) fn take(&self, origin: Origin) -> Counts {
        Counts::of(self.windows[origin as usize].0.swap(0, Relaxed))
    }

    /// It is ejected once more: for how long.
    pub(super) fn ejected(&self, now: u64, time: Time, word: u64) -> u64 {
        let returned = self.returned.load(Relaxed);
        let rested = if returned == 0 { 0 } else { now.saturating_sub(returned) / time.interval };
        let rested = u32::try_from(rested).unwrap_or(u32::MAX);
        let times = time.next(self.times.load(Relaxed).saturating_sub(rested));
        self.times.store(times, Relaxed);
        time.of(times, word)
    }

    /// It takes calls again.
    pub(super) fn returned(&self, now: u64) {
        for fault in Fault::ALL {
            self.reset(fault);
        }
        self.returned.store(now.max(1), Relaxed);
    }
}

// === impl Window ===

impl Window {
    fn count(&self, good: bool) {
        let one = OUTCOME + u64::from(good);
        let counted = self.0.fetch_add(one, Relaxed).wrapping_add(one);
        if counted >= FULL {
            self.halve(counted);
        }
    }

    /// Halves both numbers of a window that is full: it is their share that is compared. If another
    /// outcome came in between, that one halves it; if it was taken, nobody does.
    #[cold]
    fn halve(&self, counted: u64) {
        // Less the lowest bit of the upper number.
        let half = (counted / 2) & !(OUTCOME / 2);
        let _ = self.0.compare_exchange(counted, half, Relaxed, Relaxed);
    }
}

// === impl Counts ===

impl Counts {
    fn of(window: u64) -> Self {
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self { good: number(window % OUTCOME), all: number(window / OUTCOME) }
    }

    /// Of 100.
    fn rate(self) -> f64 {
        f64::from(self.good) * 100.0 / f64::from(self.all.max(1))
    }
}

// === impl Time ===

impl Time {
    /// How often the base time the next ejection lasts.
    pub(super) fn next(self, times: u32) -> u32 {
        let grows = self.base.saturating_mul(u64::from(times)) < self.max.saturating_add(self.base);
        if grows { times.saturating_add(1) } else { times }
    }

    /// How long an ejection lasts, with a random word for the jitter.
    pub(super) fn of(self, times: u32, word: u64) -> u64 {
        let plain = self.base.saturating_mul(u64::from(times)).min(self.max);
        plain.saturating_add(word % self.jitter.saturating_add(1).max(1))
    }
}

// === comparisons ===

/// Mean and threshold of success rates, each of 100.
#[expect(clippy::cast_precision_loss, reason = "a number of endpoints")]
pub(super) fn threshold(rates: &[f64], factor: f64) -> (f64, f64) {
    let count = rates.len().max(1) as f64;
    let mean = rates.iter().sum::<f64>() / count;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    (mean, factor.mul_add(-variance.sqrt(), mean))
}

impl SuccessRate {
    /// Those that succeed less than their siblings, by their places.
    fn worst(&self, windows: &[Counts], mut tell: impl FnMut(usize)) {
        let enough = |counts: &Counts| counts.all > 0 && counts.all >= self.volume;
        let rates: Vec<f64> =
            windows.iter().filter(|counts| enough(counts)).map(|counts| counts.rate()).collect();
        if rates.is_empty() || rates.len() < self.hosts as usize {
            return;
        }
        let (_, threshold) = threshold(&rates, self.factor);
        for (place, counts) in windows.iter().enumerate() {
            if enough(counts) && counts.rate() < threshold {
                tell(place);
            }
        }
    }
}

impl FailurePercentage {
    /// Those that fail too often, by their places.
    fn worst(&self, windows: &[Counts], mut tell: impl FnMut(usize)) {
        let enough = |counts: &Counts| counts.all > 0 && counts.all >= self.volume;
        let valid = windows.iter().filter(|counts| enough(counts)).count();
        if valid == 0 || valid < self.hosts as usize {
            return;
        }
        for (place, counts) in windows.iter().enumerate() {
            if enough(counts) && 100.0 - counts.rate() >= f64::from(self.threshold) {
                tell(place);
            }
        }
    }
}

/// Who is an outlier, by place, why, and how often that is enforced, in percent.
///
/// `windows` are those of endpoints that are not ejected.
pub(super) fn compare(
    rules: &Rules,
    origin: Origin,
    windows: &[Counts],
    mut tell: impl FnMut(usize, EjectReason, u32),
) {
    let local = origin == Origin::Local;
    if let Some(rate) = &rules.success_rate {
        let reason =
            if local { EjectReason::SuccessRateLocalOrigin } else { EjectReason::SuccessRate };
        rate.worst(windows, |place| tell(place, reason, rate.enforcing[origin as usize]));
    }
    if let Some(share) = &rules.failure_percentage {
        let reason = if local {
            EjectReason::FailurePercentageLocalOrigin
        } else {
            EjectReason::FailurePercentage
        };
        share.worst(windows, |place| tell(place, reason, share.enforcing[origin as usize]));
    }
}
