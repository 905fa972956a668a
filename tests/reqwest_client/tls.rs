//! What `https` means in a URL: nothing that the cluster's security setting does not say.

use tower_mesh::{ErrorKind, Mesh, Phase, security::Trust};

use crate::{
    client, redirect,
    support::{Ca, Server, Tls, patience},
};

#[tokio::test]
async fn both_schemes_of_a_secured_name_are_tls_whatever_the_wrapped_client_trusts() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users.prod"])).start().await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [server.address()])
        .trust(Trust::pem(ca.pem()))
        .service("users.prod", |s| s.tls())
        .build()
        .unwrap();
    let http = client(&mesh);
    for url in ["http://users.prod/1", "https://users.prod/1"] {
        let response = patience(http.get(url).send()).await.unwrap();
        assert_eq!((response.status().as_u16(), response.url().as_str()), (200, url));
    }
    assert_eq!(server.requests(), 2);
    assert!(server.in_clear().is_empty());
}

#[tokio::test]
async fn https_to_a_name_that_nobody_has_secured_is_refused_and_nothing_is_sent() {
    let server = Server::named("plain").await;
    let mesh = crate::mesh(&server);
    let error = client(&mesh).get("https://users.prod/").send().await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::InvalidRequest, Phase::Tls));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_redirect_does_not_make_plaintext_of_https() {
    let plain = Server::named("plain").await;
    let users = Server::start(|_| async { redirect(302, "https://orders.prod/") }).await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [users.address()])
        .endpoints("orders.prod", [plain.address()])
        .build()
        .unwrap();
    let error = client(&mesh).get("http://users.prod/").send().await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::InvalidRequest, Phase::Tls));
    assert!(error.to_string().contains("redirected there by `users.prod`"), "{error}");
    assert_eq!(plain.connections(), 0);
}

#[tokio::test]
async fn a_redirect_from_a_secured_service_does_not_send_on_in_clear() {
    let ca = Ca::new("ca");
    let plain = Server::named("plain").await;
    for location in ["http://orders.prod/", "http://next.prod/"] {
        let users = Tls::new(ca.issue(&["users.prod"]));
        let users = users.serve(move |_| async move { redirect(307, location) }).await;
        // Which is in clear on purpose, and leads on.
        let next = Server::start(|_| async { redirect(307, "http://orders.prod/") }).await;
        let mesh = Mesh::builder()
            .endpoints("users.prod", [users.address()])
            .endpoints("next.prod", [next.address()])
            .endpoints("orders.prod", [plain.address()])
            .trust(Trust::pem(ca.pem()))
            .service("users.prod", |s| s.tls())
            .service("next.prod", |s| s.plaintext())
            .build()
            .unwrap();
        let http = client(&mesh);
        for url in ["https://users.prod/", "http://users.prod/"] {
            let error = http.post(url).body("secret").send().await.unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::InvalidRequest, Phase::Tls));
            assert!(error.to_string().contains("redirected there by"), "{error}");
        }
        assert_eq!((users.requests(), plain.connections()), (2, 0));
    }
    // What was in clear from the beginning goes on so.
    let users = Server::start(|_| async { redirect(307, "http://orders.prod/") }).await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [users.address()])
        .endpoints("orders.prod", [plain.address()])
        .build()
        .unwrap();
    let response = client(&mesh).post("http://users.prod/").body("open").send().await.unwrap();
    assert_eq!(response.url().as_str(), "http://orders.prod/");
}
