//! A DNS server inside of this process: one zone, over UDP and TCP, whose records may change.
#![allow(dead_code, reason = "shared: each program uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a zone that cannot be served ends the program"
)]

use std::{net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use hickory_server::{
    Server,
    net::runtime::TokioRuntimeProvider,
    proto::rr::{
        LowerName, Name, RData, Record, RecordType, RrKey,
        rdata::{CNAME, SOA, SRV},
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneType},
};
use tokio::net::{TcpListener, UdpSocket};

/// A zone and its server; its drop ends it.
pub(crate) struct Zone {
    /// Where it is asked.
    pub(crate) address: SocketAddr,
    origin: Name,
    records: Arc<InMemoryZoneHandler<TokioRuntimeProvider>>,
    server: tokio::task::JoinHandle<()>,
}

impl Zone {
    /// Serves an empty zone, `users.test.`; what does not exist may be asked again a second later.
    pub(crate) async fn serve(origin: &str) -> Self {
        let origin = name(origin);
        let records =
            InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
        let records = Arc::new(records);
        let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 1);
        records.upsert(Record::from_rdata(origin.clone(), 1, RData::SOA(soa)), 1).await;
        let mut catalog = Catalog::new();
        let handler: Arc<InMemoryZoneHandler<TokioRuntimeProvider>> = Arc::clone(&records);
        catalog.upsert(LowerName::new(&origin), vec![handler]);
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let mut server = Server::new(catalog);
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 64);
        let server = tokio::spawn(async move {
            drop(server.block_until_done().await);
        });
        Self { address, origin, records, server }
    }

    /// Replaces the records of a name and kind; `data` as in zone files, `0 1 8080 a.test.`
    pub(crate) async fn set(&self, owner: &str, kind: &str, ttl: u32, data: &[&str]) {
        let (owner, kind) = (name(owner), RecordType::from_str(kind).unwrap());
        let key = RrKey::new(LowerName::new(&owner), kind);
        self.records.records_mut().await.remove(&key);
        for data in data {
            let record = Record::from_rdata(owner.clone(), ttl, rdata(kind, data));
            self.records.upsert(record, 1).await;
        }
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A name as in zone files, with its final dot.
pub(crate) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// The data of a record as in zone files.
pub(crate) fn rdata(kind: RecordType, data: &str) -> RData {
    match kind {
        RecordType::A => RData::A(data.parse().unwrap()),
        RecordType::AAAA => RData::AAAA(data.parse().unwrap()),
        RecordType::CNAME => RData::CNAME(CNAME(name(data))),
        RecordType::SRV => {
            let parts: Vec<&str> = data.split(' ').collect();
            let [priority, weight, port, target] = parts[..] else { panic!("{data}") };
            let number = |text: &str| text.parse().unwrap();
            RData::SRV(SRV::new(number(priority), number(weight), number(port), name(target)))
        }
        other => panic!("{other} is not served"),
    }
}

/// UDP and TCP at one port.
pub(crate) async fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}
