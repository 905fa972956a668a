//! Callers in parallel, and what their calls came to.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::tally;

/// No call takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the calls of a load came to.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Calls by what the answer said.
    pub(crate) answers: BTreeMap<String, usize>,
    pub(crate) failures: Vec<String>,
}

impl Load {
    /// `width` callers, each making one call after the other, until `meanwhile` has ended.
    pub(crate) async fn during<F, Fut, M>(width: usize, call: F, meanwhile: M) -> (Self, M::Output)
    where
        F: Fn(usize) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, String>> + Send + 'static,
        M: Future,
    {
        let (call, over) = (Arc::new(call), Arc::new(AtomicBool::new(false)));
        let number = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..width)
            .map(|_| {
                let (call, over) = (Arc::clone(&call), Arc::clone(&over));
                let number = Arc::clone(&number);
                tokio::spawn(async move {
                    let mut load = Self::default();
                    while !over.load(Ordering::Relaxed) {
                        let call = call(number.fetch_add(1, Ordering::Relaxed));
                        load.note(patiently(call).await);
                    }
                    load
                })
            })
            .collect();
        let output = meanwhile.await;
        over.store(true, Ordering::Relaxed);
        let mut load = Self::default();
        for caller in callers {
            load.merge(caller.await.unwrap());
        }
        (load, output)
    }

    fn note(&mut self, answer: Result<String, String>) {
        match answer {
            Ok(said) => *self.answers.entry(said).or_default() += 1,
            Err(error) => self.failures.push(error),
        }
    }

    fn merge(&mut self, other: Self) {
        for (said, count) in other.answers {
            *self.answers.entry(said).or_default() += count;
        }
        self.failures.extend(other.failures);
    }

    /// Calls in all.
    pub(crate) fn calls(&self) -> usize {
        self.answers.values().sum::<usize>() + self.failures.len()
    }

    /// How many different first words the answers had.
    pub(crate) fn first_words(&self) -> usize {
        let words = self.answers.keys().filter_map(|said| said.split(' ').next());
        words.collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Fails the test unless there were at least so many calls and none failed.
    pub(crate) fn assert_none_failed(&self, at_least: usize) {
        let shown: Vec<_> = self.failures.iter().take(5).collect();
        let (calls, failed) = (self.calls(), self.failures.len());
        assert!(failed == 0, "{failed} of {calls} calls failed: {shown:#?}");
        assert!(calls >= at_least, "only {calls} calls");
    }
}

/// What a call comes to; of one that hangs, where it hangs.
async fn patiently(call: impl Future<Output = Result<String, String>>) -> Result<String, String> {
    let mut call = pin!(call);
    if let Ok(answer) = tokio::time::timeout(PATIENCE, call.as_mut()).await {
        return answer;
    }
    let standing = tally::standing(PATIENCE / 2);
    // If one more look finds an answer, nobody has been woken for it.
    let found = match tokio::time::timeout(Duration::from_millis(1), call).await {
        Ok(answer) => format!("one more poll finds {answer:?}"),
        Err(_) => "one more poll finds nothing".to_owned(),
    };
    println!("a call has hung for {PATIENCE:?}; {found}; {standing}");
    Err(format!("hung for {PATIENCE:?}; {found}; {standing}"))
}
