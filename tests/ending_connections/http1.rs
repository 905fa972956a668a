//! HTTP/1.1 connections that end before, in and after requests.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";

/// Serves some requests, and ends the connection somewhere.
pub(crate) async fn converse(stream: TcpStream, mut random: fastrand::Rng) {
    if random.bool() {
        // What is not read, or still to be sent, is answered by a reset.
        stream.set_zero_linger().unwrap();
    }
    let mut stream = BufReader::new(stream);
    if random.u8(..20) == 0 {
        return;
    }
    loop {
        let idle = Duration::from_micros(random.u64(..15_000));
        let Ok(Some(length)) = tokio::time::timeout(idle, head(&mut stream)).await else {
            // Idle for too long, or in the middle of a head.
            return;
        };
        let ending = random.u8(..40);
        if ending == 0 {
            return;
        }
        if stream.read_exact(&mut vec![0; length]).await.is_err() || ending == 1 {
            return;
        }
        if random.u8(..4) == 0 {
            tokio::time::sleep(Duration::from_micros(random.u64(..3_000))).await;
        }
        let said = match ending {
            2 => &ANSWER[..random.usize(..ANSWER.len())],
            3 => LAST,
            _ => ANSWER,
        };
        if stream.write_all(said).await.is_err() || matches!(ending, 2..=5) {
            return;
        }
    }
}

/// Reads the head of a request: how long its body is.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.to_ascii_lowercase().trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            None if line == "\r\n" => return Some(length),
            _ => {}
        }
    }
}
