//! A DNS server that does whatever a test wants.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_server::proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{Record, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc::{UnboundedSender, unbounded_channel},
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
    mind: Arc<Mutex<Mind>>,
    tasks: [JoinHandle<()>; 2],
}

/// What it does, and what it was asked.
struct Mind {
    handler: Arc<Handler>,
    /// How long its answers take; other questions are heard meanwhile.
    delay: Duration,
    asked: Vec<String>,
    /// How many answers have gone out that took their time.
    late: usize,
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
        let (handler, delay) = (Arc::new(handler), Duration::ZERO);
        let mind = Mind { handler, delay, asked: Vec::new(), late: 0 };
        let mind = Arc::new(Mutex::new(mind));
        let (udp, tcp) = zone::sockets().await;
        let address = udp.local_addr().unwrap();
        let tasks = [
            tokio::spawn(serve_udp(udp, Arc::clone(&mind))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&mind))),
        ];
        Self { address, mind, tasks }
    }

    /// From now on it does this.
    pub(crate) fn now(&self, handler: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) {
        self.mind.lock().unwrap().handler = Arc::new(handler);
    }

    /// What it is asked from now on is answered so much later.
    pub(crate) fn takes(&self, delay: Duration) {
        self.mind.lock().unwrap().delay = delay;
    }

    /// What it was asked, `udp users.test. A`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.mind.lock().unwrap().asked.clone()
    }

    /// How many answers have gone out that took their time.
    pub(crate) fn late(&self) -> usize {
        self.mind.lock().unwrap().late
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Has the answers to a message sent, at once or later.
fn handle<T: Send + 'static>(
    bytes: &[u8],
    is_tcp: bool,
    mind: &Arc<Mutex<Mind>>,
    answers: &UnboundedSender<T>,
    to: impl Fn(Vec<u8>) -> T + Send + 'static,
) {
    let Ok(message) = Message::from_vec(bytes) else { return };
    let asked = Asked { message, is_tcp };
    let protocol = if is_tcp { "tcp" } else { "udp" };
    let (handler, delay) = {
        let mut mind = mind.lock().unwrap();
        mind.asked.push(format!("{protocol} {}", asked.question()));
        (Arc::clone(&mind.handler), mind.delay)
    };
    let said = handler(&asked);
    let send = move |answers: &UnboundedSender<T>| {
        said.into_iter().filter(|answer| answers.send(to(answer.clone())).is_ok()).count()
    };
    if delay.is_zero() {
        send(answers);
        return;
    }
    let (mind, answers) = (Arc::clone(mind), answers.clone());
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        mind.lock().unwrap().late += send(&answers);
    });
}

async fn serve_udp(socket: UdpSocket, mind: Arc<Mutex<Mind>>) {
    let mut buffer = vec![0; 65_535];
    let (answers, mut next) = unbounded_channel::<(Vec<u8>, SocketAddr)>();
    loop {
        tokio::select! {
            Ok((length, from)) = socket.recv_from(&mut buffer) => {
                handle(&buffer[..length], false, &mind, &answers, move |answer| (answer, from));
            }
            Some((answer, to)) = next.recv() => drop(socket.send_to(&answer, to).await),
        }
    }
}

async fn serve_tcp(listener: TcpListener, mind: Arc<Mutex<Mind>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(converse(stream, Arc::clone(&mind)));
    }
}

async fn converse(stream: TcpStream, mind: Arc<Mutex<Mind>>) {
    let (mut reader, mut writer) = stream.into_split();
    let (answers, mut next) = unbounded_channel::<Vec<u8>>();
    let writing = tokio::spawn(async move {
        while let Some(answer) = next.recv().await {
            let Ok(length) = u16::try_from(answer.len()) else { return };
            if writer.write_u16(length).await.is_err() || writer.write_all(&answer).await.is_err() {
                return;
            }
        }
    });
    while let Ok(length) = reader.read_u16().await {
        let mut buffer = vec![0; length.into()];
        if reader.read_exact(&mut buffer).await.is_err() {
            break;
        }
        handle(&buffer, true, &mind, &answers, |answer| answer);
    }
    writing.abort();
}
