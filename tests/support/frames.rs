//! HTTP/2 a frame or a stream at a time.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::RawServer;

/// One HTTP/2 frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A server's part of the HTTP/2 greeting: its settings, and that it has read the client's.
pub(crate) fn greeting() -> Vec<u8> {
    [frame(4, 0, 0, &[]), frame(4, 1, 0, &[])].concat()
}

/// Reads up to the next HEADERS frame, and returns its stream; 0 when the peer has closed.
pub(crate) async fn next_request(stream: &mut TcpStream) -> u32 {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return 0;
        }
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        // HEADERS
        if head[3] == 1 {
            return u32::from_be_bytes(head[5..].try_into().unwrap());
        }
    }
}

/// An HTTP/2 server of at most so many streams per connection, answered one by one.
pub(crate) async fn h2_server<F, Fut>(streams: u32, handle: F) -> RawServer
where
    F: Fn(Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> Fut
        + Clone
        + Send
        + Sync
        + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    RawServer::start(move |stream, _| {
        let handle = handle.clone();
        async move {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(streams);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(handle(request, respond));
            }
        }
    })
    .await
}

/// The head of a good response.
pub(crate) fn head() -> Response<()> {
    Response::new(())
}

/// The head of a gRPC response.
pub(crate) fn grpc_head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}
