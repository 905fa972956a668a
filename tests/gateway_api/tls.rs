//! `BackendTLSPolicy`: how a backend is secured, and who it must prove to be.

use std::fs;

use tower_mesh::{Error, Mesh};

use crate::support::{
    Ca, GreeterClient, HelloRequest, Server, Tls, TlsServer, fetch, get, hello, patience,
};

/// A mesh whose service `echo` has one backend at this address, secured as it is said; the roots `ca` are
/// those of the suite's config map.
async fn mesh_of(
    ca: &Ca,
    address: impl std::fmt::Display,
    security: &str,
) -> (Mesh, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.crt"), ca.pem()).unwrap();
    let text = format!(
        "identities: {{backend-tls: {{roots: ca.crt}}}}\nservices: {{echo: {{cluster: backend}}}}\n\
         clusters:\n  backend:\n    security: {security}\n    endpoints: [{{address: \"{address}\"}}]\n"
    );
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, &text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    (mesh, dir)
}

async fn status(mesh: &Mesh) -> Result<u16, Error> {
    let answer = patience(fetch(&mesh.client("echo").unwrap(), get("/"))).await?;
    Ok(answer.status().as_u16())
}

async fn server(ca: &Ca, names: &[&str]) -> TlsServer {
    Tls::new(ca.issue(names)).start().await
}

const ABC: &str = "{mode: tls, sni: abc.example.com, identities: [{exact: abc.example.com}], roots: {provider: backend-tls}}";

// BackendTLSPolicy: the host name of the policy is the SNI and what the certificate must say.
#[tokio::test]
async fn the_host_name_of_the_policy_is_sent_and_proved() {
    let ca = Ca::new("ca");
    let proper = server(&ca, &["abc.example.com"]).await;
    let (mesh, _dir) = mesh_of(&ca, proper.address(), ABC).await;
    mesh.ready().await.unwrap();
    assert_eq!(status(&mesh).await.unwrap(), 200);
    assert_eq!(proper.met()[0].sni.as_deref(), Some("abc.example.com"));
    // A backend of another name, one of other roots, and one that speaks no TLS at all get no request.
    let other = server(&ca, &["mismatch.example.com"]).await;
    let foreign = server(&Ca::new("foreign"), &["abc.example.com"]).await;
    for backend in [&other, &foreign] {
        let (mesh, _dir) = mesh_of(&ca, backend.address(), ABC).await;
        let error = status(&mesh).await.unwrap_err();
        assert!(error.http_status().is_server_error(), "{error}");
        assert_eq!(backend.requests(), 0);
    }
    let plain = Server::named("plain").await;
    let (mesh, _dir) = mesh_of(&ca, plain.address(), ABC).await;
    assert!(status(&mesh).await.unwrap_err().http_status().is_server_error());
    assert_eq!(plain.requests(), 0);
}

// BackendTLSPolicySANValidation: the alternative names of the policy, and not its host name, are what the
// certificate must have, by name or by URI, one of them.
#[tokio::test]
async fn alternative_names_take_the_place_of_the_host_name() {
    let ca = Ca::new("ca");
    let of = |identities: &str| {
        format!(
            "{{mode: tls, sni: abc.example.com, identities: [{identities}], roots: {{provider: backend-tls}}}}"
        )
    };
    let id = "spiffe://abc.example.com/test-identity";
    for (names, identities, is_trusted) in [
        (&["abc.example.com", "san.example.com"][..], "{exact: san.example.com}", true),
        (&["abc.example.com", id], "{exact: \"spiffe://abc.example.com/test-identity\"}", true),
        (
            &["abc.example.com", id],
            "{exact: other.example.com}, {exact: \"spiffe://abc.example.com/test-identity\"}",
            true,
        ),
        (&["abc.example.com"], "{exact: san.example.com}", false),
        (&["abc.example.com", id], "{exact: \"spiffe://def.example.com/test-identity\"}", false),
    ] {
        let backend = server(&ca, names).await;
        let (mesh, _dir) = mesh_of(&ca, backend.address(), &of(identities)).await;
        assert_eq!(status(&mesh).await.is_ok(), is_trusted, "{names:?} {identities}");
        assert_eq!(backend.requests() > 0, is_trusted, "{names:?} {identities}");
    }
}

// BackendTLSPolicyInvalidCACertificateRef, BackendTLSPolicyInvalidKind: roots that are not there trust
// nobody. It is told where, and no request is sent in clear.
#[tokio::test]
async fn roots_that_are_not_there_trust_nobody() {
    let ca = Ca::new("ca");
    let backend = server(&ca, &["abc.example.com"]).await;
    let (mesh, _dir) =
        mesh_of(&ca, backend.address(), &ABC.replace("backend-tls}", "nonexistent}")).await;
    let refused = patience(mesh.ready()).await.unwrap_err().to_string();
    assert!(refused.contains("nonexistent"), "{refused}");
    assert!(status(&mesh).await.unwrap_err().http_status().is_server_error());
    assert_eq!((backend.requests(), backend.in_clear().len()), (0, 0));
}

// BackendTLSPolicyConflictResolution: of two policies of one backend the older counts, whole: here that of
// the source which comes first.
#[tokio::test]
async fn of_two_policies_the_first_counts_whole() {
    let ca = Ca::new("ca");
    let backend = server(&ca, &["abc.example.com"]).await;
    let (_first, older) = mesh_of(&ca, backend.address(), ABC).await;
    let newer_security = ABC.replace("abc.example.com", "def.example.com");
    let (_second, newer) = mesh_of(&ca, backend.address(), &newer_security).await;
    for (order, is_trusted) in [([&older, &newer], true), ([&newer, &older], false)] {
        let files = order.map(|dir| dir.path().join("mesh.yaml"));
        let mesh = Mesh::builder().config_file(&files[0]).config_file(&files[1]).build().unwrap();
        assert_eq!(status(&mesh).await.is_ok(), is_trusted);
    }
    let named = backend.met().into_iter().map(|met| met.sni.unwrap_or_default());
    assert!(named.into_iter().any(|sni| sni == "abc.example.com"));
}

// BackendTLSPolicyGRPCRoute.
#[tokio::test]
async fn a_grpc_backend_is_secured_the_same_way() {
    let ca = Ca::new("ca");
    let greeter = hello(|request: tonic::Request<HelloRequest>| async move {
        Ok(format!("hello {}", request.into_inner().name))
    });
    let backend = Tls::new(ca.issue(&["abc.example.com"])).grpc(greeter).await;
    let (mesh, _dir) = mesh_of(&ca, backend.address(), ABC).await;
    mesh.ready().await.unwrap();
    let client = mesh.client("echo").unwrap();
    let request = HelloRequest { name: "you".into() };
    let answer = patience(GreeterClient::new(client).say_hello(request)).await.unwrap();
    assert_eq!(answer.into_inner().message, "hello you");
    let met = backend.met();
    assert_eq!(
        (met[0].sni.as_deref(), met[0].alpn.as_deref()),
        (Some("abc.example.com"), Some("h2"))
    );
    // A backend of another name gets no call.
    let other = server(&ca, &["mismatch.example.com"]).await;
    let (mesh, _dir) = mesh_of(&ca, other.address(), ABC).await;
    let request = HelloRequest { name: "you".into() };
    let mut greeter = GreeterClient::new(mesh.client("echo").unwrap());
    let call = greeter.say_hello(request);
    assert_eq!(patience(call).await.unwrap_err().code(), tonic::Code::Unavailable);
    assert_eq!(other.requests(), 0);
}
