//! Names and addresses that nobody could call.

use std::time::Duration;

use tower_mesh::{ErrorKind, Mesh};

use crate::{
    answered, mended, over, refused, rename_over,
    support::{Server, patience},
};

#[tokio::test]
async fn a_host_name_that_is_given_as_an_address_is_refused_with_the_way_to_dns() {
    let hint =
        "for a host name: `discovery: {dns: {name: \"dns:///users.example:80\"}}` of the cluster";
    for text in [
        "clusters: {u: {endpoints: [{address: \"users.example:80\"}]}}",
        "clusters: {u: {endpoints: [{address: \"dns:///users.example:80\"}]}}",
        "clusters: {u: {discovery: \"dns:///users.example:80\"}}",
        "clusters: {u: {discovery: \"users.example:80\"}}",
    ] {
        let report = refused(text).await.remove(0);
        assert!(report.contains(hint), "{text}: {report}");
    }
    for text in [
        "clusters: {u: {endpoints: [{address: \"10.0.0.1\"}]}}",
        "clusters: {u: {endpoints: [{address: \"nowhere at all\"}]}}",
        "clusters: {u: {discovery: \"http://users/\"}}",
        "clusters: {u: {balancer: \"users.example:80\"}}",
    ] {
        let report = refused(text).await.remove(0);
        assert!(!report.contains("for a host name"), "{text}: {report}");
    }
    let report = refused("clusters: {u: {discovery: dns}}").await.remove(0);
    assert!(report.contains("expected a map with its fields below it"), "{report}");
}

#[tokio::test]
async fn a_socket_address_without_a_port_is_refused() {
    let address: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mesh = Mesh::builder().endpoints("users", [address]).build().unwrap();
    let error = patience(mesh.ready()).await.unwrap_err().to_string();
    let wanted = "clusters.users.endpoints[0].address = 127.0.0.1:0: the port must be in 1..=65535";
    assert!(error.contains(wanted), "{error}");
    assert_eq!(mesh.client("users").unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_name_that_no_client_can_call_is_refused() {
    for (name, reason) in [
        ("users prod", "`users prod` is not a service name"),
        ("dns:///a:80", "scheme `dns`"),
        ("a/b", "has `/` after its name"),
        ("http://x", "as it is looked up: `x`"),
        ("a..b", "`a..b` is not a service name"),
        ("user@x", "`…@x` has a user before its name"),
        ("naïve", "`naïve` is not a service name"),
        ("a:0", "port `0` of `a:0` is not in 1..=65535"),
        ("users.", "as it is looked up: `users`"),
    ] {
        let endpoints = "{endpoints: [{address: \"127.0.0.1:1\"}]}";
        let one = format!("clusters: {{users: {endpoints}}}\n");
        for (text, part) in [
            (format!("{one}services: {{\"{name}\": {{cluster: users}}}}"), "no client can call it"),
            (format!("clusters: {{\"{name}\": {endpoints}}}"), "which no service names"),
        ] {
            let (_dir, _path, mesh, mut events) = over(&text).await;
            let error = mesh.ready().await.unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(part), "{text}: {error}");
            assert_eq!(events.refused().len(), 1, "{:?}", events.refused());
        }
        let code = Mesh::builder()
            .endpoints("users", ["127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap()])
            .service(name, |s| s.timeout(Duration::from_secs(1)))
            .build();
        let error = code.unwrap_err().chain();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_cluster_of_any_name_is_called_by_the_service_that_names_it() {
    let server = Server::named("hello").await;
    let name = "outbound|80||users.prod";
    let clusters = format!(
        "clusters: {{\"{name}\": {{endpoints: [{{address: \"{}\"}}]}}}}\n",
        server.address()
    );
    let service = format!("services: {{users: {{cluster: \"{name}\"}}}}\n");
    let (_dir, path, mesh, _) = over(&format!("{service}{clusters}")).await;
    mesh.ready().await.unwrap();
    assert_eq!(answered(&mesh).await, "hello");
    // The service goes, and comes back.
    rename_over(&path, &clusters);
    patience(async {
        while mesh.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(mesh.ready().await.unwrap_err().to_string().contains("which no service names"));
    rename_over(&path, &format!("{clusters}{service}"));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
}
