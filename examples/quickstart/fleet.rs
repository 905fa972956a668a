//! The replicas of the three services: who is listed where, and who is in trouble.

use std::ops::Range;

use tower_mesh::BoxError;

use crate::{
    file::Content,
    keys::Keys,
    load::{GREETER, ORDERS, USERS},
    records::Records,
    replica::Replica,
};

/// Clusters of the new version.
pub(crate) const USERS_NEXT: &str = "users-next";
pub(crate) const GREETER_NEXT: &str = "greeter-next";

/// What is told to a user's and a greeter's replica goes for both.
pub(crate) struct Fleet {
    pub(crate) keys: Keys,
    pub(crate) records: Records,
    users: Vec<Replica>,
    greeters: Vec<Replica>,
    orders: Vec<Replica>,
}

impl Fleet {
    /// Three replicas of each service; DNS says the first two of the third one.
    pub(crate) async fn start(keys: Keys) -> Result<Self, BoxError> {
        let records = Records::serve().await;
        let (users, greeters, orders) = (Vec::new(), Vec::new(), Vec::new());
        let mut fleet = Self { keys, records, users, greeters, orders };
        for number in 1..=3 {
            fleet.add((USERS, GREETER), number).await?;
            fleet.orders.push(fleet.keys.replica(ORDERS, &format!("o{number}")).await?);
        }
        fleet.records.set(&fleet.orders[..2]).await;
        Ok(fleet)
    }

    /// Starts a replica of each of these clusters.
    pub(crate) async fn add(&mut self, of: (&str, &str), number: usize) -> Result<(), BoxError> {
        self.users.push(self.keys.replica(of.0, &format!("u{number}")).await?);
        self.greeters.push(self.keys.replica(of.1, &format!("g{number}")).await?);
        Ok(())
    }

    /// What the file says when it names these, and the last ones as a new version if there is one.
    pub(crate) fn yaml(&self, listed: Range<usize>, has_canary: bool) -> String {
        let canary = self.users.last().zip(self.greeters.last()).filter(|_| has_canary);
        let (users, greeters) = (&self.users[listed.clone()], &self.greeters[listed]);
        Content { users, greeters, dns: self.records.address(), canary }.yaml()
    }

    /// DNS leaves out the first replica of the third service, and says the last one.
    pub(crate) async fn change_records(&mut self) -> Vec<String> {
        self.records.set(&self.orders[1..]).await
    }

    pub(crate) fn kill(&self, at: usize) {
        self.of(at).for_each(Replica::kill);
    }

    pub(crate) fn forget(&mut self, at: usize) {
        drop((self.users.remove(at), self.greeters.remove(at)));
    }

    /// Both wait so many milliseconds before each answer.
    pub(crate) fn delay(&self, at: usize, milliseconds: u64) {
        self.of(at).for_each(|replica| replica.delay(milliseconds));
    }

    pub(crate) fn delay_all(&self, milliseconds: u64) {
        let all = self.users.iter().chain(&self.greeters).chain(&self.orders);
        all.for_each(|replica| replica.delay(milliseconds));
    }

    /// Both fail every request, or no longer do.
    pub(crate) fn fail(&self, at: usize, failing: bool) {
        self.of(at).for_each(|replica| replica.fail(failing));
    }

    fn of(&self, at: usize) -> impl Iterator<Item = &Replica> {
        [&self.users[at], &self.greeters[at]].into_iter()
    }

    /// The services with their replicas.
    pub(crate) fn services(&self) -> [(&'static str, &[Replica]); 3] {
        [(USERS, &self.users), (GREETER, &self.greeters), (ORDERS, &self.orders)]
    }
}
