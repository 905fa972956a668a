//! Greeters made of closures.

use std::future::Future;

use tonic::{Request, Response, Status};

use super::greeter::{BoxFuture, Greeter, HelloReply, HelloRequest, Replies};

/// A greeter that answers by a closure.
pub(crate) struct FnGreeter<F>(F);

/// A greeter from a closure.
pub(crate) fn hello<F, Fut>(answer: F) -> FnGreeter<F>
where
    F: Fn(Request<HelloRequest>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, Status>> + Send + 'static,
{
    FnGreeter(answer)
}

impl<F, Fut> Greeter for FnGreeter<F>
where
    F: Fn(Request<HelloRequest>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, Status>> + Send + 'static,
{
    fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> BoxFuture<Result<Response<HelloReply>, Status>> {
        let answer = (self.0)(request);
        Box::pin(async move { Ok(Response::new(HelloReply { message: answer.await? })) })
    }
}

/// A greeter whose `Count` streams what a closure makes.
pub(crate) struct Counter<F>(F);

/// A counting greeter from a closure.
pub(crate) fn counting<F>(stream: F) -> Counter<F>
where
    F: Fn() -> Replies + Send + Sync + 'static,
{
    Counter(stream)
}

impl<F> Greeter for Counter<F>
where
    F: Fn() -> Replies + Send + Sync + 'static,
{
    fn say_hello(
        &self,
        _request: Request<HelloRequest>,
    ) -> BoxFuture<Result<Response<HelloReply>, Status>> {
        Box::pin(async { Err(Status::unimplemented("this greeter only counts")) })
    }

    fn count(
        &self,
        _request: Request<HelloRequest>,
    ) -> BoxFuture<Result<Response<Replies>, Status>> {
        let replies = (self.0)();
        Box::pin(async move { Ok(Response::new(replies)) })
    }
}
