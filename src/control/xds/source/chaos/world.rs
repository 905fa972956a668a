//! Two planes, a mesh and its callers; and what must be so.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::runtime::Handle;

use super::{
    below,
    calls::Calls,
    planes::{self, Clusters, ENDPOINTS, KINDS, Plane, SERVICES},
};
use crate::{
    Mesh,
    control::xds::{
        BootstrapBuilder, ResourceStatus,
        bootstrap::{Bootstrap, Server},
        kind::Kind,
        source::{REGISTRY, Xds},
    },
    core::{Instant, Random},
    testing::{Fault, Network},
};

pub(super) struct World {
    pub(super) random: Random,
    pub(super) planes: [Plane; 2],
    pub(super) mesh: Mesh,
    pub(super) calls: Calls,
    /// The services that are called.
    pub(super) hired: BTreeSet<usize>,
    pub(super) network: Network,
    pub(super) xds: Xds,
    /// The names that were asked for and that nobody has.
    pub(super) nowhere: usize,
    /// What has happened last.
    log: VecDeque<String>,
    began: Instant,
    seed: u64,
    delta: bool,
    /// How many there were before the mesh.
    tasks: usize,
    /// How many there were in the first night.
    idle_tasks: Option<usize>,
}

/// How long a name is followed that nobody calls.
const UNUSED: Duration = Duration::from_secs(120);
/// In this time a plane that is well is followed: no pause between streams is longer than 144 s.
const PATIENCE: Duration = Duration::from_secs(600);
/// How much of what has happened is told.
const LOG: usize = 40;

impl World {
    pub(super) async fn start(seed: u64, delta: bool) -> Self {
        // The stream's own.
        fastrand::seed(seed);
        let random = Random::seeded(seed);
        let network = Network::new();
        for plane in 0..2 {
            for service in 0..SERVICES {
                for endpoint in 0..ENDPOINTS {
                    let address = planes::address(plane, service, endpoint).to_string();
                    let late = Duration::from_millis(random.next() % 40);
                    drop(network.endpoint(&address).fault(Fault::Delay(late)));
                }
            }
        }
        let planes = [Plane::start(0, &random).await, Plane::start(1, &random).await];
        let servers = planes.iter().map(|plane| Server::insecure(plane.server.uri()).delta(delta));
        let bootstrap = Bootstrap::builder().node_id("chaos");
        let bootstrap = servers.fold(bootstrap, BootstrapBuilder::server);
        let xds = Xds::new(bootstrap.build().unwrap()).unused_after(UNUSED);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        let mesh = mesh(&xds, &network, seed);
        let mut world = Self {
            random,
            planes,
            mesh,
            calls: Calls::default(),
            hired: BTreeSet::new(),
            network,
            xds,
            nowhere: 0,
            log: VecDeque::new(),
            began: Instant::now(),
            seed,
            delta,
            tasks,
            idle_tasks: None,
        };
        for service in 0..SERVICES {
            world.allow(0, service);
        }
        world.calls.pace(Duration::from_secs(1));
        world.hire(0);
        world.hire(1);
        world
    }

    // === what happens ===

    pub(super) fn below(&self, most: usize) -> usize {
        below(&self.random, most)
    }

    /// From a moment to minutes.
    pub(super) fn a_while(&self) -> Duration {
        let most = [50, 1_000, 20_000, 180_000][self.below(4)];
        Duration::from_millis(1 + self.random.next() % most)
    }

    /// Notes what happens, for whoever looks for a cause.
    pub(super) fn note(&mut self, what: impl Into<String>) {
        let what: String = what.into();
        self.log.push_back(format!("{:.3} s: {what}", self.began.elapsed().as_secs_f64()));
        if self.log.len() > LOG {
            self.log.pop_front();
        }
    }

    /// Calls a service that nobody has called yet, or not for a while.
    pub(super) fn hire(&mut self, service: usize) {
        self.note(format!("service {service} is called"));
        self.calls.is_new(service);
        self.hired.insert(service);
        self.calls.start(service, self.mesh.http());
    }

    /// A plane says what is true of a service.
    pub(super) fn say(&mut self, plane: usize, service: usize) {
        self.allow(plane, service);
        self.planes[plane].say_service(service);
    }

    /// The first plane says all that is true.
    pub(super) fn say_all(&mut self) {
        for service in 0..SERVICES {
            self.allow(0, service);
        }
        self.planes[0].say_all();
    }

    /// Calls may go where a plane says that they should.
    pub(super) fn allow(&self, plane: usize, service: usize) {
        self.calls.may(service, self.planes[plane].endpoints(service));
    }

    /// The way to the first plane may fail from now on, so that the other one is asked.
    pub(super) fn disturb(&self) {
        for service in 0..SERVICES {
            self.allow(1, service);
        }
    }

    /// Lets time pass, with calls.
    pub(super) async fn pass(&self, time: Duration) {
        self.calls.pace((time / 4).clamp(Duration::from_millis(5), Duration::from_secs(10)));
        tokio::time::sleep(time).await;
        self.look();
    }

    pub(super) async fn pass_a_while(&self) {
        self.pass(self.a_while()).await;
    }

    // === what must be so ===

    fn whose(&self) -> String {
        let (seed, mode) = (self.seed, if self.delta { "delta" } else { "state of the world" });
        let (time, made) = (self.began.elapsed().as_secs(), self.calls.made());
        format!("CHAOS_SEED={seed} ({mode}), after {time} s and {made} calls")
    }

    pub(super) fn fail(&self, what: &str) -> ! {
        let log = self.log.iter().cloned().collect::<Vec<_>>().join("\n  ");
        let mesh = self.mesh.describe();
        let (whose, hired) = (self.whose(), &self.hired);
        panic!("{whose}: {what}\nhired: {hired:?}\n  {log}\n{mesh:#}");
    }

    /// Fails if something has gone wrong with a call.
    pub(super) fn look(&self) {
        if let Some(wrong) = self.calls.failed() {
            self.fail(&wrong);
        }
    }

    /// Waits until nothing is said against it.
    pub(super) async fn until(&self, lack: impl Fn(&Self) -> Option<String>) {
        let (since, mut pause) = (Instant::now(), Duration::from_millis(20));
        while let Some(wrong) = lack(self) {
            if since.elapsed() > PATIENCE {
                self.fail(&format!("still so after {PATIENCE:?}: {wrong}"));
            }
            self.pass(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Waits until the mesh is what this plane says.
    pub(super) async fn follows(&self, plane: usize) {
        self.until(|world| world.is_behind(plane)).await;
    }

    /// Waits until it is what the first plane says, by one stream to it.
    pub(super) async fn in_step(&self) {
        self.follows(0).await;
    }

    fn is_behind(&self, plane: usize) -> Option<String> {
        let of = &self.planes[plane];
        if of.server.streams() != 1 {
            return Some(format!("plane {plane} has {} streams", of.server.streams()));
        }
        for kind in KINDS {
            let asked = of.asked(kind);
            let needed = of.truth.needed(kind, &self.hired);
            if let Some(name) = needed.difference(&asked).next() {
                return Some(format!("plane {plane} is not asked for {kind} {name}"));
            }
        }
        let described = self.described();
        self.hired.iter().find_map(|service| {
            let (is, name) = (of.described(*service), planes::name(*service));
            match described.get(&name) {
                Some(has) if *has == is => None,
                has => Some(format!("{name} is {has:?}, and plane {plane} says {is:?}")),
            }
        })
    }

    /// Each service, as the mesh has it.
    fn described(&self) -> BTreeMap<String, Clusters> {
        let mut all = BTreeMap::new();
        for service in self.mesh.describe().services {
            let mut has = Clusters::new();
            for cluster in service.routes.into_iter().flat_map(|route| route.clusters) {
                // A line begins with the address.
                let addresses = cluster.endpoints.iter().filter_map(|line| line.split(' ').next());
                has.insert(cluster.name, addresses.map(str::to_owned).collect());
            }
            all.insert(service.name, has);
        }
        all
    }

    /// All is well for long enough that nothing is left of what was: then all is exactly as it should be.
    pub(super) async fn peace(&mut self) {
        self.note("peace");
        for plane in &mut self.planes {
            plane.mend().await;
        }
        self.planes[1].say_all();
        self.say_all();
        self.in_step().await;
        self.planes.iter_mut().for_each(Plane::tidy);
        // What lingers is given up, and so are the names that nobody calls any more.
        self.pass(2 * UNUSED + Duration::from_secs(60)).await;
        self.is_exact(&self.hired).await;
        if let Some(wrong) = self.is_behind(0) {
            self.fail(&wrong);
        }
        for service in 0..SERVICES {
            if self.hired.contains(&service) && !self.calls.is_known(service) {
                self.fail(&format!("service {service} does not answer"));
            }
            self.calls.only(service, self.planes[0].endpoints(service));
        }
        // Calls go there and nowhere else.
        self.pass(Duration::from_secs(20)).await;
        for plane in &self.planes {
            plane.server.forget_requests();
        }
    }

    /// Nobody calls for long: nothing is left. Then all is there again.
    pub(super) async fn night(&mut self) {
        self.note("night");
        self.calls.stop();
        tokio::time::sleep(2 * UNUSED + Duration::from_secs(120)).await;
        self.is_exact(&BTreeSet::new()).await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        if self.idle_tasks.is_some_and(|before| tasks > before) {
            self.fail(&format!("{tasks} tasks, and {:?} in the first night", self.idle_tasks));
        }
        self.idle_tasks = self.idle_tasks.or(Some(tasks));
        self.note("morning");
        for service in &self.hired {
            self.calls.start(*service, self.mesh.http());
        }
        self.pass(Duration::from_secs(10)).await;
    }

    /// What is asked for, held and published is what these services need.
    async fn is_exact(&self, services: &BTreeSet<usize>) {
        let plane = &self.planes[0];
        let is_needed = usize::from(!services.is_empty());
        let streams = self.planes.each_ref().map(|it| it.server.streams());
        let connections = self.planes.each_ref().map(|it| it.server.connections());
        if (streams, connections) != ([is_needed, 0], [is_needed, 0]) {
            self.fail(&format!("{streams:?} streams by {connections:?} connections"));
        }
        let status = self.xds.status().await;
        for kind in Kind::ALL {
            let needed = plane.truth.needed(kind, services);
            let held = status.resources.iter().filter(|it| it.kind == kind);
            let held: BTreeSet<String> = held.map(|it| it.name.to_string()).collect();
            for (what, names) in [("asked for", plane.asked(kind)), ("held", held)] {
                if names != needed {
                    self.fail(&format!("{kind}: {names:?} are {what}, and {needed:?} needed"));
                }
            }
        }
        let is_wrong =
            |it: &&ResourceStatus| it.error.is_some() || !it.is_needed || it.version.is_none();
        if let Some(wrong) = status.resources.iter().find(is_wrong) {
            self.fail(&format!("something is wrong with {wrong:?}"));
        }
        let description = self.mesh.describe();
        let names: BTreeSet<String> = description.services.into_iter().map(|it| it.name).collect();
        let needed: BTreeSet<String> = services.iter().map(|it| planes::name(*it)).collect();
        if names != needed {
            self.fail(&format!("{names:?} are there, and {needed:?} called"));
        }
        if let Some(refused) = description.refused.first() {
            self.fail(&format!("refused is {refused}"));
        }
    }

    /// Ends the mesh: nothing is left of it.
    pub(super) async fn end(self) {
        let whose = self.whose();
        let Self { planes, mesh, mut calls, tasks, xds, .. } = self;
        calls.stop();
        drop((calls, mesh));
        tokio::time::sleep(Duration::from_secs(60)).await;
        for plane in &planes {
            let left = (plane.server.streams(), plane.server.connections());
            assert_eq!(left, (0, 0), "{whose}: streams and connections are left");
        }
        let asks = |bootstrap: &Arc<Bootstrap>| bootstrap.asks_as(&xds.bootstrap);
        assert!(!REGISTRY.bootstraps().iter().any(asks), "{whose}: the client is left");
        let left = Handle::current().metrics().num_alive_tasks();
        assert!(left <= tasks, "{whose}: {left} tasks are left, and {tasks} were before");
    }
}

/// A mesh by these planes.
pub(super) fn mesh(xds: &Xds, network: &Network, seed: u64) -> Mesh {
    let builder = Mesh::builder().source(xds.clone()).connect_layer(network.clone());
    builder.seed(seed).build().unwrap()
}
