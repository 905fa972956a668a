//! What is read of a body by one attempt and by several.

use http_body_util::{BodyExt, StreamBody};

use super::*;

fn stream(parts: &'static [&'static str]) -> Outgoing {
    let frames = parts.iter().map(|part| {
        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(part.as_bytes())))
    });
    Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)))
}

async fn read(body: Outgoing) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_second_attempt_sends_the_same_bytes() {
    let (mut first, replay) = ReplayBody::arm(stream(&["ab", "cd", "ef"]), 64);
    let _sent = first.frame().await;
    drop(first);
    assert_eq!(read(replay.next().unwrap()).await, "abcdef");
    assert_eq!(read(replay.next().unwrap()).await, "abcdef");
}

#[tokio::test]
async fn over_the_cap_the_first_attempt_goes_on_and_a_retry_is_refused() {
    let (first, replay) = ReplayBody::arm(stream(&["abc", "def"]), 5);
    assert_eq!(read(first).await, "abcdef");
    assert!(replay.next().is_err());
}

#[tokio::test]
async fn exactly_the_cap_is_replayed() {
    let (first, replay) = ReplayBody::arm(stream(&["abc", "def"]), 6);
    assert_eq!(read(first).await, "abcdef");
    assert_eq!(read(replay.next().unwrap()).await, "abcdef");
}

#[tokio::test]
async fn an_abandoned_attempt_cannot_steal_bytes_from_the_newer_one() {
    let (mut first, replay) = ReplayBody::arm(stream(&["ab", "cd"]), 64);
    let _sent = first.frame().await;
    let second = replay.next().unwrap();
    assert!(first.frame().await.unwrap().is_err());
    assert_eq!(read(second).await, "abcd");
}

#[tokio::test]
async fn a_body_that_failed_is_not_sent_again_as_a_shorter_whole_one() {
    let frames = [Ok(Frame::data(Bytes::from_static(b"first half"))), Err("the disk is gone")];
    let body = Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)));
    let (mut first, replay) = ReplayBody::arm(body, 64);
    assert!(first.frame().await.unwrap().is_ok());
    assert!(replay.check().is_ok());
    assert!(first.frame().await.unwrap().is_err());
    assert_eq!(replay.check(), Err(Unrepeatable::Failed));
    assert!(replay.next().is_err());
}

#[tokio::test]
async fn trailers_are_sent_once_by_each_attempt() {
    let trailers = HeaderMap::from_iter([(http::header::ETAG, "1".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from_static(b"ab")), Frame::trailers(trailers)];
    let frames = frames.map(Ok::<_, std::convert::Infallible>);
    let body = Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)));
    let (first, replay) = ReplayBody::arm(body, 64);
    let mut attempt = first;
    for _ in 0..3 {
        assert!(attempt.frame().await.unwrap().unwrap().is_data());
        assert!(attempt.frame().await.unwrap().unwrap().is_trailers());
        assert!(attempt.frame().await.is_none());
        attempt = replay.next().unwrap();
    }
}

#[tokio::test]
async fn a_full_body_is_replayed_without_a_buffer() {
    let (first, replay) = ReplayBody::arm(Bytes::from_static(b"hello").into(), 1);
    assert_eq!(read(first).await, "hello");
    assert_eq!(read(replay.next().unwrap()).await, "hello");
}

/// A body whose frames are handed in.
fn fed() -> (tokio::sync::mpsc::UnboundedSender<Bytes>, Outgoing) {
    let (feed, mut frames) = tokio::sync::mpsc::unbounded_channel();
    let frames = futures_util::stream::poll_fn(move |cx| {
        let frame = |bytes| Ok::<_, std::convert::Infallible>(Frame::data(bytes));
        frames.poll_recv(cx).map(|bytes| bytes.map(frame))
    });
    (feed, Outgoing::new(StreamBody::new(frames)))
}

#[tokio::test]
async fn two_attempts_read_the_whole_body_beside_each_other() {
    let (feed, body) = fed();
    let (first, replay) = ReplayBody::arm(body, 64);
    let first = tokio::spawn(read(first));
    feed.send("ab".into()).unwrap();
    tokio::task::yield_now().await;
    // The first waits for more, with its own waker in the source.
    let second = tokio::spawn(read(replay.beside().unwrap()));
    tokio::task::yield_now().await;
    for part in ["cd", "ef"] {
        feed.send(part.into()).unwrap();
        tokio::task::yield_now().await;
    }
    drop(feed);
    assert_eq!(first.await.unwrap(), "abcdef");
    assert_eq!(second.await.unwrap(), "abcdef");
}

#[tokio::test]
async fn one_is_woken_though_the_other_that_polled_last_is_gone_or_has_no_room() {
    let (feed, body) = fed();
    let (first, replay) = ReplayBody::arm(body, 64);
    let first = tokio::spawn(read(first));
    tokio::task::yield_now().await;
    let (mut idle, mut gone) = (replay.beside().unwrap(), replay.beside().unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut idle).poll_frame(&mut cx).is_pending());
    assert!(Pin::new(&mut gone).poll_frame(&mut cx).is_pending());
    drop(gone);
    feed.send("ab".into()).unwrap();
    drop(feed);
    assert_eq!(first.await.unwrap(), "ab");
    assert_eq!(read(idle).await, "ab");
}

#[tokio::test]
async fn over_the_cap_the_attempt_that_is_ahead_goes_on_and_the_other_fails() {
    let (mut first, replay) = ReplayBody::arm(stream(&["ab", "cd", "ef", "gh"]), 5);
    let mut second = replay.beside().unwrap();
    for _ in 0..2 {
        assert!(first.frame().await.unwrap().is_ok());
    }
    assert!(second.frame().await.unwrap().is_ok());
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "ef");
    assert!(second.frame().await.unwrap().is_err(), "what it has not read is gone");
    assert!(second.frame().await.is_none());
    assert_eq!(read(first).await, "gh");
    assert_eq!(replay.check(), Err(Unrepeatable::TooLarge));
    assert!(replay.beside().is_err());
}

#[tokio::test]
async fn over_the_cap_one_that_is_as_far_does_not_skip_what_it_has_not_read() {
    let (mut first, replay) = ReplayBody::arm(stream(&["ab", "cd", "ef"]), 3);
    let mut second = replay.beside().unwrap();
    assert!(first.frame().await.unwrap().is_ok());
    assert!(second.frame().await.unwrap().is_ok());
    assert!(first.frame().await.unwrap().is_ok());
    assert!(second.frame().await.unwrap().is_err());
    assert_eq!(read(first).await, "ef");
}

#[tokio::test]
async fn a_body_that_fails_fails_both() {
    let frames = [Ok(Frame::data(Bytes::from_static(b"first half"))), Err("the disk is gone")];
    let body = Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)));
    let (mut first, replay) = ReplayBody::arm(body, 64);
    let mut second = replay.beside().unwrap();
    assert!(first.frame().await.unwrap().is_ok());
    assert!(second.frame().await.unwrap().is_ok());
    assert!(first.frame().await.unwrap().is_err());
    assert!(second.frame().await.unwrap().is_err(), "a half is not the whole");
}

#[tokio::test]
async fn a_retry_takes_the_body_over_from_both() {
    let (mut first, replay) = ReplayBody::arm(stream(&["ab", "cd"]), 64);
    let mut second = replay.beside().unwrap();
    assert!(second.frame().await.unwrap().is_ok());
    let third = replay.next().unwrap();
    assert!(first.frame().await.unwrap().is_err());
    assert!(second.frame().await.unwrap().is_err());
    assert_eq!(read(third).await, "abcd");
}

#[tokio::test]
async fn trailers_reach_both() {
    let trailers = HeaderMap::from_iter([(http::header::ETAG, "1".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from_static(b"ab")), Frame::trailers(trailers)];
    let frames = frames.map(Ok::<_, std::convert::Infallible>);
    let body = Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)));
    let (mut first, replay) = ReplayBody::arm(body, 64);
    let mut second = replay.beside().unwrap();
    for body in [&mut first, &mut second] {
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert!(body.frame().await.unwrap().unwrap().is_trailers());
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test]
async fn a_stream_fills_no_buffer_once_its_call_is_committed() {
    let (mut first, replay) = ReplayBody::arm(stream(&["ab", "cd", "ef"]), 64);
    let ReplayBody::Shared(shared) = &replay else { panic!("it is read through a buffer") };
    let shared = Arc::downgrade(shared);
    let kept = || lock(&shared.upgrade().unwrap()).frames.len();
    let _sent = first.frame().await;
    assert_eq!(kept(), 1);
    drop(replay);
    let _sent = first.frame().await;
    assert_eq!(kept(), 0);
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "ef");
    assert!(first.frame().await.is_none());
}

#[tokio::test]
async fn what_a_committed_attempt_has_not_read_is_kept_for_it() {
    let (mut first, replay) = ReplayBody::arm(stream(&["ab", "cd", "ef"]), 64);
    let (_one, _two) = (first.frame().await, first.frame().await);
    let second = replay.next().unwrap();
    drop((first, replay));
    assert_eq!(read(second).await, "abcdef");
}

#[tokio::test]
async fn a_body_of_tiny_frames_is_bounded_by_their_number() {
    let bytes: &[&str] = &["x"; 200];
    let (first, replay) = ReplayBody::arm(stream(bytes), 64 * FRAME);
    assert_eq!(read(first).await.len(), 200);
    assert_eq!(replay.check(), Err(Unrepeatable::TooLarge));
}
