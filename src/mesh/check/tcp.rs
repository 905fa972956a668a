//! A probe by a connection, and perhaps bytes.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Poll, ready},
};

use hyper::rt::{ReadBuf, Write as _};

use super::{http::follows, probe::Answer};
use crate::{
    config::{TcpProbe, hex},
    transport::{Io, Pool},
};

/// An answer that is longer than this is not looked at to its end.
const LONGEST: usize = 64 * 1024;

/// Every probe makes a connection: that is what it finds out.
pub(super) async fn ask(pool: &Pool, probe: &TcpProbe) -> Answer {
    let mut io = match pool.bytes().await {
        Ok(io) => io,
        Err(error) => return Answer::failed(&error),
    };
    if let Some(bytes) = probe.send.as_deref().and_then(hex)
        && let Err(error) = send(&mut *io, &bytes).await
    {
        return Answer::failed(&error);
    }
    let mut seen = Vec::new();
    while !follows(&seen, &probe.receive) {
        match receive(&mut *io, &mut seen).await {
            Ok(0) => return Answer::silent("it closed before it answered as it must"),
            Ok(_) => {}
            Err(error) => return Answer::failed(&error),
        }
        if seen.len() > LONGEST {
            return Answer::silent("its answer does not contain what it must");
        }
    }
    Answer::well()
}

async fn send(mut io: &mut dyn Io, mut bytes: &[u8]) -> io::Result<()> {
    poll_fn(|cx| {
        while !bytes.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Pin::new(&mut io).poll_flush(cx)
    })
    .await
}

async fn receive(io: &mut dyn Io, seen: &mut Vec<u8>) -> io::Result<usize> {
    let mut room = [0; 1024];
    let mut part = ReadBuf::new(&mut room);
    poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, part.unfilled())).await?;
    seen.extend_from_slice(part.filled());
    Ok(part.filled().len())
}
