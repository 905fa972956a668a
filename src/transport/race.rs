//! Happy eyeballs: several addresses of one endpoint are raced for, and the endpoints of a
//! `pick_first` cluster (RFC 8305, gRFC A61).
//!
//! The first address goes first; after it the families take turns. A further attempt begins when
//! the one before it has failed, or has lasted for the delay; the first that connects wins, and
//! the others are dropped. Who asked bounds the whole.

use std::{
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::time::Instant;

use crate::{config::Address, core::BoxError};

type Attempt<K, F> = (K, Pin<Box<F>>);

/// The order in which addresses are tried.
pub(super) fn order(first: Address, more: &[Address]) -> Vec<Address> {
    let all = std::iter::once(first).chain(more.iter().cloned());
    in_turns(all.collect(), is_v6)
}

/// The same order, but that the two kinds take turns behind the first.
//= RFC 8305 §4: the first address family, then alternating between them
pub(crate) fn in_turns<K>(list: Vec<K>, is_other: impl Fn(&K) -> bool) -> Vec<K> {
    let mut list = list.into_iter();
    let Some(first) = list.next() else { return Vec::new() };
    let kind = is_other(&first);
    let (same, other): (Vec<K>, Vec<K>) = list.partition(|it| is_other(it) == kind);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut order = vec![first];
    loop {
        let pair = [other.next(), same.next()];
        let length = order.len();
        order.extend(pair.into_iter().flatten());
        if order.len() == length {
            return order;
        }
    }
}

pub(crate) fn is_v6(address: &Address) -> bool {
    matches!(address, Address::Socket(socket) if socket.is_ipv6())
}

/// Connects to the first of the addresses that lets itself be connected to.
pub(super) async fn race<T, F>(
    addresses: Vec<Address>,
    delay: Duration,
    connect: impl Fn(Address) -> F,
) -> Result<T, BoxError>
where
    F: Future<Output = Result<T, BoxError>>,
{
    first(addresses, delay, connect).await.map_err(summary)
}

/// The first that succeeds; else every failure, in the order in which they came.
pub(crate) async fn first<K, T, E, F>(
    list: Vec<K>,
    delay: Duration,
    connect: impl Fn(K) -> F,
) -> Result<T, Vec<(K, E)>>
where
    K: Clone,
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = list.into_iter();
    let mut attempts: Vec<Attempt<K, F>> = Vec::new();
    let mut failed: Vec<(K, E)> = Vec::new();
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    // The first attempt is due at once.
    let mut due = true;
    std::future::poll_fn(move |cx| {
        loop {
            if due {
                due = false;
                if let Some(next) = waiting.next() {
                    attempts.push((next.clone(), Box::pin(connect(next))));
                    timer.as_mut().reset(Instant::now() + delay);
                }
            }
            let mut index = 0;
            while let Some((_, attempt)) = attempts.get_mut(index) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(made)) => return Poll::Ready(Ok(made)),
                    Poll::Ready(Err(error)) => {
                        let (tried, _) = attempts.remove(index);
                        failed.push((tried, error));
                        due = true;
                    }
                    Poll::Pending => index += 1,
                }
            }
            let is_last = waiting.as_slice().is_empty();
            if attempts.is_empty() && is_last {
                return Poll::Ready(Err(std::mem::take(&mut failed)));
            }
            if is_last {
                return Poll::Pending;
            }
            if !due {
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                due = true;
            }
        }
    })
    .await
}

/// One error for all of them; of a single address, its own.
fn summary(mut failed: Vec<(Address, BoxError)>) -> BoxError {
    if failed.len() == 1
        && let Some((_, error)) = failed.pop()
    {
        return error;
    }
    let texts: Vec<String> =
        failed.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    texts.join("; ").into()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const DELAY: Duration = Duration::from_millis(250);

    fn addresses(list: &[&str]) -> Vec<Address> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Races with attempts that take so many milliseconds and then connect or not; gives the
    /// winner and when each began.
    async fn run(
        attempts: &[(&str, u64, bool)],
    ) -> (Result<String, String>, Vec<(String, Duration)>, Duration) {
        let (start, began) = (Instant::now(), Mutex::new(Vec::new()));
        let list = addresses(&attempts.iter().map(|(address, ..)| *address).collect::<Vec<_>>());
        let won = race(list, DELAY, |address| {
            let text = address.to_string();
            began.lock().unwrap().push((text.clone(), start.elapsed()));
            let (_, millis, connects) =
                *attempts.iter().find(|(address, ..)| *address == text).unwrap();
            async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                if connects { Ok(text) } else { Err(BoxError::from("refused")) }
            }
        })
        .await;
        let took = start.elapsed();
        (won.map_err(|error| error.to_string()), began.into_inner().unwrap(), took)
    }

    #[test]
    fn the_families_take_turns_behind_the_first_address() {
        let more = addresses(&["[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
        let order = order("[::1]:1".parse().unwrap(), &more);
        let expected =
            addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1", "10.0.0.3:1"]);
        assert_eq!(order, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_its_delay_and_no_more() {
        let (won, began, took) =
            run(&[("[::1]:1", 60_000, true), ("10.0.0.1:1", 10, true), ("[::2]:1", 1, true)]).await;
        assert_eq!(won.unwrap(), "10.0.0.1:1");
        let zero = Duration::ZERO;
        assert_eq!(began, [("[::1]:1".to_owned(), zero), ("10.0.0.1:1".to_owned(), DELAY)]);
        assert_eq!(took, DELAY + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_lets_the_next_begin_at_once() {
        let (won, began, took) = run(&[("[::1]:1", 1, false), ("10.0.0.1:1", 1, true)]).await;
        assert_eq!(won.unwrap(), "10.0.0.1:1");
        assert_eq!(began.len(), 2);
        assert!(took < Duration::from_millis(10), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_connects_wins_though_a_later_one_was_tried() {
        let (won, began, took) = run(&[("[::1]:1", 300, true), ("10.0.0.1:1", 100, true)]).await;
        assert_eq!((won.unwrap().as_str(), began.len()), ("[::1]:1", 2));
        assert_eq!(took, Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_each_is_told() {
        let (won, began, _) =
            run(&[("[::1]:1", 600, false), ("10.0.0.1:1", 1, false), ("[::2]:1", 1, false)]).await;
        let error = won.unwrap_err();
        assert_eq!(began.len(), 3);
        for address in ["[::1]:1: refused", "10.0.0.1:1: refused", "[::2]:1: refused"] {
            assert!(error.contains(address), "{error}");
        }
        assert_eq!(run(&[("[::1]:1", 1, false)]).await.0.unwrap_err(), "refused");
    }
}
