//! A request body that others get, too: what is read of it is passed on, and nothing waits for them.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{
    Outgoing,
    seen::{Seen, Sees},
};
use crate::core::{Error, ErrorKind, Phase};

/// Splits `body` into itself and so many copies, each of which may be `cap` bytes behind.
///
/// Bodies that can be had twice for nothing are cloned. Any other feeds its copies as it is read
/// itself: who is further behind, or whose original is dropped before its end, gets an error.
pub(crate) fn tee(body: Outgoing, copies: usize, cap: usize) -> (Outgoing, Vec<Outgoing>) {
    if let Some(bytes) = body.cheap() {
        return (body, (0..copies).map(|_| bytes.clone().into()).collect());
    }
    let left = body.size_hint().exact();
    let (mut sinks, mut made) = (Vec::new(), Vec::new());
    for _ in 0..copies {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        sinks.push(Sink { sender, queued: Arc::clone(&queued) });
        made.push(Outgoing::new(Copy { receiver, queued, left, ended: false }));
    }
    (Outgoing::new(Seen::new(body, Tee { sinks, cap })), made)
}

struct Tee {
    /// Those that keep up; none after the end.
    sinks: Vec<Sink>,
    cap: usize,
}

struct Sink {
    sender: UnboundedSender<Part>,
    /// Bytes that it has not read yet.
    queued: Arc<AtomicUsize>,
}

enum Part {
    Data(Bytes),
    Trailers(http::HeaderMap),
    End,
}

struct Copy {
    receiver: UnboundedReceiver<Part>,
    queued: Arc<AtomicUsize>,
    /// What is to come, where that is known.
    left: Option<u64>,
    ended: bool,
}

impl Tee {
    fn pass(&mut self, frame: &Frame<Bytes>) {
        let cap = self.cap;
        self.sinks.retain(|sink| {
            let part = match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => {
                    // Nothing to read is nothing to queue, however often.
                    if data.is_empty() {
                        return true;
                    }
                    // One frame is no delay, however large: who has read all before it keeps up.
                    let before = sink.queued.fetch_add(data.len(), Relaxed);
                    if before > 0 && before + data.len() > cap {
                        return false;
                    }
                    Part::Data(data.clone())
                }
                (None, Some(trailers)) => Part::Trailers(trailers.clone()),
                (None, None) => return true,
            };
            sink.sender.send(part).is_ok()
        });
    }

    fn end(&mut self) {
        for sink in self.sinks.drain(..) {
            drop(sink.sender.send(Part::End));
        }
    }
}

impl Sees<Outgoing> for Tee {
    fn saw(&mut self, source: &Outgoing, given: Option<&Result<Frame<Bytes>, Error>>) {
        match given {
            Some(Ok(frame)) => self.pass(frame),
            // The copies have no end.
            Some(Err(_)) => self.sinks.clear(),
            None => self.end(),
        }
        // hyper does not ask a body again that says it is over.
        if source.is_end_stream() {
            self.end();
        }
    }

    fn dropped(&mut self, source: &Outgoing) {
        // All of a body of known length has been read, though nobody asked for its end.
        if source.size_hint().exact() == Some(0) {
            self.end();
        }
    }
}

impl HttpBody for Copy {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let part = ready!(self.receiver.poll_recv(cx));
        self.ended = !matches!(part, Some(Part::Data(_)));
        Poll::Ready(match part {
            Some(Part::Data(data)) => {
                self.queued.fetch_sub(data.len(), Relaxed);
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                Some(Ok(Frame::data(data)))
            }
            Some(Part::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Part::End) => None,
            None => Some(Err(Error::new(ErrorKind::RequestBody, Phase::Request)
                .detail("the original was not read to its end, or the copy was too far behind"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn streamed(chunks: &[&'static str]) -> Outgoing {
        let frames: Vec<Result<_, Error>> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    async fn text(body: Outgoing) -> Result<Bytes, Error> {
        Ok(body.collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn copies_get_what_is_read() {
        let (body, copies) = tee(streamed(&["ab", "c"]), 2, 16);
        assert_eq!(text(body).await.unwrap(), "abc");
        for copy in copies {
            assert_eq!(text(copy).await.unwrap(), "abc");
        }
        let (body, copies) = tee(Bytes::from_static(b"whole").into(), 1, 0);
        drop(body);
        assert_eq!(text(copies.into_iter().next().unwrap()).await.unwrap(), "whole");
    }

    #[tokio::test]
    async fn who_is_too_far_behind_is_left() {
        let (body, copies) = tee(streamed(&["ab", "cd", "ef"]), 1, 4);
        assert_eq!(text(body).await.unwrap(), "abcdef", "the original waits for nobody");
        let error = text(copies.into_iter().next().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestBody, "{error}");
    }

    #[tokio::test]
    async fn a_frame_larger_than_the_cap_leaves_no_copy_that_keeps_up() {
        let (mut body, copies) = tee(streamed(&["abcdef", "ghijkl"]), 1, 4);
        let mut copy = copies.into_iter().next().unwrap();
        while let Some(frame) = body.frame().await {
            let copied = copy.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(copied, frame.unwrap().into_data().unwrap());
        }
        assert!(copy.frame().await.is_none());
    }

    #[tokio::test]
    async fn empty_frames_are_not_queued() {
        let (body, copies) = tee(streamed(&["", "a", "", ""]), 1, 4);
        assert_eq!(text(body).await.unwrap(), "a");
        let mut copy = copies.into_iter().next().unwrap();
        assert_eq!(copy.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        assert!(copy.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_original_that_is_dropped_is_no_whole_copy() {
        let (mut body, copies) = tee(streamed(&["ab", "cd"]), 1, 16);
        assert!(body.frame().await.is_some());
        drop(body);
        let error = text(copies.into_iter().next().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestBody, "{error}");
    }
}
