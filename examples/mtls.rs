//! Mutual TLS between a mesh and its replicas, and a rotation of everything in mid-traffic: the own
//! certificate, the replicas' certificates, and the authority itself. No call fails.
//!
//! ```text
//! cargo run --example mtls
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

#[path = "support/authority.rs"]
mod authority;

use std::{
    convert::Infallible,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower_mesh::{
    Body, BoxError, Client, Event, EventStream, Mesh,
    security::{KeyPair, Trust},
};

use self::authority::{Authority, Certificate};

/// Who the replicas are, and who calls them.
const USERS: &str = "users.prod";
const CALLER: &str = "spiffe://prod.example/ns/shop/sa/cart";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (old, new) = (Authority::new("old")?, Authority::new("new")?);
    let (folder, roots) = (tempfile::tempdir()?, [&old, &new]);
    let path = folder.path();
    write_roots(path, &[&old])?;
    write_pair(path, &old.issue(CALLER)?)?;

    // The replicas believe callers of both authorities all the time.
    let acceptor = |by: &Authority| authority::acceptor(&by.issue(USERS)?, &roots);
    let one = Replica::start("one", acceptor(&old)?).await?;
    let two = Replica::start("two", acceptor(&old)?).await?;

    let often = Duration::from_millis(200);
    let mesh = Mesh::builder()
        .endpoints(USERS, [one.address, two.address])
        .identity(
            KeyPair::pem_files(path.join("tls.crt"), path.join("tls.key")).poll_interval(often),
        )
        .trust(Trust::pem_file(path.join("ca.crt")).poll_interval(often))
        .service(USERS, |s| s.mutual_tls())
        .build()?;
    mesh.ready().await?;
    let mut events = mesh.events();
    // Listened to from the start: a stream of events that is not read forgets the oldest.
    let load = Load::start(&mesh.client(USERS)?);
    if let Some(Event::Connected { peer: Some(peer), .. }) =
        next(&mut events, |event| matches!(event, Event::Connected { .. })).await
    {
        println!("connected, and the endpoint has proved to be {peer}");
    }
    for line in mesh.describe().to_string().lines().filter(|line| line.contains("security.")) {
        println!("  {}", line.trim());
    }

    println!("\nthe own certificate and key are renewed");
    write_pair(path, &old.issue(CALLER)?)?;
    applied(&mut events, "identity").await;
    load.tell();

    println!("\nthe authority is replaced: first, both are believed");
    write_roots(path, &roots)?;
    applied(&mut events, "trust").await;
    println!("then the replicas, and the caller, take certificates of the new one");
    one.rotate(acceptor(&new)?);
    two.rotate(acceptor(&new)?);
    write_pair(path, &new.issue(CALLER)?)?;
    applied(&mut events, "identity").await;
    load.tell();
    println!("at last, the old one goes, and with it the connections that it has vouched for");
    write_roots(path, &[&new])?;
    if let Some(Event::Disconnected { endpoint, reason, .. }) =
        next(&mut events, |event| matches!(event, Event::Disconnected { .. })).await
    {
        println!("  {endpoint}: {reason}");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    load.tell();

    println!("\na replica is somebody else all of a sudden");
    two.rotate(authority::acceptor(&new.issue("orders.prod")?, &roots)?);
    two.cut.notify_waiters();
    if let Some(Event::ConnectFailed { endpoint, cause, .. }) =
        next(&mut events, |event| matches!(event, Event::ConnectFailed { .. })).await
    {
        println!("  {endpoint}: {cause}");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;

    let (calls, failed) = load.end().await;
    println!("\n{calls} calls, {failed} failed");
    mesh.shutdown(Duration::from_secs(1)).await;
    if failed > 0 { Err("calls failed".into()) } else { Ok(()) }
}

/// Callers that do not stop.
struct Load {
    counts: Arc<[AtomicUsize; 2]>,
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let (counts, stop) = (Arc::<[AtomicUsize; 2]>::default(), Arc::new(AtomicBool::new(false)));
        let callers = (0..16).map(|_| {
            let (client, counts, stop) = (client.clone(), Arc::clone(&counts), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    counts[0].fetch_add(1, SeqCst);
                    if let Err(error) = call(&client).await {
                        println!("failed: {error}");
                        counts[1].fetch_add(1, SeqCst);
                    }
                }
            })
        });
        Self { callers: callers.collect(), counts, stop }
    }

    fn tell(&self) {
        let [calls, failed] = [0, 1].map(|count| self.counts[count].load(SeqCst));
        println!("  {calls} calls so far, {failed} failed");
    }

    async fn end(self) -> (usize, usize) {
        self.stop.store(true, SeqCst);
        for caller in self.callers {
            drop(caller.await);
        }
        (self.counts[0].load(SeqCst), self.counts[1].load(SeqCst))
    }
}

async fn call(client: &Client) -> Result<(), tower_mesh::Error> {
    let request = Request::get("/").body(Body::empty()).expect("a request");
    let text = client.send(request).await?.into_body().text().await?;
    assert_eq!(text, "hello");
    Ok(())
}

/// The next event of a kind, if it comes within ten seconds.
async fn next(events: &mut EventStream, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
    let search = async {
        while let Some(event) = events.recv().await {
            if wanted(&event) {
                return Some(event);
            }
        }
        None
    };
    tokio::time::timeout(Duration::from_secs(10), search).await.expect("no such event")
}

/// Waits until a part that begins so is in force.
async fn applied(events: &mut EventStream, begins: &str) {
    let event = next(
        events,
        |event| matches!(event, Event::ConfigApplied { part, .. } if part.starts_with(begins)),
    );
    if let Some(Event::ConfigApplied { part, .. }) = event.await {
        let name = part.rsplit('/').next().unwrap_or_default();
        println!("  in force: {begins} …/{name}");
    }
}

fn write_pair(folder: &Path, pair: &Certificate) -> std::io::Result<()> {
    swap(&folder.join("tls.crt"), &pair.chain)?;
    swap(&folder.join("tls.key"), &pair.key)
}

fn write_roots(folder: &Path, authorities: &[&Authority]) -> std::io::Result<()> {
    let pem: String = authorities.iter().map(|authority| authority.pem()).collect();
    swap(&folder.join("ca.crt"), &pem)
}

/// Writes a file by a rename, so that no reader sees a half of it.
fn swap(path: &Path, content: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::rename(&new, path)
}

/// A server over mutual TLS.
struct Replica {
    address: std::net::SocketAddr,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    cut: Arc<tokio::sync::Notify>,
}

impl Replica {
    async fn start(name: &'static str, acceptor: TlsAcceptor) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let replica = Self {
            address: listener.local_addr()?,
            acceptor: Arc::new(Mutex::new(acceptor)),
            cut: Arc::default(),
        };
        let (acceptor, cut) = (Arc::clone(&replica.acceptor), Arc::clone(&replica.cut));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, cut) = (acceptor.lock().unwrap().clone(), Arc::clone(&cut));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |_: Request<Incoming>| async move {
                        let reply = Response::builder().header("x-replica", name);
                        Ok::<_, Infallible>(reply.body(Full::<Bytes>::from("hello")).unwrap())
                    });
                    let builder = Builder::new(TokioExecutor::new());
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    let mut connection = std::pin::pin!(connection);
                    tokio::select! {
                        _ = connection.as_mut() => {}
                        () = cut.notified() => {
                            connection.as_mut().graceful_shutdown();
                            drop(connection.await);
                        }
                    }
                });
            }
        });
        Ok(replica)
    }

    /// Takes another certificate for further connections.
    fn rotate(&self, acceptor: TlsAcceptor) {
        *self.acceptor.lock().unwrap() = acceptor;
    }
}
