//! A canned HTTP/2 peer in memory: it parses frame headers, answers every finished stream with
//! the same bytes, and costs a few hundred instructions where a server would cost thousands.
//!
//! Both subjects of a bench talk to it, so what it costs cancels out of their difference, and no
//! kernel and no scheduler can disturb the count.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tower_layer::Layer;
use tower_mesh::transport::{ConnectTarget, Connector};
use tower_service::Service;

use super::script::{Script, Told};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const PREFACE: usize = 24;
/// Received bytes after which the connection's window is opened again.
const WINDOW: u32 = 32 * 1024;

/// Frames with holes for the stream's id.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    ids: Vec<usize>,
}

/// What every request is answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    ok: Template,
    failure: Template,
}

/// The peer's end of one connection, as the byte stream that a client speaks over.
#[derive(Debug)]
pub(crate) struct Peer {
    answer: Arc<Answer>,
    script: Script,
    out: Vec<u8>,
    /// How much of `out` has been read.
    read: usize,
    reader: Option<Waker>,
    preface: usize,
    head: [u8; 9],
    head_len: usize,
    /// Bytes of the current frame's payload that are still to come.
    payload: usize,
    ping: [u8; 8],
    received: u32,
}

/// Makes peers: a mesh's connect layer.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    answer: Arc<Answer>,
    pub(crate) script: Script,
}

// === impl Template ===

impl Template {
    fn new() -> Self {
        Self { bytes: Vec::new(), ids: Vec::new() }
    }

    fn frame(mut self, kind: u8, flags: u8, payload: &[u8]) -> Self {
        self.ids.push(self.bytes.len() + 5);
        frame(&mut self.bytes, kind, flags, 0, payload);
        self
    }

    fn write(&self, stream: [u8; 4], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for at in &self.ids {
            out[start + at..start + at + 4].copy_from_slice(&stream);
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A header as a literal that no table keeps (RFC 7541 §6.2.2).
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len()).unwrap());
        block.extend_from_slice(text.as_bytes());
    }
}

// === impl Answer ===

impl Answer {
    /// 200 with 22 bytes.
    pub(crate) fn http() -> Self {
        // `:status 200` is entry 8 of the static table.
        let mut head = vec![0x88];
        literal(&mut head, "content-type", "application/json");
        literal(&mut head, "content-length", "22");
        literal(&mut head, "date", "Wed, 25 Nov 2026 12:00:00 GMT");
        let ok = Template::new().frame(HEADERS, END_HEADERS, &head).frame(
            DATA,
            END_STREAM,
            b"{\"id\":7,\"name\":\"seven\"}".get(..22).unwrap(),
        );
        Self { ok, failure: Self::unavailable() }
    }

    /// One gRPC message of this many bytes and `grpc-status: 0`.
    pub(crate) fn grpc(message: &[u8]) -> Self {
        let mut head = vec![0x88];
        literal(&mut head, "content-type", "application/grpc");
        let mut data = vec![0];
        data.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        data.extend_from_slice(message);
        let mut trailers = Vec::new();
        literal(&mut trailers, "grpc-status", "0");
        let ok = Template::new().frame(HEADERS, END_HEADERS, &head).frame(DATA, 0, &data).frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            &trailers,
        );
        Self { ok, failure: Self::unavailable() }
    }

    fn unavailable() -> Template {
        // The name of entry 8, with a value of its own.
        Template::new().frame(HEADERS, END_HEADERS | END_STREAM, b"\x08\x03503")
    }
}

// === impl Peer ===

impl Peer {
    pub(crate) fn new(answer: Arc<Answer>, script: Script) -> Self {
        let mut out = Vec::with_capacity(64 * 1024);
        // MAX_CONCURRENT_STREAMS 200, INITIAL_WINDOW_SIZE 1 MiB.
        frame(&mut out, SETTINGS, 0, 0, b"\0\x03\0\0\0\xc8\0\x04\0\x10\0\0");
        Self {
            answer,
            script,
            out,
            read: 0,
            reader: None,
            preface: 0,
            head: [0; 9],
            head_len: 0,
            payload: 0,
            ping: [0; 8],
            received: 0,
        }
    }

    /// Takes what the client has written.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        let skipped = bytes.len().min(PREFACE - self.preface);
        self.preface += skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.head_len < 9 {
                let taken = bytes.len().min(9 - self.head_len);
                self.head[self.head_len..self.head_len + taken].copy_from_slice(&bytes[..taken]);
                self.head_len += taken;
                bytes = &bytes[taken..];
                if self.head_len < 9 {
                    return;
                }
                let [a, b, c, ..] = self.head;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if self.head[3] == DATA {
                    self.received += u32::try_from(self.payload).unwrap();
                }
            }
            let taken = bytes.len().min(self.payload);
            if self.head[3] == PING {
                let at = 8 - self.payload;
                self.ping[at..at + taken].copy_from_slice(&bytes[..taken]);
            }
            self.payload -= taken;
            bytes = &bytes[taken..];
            if self.payload == 0 {
                self.head_len = 0;
                self.frame_ended();
            }
        }
    }

    fn frame_ended(&mut self) {
        let [.., kind, flags, a, b, c, d] = self.head;
        match kind {
            DATA | HEADERS if flags & END_STREAM != 0 => self.answer([a, b, c, d]),
            SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, &self.ping),
            _ => {}
        }
        if self.received >= WINDOW {
            frame(&mut self.out, WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
            self.received = 0;
        }
    }

    fn answer(&mut self, stream: [u8; 4]) {
        match self.script.next() {
            Told::Answer => self.answer.ok.write(stream, &mut self.out),
            Told::Fail => self.answer.failure.write(stream, &mut self.out),
            Told::Silence => {}
        }
    }

    /// What is to be sent to the client, taken.
    pub(crate) fn take(&mut self, most: usize, sent: impl FnOnce(&[u8])) -> bool {
        let end = self.out.len().min(self.read.saturating_add(most));
        if self.read == end {
            return false;
        }
        sent(&self.out[self.read..end]);
        self.read = end;
        if end == self.out.len() {
            self.out.clear();
            self.read = 0;
        }
        true
    }

    fn wake(&mut self) {
        if self.read < self.out.len()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

impl Read for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buf.remaining();
        if self.take(most, |bytes| buf.put_slice(bytes)) {
            return Poll::Ready(Ok(()));
        }
        match &self.reader {
            Some(reader) if reader.will_wake(cx.waker()) => {}
            _ => self.reader = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Write for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.feed(buf);
        self.wake();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for buf in bufs {
            self.feed(buf);
            written += buf.len();
        }
        self.wake();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

// === impl Peers ===

impl Peers {
    pub(crate) fn new(answer: Answer) -> Self {
        Self { answer: Arc::new(answer), script: Script::default() }
    }

    pub(crate) fn connect(&self) -> Peer {
        Peer::new(Arc::clone(&self.answer), self.script.clone())
    }
}

impl Layer<Connector> for Peers {
    type Service = Self;

    fn layer(&self, _real: Connector) -> Self {
        self.clone()
    }
}

impl Service<ConnectTarget> for Peers {
    type Response = Peer;
    type Error = io::Error;
    type Future = std::future::Ready<Result<Peer, io::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _target: ConnectTarget) -> Self::Future {
        std::future::ready(Ok(self.connect()))
    }
}
