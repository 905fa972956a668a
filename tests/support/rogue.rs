//! A DNS server that does whatever a test wants.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use hickory_server::proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{Record, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};

use super::zone;

/// A question as it came.
pub(crate) struct Asked {
    pub(crate) message: Message,
    pub(crate) is_tcp: bool,
}

type Handler = dyn Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync;

/// A server, whose drop ends it. It answers with the messages that its handler gives, in order;
/// none is silence.
pub(crate) struct Rogue {
    pub(crate) address: SocketAddr,
    handler: Arc<Mutex<Arc<Handler>>>,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Asked {
    /// `users.test. A`
    pub(crate) fn question(&self) -> String {
        let query = &self.message.queries[0];
        format!("{} {}", query.name(), query.query_type())
    }

    pub(crate) fn kind(&self) -> RecordType {
        self.message.queries[0].query_type()
    }

    /// An answer with these records, `users.test. 10 A 127.0.0.1`.
    pub(crate) fn answer(&self, records: &[&str]) -> Message {
        let mut answer = Message::response(self.message.metadata.id, OpCode::Query);
        answer.metadata.message_type = MessageType::Response;
        answer.add_queries(self.message.queries.clone());
        answer.add_answers(records.iter().map(|text| record(text)));
        answer
    }

    /// An answer with this code alone.
    pub(crate) fn code(&self, code: ResponseCode) -> Message {
        let mut answer = self.answer(&[]);
        answer.metadata.response_code = code;
        answer
    }
}

/// `owner ttl kind data`
pub(crate) fn record(text: &str) -> Record {
    let parts: Vec<&str> = text.splitn(4, ' ').collect();
    let [owner, ttl, kind, data] = parts[..] else { panic!("{text}") };
    let data = zone::rdata(kind.parse().unwrap(), data);
    Record::from_rdata(zone::name(owner), ttl.parse().unwrap(), data)
}

/// One message as bytes.
pub(crate) fn say(message: &Message) -> Vec<Vec<u8>> {
    vec![message.to_vec().unwrap()]
}

impl Rogue {
    pub(crate) async fn start(
        handler: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let handler: Arc<Handler> = Arc::new(handler);
        let handler = Arc::new(Mutex::new(handler));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (udp, tcp) = zone::sockets().await;
        let address = udp.local_addr().unwrap();
        let tasks = [
            tokio::spawn(serve_udp(udp, Arc::clone(&handler), Arc::clone(&asked))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&handler), Arc::clone(&asked))),
        ];
        Self { address, handler, asked, tasks }
    }

    /// From now on it does this.
    pub(crate) fn now(&self, handler: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) {
        *self.handler.lock().unwrap() = Arc::new(handler);
    }

    /// What it was asked, `udp users.test. A`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn handle(
    bytes: &[u8],
    is_tcp: bool,
    handler: &Mutex<Arc<Handler>>,
    log: &Mutex<Vec<String>>,
) -> Vec<Vec<u8>> {
    let Ok(message) = Message::from_vec(bytes) else { return Vec::new() };
    let asked = Asked { message, is_tcp };
    let protocol = if is_tcp { "tcp" } else { "udp" };
    log.lock().unwrap().push(format!("{protocol} {}", asked.question()));
    let handler = Arc::clone(&handler.lock().unwrap());
    handler(&asked)
}

async fn serve_udp(
    socket: UdpSocket,
    handler: Arc<Mutex<Arc<Handler>>>,
    log: Arc<Mutex<Vec<String>>>,
) {
    let mut buffer = vec![0; 65_535];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        for answer in handle(&buffer[..length], false, &handler, &log) {
            drop(socket.send_to(&answer, from).await);
        }
    }
}

async fn serve_tcp(
    listener: TcpListener,
    handler: Arc<Mutex<Arc<Handler>>>,
    log: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(converse(stream, Arc::clone(&handler), Arc::clone(&log)));
    }
}

async fn converse(
    mut stream: TcpStream,
    handler: Arc<Mutex<Arc<Handler>>>,
    log: Arc<Mutex<Vec<String>>>,
) {
    while let Ok(length) = stream.read_u16().await {
        let mut buffer = vec![0; length.into()];
        if stream.read_exact(&mut buffer).await.is_err() {
            return;
        }
        for answer in handle(&buffer, true, &handler, &log) {
            let Ok(length) = u16::try_from(answer.len()) else { return };
            if stream.write_u16(length).await.is_err() || stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}
