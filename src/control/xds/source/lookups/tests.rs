use std::{
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Mutex,
};

use tokio::time::{sleep_until, timeout};

use super::*;

/// When, and which hosts were looked up.
type Log = Arc<Mutex<Vec<(Instant, String)>>>;

/// A resolver that keeps its turn until it has answered.
fn resolver<F>(answer: impl Fn() -> F + Send + Sync + 'static) -> (Lookups, Log)
where
    F: Future<Output = Found> + Send + 'static,
{
    let log = Log::default();
    let seen = Arc::clone(&log);
    let resolve: Resolve = Arc::new(move |host: String, _: u16, turn: Turn| -> BoxFuture<Found> {
        seen.lock().unwrap().push((Instant::now(), host));
        let answer = answer();
        Box::pin(async move {
            let _turn = turn;
            answer.await
        })
    });
    let permits = |count| -> &'static Semaphore { Box::leak(Box::new(Semaphore::new(count))) };
    let (turns, again) = (permits(AT_ONCE), permits(AT_ONCE / 2));
    (Lookups::by(Resolver { resolve, turns, again }), log)
}

fn addresses(last: &[u8]) -> Found {
    Ok(last.iter().map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, *last))).collect())
}

async fn next(lookups: &mut Lookups) -> Option<LookedUp> {
    timeout(Duration::from_millis(10), poll_fn(|cx| lookups.poll_next(cx))).await.ok()
}

/// It is asked for again each second, for so many: the pauses between its lookups. Unit: seconds.
async fn pauses(lookups: &mut Lookups, log: &Log, seconds: u64) -> Vec<u64> {
    let began = Instant::now();
    let name: Arc<str> = "users:80".into();
    log.lock().unwrap().clear();
    for second in 0..seconds {
        let now = began + Duration::from_secs(second);
        sleep_until(now).await;
        lookups.again(now, &name, "users".to_owned(), 80);
        while next(lookups).await.is_some() {}
    }
    let log = log.lock().unwrap();
    log.windows(2).map(|two| (two[1].0 - two[0].0).as_secs()).collect()
}

/// By a tick of who asks, and one of the clock.
fn are_about(pauses: &[u64], expected: &[u64]) {
    let is_about = |(is, should): (&u64, &u64)| (*should..=should + 2).contains(is);
    assert!(pauses.len() >= expected.len(), "{pauses:?}");
    assert!(pauses.iter().zip(expected).all(is_about), "{pauses:?}, not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_change_is_looked_up_ever_more_seldom() {
    let (mut lookups, log) = resolver(|| async { addresses(&[1, 2]) });
    let found = pauses(&mut lookups, &log, 1500).await;
    are_about(&found, &[15, 30, 60, 120, 240, 300, 300]);
    // So is what has no address, though not as seldom.
    let (mut lookups, log) = resolver(|| async { Err(io::Error::other("no such host")) });
    let found = pauses(&mut lookups, &log, 300).await;
    are_about(&found, &[15, 30, 60, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn what_changes_is_looked_up_as_soon_as_it_may() {
    let count = Arc::new(Mutex::new(0_u8));
    let counted = Arc::clone(&count);
    let (mut lookups, log) = resolver(move || {
        *counted.lock().unwrap() += 1;
        let last = *counted.lock().unwrap();
        async move { addresses(&[last]) }
    });
    are_about(&pauses(&mut lookups, &log, 200).await, &[15; 10]);
    // One of many is there still.
    let (mut lookups, log) = resolver(move || {
        *count.lock().unwrap() += 1;
        let last = *count.lock().unwrap();
        async move { addresses(&[last, last + 1]) }
    });
    are_about(&pauses(&mut lookups, &log, 500).await, &[15, 30, 60, 120, 240]);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_has_a_few_hosts_and_each_once() {
    let (end, ended) = tokio::sync::watch::channel(false);
    let (mut lookups, log) = resolver(move || {
        let mut ended = ended.clone();
        async move {
            drop(ended.wait_for(|is_over| *is_over).await);
            addresses(&[1])
        }
    });
    let names: Vec<Arc<str>> = (0..100).map(|at| format!("n{at}:80").into()).collect();
    let ask = |lookups: &mut Lookups| {
        for name in &names {
            lookups.again(Instant::now(), name, name.to_string(), 80);
        }
    };
    for name in &names {
        lookups.seek(Instant::now(), name, name.to_string(), 80);
    }
    assert_eq!(next(&mut lookups).await, None);
    tokio::time::advance(WITHIN).await;
    let mut late = 0;
    while let Some((_, found)) = next(&mut lookups).await {
        assert!(found.unwrap_err().contains("cannot be resolved within 2s"));
        late += 1;
    }
    assert_eq!(late, 100, "nobody waits for it");
    for _ in 0..10 {
        tokio::time::advance(LONGEST).await;
        ask(&mut lookups);
        assert_eq!(next(&mut lookups).await, None);
    }
    assert_eq!(log.lock().unwrap().len(), AT_ONCE);
    assert_eq!(lookups.tasks.len(), 100);
    // One that is forgotten and wanted again meanwhile is not looked up beside itself, and nobody waits for it.
    lookups.forget(&names[0]);
    lookups.seek(Instant::now(), &names[0], "n0".to_owned(), 80);
    let (name, found) = next(&mut lookups).await.unwrap();
    assert!(name == names[0] && found.is_err());
    // It comes back, and all are found.
    lookups.forget(&names[1]);
    end.send(true).unwrap();
    let mut found = 0;
    while let Some((_, listeners)) = next(&mut lookups).await {
        assert_eq!(listeners.unwrap(), ["10.0.0.1_80"]);
        found += 1;
    }
    assert_eq!((found, log.lock().unwrap().len()), (100, 100));
    assert!(lookups.running.is_empty() && lookups.tasks.is_empty());
    assert!(lookups.names.contains_key(&names[0]) && !lookups.names.contains_key(&names[1]));
}

/// Those that are looked up again leave turns to calls, and what is known of them stays meanwhile.
#[tokio::test(start_paused = true)]
async fn a_first_lookup_does_not_wait_for_those_that_are_done_again() {
    let (mut lookups, log) = resolver(std::future::pending::<Found>);
    for at in 0..20 {
        let name: Arc<str> = format!("n{at}:80").into();
        lookups.again(Instant::now(), &name, name.to_string(), 80);
    }
    assert_eq!(next(&mut lookups).await, None);
    let begun = log.lock().unwrap().len();
    assert_eq!(begun, AT_ONCE / 2);
    lookups.seek(Instant::now(), &"new:80".into(), "new".to_owned(), 80);
    assert_eq!(next(&mut lookups).await, None);
    assert_eq!(log.lock().unwrap().last().unwrap().1, "new");
    tokio::time::advance(WITHIN).await;
    let (name, found) = next(&mut lookups).await.unwrap();
    assert!(&*name == "new:80" && found.is_err());
    assert_eq!(next(&mut lookups).await, None, "nobody waits for the others");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_panics_is_told_as_one_that_found_nothing() {
    let (mut lookups, log) = resolver(|| -> std::future::Ready<Found> { panic!("as a bug would") });
    let name: Arc<str> = "users:80".into();
    lookups.seek(Instant::now(), &name, "users".to_owned(), 80);
    let (of, found) = next(&mut lookups).await.unwrap();
    assert!(of == name && found.unwrap_err().contains("its lookup has failed"));
    // And it is looked up again.
    let found = pauses(&mut lookups, &log, 100).await;
    assert_eq!(found.len(), 1, "{found:?}");
}
