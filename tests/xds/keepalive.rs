//! A control plane behind which the network has gone silent: its connection is declared dead by HTTP/2's
//! pings, another is made, and calls go on. Over real streams; the time between pings is virtual.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};
use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, Resource},
};

use crate::support::{Server, fetch, get, patience, small_steps};

/// Stands before a control plane. What passes it may fall silent, while its sockets stay open: nobody reads,
/// answers or closes.
struct Hole {
    uri: String,
    accepted: Arc<AtomicUsize>,
    /// So many of the connections, from the first on, are silent.
    silent: watch::Sender<usize>,
}

impl Hole {
    async fn before(plane: &AdsServer) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = port.local_addr().unwrap().to_string();
        let (silent, is_silent) = watch::channel(0);
        let accepted = Arc::new(AtomicUsize::new(0));
        let (behind, count) = (plane.uri(), Arc::clone(&accepted));
        tokio::spawn(async move {
            while let Ok((mut front, _)) = port.accept().await {
                let number = count.fetch_add(1, SeqCst);
                let (behind, mut is_silent) = (behind.clone(), is_silent.clone());
                tokio::spawn(async move {
                    let Ok(mut back) = TcpStream::connect(&*behind).await else { return };
                    let silent = async {
                        drop(is_silent.wait_for(|silent| *silent > number).await);
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut front, &mut back) => {}
                        () = silent => std::future::pending().await,
                    }
                });
            }
        });
        Self { uri, accepted, silent }
    }

    fn connections(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    /// All that have come until now fall silent.
    fn falls_silent(&self) {
        self.silent.send_replace(self.connections());
    }
}

async fn black_hole(node: &str, delta: bool) {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [a.socket()]));
    let hole = Hole::before(&plane).await;
    let server = Plane::insecure(&*hole.uri).delta(delta);
    let bootstrap = Bootstrap::builder().node_id(node).server(server).build().unwrap();
    let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
    let client = mesh.client("users").unwrap();
    let body = async || {
        let answer = fetch(&client, get("/")).await.unwrap();
        String::from_utf8_lossy(answer.body().as_ref()).into_owned()
    };
    assert_eq!(patience(body()).await, "a");
    assert_eq!(hole.connections(), 1);
    hole.falls_silent();
    // Told into the silence.
    plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
    tokio::time::pause();
    small_steps();
    let began = Instant::now();
    while hole.connections() == 1 {
        assert_eq!(body().await, "a", "calls go on");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(began.elapsed() < Duration::from_secs(120), "nobody notices");
    }
    let noticed = began.elapsed();
    tokio::time::resume();
    // A ping after 30 s of silence, 10 s for its answer, and a moment.
    assert!((30..45).contains(&noticed.as_secs()), "{noticed:?}");
    patience(async {
        while body().await != "b" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(hole.connections(), 2, "one is enough");
}

#[tokio::test]
async fn a_control_plane_that_falls_silent_is_left_for_a_new_connection() {
    black_hole("hole", false).await;
}

#[tokio::test]
async fn a_control_plane_of_changes_that_falls_silent_is_left_for_a_new_connection() {
    black_hole("hole-delta", true).await;
}
