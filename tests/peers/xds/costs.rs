//! What a control plane's answers cost a process, how soon a new one is answered, and what a thousand clusters weigh:
//! gRPC C-core, grpc-go, tonic-xds and the mesh, each a process of its own, in turn, of the same control plane and the
//! same server, in one run (gate G14).
//!
//! All is measured from outside, but for the time of a first answer. `XDS_COSTS=write` puts the table into
//! `docs/XDS-PEERS.md`.

mod process;
mod table;
mod world;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    bed::bootstrap,
    peer::{Calls, Outcome, Peer, Who},
};
use crate::program::free_port;
use process::Process;
use table::{Group, Row, Table};
use world::{BIG, World};

/// Processes of each client whose pushes are measured, in turn; the rounds of each, and those before that do not count.
const PASSES: usize = 2;
const ROUNDS: u8 = 4;
const WARM_UP: u8 = 2;
/// First answers of each client, with one control plane and with two.
const STARTS: usize = 11;
/// Processes of each client that are weighed.
const WEIGHED: usize = 3;

/// The calls that prove that a push is in force; and how often they are made again until they do.
const PROOF: usize = 5;
const AGAIN: usize = 20;
/// tonic-xds takes changes in while calls are made, and never more at once than its channel holds; what it has taken
/// in by then is made anew in this time.
const TAKEN_IN: usize = 64;
const PAUSE: Duration = Duration::from_millis(5);

const PATIENCE: Duration = Duration::from_secs(60);

/// What part of their processor time ours may take: three and five times what it is (docs/XDS-PEERS.md).
const OF_C_CORE: f64 = 0.1;
const OF_GRPC_GO: f64 = 0.75;
/// Unit: ms. Source: gate G14.
const COLD: f64 = 20.0;
const NEXT: f64 = 50.0;
/// What a thousand clusters of ten endpoints may weigh. Unit: MB. Source: gate G14.
const WEIGHT: f64 = 60.0;

/// A column of the table.
#[derive(Clone, Copy, Debug)]
struct Client {
    name: &'static str,
    who: Who,
    /// Of the control plane, as its bootstrap says them.
    features: &'static [&'static str],
}

const C_CORE: &str = "C-core";
const GRPC_GO: &str = "grpc-go";
const HERE: &str = "here";
const DELTA: &str = "here, delta";
const CLIENTS: [Client; 5] = [
    Client { name: C_CORE, who: Who::CCore, features: &[] },
    Client { name: GRPC_GO, who: Who::GrpcGo, features: &[] },
    Client { name: "tonic-xds", who: Who::TonicXds, features: &[] },
    Client { name: HERE, who: Who::OursBuilt, features: &[] },
    Client { name: DELTA, who: Who::OursBuilt, features: &["delta"] },
];

type Figures = Result<Vec<(Row, f64)>, String>;

/// A running client.
struct Caller {
    is_tonic: bool,
    peer: Peer,
    process: Process,
}

impl Caller {
    /// Starts one that asks the control planes at these ports. Nothing is called yet.
    async fn start(client: Client, ports: &[u16]) -> Self {
        let mut bootstrap = bootstrap(ports, client.features);
        let is_tonic = client.who == Who::TonicXds;
        if is_tonic {
            // It connects to nothing that has no scheme.
            bootstrap = bootstrap.replace("\"server_uri\":\"", "\"server_uri\":\"http://");
        }
        let peer = Peer::start(client.who, &bootstrap, None).await;
        let process = Process::of(peer.id());
        Self { is_tonic, peer, process }
    }

    /// What these calls came to; nothing, if the process has ended or says nothing.
    async fn call(&mut self, target: &'static str, count: usize) -> Vec<Outcome> {
        let calls = Calls::of(count).to(target).within(20);
        timeout(PATIENCE * 2, Box::pin(self.peer.call(&calls))).await.unwrap_or_default()
    }

    /// Calls until there is an answer.
    async fn first(&mut self, world: &World, target: &'static str) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let outcome = self.call(target, 1).await.pop();
            match outcome {
                Some(outcome) if outcome.who.is_some() => return Ok(()),
                Some(_) if began.elapsed() < PATIENCE => sleep(Duration::from_millis(50)).await,
                // It is not there any more, or has had its time.
                outcome => {
                    let refused = world.refused();
                    let text = format!("{target} is not answered: {outcome:?}; {refused}");
                    return Err(text.replace('\n', " "));
                }
            }
        }
    }

    /// The calls after so many changes. They are made one by one where they take the changes in.
    async fn prove(&mut self, changes: usize) -> Vec<Outcome> {
        if !self.is_tonic {
            return self.call("greeter", PROOF).await;
        }
        let mut outcomes = Vec::new();
        for _ in 0..changes.div_ceil(TAKEN_IN) + 4 * PROOF {
            outcomes.extend(self.call("greeter", 1).await);
            // Each more would take all of its time, too.
            if outcomes.last().is_none_or(|it| it.who.is_none()) {
                break;
            }
            sleep(PAUSE).await;
        }
        outcomes
    }

    /// Whether these calls came where they have to: to the first endpoint, or, where its policy is not obeyed, to any.
    fn is_proven(&self, outcomes: &[Outcome], endpoints: &[SocketAddr]) -> bool {
        let last = outcomes.len().saturating_sub(4 * PROOF);
        let told = if self.is_tonic { endpoints } else { &endpoints[..1] };
        let told: BTreeSet<String> = told.iter().map(|it| it.ip().to_string()).collect();
        let is_told = |it: &Outcome| it.who.as_ref().is_some_and(|who| told.contains(who));
        outcomes.len() >= PROOF && outcomes[last..].iter().all(is_told)
    }

    /// The processor time from the moment before these endpoints are told until calls reach them and all is quiet,
    /// less what the same calls take without a push.
    async fn push(
        &mut self,
        world: &World,
        endpoints: &[SocketAddr],
        changes: usize,
    ) -> Result<Duration, String> {
        let before = self.process.rest().await;
        world.tell(endpoints).await?;
        self.process.rest().await;
        let (mut proofs, began) = (1, Instant::now());
        loop {
            let outcomes = self.prove(changes).await;
            if self.is_proven(&outcomes, endpoints) {
                break;
            }
            if proofs == AGAIN || outcomes.is_empty() || began.elapsed() > PATIENCE {
                let (first, last) = (endpoints.first(), outcomes.last());
                return Err(format!(
                    "after {proofs} times {} calls none is as it should be: of {} endpoints, of \
                     which {first:?} is the first, it came to {last:?}",
                    outcomes.len(),
                    endpoints.len(),
                ));
            }
            proofs += 1;
        }
        let pushed = self.process.rest().await;
        for _ in 0..proofs {
            let outcomes = self.prove(changes).await;
            if let Some(failed) = outcomes.iter().find(|it| it.who.is_none()) {
                return Err(format!("a call fails without a push: {failed:?}"));
            }
        }
        let alone = self.process.rest().await;
        Ok(pushed.since(before).saturating_sub(alone.since(pushed)))
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Pushes to a process: the rounds that count.
async fn pushes(world: &World, client: Client) -> Figures {
    world.reset();
    let mut caller = Caller::start(client, &[world.port()]).await;
    caller.first(world, "greeter").await?;
    let (mut figures, big) = (Vec::new(), usize::from(BIG));
    for round in 0..WARM_UP + ROUNDS {
        // Endpoints that this process has not heard of.
        let [one, other] = [2 * round + 1, 2 * round + 2]
            .map(|block| (1..=BIG).map(|number| world.address(block, number)).collect::<Vec<_>>());
        caller.push(world, &[world.alone()], big).await?;
        let first = caller.push(world, &one, big + 1).await?;
        let mut changed = one;
        // The one that is in use.
        changed[0] = world.address(2 * round + 1, 0);
        let changed = caller.push(world, &changed, 2).await?;
        let replaced = caller.push(world, &other, 2 * big).await?;
        if round >= WARM_UP {
            let rows = [(Row::First, first), (Row::Changed, changed), (Row::Replaced, replaced)];
            figures.extend(rows.map(|(row, time)| (row, milliseconds(time))));
        }
    }
    Ok(figures)
}

/// The time of the first answer to a new process, from before its channel, or mesh, is made.
async fn start(world: &World, client: Client, row: Row, ports: &[u16]) -> Figures {
    world.reset();
    let mut caller = Caller::start(client, ports).await;
    let outcome = caller.call("greeter", 1).await.pop();
    match outcome {
        Some(outcome) if outcome.who.is_some() => Ok(vec![(row, outcome.ms)]),
        outcome => Err(format!("its first call fails: {outcome:?}; {}", world.refused())),
    }
}

/// What a process holds more once it knows all of the many clusters.
async fn weigh(world: &World, client: Client) -> Figures {
    world.reset();
    let mut caller = Caller::start(client, &[world.port()]).await;
    caller.first(world, "greeter").await?;
    caller.process.rest().await;
    let before = caller.process.resident();
    caller.first(world, "many").await?;
    world.asked_for_all().await?;
    caller.process.rest().await;
    Ok(vec![(Row::Memory, caller.process.resident() - before)])
}

/// Writes them down. What tonic-xds, an alpha, does not do is said, and not tried again, as a try may take a minute;
/// everybody else must.
fn note(table: &mut Table, client: Client, rows: &[Row], figures: Figures) {
    println!("{}, {rows:?}: {figures:.1?}", client.name);
    match figures {
        Ok(figures) => {
            for (row, figure) in figures {
                table.add(row, client.name, figure);
            }
        }
        Err(why) if client.who == Who::TonicXds => {
            for row in rows {
                table.lacks(*row, client.name, why.clone());
            }
        }
        Err(why) => panic!("{}, {rows:?}: {why}", client.name),
    }
}

/// Shows the table, and writes it down if it is asked for.
fn tell(group: Group, table: &Table) {
    table.print_rounds();
    let text = table.markdown(&CLIENTS.map(|client| client.name));
    println!("\n{text}");
    if std::env::var("XDS_COSTS").is_ok_and(|what| what == "write") {
        table::write(group, &text);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn updates_cost_a_tenth_of_what_they_do_in_c_core_and_less_than_in_grpc_go() {
    let (world, mut table) = (World::start().await, Table::of(Group::Pushes));
    for _ in 0..PASSES {
        for client in CLIENTS {
            if !table.is_without(Row::First, client.name) {
                note(&mut table, client, Group::Pushes.rows(), pushes(&world, client).await);
            }
        }
    }
    tell(Group::Pushes, &table);
    for ours in [HERE, DELTA] {
        for row in Group::Pushes.rows().iter().copied() {
            let ours_ms = table.median(row, ours);
            for (other, part) in [(C_CORE, OF_C_CORE), (GRPC_GO, OF_GRPC_GO)] {
                let theirs = table.median(row, other);
                assert!(
                    ours_ms <= theirs * part,
                    "{ours}, {row:?}: {ours_ms:.1} ms of processor, {other} {theirs:.1} ms"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn starts_are_soon_over() {
    let (world, mut table) = (World::start().await, Table::of(Group::Starts));
    let gone = free_port();
    for _ in 0..STARTS {
        for client in CLIENTS {
            if !table.is_without(Row::Cold, client.name) {
                let cold = start(&world, client, Row::Cold, &[world.port()]).await;
                note(&mut table, client, &[Row::Cold], cold);
            }
            let next = if client.who == Who::TonicXds {
                Err("it asks the first of them alone".to_owned())
            } else {
                start(&world, client, Row::Next, &[gone, world.port()]).await
            };
            note(&mut table, client, &[Row::Next], next);
        }
    }
    tell(Group::Starts, &table);
    for ours in [HERE, DELTA] {
        let (cold, next) = (table.median(Row::Cold, ours), table.median(Row::Next, ours));
        assert!(cold <= COLD, "{ours}: {cold:.1} ms from nothing to the first answer");
        assert!(next <= NEXT, "{ours}: {next:.1} ms where the first control plane is down");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn a_thousand_clusters_weigh_no_more_than_they_may() {
    let (world, mut table) = (World::start().await, Table::of(Group::Memory));
    for _ in 0..WEIGHED {
        for client in CLIENTS {
            if !table.is_without(Row::Memory, client.name) {
                note(&mut table, client, Group::Memory.rows(), weigh(&world, client).await);
            }
        }
    }
    tell(Group::Memory, &table);
    for ours in [HERE, DELTA] {
        let weight = table.median(Row::Memory, ours);
        assert!(weight <= WEIGHT, "{ours}: {weight:.1} MB of resident memory for all clusters");
    }
}
