//! The callers: a few tasks per service and client that call without a pause.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Request;
use tokio::{task::JoinSet, time::Instant};
use tower_mesh::{Body, BoxError, Client, Mesh, adapt::reqwest};

use crate::{
    greeter::{GreeterClient, HelloRequest},
    notes::{Notes, listen},
    replica::REPLICA,
};

pub(crate) const USERS: &str = "users.prod";
pub(crate) const GREETER: &str = "greeter.prod";
pub(crate) const ORDERS: &str = "orders.prod";

/// Of each service, by each of its clients.
const CALLERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(4);

/// The calls in progress.
pub(crate) struct Load {
    notes: Arc<Mutex<Notes>>,
    stop: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    callers: JoinSet<()>,
}

impl Load {
    /// Calls all services through the mesh until it is stopped.
    pub(crate) fn start(mesh: &Mesh) -> Result<Self, BoxError> {
        let mut load = Self {
            notes: Arc::default(),
            stop: Arc::default(),
            in_flight: Arc::default(),
            callers: JoinSet::new(),
        };
        tokio::spawn(listen(mesh.events(), Arc::clone(&load.notes)));
        let plain = ::reqwest::Client::builder().no_proxy().no_gzip().build()?;
        let reqwest = mesh.reqwest(plain).build()?;
        for _ in 0..CALLERS {
            for service in [USERS, ORDERS] {
                let http = mesh.http();
                load.caller((service, "mesh.http()"), move || get(http.clone(), service));
                let http = reqwest.clone();
                load.caller((service, "reqwest"), move || fetch(http.clone(), service));
            }
            let greeter = GreeterClient::new(mesh.client(GREETER)?);
            load.caller((GREETER, "tonic"), move || greet(greeter.clone()));
        }
        Ok(load)
    }

    fn caller<F, Fut>(&mut self, what: (&'static str, &'static str), call: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<String, String>> + Send,
    {
        let (notes, stop) = (Arc::clone(&self.notes), Arc::clone(&self.stop));
        let in_flight = Arc::clone(&self.in_flight);
        self.callers.spawn(async move {
            while !stop.load(Relaxed) {
                let started = Instant::now();
                in_flight.fetch_add(1, Relaxed);
                let outcome = call().await;
                in_flight.fetch_sub(1, Relaxed);
                let elapsed = started.elapsed();
                notes.lock().unwrap().call(what, elapsed, outcome);
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// Looks at what happened so far.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Notes) -> T) -> T {
        look(&self.notes.lock().unwrap())
    }

    /// Calls that wait for their answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// What happened since the last look.
    pub(crate) fn take(&self) -> Notes {
        std::mem::take(&mut *self.notes.lock().unwrap())
    }

    /// No further call begins from here on.
    pub(crate) async fn stop(&self) {
        self.stop.store(true, Relaxed);
        // Whoever has just not seen it has begun by then.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// Waits until the last call has ended.
    pub(crate) async fn join(&mut self) {
        while self.callers.join_next().await.is_some() {}
    }
}

/// One HTTP call: the request's authority names the service.
async fn get(http: Client, service: &str) -> Result<String, String> {
    let request = Request::get(format!("http://{service}/1")).body(Body::empty()).unwrap();
    let response = http.send(request).await.map_err(|error| error.chain())?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()));
    }
    let replica = response.headers()[REPLICA].to_str().unwrap_or("?").to_owned();
    response.into_body().bytes().await.map_err(|error| error.chain())?;
    Ok(replica)
}

/// The same as code that uses reqwest has it.
async fn fetch(http: reqwest::Client, service: &str) -> Result<String, String> {
    let response = http.get(format!("https://{service}/1")).send().await;
    let response = response.and_then(|it| Ok(it.error_for_status()?));
    let response = response.map_err(|error| error.chain())?;
    let replica = response.headers()[REPLICA].to_str().unwrap_or("?").to_owned();
    response.bytes().await.map_err(|error| error.to_string())?;
    Ok(replica)
}

/// One gRPC call: a generated client, unchanged.
async fn greet(mut greeter: GreeterClient<Client>) -> Result<String, String> {
    let request = HelloRequest { name: "newcomer".to_owned() };
    let response = greeter.say_hello(request).await.map_err(|status| status.to_string())?;
    let replica = response.metadata().get(REPLICA).and_then(|name| name.to_str().ok());
    Ok(replica.unwrap_or("?").to_owned())
}
