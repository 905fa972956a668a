//! One stream for all, and none for nobody (T1, T7).

use super::*;

#[tokio::test]
async fn meshes_share_a_stream_and_hear_at_once_what_is_known() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("a"), Resource::cluster("b")]);
    let (mut one, mut two) = (Mesh::to([plain(&plane)]), Mesh::to([plain(&plane)]));
    one.watch(Kind::Cluster, "a");
    one.gets(Kind::Cluster, "a").await;
    plane.silent(true);
    two.watch(Kind::Cluster, "a");
    two.gets(Kind::Cluster, "a").await;
    plane.silent(false);
    two.watch(Kind::Cluster, "b");
    two.gets(Kind::Cluster, "b").await;
    assert!(one.heard.is_empty(), "{:?}", one.heard);
    assert_eq!((plane.streams(), plane.connections()), (1, 1));
    assert!(plane.requests().iter().all(|request| request.stream == 1));

    // Both hear of what both watch.
    plane.set([Resource::split("r", "x", [("a", 1)])]);
    one.watch(Kind::Routes, "r");
    two.watch(Kind::Routes, "r");
    one.gets(Kind::Routes, "r").await;
    two.gets(Kind::Routes, "r").await;
    plane.set([Resource::split("r", "x", [("b", 1)])]);
    assert_eq!(one.gets(Kind::Routes, "r").await, "2");
    assert_eq!(two.gets(Kind::Routes, "r").await, "2");

    // With the one the other does not end; with both the stream does, and the connection.
    drop(one);
    plane.set([Resource::split("r", "x", [("a", 1), ("b", 1)])]);
    assert_eq!(two.gets(Kind::Routes, "r").await, "3");
    drop(two);
    within(plane.until(|plane| plane.streams() == 0 && plane.connections() == 0)).await;
}

#[tokio::test]
async fn no_task_is_left_behind() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("a")]);
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..20 {
        let mut mesh = Mesh::to([plain(&plane)]);
        mesh.watch(Kind::Cluster, "a");
        mesh.gets(Kind::Cluster, "a").await;
    }
    within(plane.until(|plane| plane.connections() == 0 && tasks() <= before)).await;
}

#[tokio::test]
async fn names_that_are_left_are_left_by_the_shared_stream_too() {
    let plane = AdsServer::start().await.unwrap();
    let names: Vec<String> = (0..500).map(|at| format!("c{at}")).collect();
    plane.set(names.iter().map(Resource::cluster));
    let (mut one, mut two) = (Mesh::to([plain(&plane)]), Mesh::to([plain(&plane)]));
    for name in &names {
        one.watch(Kind::Cluster, name);
    }
    two.watch(Kind::Cluster, "c0");
    one.gets(Kind::Cluster, "c499").await;
    two.gets(Kind::Cluster, "c0").await;
    for name in &names {
        one.unwatch(Kind::Cluster, name);
    }
    // What nobody watches is asked for a while longer, up to a bound: never all of it.
    let most = crate::control::xds::client::Linger::default().names + 1;
    within(plane.until(|plane| {
        let asked = plane.subscriptions(CDS);
        asked.first().is_some_and(|names| names.len() <= most && names.contains("c0"))
    }))
    .await;
    // The other one goes on.
    plane.forget_requests();
    plane.set([Resource::split("r", "x", [("a", 1)])]);
    two.watch(Kind::Routes, "r");
    two.gets(Kind::Routes, "r").await;
}

#[test]
fn the_others_go_on_when_the_runtime_of_the_first_ends() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    let (theirs, ours, planes) = (runtime(), runtime(), runtime());
    let plane = planes.block_on(AdsServer::start()).unwrap();
    let uri = plane.uri();
    plane.set([Resource::cluster("a")]);
    let first = theirs.block_on(async {
        let mut mesh = Mesh::to([Server::insecure(&*uri)]);
        mesh.watch(Kind::Cluster, "a");
        mesh.gets(Kind::Cluster, "a").await;
        mesh
    });
    ours.block_on(async {
        let mut second = Mesh::to([Server::insecure(&*uri)]);
        second.watch(Kind::Cluster, "a");
        second.gets(Kind::Cluster, "a").await;
        theirs.shutdown_background();
        second.watch(Kind::Cluster, "b");
        plane.set([Resource::cluster("b")]);
        // What it knew is told again first.
        second.gets(Kind::Cluster, "b").await;
    });
    drop(first);
}

/// Nobody says it again: it is known.
#[test]
fn what_is_held_is_taken_up_when_the_runtime_of_the_first_ends() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    for delta in [false, true] {
        let (theirs, ours, planes) = (runtime(), runtime(), runtime());
        let plane = planes.block_on(AdsServer::start()).unwrap();
        let server = Server::insecure(plane.uri()).delta(delta);
        plane.set([Resource::cluster("a")]);
        let first = theirs.block_on(async {
            let mut mesh = Mesh::to([server.clone()]);
            mesh.watch(Kind::Cluster, "a");
            mesh.gets(Kind::Cluster, "a").await;
            mesh
        });
        ours.block_on(async {
            let mut second = Mesh::to([server]);
            second.watch(Kind::Cluster, "a");
            let version = second.gets(Kind::Cluster, "a").await;
            plane.silent(true);
            theirs.shutdown_background();
            assert_eq!(second.gets(Kind::Cluster, "a").await, version);
            let asks = |plane: &AdsServer| plane.requests().into_iter().find(|it| it.stream == 2);
            within(plane.until(|plane| asks(plane).is_some())).await;
            let held = asks(&plane).unwrap().initial_versions.get("a").cloned();
            assert_eq!(held, delta.then_some(version));
        });
        drop(first);
    }
}

#[tokio::test]
async fn an_agent_is_never_asked_by_two_of_a_process() {
    let dir = tempfile::tempdir().unwrap();
    let uri = format!("unix:{}", dir.path().join("XDS").display());
    let subscribe = |node: &str| {
        let bootstrap = Bootstrap::builder().server(Server::insecure(&*uri)).node_id(node).build();
        REGISTRY.subscribe(Arc::new(bootstrap.unwrap()), Handle::current(), |_| Plain)
    };
    let one = subscribe("a").unwrap();
    let same = subscribe("a").unwrap();
    let error = subscribe("b").unwrap_err().to_string();
    assert!(error.contains(&uri) && error.contains("same bootstrap"), "{error}");
    // By whatever spelling.
    let other = Server::insecure(uri.replace("unix:", "unix://"));
    let other = Bootstrap::builder().server(other).node_id("b").build().unwrap();
    let refused = REGISTRY.subscribe(Arc::new(other), Handle::current(), |_| Plain);
    assert!(refused.is_err_and(|error| error.to_string().contains("same bootstrap")));
    drop((one, same));
    within(async {
        while subscribe("b").is_err() {
            a_while().await;
        }
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_spellings_of_a_socket_are_one_stream() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let path = std::path::absolute(dir.path().join("XDS")).unwrap();
    let relative = dir.path().join("XDS");
    let plane = AdsServer::start_unix(&path).await.unwrap();
    plane.set([Resource::cluster("a")]);
    let mut meshes = Vec::new();
    for uri in [
        format!("unix:{}", path.display()),
        format!("unix://{}", path.display()),
        format!("unix:{}", relative.display()),
        format!("unix:{}", path.display().to_string().replace("/XDS", "/.//XDS")),
    ] {
        let mut mesh = Mesh::to([Server::insecure(&*uri)]);
        mesh.watch(Kind::Cluster, "a");
        mesh.gets(Kind::Cluster, "a").await;
        meshes.push(mesh);
    }
    assert_eq!((plane.streams(), plane.connections()), (1, 1));
}

#[tokio::test]
async fn a_task_that_panics_again_and_again_is_begun_again_more_and_more_seldom_and_reported() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("panics"), Resource::cluster("good")]);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Cluster, "panics");
    let began = tokio::time::Instant::now();
    for lost in 1..=3 {
        let batch = within(mesh.subscriber.next()).await;
        let reason = batch.lost.unwrap();
        assert!(reason.contains("ended before its time") && batch.told.is_empty(), "{reason}");
        // At once, after half a second, after another one.
        let least =
            [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500)][lost - 1];
        assert!(began.elapsed() >= least, "{lost}: {:?}", began.elapsed());
    }
    let streams: std::collections::BTreeSet<u64> =
        plane.requests().iter().map(|request| request.stream).collect();
    assert!(streams.len() <= 4, "{streams:?}");
    // It is well without that.
    mesh.unwatch(Kind::Cluster, "panics");
    mesh.watch(Kind::Cluster, "good");
    mesh.gets(Kind::Cluster, "good").await;
}

/// What it panics by says nothing of what is held.
#[tokio::test]
async fn what_is_held_is_taken_up_from_a_task_that_has_panicked() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("a")]);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    // In each answer from now on, so that none of them is read to its end.
    plane.set([Resource::cluster("panics")]);
    mesh.watch(Kind::Cluster, "panics");
    mesh.gets(Kind::Cluster, "a").await;
}
