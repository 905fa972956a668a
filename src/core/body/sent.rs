//! When a request body has been handed over to its connection, for bounds that begin there.

use std::{
    sync::{Arc, OnceLock},
    task::Waker,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::Request;
use http_body::{Body as _, Frame};

use super::{
    Outgoing,
    seen::{Seen, Sees},
};
use crate::core::{Error, Instant};

/// The end of one request body, noted by who sends it and read by who waits for the answer.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    at: OnceLock<Instant>,
    waiting: AtomicWaker,
}

/// Told of in the request's extensions: one that is given back keeps its body, and what notes its end.
#[derive(Clone, Debug)]
struct Noted(Arc<Sent>);

/// What notes the end of a body.
struct Noting(Arc<Sent>);

impl Sent {
    /// Notes the end of a request's body from now on; nothing, if there is none to send.
    pub(crate) fn note(request: &mut Request<Outgoing>) -> Option<Arc<Self>> {
        if let Some(Noted(sent)) = request.extensions().get() {
            return Some(Arc::clone(sent));
        }
        if request.body().is_end_stream() {
            return None;
        }
        let sent = Arc::<Self>::default();
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = Outgoing::new(Seen::new(body, Noting(Arc::clone(&sent))));
        request.extensions_mut().insert(Noted(Arc::clone(&sent)));
        Some(sent)
    }

    /// When it was over; until then, who waits is woken by it.
    pub(crate) fn at(&self, waker: &Waker) -> Option<Instant> {
        if self.at.get().is_none() {
            self.waiting.register(waker);
        }
        // It may have ended before the waker was there.
        self.ended()
    }

    /// The same of nobody who waits.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.at.get().copied()
    }

    fn end(&self) {
        if self.at.set(Instant::now()).is_ok() {
            self.waiting.wake();
        }
    }
}

impl Sees<Outgoing> for Noting {
    fn saw(&mut self, body: &Outgoing, given: Option<&Result<Frame<Bytes>, Error>>) {
        if !matches!(given, Some(Ok(frame)) if frame.is_data()) || body.is_end_stream() {
            self.0.end();
        }
    }

    /// Who sends it needs no more of it: all of it is sent, or will never be.
    fn dropped(&mut self, _: &Outgoing) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn request(body: Outgoing) -> Request<Outgoing> {
        Request::new(body)
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_when_its_last_frame_is_taken() {
        let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
        let frames = futures_util::stream::unfold(receive, |mut receive| async {
            let bytes = receive.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(Frame::data(bytes)), receive))
        });
        let mut request = request(Outgoing::new(StreamBody::new(Box::pin(frames))));
        let sent = Sent::note(&mut request).unwrap();
        let reading = tokio::spawn(async move { request.into_body().collect().await });
        send.send(Bytes::from_static(b"a")).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert!(sent.at(&noop_waker()).is_none());
        let now = Instant::now();
        drop(send);
        assert!(reading.await.unwrap().is_ok());
        assert_eq!(sent.ended(), Some(now));
    }

    #[test]
    fn a_request_that_comes_back_is_not_wrapped_twice() {
        let mut request = request(Bytes::from_static(b"a").into());
        let sent = Sent::note(&mut request).unwrap();
        let again = Sent::note(&mut request).unwrap();
        assert!(Arc::ptr_eq(&sent, &again) && sent.ended().is_none());
        drop(request);
        assert!(sent.ended().is_some());
    }

    #[test]
    fn there_is_nothing_to_note_of_no_body() {
        assert!(Sent::note(&mut request(Outgoing::default())).is_none());
    }
}
