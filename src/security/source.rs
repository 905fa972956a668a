//! What a source of keys or roots has said: the last good state, and what is wrong since.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

/// What a source reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Report {
    /// What it said is in force.
    Accepted,
    /// What it said cannot be used; the last good state stays.
    Refused(Arc<str>),
}

/// Where reports go: the mesh.
pub(crate) trait Reports: Send + Sync {
    /// `part` is the source's name: `identity key pair tls.crt`, `trust ca.crt`.
    fn report(&self, part: &Arc<str>, report: Report);

    /// Whether the mesh has ended.
    fn is_closed(&self) -> bool;
}

/// What is known of a source.
pub(crate) struct State<T> {
    /// Grows with each good state.
    pub(crate) generation: u64,
    /// The last good state.
    pub(crate) good: Option<Arc<T>>,
    /// Why the newest state was refused, if it was.
    pub(crate) problem: Option<Arc<str>>,
}

/// The reading side of a source.
pub(crate) struct Source<T> {
    part: Arc<str>,
    id: u64,
    state: watch::Receiver<State<T>>,
}

/// The writing side of a source.
pub(crate) struct Writer<T> {
    part: Arc<str>,
    state: Arc<watch::Sender<State<T>>>,
    reports: Weak<dyn Reports>,
}

/// Why there is nothing of a source that is over.
pub(super) const SILENT: &str = "the source ended before it said anything";

/// Tells apart sources that have the same name.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A source that has said nothing yet.
pub(super) fn channel<T>(part: String, reports: Weak<dyn Reports>) -> (Writer<T>, Source<T>) {
    let part: Arc<str> = part.into();
    let (sender, state) = watch::channel(State { generation: 0, good: None, problem: None });
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let writer = Writer { part: Arc::clone(&part), state: Arc::new(sender), reports };
    (writer, Source { part, id, state })
}

// === impl Source ===

impl<T> Source<T> {
    /// What reports call it.
    pub(crate) fn part(&self) -> &Arc<str> {
        &self.part
    }

    /// The number of this source in this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// What is known now.
    pub(crate) fn state(&self) -> State<T> {
        self.state.borrow().clone()
    }

    /// Waits for its first word.
    ///
    /// # Errors
    ///
    /// Why there is no good state.
    pub(crate) async fn ready(&self) -> Result<State<T>, Arc<str>> {
        let mut state = self.state.clone();
        let said = state.wait_for(|state| state.good.is_some() || state.problem.is_some()).await;
        match said.as_deref() {
            Ok(state) if state.good.is_some() => Ok(state.clone()),
            Ok(state) => Err(state.problem.clone().unwrap_or_default()),
            Err(_) => Err(SILENT.into()),
        }
    }

    /// Waits for its first good state; says whether there will ever be one.
    pub(crate) async fn good(&self) -> bool {
        self.state.clone().wait_for(|state| state.good.is_some()).await.is_ok()
    }

    /// A receiver that has seen nothing after `generation`.
    pub(super) fn watch(&self) -> watch::Receiver<State<T>> {
        self.state.clone()
    }
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Self {
        Self { part: Arc::clone(&self.part), id: self.id, state: self.state.clone() }
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.part).finish()
    }
}

// === impl Writer ===

impl<T: PartialEq> Writer<T> {
    /// Puts a good state in force.
    pub(super) fn accept(&self, good: T) {
        let changed = self.state.send_if_modified(|state| {
            let was = state.problem.take();
            let same = state.good.as_deref() == Some(&good);
            if !same {
                state.generation += 1;
                state.good = Some(Arc::new(good));
            }
            !same || was.is_some()
        });
        if changed {
            self.report(Report::Accepted);
        }
    }

    /// Keeps the last good state, and says why.
    pub(super) fn refuse(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        let changed = self.state.send_if_modified(|state| {
            let new = state.problem.as_ref() != Some(&reason);
            state.problem = Some(Arc::clone(&reason));
            new
        });
        if changed {
            self.report(Report::Refused(reason));
        }
    }

    /// How many can write.
    pub(super) fn clones(&self) -> usize {
        Arc::strong_count(&self.state)
    }

    /// Whether nothing has been said yet, good or bad.
    pub(super) fn is_silent(&self) -> bool {
        let state = self.state.borrow();
        state.good.is_none() && state.problem.is_none()
    }

    /// Whether nobody wants it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.state.is_closed() || self.reports.upgrade().is_none_or(|reports| reports.is_closed())
    }

    fn report(&self, report: Report) {
        if let Some(reports) = self.reports.upgrade() {
            reports.report(&self.part, report);
        }
    }
}

impl<T> Clone for Writer<T> {
    fn clone(&self) -> Self {
        Self {
            part: Arc::clone(&self.part),
            state: Arc::clone(&self.state),
            reports: Weak::clone(&self.reports),
        }
    }
}

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writer").field(&self.part).finish()
    }
}

// === impl State ===

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self { generation: self.generation, good: self.good.clone(), problem: self.problem.clone() }
    }
}

impl<T> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("generation", &self.generation)
            .field("good", &self.good.is_some())
            .field("problem", &self.problem)
            .finish()
    }
}
