//! HTTP/2 connections that end before, in and after their greeting, with GOAWAY and without.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::support::frames::frame;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
/// GOAWAY that only announces another one (RFC 9113 §6.8).
const ALL: u32 = 0x7fff_ffff;

/// A connection as its server sees it.
struct Served {
    stream: TcpStream,
    random: fastrand::Rng,
    /// Read, and no whole frame yet.
    read: Vec<u8>,
    /// Streams without an answer.
    open: Vec<u32>,
    /// The highest of all.
    last: u32,
}

/// Greets, perhaps, serves some requests and ends the connection somewhere.
pub(crate) async fn converse(stream: TcpStream, mut random: fastrand::Rng) {
    if random.u8(..4) == 0 {
        stream.set_zero_linger().unwrap();
    }
    stream.set_nodelay(true).unwrap();
    let early = random.u8(..20);
    let (read, open) = (Vec::new(), Vec::new());
    let mut served = Served { stream, random, read, open, last: 0 };
    // Without anything said.
    if early == 0 {
        return;
    }
    if served.stream.read_exact(&mut [0; 24]).await.is_err() || early == 1 {
        return;
    }
    let most = [1, 2, 8, 100][served.random.usize(..4)];
    let greeting = settings(most);
    if early == 2 {
        drop(served.stream.write_all(&greeting[..5]).await);
        return;
    }
    if served.say(&greeting).await.is_none() {
        return;
    }
    // Whoever goes is not listened to any more.
    let _gone = served.live().await;
}

/// SETTINGS of so many concurrent streams.
fn settings(most: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 3][..], &most.to_be_bytes()].concat())
}

fn goaway(last: u32, reason: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())
}

/// `:status 200` and a body.
fn answer(stream: u32) -> Vec<u8> {
    [frame(HEADERS, 4, stream, &[0x88]), frame(DATA, 1, stream, b"hello")].concat()
}

impl Served {
    fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.random.u64(..most))
    }

    async fn say(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()
    }

    /// Serves for a while; then goes in one of many ways. Nothing when the client has gone.
    async fn live(&mut self) -> Option<()> {
        let life = self.micros(20_000);
        self.serve(life, true).await?;
        match self.random.u8(..8) {
            0 => {}
            1 => {
                let last = self.last;
                self.say(&goaway(last, 0)).await?;
            }
            2 => {
                let last = self.last;
                self.say(&goaway(last, 0)).await?;
                self.answer_all().await?;
                self.serve(Duration::from_millis(20), false).await?;
            }
            3 => {
                // In two steps, as C-core and Envoy go.
                self.say(&[goaway(ALL, 0), frame(PING, 0, 0, &[1; 8])].concat()).await?;
                let between = self.micros(4_000);
                self.serve(between, true).await?;
                let last = self.last;
                self.say(&goaway(last, 0)).await?;
                let pause = self.micros(4_000);
                self.serve(pause, false).await?;
                self.answer_all().await?;
                self.serve(Duration::from_millis(20), false).await?;
            }
            4 => {
                // What is open above it will not be worked on.
                let last = self.last.saturating_sub(2 * self.random.u32(..8)) | 1;
                self.open.retain(|stream| *stream <= last);
                self.say(&goaway(last, 0)).await?;
                self.answer_all().await?;
                self.serve(Duration::from_millis(20), false).await?;
            }
            5 => {
                let last = self.last;
                self.say(&goaway(last, ENHANCE_YOUR_CALM)).await?;
            }
            6 => {
                // Fewer streams than there are, and then none.
                self.say(&settings(1)).await?;
                let pause = self.micros(3_000);
                self.serve(pause, true).await?;
                self.say(&settings(0)).await?;
                self.answer_all().await?;
                self.serve(Duration::from_millis(5), false).await?;
            }
            _ => {
                // In the middle of a frame.
                self.answer_all().await?;
                let part = answer(self.last.max(1));
                let end = self.random.usize(..part.len());
                self.say(&part[..end]).await?;
            }
        }
        Some(())
    }

    async fn answer_all(&mut self) -> Option<()> {
        let answers: Vec<u8> = self.open.drain(..).flat_map(answer).collect();
        self.say(&answers).await
    }

    /// Reads and answers for so long; of new streams only what is to be `taken`.
    async fn serve(&mut self, life: Duration, taken: bool) -> Option<()> {
        let until = Instant::now() + life;
        loop {
            let Ok(read) = timeout_at(until, self.next()).await else { return Some(()) };
            let (kind, flags, stream) = read?;
            match kind {
                HEADERS if taken => {
                    self.last = stream;
                    match self.random.u8(..20) {
                        0 => self.reset(stream, REFUSED_STREAM).await?,
                        1 => self.reset(stream, CANCEL).await?,
                        2..=6 => self.open.push(stream),
                        _ => self.say(&answer(stream)).await?,
                    }
                }
                SETTINGS if flags == 0 => self.say(&frame(SETTINGS, 1, 0, &[])).await?,
                PING if flags == 0 => self.say(&frame(PING, 1, 0, &[0; 8])).await?,
                _ => {}
            }
            if self.random.u8(..6) == 0 {
                self.answer_all().await?;
            }
        }
    }

    async fn reset(&mut self, stream: u32, reason: u32) -> Option<()> {
        self.say(&frame(RST_STREAM, 0, stream, &reason.to_be_bytes())).await
    }

    /// The next frame's kind, flags and stream; what has been read of it stays when this is dropped.
    async fn next(&mut self) -> Option<(u8, u8, u32)> {
        loop {
            if let Some(head) = self.read.first_chunk::<9>() {
                let length = 9 + (usize::from(head[1]) << 8 | usize::from(head[2]));
                if self.read.len() >= length {
                    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let found = (head[3], head[4], stream);
                    self.read.drain(..length);
                    return Some(found);
                }
            }
            if self.stream.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
    }
}
