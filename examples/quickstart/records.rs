//! What DNS says of the third service: SRV records that are relied on for a second.

use crate::{replica::Replica, zone::Zone};

pub(crate) const NAME: &str = "_https._tcp.orders.test.";

/// A DNS server inside of this process.
pub(crate) struct Records {
    zone: Zone,
    said: Vec<String>,
}

impl Records {
    pub(crate) async fn serve() -> Self {
        let zone = Zone::serve("orders.test.").await;
        zone.set("host.orders.test.", "A", 1, &["127.0.0.1"]).await;
        Self { zone, said: Vec::new() }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.zone.address
    }

    /// Replaces the records, and returns those that differ.
    pub(crate) async fn set(&mut self, replicas: &[Replica]) -> Vec<String> {
        let port = |replica: &Replica| replica.address().port();
        let data: Vec<String> =
            replicas.iter().map(|it| format!("0 10 {} host.orders.test.", port(it))).collect();
        self.zone.set(NAME, "SRV", 1, &data.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let gone = self.said.iter().filter(|line| !data.contains(line));
        let new = data.iter().filter(|line| !self.said.contains(line));
        let gone = gone.map(|line| format!("DNS  removed  {NAME} SRV {line}"));
        let new = new.map(|line| format!("DNS  added    {NAME} SRV {line}"));
        let changes = gone.chain(new).collect();
        self.said = data;
        changes
    }
}
