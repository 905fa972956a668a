//! The bucket under loom: every interleaving of a few callers.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "bucket.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod bucket;

use self::bucket::{Bucket, Rate, Taken};

#[test]
fn the_last_token_is_given_once() {
    loom::model(|| {
        let rate = Rate::new(2, 1, 10);
        let bucket = Arc::new(Bucket::new());
        assert_eq!(bucket.take(rate, 1, 0), Taken::Yes);
        let rival = Arc::clone(&bucket);
        let rival = thread::spawn(move || rival.take(rate, 1, 0));
        let mine = bucket.take(rate, 1, 0);
        let theirs = rival.join().unwrap();
        assert!((mine == Taken::Yes) ^ (theirs == Taken::Yes));
        assert_eq!(bucket.tokens(rate, 0), 0);
    });
}

#[test]
fn clocks_that_are_read_out_of_order_grant_no_more() {
    loom::model(|| {
        let rate = Rate::new(1, 1, 10);
        let bucket = Arc::new(Bucket::new());
        let rival = Arc::clone(&bucket);
        let rival = thread::spawn(move || rival.take(rate, 1, 12));
        let early = bucket.take(rate, 1, 5);
        let late = rival.join().unwrap();
        // At 5 and at 12 are seven apart: a token takes ten.
        assert!((early == Taken::Yes) ^ (late == Taken::Yes));
    });
}

#[test]
fn a_bucket_is_given_up_or_used_and_never_both() {
    loom::model(|| {
        let rate = Rate::new(1, 1, 10);
        let bucket = Arc::new(Bucket::new());
        let rival = Arc::clone(&bucket);
        let rival = thread::spawn(move || rival.retire(rate, 0));
        let taken = bucket.take(rate, 1, 0);
        let retired = rival.join().unwrap();
        assert_eq!(retired, taken == Taken::Gone);
    });
}
