//! Durations by the way in which what was timed has ended: a cell for each end that was met.

use std::sync::OnceLock;

use super::{
    end::Key,
    family::Metric,
    histogram::{Counts, Histogram},
};

/// Ends that are kept apart in a list of their own: usually one is met, seldom more than four.
const NEAR: usize = 4;
/// Further ends that are kept apart; beyond them, all are counted together.
const FAR: usize = 44;

/// Takes samples to elsewhere, too: the application's meter provider.
pub(crate) trait Sink: Send + Sync {
    /// One sample, in the unit of its metric.
    fn record(&self, value: f64);
}

/// Makes the sinks of the cells.
pub(crate) trait Sinks: Send + Sync {
    fn sink(&self, metric: Metric, labels: &[super::Label]) -> Option<Box<dyn Sink>>;
}

/// The cells, in the order in which their ends were first met. A cell that is there stays where it
/// is; whoever looks for one passes those before it.
#[derive(Default)]
pub(super) struct Durations {
    near: [Slot; NEAR],
    far: OnceLock<Box<[Slot; FAR]>>,
    rest: Slot,
}

type Slot = OnceLock<Box<Cell>>;

struct Cell {
    key: Key,
    histogram: Histogram,
    sink: Option<Box<dyn Sink>>,
}

// === impl Durations ===

impl Durations {
    /// Adds a sample; `sink` is asked once, when the first of its kind comes.
    #[inline]
    pub(super) fn record(
        &self,
        key: Key,
        nanos: u64,
        sink: impl FnOnce(Key) -> Option<Box<dyn Sink>>,
    ) {
        match self.near[0].get() {
            Some(cell) if cell.key == key => cell.record(nanos),
            _ => self.find(key, sink).record(nanos),
        }
    }

    #[inline(never)]
    fn find(&self, key: Key, sink: impl FnOnce(Key) -> Option<Box<dyn Sink>>) -> &Cell {
        let mut sink = Some(sink);
        let mut make = |key| {
            let sink = sink.take().and_then(|sink| sink(key));
            Box::new(Cell { key, histogram: Histogram::default(), sink })
        };
        let near = self.near.iter();
        for slot in near {
            // Two ends that are met for the first time at once: one of them goes on.
            let cell = slot.get_or_init(|| make(key));
            if cell.key == key {
                return cell;
            }
        }
        for slot in self.far.get_or_init(|| Box::new(std::array::from_fn(|_| Slot::new()))).iter() {
            let cell = slot.get_or_init(|| make(key));
            if cell.key == key {
                return cell;
            }
        }
        self.rest.get_or_init(|| make(Key::REST))
    }

    /// What every cell holds.
    pub(super) fn read(&self) -> impl Iterator<Item = (Key, Counts)> {
        let far = self.far.get().into_iter().flat_map(|far| far.iter());
        let slots = self.near.iter().chain(far).chain([&self.rest]);
        slots.filter_map(|slot| slot.get()).map(|cell| (cell.key, cell.histogram.read()))
    }
}

impl Cell {
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "a duration")]
    fn record(&self, nanos: u64) {
        self.histogram.record(nanos);
        if let Some(sink) = &self.sink {
            sink.record(nanos as f64 / 1e9);
        }
    }
}
