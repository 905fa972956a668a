//! Connections, endpoints, configuration and events.

use super::*;

#[tokio::test]
async fn connections_are_counted_from_their_making_to_their_end() {
    let server = Server::named("hello").await;
    let (dead, _socket) = dead_address();
    let mesh = Mesh::builder().endpoints("users", [server.address(), dead]).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        fetch(&client, get("/")).await.unwrap();
    }
    let of = ("mesh.cluster", "users");
    let metrics = mesh.metrics();
    assert_eq!(metrics.total("mesh.client.connect.duration", &[of]), 1.0);
    assert_eq!(metrics.total("mesh.client.connections.open", &[of]), 1.0);
    assert!(metrics.total("mesh.client.connections.failed", &[of]) >= 1.0);
    assert!(metrics.total(ATTEMPT, &[of, ("error.type", "connect")]) >= 1.0);
    let state = |state| [of, ("mesh.endpoint.state", state)];
    assert_eq!(metrics.total("mesh.client.endpoints", &state("unavailable")), 1.0);
    assert_eq!(metrics.total("mesh.client.endpoints", &state("healthy")), 1.0);
    assert!(metrics.total("mesh.client.endpoint.latency", &[of]) > 0.0);
    check_attributes(&metrics);

    mesh.shutdown(Duration::from_secs(5)).await;
    let metrics = mesh.metrics();
    assert_eq!(metrics.total("mesh.client.connections.open", &[of]), 0.0);
    let closed = "mesh.client.connections.closed";
    assert_eq!(metrics.total(closed, &[of, ("mesh.disconnect.reason", "draining")]), 1.0);
    assert_eq!(metrics.total(closed, &[]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_told_by_how_they_stand() {
    let set = |healths: &[Health]| {
        let mut cluster = cluster((0..healths.len()).map(Leaves::address));
        for (endpoint, health) in cluster.endpoints.iter_mut().zip(healths) {
            endpoint.health = *health;
        }
        cluster
    };
    let healths = [Health::Unknown, Health::Healthy, Health::Unhealthy, Health::Draining];
    let mesh = one_cluster(set(&healths)).endpoint_metrics(false).build().unwrap();
    mesh.ready().await.unwrap();
    let metrics = mesh.metrics();
    for (state, count) in
        [("healthy", 2.0), ("unhealthy", 1.0), ("draining", 1.0), ("suspect", 0.0)]
    {
        let state = [("mesh.cluster", "users"), ("mesh.endpoint.state", state)];
        assert_eq!(metrics.total("mesh.client.endpoints", &state), count, "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_of_endpoints_can_be_left_out() {
    for wanted in [true, false] {
        let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) });
        let mesh = mesh.endpoint_metrics(wanted).build().unwrap();
        mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
        let metrics = mesh.metrics();
        let told = metrics.families.iter().filter(|it| it.name.contains(".endpoint."));
        assert_eq!(told.count(), if wanted { 3 } else { 0 });
        assert_eq!(metrics.total(ATTEMPT, &[]), 1.0);
        let setting = mesh.describe().to_string();
        assert!(setting.contains(&format!("telemetry.endpoint_metrics = {wanted} (code)")));
        assert!(setting.contains("telemetry.meter_provider = none (default)"), "{setting}");
    }
}

#[tokio::test(start_paused = true)]
async fn counts_survive_updates_and_leave_with_what_they_count() {
    let leaves = Leaves::new(3);
    let builder = leaves.leaves(Mesh::builder(), |_, _| async { Ok(ok("")) });
    let service = |timeout: u64| {
        let mut service = config::Service::default();
        let mut route = config::Route::default();
        route.name = Some("all".into());
        route.clusters = vec![config::WeightedCluster::new("users")];
        service.routes = vec![route];
        service.policy.timeout = Some(Duration::from_secs(timeout));
        service
    };
    let (mesh, publish) = published(builder, |publish| {
        publish.cluster("users", cluster(leaves.addresses())).unwrap();
        publish.service("front", service(1)).unwrap();
    })
    .await;
    let client = mesh.client("front").unwrap();
    let call = async |times: usize| {
        for _ in 0..times {
            client.send(get("/")).await.unwrap();
        }
    };
    call(30).await;
    let route = [("mesh.service", "front"), ("mesh.route", "all")];
    let of = ("mesh.cluster", "users");
    assert_eq!(mesh.metrics().total(CALL, &route), 30.0);

    // Another policy of the route, and settings of the cluster that make new pools.
    publish.service("front", service(2)).unwrap();
    let mut changed = cluster(leaves.addresses());
    changed.transport.connect_timeout = Some(Duration::from_secs(3));
    publish.cluster("users", changed).unwrap();
    call(10).await;
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(CALL, &route), 40.0);
    assert_eq!(metrics.total(ATTEMPT, &[of]), 40.0);

    // An endpoint that leaves leaves its counts to the cluster.
    let gone = Leaves::address(0);
    let by_endpoint = "mesh.client.endpoint.attempts";
    let its = [of, ("mesh.endpoint", "10.0.0.1:80")];
    assert!(mesh.metrics().total(by_endpoint, &its) > 0.0);
    publish.remove_endpoints("users", std::slice::from_ref(&gone));
    call(10).await;
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(by_endpoint, &its), 0.0);
    assert_eq!(metrics.total(ATTEMPT, &[of]), 50.0);

    // What is removed is not told of any more, and begins anew.
    publish.remove_service("front");
    publish.remove_cluster("users");
    let metrics = mesh.metrics();
    assert!(metrics.family(CALL).is_none() && metrics.family(ATTEMPT).is_none());
    publish.cluster("users", cluster(leaves.addresses())).unwrap();
    publish.service("front", service(1)).unwrap();
    call(1).await;
    assert_eq!(mesh.metrics().total(ATTEMPT, &[of]), 1.0);
    assert_eq!(mesh.metrics().total(CALL, &route), 1.0);
}

#[tokio::test(start_paused = true)]
async fn configuration_and_the_age_of_sources_are_told() {
    let (mesh, publish) = published(Mesh::builder(), |publish| {
        publish.cluster("users", cluster([Leaves::address(0)])).unwrap();
    })
    .await;
    let age = |mesh: &Mesh| {
        let held = [("mesh.source", "held by the test")];
        mesh.metrics().total("mesh.client.discovery.age", &held)
    };
    let applied = mesh.metrics().total("mesh.client.config.applied", &[]);
    assert!(applied >= 1.0);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!((39.0..42.0).contains(&age(&mesh)), "{}", age(&mesh));

    // A bad part does not make it younger; that all is as it was does.
    let mut bad = cluster([Leaves::address(0)]);
    bad.transport.connect_timeout = Some(Duration::ZERO);
    publish.cluster("bad", bad).unwrap_err();
    publish.refused("the rest", "cannot be read");
    let metrics = mesh.metrics();
    assert_eq!(metrics.total("mesh.client.config.refused", &[]), 2.0);
    assert_eq!(metrics.total("mesh.client.config.bad", &[]), 2.0);
    publish.accepted("the rest");
    assert_eq!(mesh.metrics().total("mesh.client.config.bad", &[]), 1.0);
    assert!(age(&mesh) < 1.0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    publish.refused("the rest", "cannot be read");
    assert!(age(&mesh) > 9.0);
    publish.confirmed();
    assert!(age(&mesh) < 1.0);
    check_attributes(&mesh.metrics());
}

#[tokio::test(start_paused = true)]
async fn events_that_a_listener_missed_are_counted() {
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    let mut stream = mesh.events();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..3000 {
        client.send(get("/")).await.unwrap();
    }
    assert_eq!(mesh.metrics().total("mesh.client.events.missed", &[]), 0.0);
    while stream.try_recv().is_some() {}
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let missed = stream.missed() as f64;
    assert!(missed > 0.0);
    assert_eq!(mesh.metrics().total("mesh.client.events.missed", &[]), missed);
}
