//! The sum under loom: every interleaving of two who tell and one who reads.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "sum.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod sum;

use self::sum::Sum;

#[test]
fn nothing_that_is_told_is_lost() {
    loom::model(|| {
        let sum = Arc::new(Sum::default());
        let rival = Arc::clone(&sum);
        let rival = thread::spawn(move || rival.add(2.0));
        sum.add(1.0);
        let (count, seen) = sum.read();
        assert!((1..=2).contains(&count) && (1.0..=3.0).contains(&seen), "{count} {seen}");
        rival.join().unwrap();
        assert_eq!(sum.read(), (2, 3.0));
    });
}
