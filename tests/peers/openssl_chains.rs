//! Mutual TLS with `openssl s_server`, over chains that OpenSSL has made.

use std::net::SocketAddr;

use http::Request;
use tower_mesh::{
    Body, ErrorKind, Mesh,
    config::{ClusterSecurity, IdentityMatch, Protocol},
    security::{KeyPair, Trust},
};

use crate::{
    openssl::{ALGORITHMS, Algorithm, Pki, Server},
    program::scale,
};

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";
const WEB: &str = "spiffe://prod.example/ns/shop/sa/web";

/// What the server says of the connection, or what the mesh says.
async fn call(pki: &Pki, server: &Server, expected: &str) -> Result<String, tower_mesh::Error> {
    let (chain, key) = pki.issue("web", &format!("URI:{WEB}"));
    let security = ClusterSecurity::mutual().identity(IdentityMatch::Exact(expected.to_owned()));
    let mesh = Mesh::builder()
        .endpoints("cart", [SocketAddr::from(([127, 0, 0, 1], server.port))])
        .identity(KeyPair::pem_files(chain, key))
        .trust(Trust::pem_file(pki.root()))
        .service("cart", |s| s.security(security).protocol(Protocol::Http1))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let request = Request::get("/").body(Body::empty()).unwrap();
    let answer = mesh.client("cart").unwrap().send(request).await?;
    assert_eq!(answer.status(), 200);
    let text = answer.into_body().bytes().await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn every_kind_of_key_with_intermediates_and_without() {
    for algorithm in ALGORITHMS {
        for intermediates in [0, 1] {
            let pki = Pki::new(algorithm, intermediates);
            let pair = pki.issue("cart", &format!("URI:{CART},DNS:cart.prod"));
            for version in ["-tls1_3", "-tls1_2"] {
                let server = Server::start(&pki, &pair, &[version]).await;
                let said = call(&pki, &server, CART).await.unwrap();
                let wanted = if version == "-tls1_3" { "TLSv1.3" } else { "TLSv1.2" };
                assert!(said.contains(wanted), "{algorithm:?}: {said}");
                // It has seen our certificate and believed it.
                assert!(said.contains("Verify return code: 0 (ok)"), "{algorithm:?}: {said}");
                assert!(said.contains("Client certificate"), "{algorithm:?}: {said}");
                for _ in 0..scale() {
                    call(&pki, &server, "cart.prod").await.unwrap();
                }
                let error = call(&pki, &server, "spiffe://prod.example/b").await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Identity, "{error}");
                assert!(error.chain().contains(CART), "{}", error.chain());
            }
            println!("{algorithm:?} with {} intermediates: believed", pki.intermediates());
        }
    }
}

#[tokio::test]
async fn a_long_chain() {
    // webpki goes no further than six.
    let pki = Pki::new(Algorithm("EC", &["-pkeyopt", "ec_paramgen_curve:P-256"]), 5);
    let pair = pki.issue("cart", &format!("URI:{CART}"));
    let server = Server::start(&pki, &pair, &[]).await;
    for _ in 0..scale() {
        let said = call(&pki, &server, CART).await.unwrap();
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
}

#[tokio::test]
async fn a_server_of_another_authority_and_a_client_of_another() {
    let p256 = Algorithm("EC", &["-pkeyopt", "ec_paramgen_curve:P-256"]);
    let (ours, theirs) = (Pki::new(p256, 1), Pki::new(p256, 1));
    let pair = theirs.issue("cart", &format!("URI:{CART}"));
    // It demands certificates by its own root, of which ours know nothing, nor it of ours.
    let server = Server::start(&theirs, &pair, &[]).await;
    let error = call(&ours, &server, CART).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Identity, "{error}");
    assert!(error.to_string().contains("no trusted root vouches"), "{error}");

    // Ours to show, theirs to be believed.
    let pair = ours.issue("cart", &format!("URI:{CART}"));
    let server = Server::start(&theirs, &pair, &[]).await;
    let error = call(&ours, &server, CART).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Identity, "{}", error.chain());
    assert!(error.chain().contains("own certificate"), "{}", error.chain());
}
