//! Futures of one type that one task polls, in boxes that are used again: what a stream costs is to be
//! moved into the box of one that has ended.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

/// So many empty boxes are kept.
const KEPT: usize = 32;

/// The futures.
pub(super) struct Handed<F> {
    places: Vec<Place<F>>,
    /// Those that have no future.
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// What was woken, and is polled in this round.
    round: Vec<usize>,
    /// How many of the round have been.
    polled: usize,
}

struct Place<F> {
    future: Option<Pin<Box<Option<F>>>>,
    waker: Waker,
}

/// The places that have been woken.
struct Woken(Mutex<Set>);

#[derive(Default)]
struct Set {
    /// In their order.
    list: Vec<usize>,
    /// Of each place, whether it is on the list.
    listed: Vec<bool>,
    /// Whom to wake for them; nobody before the first poll.
    task: Option<Waker>,
}

/// Wakes one place.
struct Bell {
    woken: Arc<Woken>,
    place: usize,
}

// === impl Handed ===

impl<F: Future<Output = ()>> Handed<F> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            woken: Arc::new(Woken(Mutex::default())),
            round: Vec::new(),
            polled: 0,
        }
    }

    /// Takes one more, and wakes the task for it.
    pub(super) fn push(&mut self, future: F) {
        let number = self.free.pop().unwrap_or_else(|| self.widen());
        let Some(place) = self.places.get_mut(number) else { return };
        match &mut place.future {
            Some(room) => room.set(Some(future)),
            None => place.future = Some(Box::pin(Some(future))),
        }
        place.waker.wake_by_ref();
    }

    #[cold]
    fn widen(&mut self) -> usize {
        let place = self.places.len();
        self.woken.set().listed.push(false);
        let waker = Arc::new(Bell { woken: Arc::clone(&self.woken), place }).into();
        self.places.push(Place { future: None, waker });
        place
    }

    /// Polls those that have been woken; ready when none is left.
    pub(super) fn poll_woken(&mut self, cx: &Context<'_>) -> Poll<()> {
        // A poll that panicked has left some.
        if self.polled == self.round.len() {
            self.round.clear();
            self.polled = 0;
        }
        self.woken.take(cx.waker(), &mut self.round);
        while let Some(&number) = self.round.get(self.polled) {
            self.polled += 1;
            let Some(place) = self.places.get_mut(number) else { continue };
            let Some(room) = &mut place.future else { continue };
            let Some(future) = room.as_mut().as_pin_mut() else { continue };
            if future.poll(&mut Context::from_waker(&place.waker)).is_ready() {
                if self.free.len() < KEPT {
                    room.set(None);
                } else {
                    place.future = None;
                }
                self.free.push(number);
            }
        }
        if self.free.len() == self.places.len() { Poll::Ready(()) } else { Poll::Pending }
    }
}

// === impl Woken ===

impl Woken {
    fn set(&self) -> MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what has been woken to the end of `round`; what is woken from now on wakes `task`.
    fn take(&self, task: &Waker, round: &mut Vec<usize>) {
        let mut set = self.set();
        let Set { list, listed, task: kept } = &mut *set;
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(task)) {
            *kept = Some(task.clone());
        }
        for &place in &*list {
            if let Some(listed) = listed.get_mut(place) {
                *listed = false;
            }
        }
        if round.is_empty() {
            std::mem::swap(list, round);
        } else {
            round.append(list);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut set = self.woken.set();
        match set.listed.get_mut(self.place) {
            Some(listed) if !*listed => *listed = true,
            _ => return,
        }
        set.list.push(self.place);
        // With the first the others are found.
        let task = if set.list.len() == 1 { set.task.clone() } else { None };
        drop(set);
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio::sync::oneshot;

    use super::*;

    type Future = Pin<Box<dyn std::future::Future<Output = ()> + Send>>;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    struct Fixture {
        handed: Handed<Future>,
        task: Arc<Task>,
    }

    impl Fixture {
        fn new() -> Self {
            let mut fixture = Self { handed: Handed::new(), task: Arc::default() };
            assert!(fixture.poll().is_ready(), "there is none");
            fixture
        }

        fn poll(&mut self) -> Poll<()> {
            let waker = Waker::from(Arc::clone(&self.task));
            self.handed.poll_woken(&Context::from_waker(&waker))
        }

        /// One that ends when it is told, and counts its polls.
        fn push(&mut self) -> (oneshot::Sender<()>, Arc<AtomicUsize>) {
            let (end, mut ended) = oneshot::channel();
            let polls = Arc::<AtomicUsize>::default();
            let count = Arc::clone(&polls);
            self.handed.push(Box::pin(std::future::poll_fn(move |cx| {
                count.fetch_add(1, SeqCst);
                Pin::new(&mut ended).poll(cx).map(drop)
            })));
            (end, polls)
        }

        fn woken(&self) -> usize {
            self.task.0.load(SeqCst)
        }
    }

    #[test]
    fn only_what_was_woken_is_polled() {
        let mut fixture = Fixture::new();
        let (first, polls_of_first) = fixture.push();
        let (second, polls_of_second) = fixture.push();
        assert_eq!(fixture.woken(), 1, "once for both");
        assert!(fixture.poll().is_pending());
        second.send(()).unwrap();
        assert_eq!(fixture.woken(), 2);
        assert!(fixture.poll().is_pending());
        assert_eq!(polls_of_first.load(SeqCst), 1);
        assert_eq!(polls_of_second.load(SeqCst), 2);
        first.send(()).unwrap();
        assert!(fixture.poll().is_ready());
    }

    #[test]
    fn a_place_is_taken_again_and_what_woke_its_last_future_does_no_harm() {
        let mut fixture = Fixture::new();
        let (tell, told) = oneshot::channel();
        let mut tell = Some(tell);
        fixture.handed.push(Box::pin(std::future::poll_fn(move |cx| {
            drop(tell.take().map(|tell| tell.send(cx.waker().clone())));
            Poll::Ready(())
        })));
        assert!(fixture.poll().is_ready());
        let stale = told.blocking_recv().unwrap();
        let (end, polls) = fixture.push();
        assert!(fixture.poll().is_pending());
        assert_eq!(fixture.handed.places.len(), 1);
        stale.wake_by_ref();
        assert!(fixture.poll().is_pending());
        assert_eq!(polls.load(SeqCst), 2, "it looks once more");
        end.send(()).unwrap();
        assert!(fixture.poll().is_ready());
        stale.wake();
        assert!(fixture.poll().is_ready());
    }

    #[test]
    fn many_at_once_leave_few_boxes_behind() {
        let mut fixture = Fixture::new();
        let many: Vec<_> = (0..10 * KEPT).map(|_| fixture.push().0).collect();
        assert!(fixture.poll().is_pending());
        for end in many {
            end.send(()).unwrap();
        }
        assert!(fixture.poll().is_ready());
        let boxes = fixture.handed.places.iter().filter(|place| place.future.is_some());
        assert_eq!(boxes.count(), KEPT);
        let (_end, polls) = fixture.push();
        assert!(fixture.poll().is_pending());
        assert_eq!(polls.load(SeqCst), 1);
    }

    #[test]
    fn one_that_wakes_itself_is_polled_in_the_next_round() {
        let mut fixture = Fixture::new();
        let mut left = 3;
        fixture.handed.push(Box::pin(std::future::poll_fn(move |cx| {
            left -= 1;
            cx.waker().wake_by_ref();
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        })));
        for woken in 2..=3 {
            assert!(fixture.poll().is_pending());
            assert_eq!(fixture.woken(), woken);
        }
        assert!(fixture.poll().is_ready());
    }

    #[test]
    fn the_task_that_polled_last_is_woken() {
        let mut fixture = Fixture::new();
        let (end, _) = fixture.push();
        assert!(fixture.poll().is_pending());
        let before = std::mem::take(&mut fixture.task);
        assert!(fixture.poll().is_pending());
        end.send(()).unwrap();
        assert_eq!((before.0.load(SeqCst), fixture.woken()), (1, 1));
    }
}
