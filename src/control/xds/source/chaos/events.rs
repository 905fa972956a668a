//! What goes wrong.

use std::{collections::BTreeSet, time::Duration};

use super::{
    planes::{self, KINDS, SERVICES},
    world::{World, mesh},
};
use crate::{
    Client,
    control::xds::kind::Kind,
    testing::xds::{Order, Resource},
};

/// How many names are asked for and given up at once.
const CROWD: usize = 500;
/// To how many routes, each with a cluster of its own, they lead.
const CROWD_ROUTES: usize = 25;
/// The names that may linger.
const LINGER: usize = 256;
/// No message of protobuf.
const JUNK: [u8; 8] = [0xff; 8];

impl World {
    pub(super) async fn event(&mut self) {
        match self.below(24) {
            0 => self.burst().await,
            1 => self.crowd().await,
            2 | 3 => self.kill().await,
            4 | 5 => self.restart_empty().await,
            6 | 7 => self.restart_stale().await,
            8 | 9 => self.flap().await,
            10 | 11 => self.silence().await,
            12 | 13 => self.reorder().await,
            14 | 15 => self.lose().await,
            16 | 17 => self.refuse().await,
            18 | 19 => self.disagree().await,
            20 | 21 => self.come_and_go().await,
            _ => self.update().await,
        }
    }

    fn a_service(&self) -> usize {
        self.below(SERVICES)
    }

    fn a_hired_service(&self) -> usize {
        let at = self.below(self.hired.len());
        self.hired.iter().copied().nth(at).unwrap_or_default()
    }

    /// The first plane says something else of some service.
    fn change(&mut self) {
        let service = self.a_service();
        if self.below(4) == 0 {
            self.planes[0].remember();
        }
        if self.below(3) == 0 {
            let count = 1 + self.below(3);
            self.note(format!("service {service} leads to {count} other clusters"));
            self.planes[0].move_clusters(&self.random, service, count);
        } else {
            self.note(format!("service {service} has other endpoints"));
            self.planes[0].move_endpoints(&self.random, service);
        }
        self.say(0, service);
    }

    /// A plane says other endpoints of some service.
    fn change_endpoints(&mut self, plane: usize) {
        let service = self.a_service();
        self.note(format!("by plane {plane} service {service} has other endpoints"));
        self.planes[plane].move_endpoints(&self.random, service);
        self.say(plane, service);
    }

    /// The first plane says something else a few times, and time passes.
    async fn changes(&mut self, most: usize) {
        for _ in 0..self.below(most + 1) {
            self.change();
            self.pass_a_while().await;
        }
    }

    async fn update(&mut self) {
        self.change();
        self.changes(3).await;
        self.in_step().await;
    }

    async fn kill(&mut self) {
        self.note("the first plane is killed");
        self.disturb();
        self.planes[0].stop();
        self.pass_a_while().await;
        if self.below(3) == 0 {
            self.come();
        }
        self.changes(3).await;
        self.note("it is started again");
        self.planes[0].resume().await;
        self.pass_a_while().await;
    }

    async fn restart_empty(&mut self) {
        self.in_step().await;
        self.note("the first plane is restarted empty");
        self.disturb();
        self.planes[0].stop();
        self.planes[0].forget();
        self.planes[0].resume().await;
        self.pass_a_while().await;
        if self.below(3) == 0 {
            self.planes[0].server.cut(14, "again");
            self.pass_a_while().await;
        }
        self.note("it fills up again");
        self.say_all();
        self.pass_a_while().await;
    }

    async fn restart_stale(&mut self) {
        self.in_step().await;
        self.note("the first plane is restarted stale");
        self.disturb();
        let newest = self.planes[0].truth.clone();
        self.planes[0].stop();
        self.planes[0].fall_back(&self.random);
        for service in 0..SERVICES {
            self.allow(0, service);
        }
        self.planes[0].resume().await;
        self.pass_a_while().await;
        if self.below(2) == 0 {
            self.in_step().await;
            self.note("it is up to date again");
            self.planes[0].truth = newest;
            self.say_all();
        }
        self.pass_a_while().await;
    }

    async fn flap(&mut self) {
        self.note("the first plane flaps");
        self.disturb();
        for _ in 0..5 + self.below(20) {
            self.change_endpoints(0);
            match self.below(6) {
                0 => self.planes[0].stop(),
                1 | 2 => self.planes[0].resume().await,
                3 => self.planes[0].server.drop_connections(),
                4 => self.planes[0].server.cut(14, "again"),
                _ => {
                    let refusal = (self.below(2) == 0).then_some((8, "too many"));
                    self.planes[0].server.refuse(refusal);
                }
            }
            let most = [20, 200, 3_000][self.below(3)];
            self.pass(Duration::from_millis(self.random.next() % most)).await;
        }
        self.planes[0].server.refuse(None);
        self.planes[0].resume().await;
        self.pass_a_while().await;
    }

    async fn silence(&mut self) {
        self.in_step().await;
        self.note("the first plane is silent");
        self.disturb();
        self.planes[0].server.silent(true);
        if self.below(2) == 0 {
            self.note("its streams end");
            self.planes[0].server.cut(14, "again");
        }
        self.pass_a_while().await;
        self.changes(3).await;
        self.note("it speaks again");
        self.planes[0].server.silent(false);
        self.pass_a_while().await;
    }

    async fn reorder(&mut self) {
        self.in_step().await;
        self.planes[0].server.hold();
        for _ in 0..2 + self.below(4) {
            self.change();
            self.pass(Duration::from_millis(self.random.next() % 500)).await;
        }
        let order = if self.below(4) == 0 { Order::Made } else { Order::Reversed };
        self.note(format!("{} answers come {order:?}", self.planes[0].server.held()));
        self.planes[0].server.release(order);
        self.pass(Duration::from_secs(1)).await;
        // What came last may be the oldest.
        self.say_all();
        self.pass_a_while().await;
    }

    /// Something that a service needs.
    fn a_resource(&self, service: usize) -> (Kind, String) {
        let kind = KINDS[self.below(KINDS.len())];
        let names = self.planes[0].truth.needed(kind, &[service]);
        let at = self.below(names.len());
        (kind, names.into_iter().nth(at).unwrap_or_default())
    }

    async fn lose(&mut self) {
        self.in_step().await;
        let service = self.a_hired_service();
        let (kind, name) = self.a_resource(service);
        if self.below(2) == 0 {
            self.note(format!("{kind} {name} is removed"));
            self.planes[0].server.remove(kind.url(), &name);
        } else {
            let code = [5, 7, 14][self.below(3)];
            self.note(format!("{kind} {name} fails with {code}"));
            self.planes[0].server.fail(kind.url(), &name, code, "lost");
        }
        self.pass_a_while().await;
        if self.below(3) == 0 {
            self.disturb();
            self.planes[0].server.drop_connections();
            self.pass_a_while().await;
        }
        self.note("it is back");
        self.say(0, service);
        self.pass_a_while().await;
    }

    async fn refuse(&mut self) {
        self.in_step().await;
        let service = self.a_hired_service();
        let (kind, name) = self.a_resource(service);
        self.note(format!("{kind} {name} cannot be used"));
        let nacks = self.planes[0].server.nacks(kind.url()).len();
        let cluster = self.planes[0].truth.clusters(service).next().cloned();
        let bad = if kind == Kind::Routes {
            // The weights of a split are not all zero.
            Resource::split(name, "*", [(cluster.unwrap_or_default(), 0)])
        } else {
            Resource::encoded(kind.url(), name, JUNK)
        };
        self.planes[0].say(vec![bad]);
        self.until(|world| {
            let is_refused = world.planes[0].server.nacks(kind.url()).len() > nacks;
            (!is_refused).then(|| format!("{kind} of service {service} is not refused"))
        })
        .await;
        // No past is remembered that has it.
        for _ in 0..self.below(3) {
            self.change_endpoints(0);
            self.pass_a_while().await;
        }
        if self.below(3) == 0 {
            self.disturb();
            self.planes[0].server.cut(14, "again");
            self.pass_a_while().await;
        }
        self.note("it can be used again");
        self.say(0, service);
        self.pass_a_while().await;
    }

    /// The first plane fails while something is missing, and both of them come and go.
    async fn disagree(&mut self) {
        self.in_step().await;
        self.note("the first plane is away, and the other is asked");
        self.disturb();
        self.planes[0].stop();
        // Who does not hold all that is asked for is asked no more: the next one is.
        self.nowhere += 1;
        drop(self.mesh.client(&format!("nowhere{}", self.nowhere)));
        self.follows(1).await;
        for _ in 0..2 + self.below(6) {
            let plane = self.below(2);
            match self.below(6) {
                0 if self.planes[plane].is_up() => self.planes[plane].stop(),
                0..=2 => self.planes[plane].resume().await,
                3 => self.planes[plane].server.cut(14, "again"),
                4 => self.planes[plane].server.drop_connections(),
                _ => self.change_endpoints(plane),
            }
            self.pass_a_while().await;
        }
        self.note("both are well");
        self.planes[1].resume().await;
        self.planes[0].resume().await;
        self.pass_a_while().await;
    }

    /// How often the first plane was asked for clusters and endpoints.
    fn requests(&self) -> usize {
        let of = |kind: Kind| self.planes[0].server.requests_of(kind.url()).len();
        of(Kind::Cluster) + of(Kind::Endpoints)
    }

    /// A service leads to very many clusters at once, none of which is known.
    pub(super) async fn burst(&mut self) {
        self.in_step().await;
        let (service, count) = (self.a_hired_service(), 65 + self.below(136));
        self.note(format!("service {service} leads to {count} other clusters"));
        let before = self.requests();
        self.planes[0].move_clusters(&self.random, service, count);
        self.say(0, service);
        if self.below(2) == 0 {
            self.note("and the connection is lost");
            self.disturb();
            self.planes[0].server.drop_connections();
            self.in_step().await;
        } else {
            self.in_step().await;
            let made = self.requests() - before;
            if made > 50 {
                self.fail(&format!("{made} requests for {count} clusters"));
            }
        }
        self.pass(Duration::from_secs(10)).await;
        let few = 1 + self.below(2);
        self.note(format!("service {service} leads to {few} other clusters"));
        self.planes[0].move_clusters(&self.random, service, few);
        self.say(0, service);
        self.pass_a_while().await;
    }

    /// Another mesh shares the stream, asks for very many names at once, and gives them up at once.
    pub(super) async fn crowd(&mut self) {
        self.in_step().await;
        self.note(format!("{CROWD} names are asked for"));
        let mut said = Vec::new();
        for at in 0..CROWD_ROUTES {
            let (routes, cluster) = (format!("crowd-routes{at}"), format!("crowd-cluster{at}"));
            said.push(Resource::endpoints(cluster.as_str(), [planes::address(0, 0, 0)]));
            said.push(Resource::cluster(cluster.as_str()));
            said.push(Resource::routes(routes, [("*", cluster)]));
        }
        let names: BTreeSet<String> = (0..CROWD).map(|at| format!("crowd{at}")).collect();
        for (at, name) in names.iter().enumerate() {
            let routes = format!("crowd-routes{}", at % CROWD_ROUTES);
            said.push(Resource::listener(name.as_str(), routes));
        }
        self.planes[0].say(said);
        let other = mesh(&self.xds, &self.network, 1);
        let clients: Vec<Client> = names.iter().map(|name| other.client(name).unwrap()).collect();
        self.until(|world| {
            let (plane, asked) = (&world.planes[0].server, world.planes[0].asked(Kind::Listener));
            let lack =
                (!asked.is_superset(&names)).then(|| format!("{} are asked for", asked.len()));
            let count = (plane.streams(), plane.connections());
            lack.or_else(|| (count != (1, 1)).then(|| format!("{count:?} streams, connections")))
        })
        .await;
        if self.below(3) == 0 {
            self.note("the connection is lost");
            self.disturb();
            self.planes[0].server.drop_connections();
        }
        self.pass_a_while().await;
        self.note("they are given up");
        drop((clients, other));
        self.pass(Duration::from_secs(1)).await;
        let count = |kind: Kind| self.planes[0].asked(kind).len();
        let asked: usize = KINDS.into_iter().map(count).sum();
        let all: Vec<usize> = (0..SERVICES).collect();
        let needs = |kind: Kind| self.planes[0].truth.needed(kind, &all).len();
        let needed: usize = KINDS.into_iter().map(needs).sum();
        // Names that lead nowhere may be asked for still.
        if asked > needed + self.nowhere + LINGER {
            self.fail(&format!("{asked} names are asked for still, and {needed} needed at most"));
        }
        self.pass_a_while().await;
    }

    /// A service that nobody calls is called from now on, if there is one.
    fn come(&mut self) {
        let idle: Vec<usize> = (0..SERVICES).filter(|it| !self.hired.contains(it)).collect();
        if !idle.is_empty() {
            self.hire(idle[self.below(idle.len())]);
        }
    }

    async fn come_and_go(&mut self) {
        if self.hired.len() > 2 && self.below(2) == 0 {
            let service = self.a_hired_service();
            self.note(format!("service {service} is called no more"));
            self.calls.stop_one(service);
            self.hired.remove(&service);
        } else {
            self.come();
        }
        self.pass_a_while().await;
    }
}
