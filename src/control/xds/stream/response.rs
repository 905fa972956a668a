//! How far the response of a stream has come: it says who has ended the stream.
//!
//! tonic makes a status of every end: of what a server says, of a connection that is lost (UNKNOWN, as a rule), of an
//! answer without gRPC, and of one that it cannot read (`INTERNAL`, `OUT_OF_RANGE` and others). Only the first is the
//! server's word, and only the last is an end that was made here.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame};

/// How far a response has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Stage {
    /// Nothing of it is there.
    #[default]
    Awaited,
    /// It has begun, and is not over.
    Begun,
    /// The server has said how it ends.
    Said,
    /// It is over, and no server has said how: the connection is lost, or whoever answered does not speak gRPC.
    Lost,
}

/// The same, of one response, while it comes.
#[derive(Clone, Default)]
pub(super) struct Course(Arc<Mutex<Stage>>);

/// The body of a response whose course is followed.
#[pin_project::pin_project]
pub(super) struct Followed<B> {
    #[pin]
    body: B,
    course: Course,
}

/// What gRPC ends a response with.
const GRPC_STATUS: &str = "grpc-status";
/// What it may say beside that. Nobody here reads it, and tonic panics where it is no base64.
const GRPC_DETAILS: &str = "grpc-status-details-bin";

// === impl Course ===

impl Course {
    pub(super) fn stage(&self) -> Stage {
        *self.lock()
    }

    /// Follows a response from its head on.
    pub(super) fn follow<B>(&self, mut response: Response<B>) -> Response<Followed<B>> {
        response.headers_mut().remove(GRPC_DETAILS);
        *self.lock() = if is_said(response.headers()) {
            Stage::Said
        } else if response.status() == StatusCode::OK && is_grpc(response.headers()) {
            Stage::Begun
        } else {
            Stage::Lost
        };
        let course = self.clone();
        response.map(|body| Followed { body, course })
    }

    /// It is over. What the server has said of its end holds.
    fn ends(&self, stage: Stage) {
        let mut now = self.lock();
        if *now != Stage::Said {
            *now = stage;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_said(headers: &HeaderMap) -> bool {
    headers.contains_key(GRPC_STATUS)
}

//= gRPC over HTTP/2: the content type of a response begins with "application/grpc"
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

// === impl Followed ===

/// Whether it is at its end is not told ahead: tonic would not look at it then, and its end is what is followed.
impl<B: Body> Body for Followed<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let mut polled = ready!(this.body.poll_frame(cx));
        if let Some(Ok(frame)) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            trailers.remove(GRPC_DETAILS);
        }
        match &polled {
            Some(Ok(frame)) if frame.is_data() => {}
            Some(Ok(frame)) if frame.trailers_ref().is_some_and(is_said) => {
                this.course.ends(Stage::Said);
            }
            Some(_) | None => this.course.ends(Stage::Lost),
        }
        Poll::Ready(polled)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::{
        Stage::{Awaited, Begun, Lost, Said},
        *,
    };

    type Came = Result<Frame<Bytes>, &'static str>;

    const TWO: HeaderValue = HeaderValue::from_static("2");

    fn data() -> Came {
        Ok(Frame::data(Bytes::from_static(b"data")))
    }

    fn trailers(name: &'static str) -> Came {
        Ok(Frame::trailers([(http::HeaderName::from_static(name), TWO)].into_iter().collect()))
    }

    /// How far it has come with its head, and after each frame and the end.
    async fn stages(
        (status, kind): (StatusCode, &'static str),
        head: &'static str,
        came: Vec<Came>,
    ) -> Vec<Stage> {
        let course = Course::default();
        assert_eq!(course.stage(), Awaited);
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(came)));
        *response.status_mut() = status;
        response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
        response.headers_mut().insert(head, TWO);
        let mut body = course.follow(response).into_body();
        let mut stages = vec![course.stage()];
        while body.frame().await.is_some() {
            stages.push(course.stage());
        }
        stages.push(course.stage());
        stages
    }

    #[tokio::test]
    async fn an_end_is_the_servers_only_with_a_status_of_grpc() {
        let [grpc, page] = ["application/grpc+proto", "text/html"];
        let (ok, bad) = ((StatusCode::OK, grpc), (StatusCode::BAD_GATEWAY, page));
        let portal = (StatusCode::OK, page);
        let cases = [
            (ok, GRPC_STATUS, vec![], vec![Said, Said]),
            (bad, GRPC_STATUS, vec![data()], vec![Said, Said, Said]),
            (ok, "server", vec![data(), trailers(GRPC_STATUS)], vec![Begun, Begun, Said, Said]),
            (ok, "server", vec![data(), trailers("server")], vec![Begun, Begun, Lost, Lost]),
            (ok, "server", vec![data()], vec![Begun, Begun, Lost]),
            (ok, "server", vec![], vec![Begun, Lost]),
            (ok, "server", vec![data(), Err("reset")], vec![Begun, Begun, Lost, Lost]),
            (bad, "server", vec![data()], vec![Lost, Lost, Lost]),
            (portal, "server", vec![data()], vec![Lost, Lost, Lost]),
            (bad, "server", vec![trailers(GRPC_STATUS)], vec![Lost, Said, Said]),
        ];
        for (at, (status, head, came, expected)) in cases.into_iter().enumerate() {
            assert_eq!(stages(status, head, came).await, expected, "case {at}");
        }
    }

    #[tokio::test]
    async fn details_that_cannot_be_read_end_no_task() {
        let mut said = HeaderMap::new();
        said.insert(GRPC_STATUS, TWO);
        said.insert(GRPC_DETAILS, HeaderValue::from_static("no base64"));
        let frames: [Came; 1] = [Ok(Frame::trailers(said.clone()))];
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
        *response.headers_mut() = said;
        let (head, mut body) = Course::default().follow(response).into_parts();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        for headers in [head.headers, trailers] {
            let status = tonic::Status::from_header_map(&headers).unwrap();
            assert_eq!(status.code(), tonic::Code::Unknown);
        }
    }

    /// tonic puts an empty body in the place of one that is at its end.
    #[test]
    fn a_body_that_is_at_its_end_is_looked_at_all_the_same() {
        let response = Response::new(http_body_util::Empty::<Bytes>::new());
        assert!(response.body().is_end_stream());
        assert!(!Course::default().follow(response).into_body().is_end_stream());
    }
}
