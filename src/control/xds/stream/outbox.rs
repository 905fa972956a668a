//! What is to be sent on a stream, until the server reads it.
//!
//! A server that does not read must not make us keep more and more: of requests for the state of the
//! world that wait, a later one of the same type takes the earlier one's place, for it says all that
//! the earlier one did; but a refusal and names that are told behind it stay two. Requests of the delta protocol are small, and each says something of its own.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use atomic_waker::AtomicWaker;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tokio_stream::Stream;

/// The writing side. It never waits.
pub(super) struct Outbox<T>(Arc<Queue<T>>);

/// The reading side: the body of the stream. It ends with the writing side.
pub(super) struct Outgoing<T>(Arc<Queue<T>>);

struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    reader: AtomicWaker,
}

struct Waiting<T> {
    requests: VecDeque<T>,
    is_over: bool,
}

/// A request that another may take the place of.
pub(super) trait Replace: Sized {
    /// Whether `later`, which follows with none of its kind between, says all that `self` says;
    /// then `later` is amended by what would be lost.
    fn is_said_by(&self, later: &mut Self) -> bool;
}

/// Both sides of a stream.
pub(super) fn outbox<T>() -> (Outbox<T>, Outgoing<T>) {
    let waiting = Mutex::new(Waiting { requests: VecDeque::new(), is_over: false });
    let queue = Arc::new(Queue { waiting, reader: AtomicWaker::new() });
    (Outbox(Arc::clone(&queue)), Outgoing(queue))
}

impl<T: Replace> Outbox<T> {
    pub(super) fn send(&self, mut request: T) {
        let mut waiting = self.0.lock();
        waiting.requests.retain(|earlier| !earlier.is_said_by(&mut request));
        waiting.requests.push_back(request);
        drop(waiting);
        self.0.reader.wake();
    }

    /// How many the server has not read.
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().requests.len()
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.reader.wake();
    }
}

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.reader.register(cx.waker());
        let mut waiting = self.0.lock();
        match waiting.requests.pop_front() {
            Some(request) => Poll::Ready(Some(request)),
            None if waiting.is_over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replace for DiscoveryRequest {
    /// Names are the whole subscription, version and nonce those of the newest answer. What a later
    /// one does not repeat is who asks. Why that answer was refused is said alone: Istio's plane looks at
    /// no names beside it.
    fn is_said_by(&self, later: &mut Self) -> bool {
        if self.type_url != later.type_url {
            return false;
        }
        // An empty list that follows no other means all there are.
        if later.resource_names.is_empty() && !self.resource_names.is_empty() {
            return false;
        }
        let is_refusal = self.error_detail.is_some() && later.error_detail.is_none();
        if is_refusal && later.response_nonce == self.response_nonce {
            return false;
        }
        if later.node.is_none() {
            later.node.clone_from(&self.node);
        }
        true
    }
}

impl Replace for DeltaDiscoveryRequest {
    fn is_said_by(&self, _later: &mut Self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::{envoy::config::core::v3::Node, google::rpc::Status};
    use tokio_stream::StreamExt;

    use super::*;

    fn request(kind: &str, names: &[&str], nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            type_url: kind.to_owned(),
            resource_names: names.iter().map(|&name| name.to_owned()).collect(),
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        }
    }

    #[tokio::test]
    async fn a_later_request_takes_the_place_of_one_that_waits() {
        let (outbox, mut outgoing) = outbox();
        let node = Node { id: "n".to_owned(), ..Node::default() };
        outbox.send(DiscoveryRequest { node: Some(node), ..request("l", &["a"], "") });
        outbox.send(request("c", &["x"], ""));
        let refused = Status { code: 3, message: "bad".to_owned(), ..Status::default() };
        outbox.send(DiscoveryRequest { error_detail: Some(refused), ..request("c", &["x"], "1") });
        for count in 0..1000 {
            outbox.send(request("l", &["a", &count.to_string()], ""));
            outbox.send(request("c", &["x", "y"], "1"));
        }
        assert_eq!(outbox.waiting(), 3);
        // Still refused: without the reason it would be an acceptance.
        let cluster = outgoing.next().await.unwrap();
        assert_eq!(cluster.error_detail.unwrap().message, "bad");
        let listener = outgoing.next().await.unwrap();
        assert_eq!(listener.resource_names, ["a", "999"]);
        assert_eq!(listener.node.unwrap().id, "n");
        // And names beside a reason are not looked at by istiod.
        let cluster = outgoing.next().await.unwrap();
        assert_eq!((cluster.error_detail, cluster.resource_names.len()), (None, 2));
        // A newer answer was accepted.
        let refused = Status { code: 3, ..Status::default() };
        outbox.send(DiscoveryRequest { error_detail: Some(refused), ..request("c", &["x"], "2") });
        outbox.send(request("c", &["x"], "3"));
        assert_eq!(outgoing.next().await.unwrap().error_detail, None);
        // An empty list must not be the first.
        outbox.send(request("e", &["x"], ""));
        outbox.send(request("e", &[], ""));
        outbox.send(request("e", &[], ""));
        assert_eq!(outbox.waiting(), 2);
        assert_eq!(outgoing.next().await.unwrap().resource_names, ["x"]);
        assert_eq!(outgoing.next().await.unwrap().resource_names, [""; 0]);
        drop(outbox);
        assert_eq!(outgoing.next().await, None);
    }

    #[tokio::test]
    async fn every_request_of_the_delta_protocol_is_sent_in_order() {
        let (outbox, outgoing) = outbox();
        for count in 0..3 {
            let response_nonce = count.to_string();
            outbox
                .send(DeltaDiscoveryRequest { response_nonce, ..DeltaDiscoveryRequest::default() });
        }
        drop(outbox);
        let sent: Vec<_> = outgoing.map(|request| request.response_nonce).collect().await;
        assert_eq!(sent, ["0", "1", "2"]);
    }
}
