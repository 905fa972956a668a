//! Sessions: what is resumed, and what never is.

use super::*;

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";

async fn resumed(tls: &ClientTls, server: &Server) -> bool {
    let made = call(tls, server).await.unwrap();
    assert_eq!(made.peer.resumed, made.met.resumed);
    assert!(made.peer.identity.is_some());
    made.met.resumed
}

#[tokio::test]
async fn a_second_connection_resumes() {
    let ca = Ca::new("root");
    for versions in [TLS_1_3, TLS_1_2] {
        let terms = Terms { clients: Some(&ca), versions, ..Terms::default() };
        let server = Server::with(&ca.issue(&Ask::none().uri(CART)), &terms);
        let sources = Sources::trusting(&[&ca]);
        sources.own(&ca.issue(&Ask::none().uri("spiffe://prod.example/web"))).unwrap();
        let tls = ClientTls::new(sources.mutual(&[exact(CART)])).unwrap();
        assert!(!resumed(&tls, &server).await);
        for _ in 0..3 {
            assert!(resumed(&tls.clone(), &server).await);
        }
        // A ticket is of use with the endpoint that gave it: another has its own.
        assert!(!resumed(&tls.endpoint(), &server).await);
    }
}

#[tokio::test]
async fn a_policy_without_sessions_keeps_none() {
    let ca = Ca::new("root");
    let server = Server::new(&ca.issue(&Ask::none().uri(CART)));
    let sources = Sources::trusting(&[&ca]);
    let policy = Policy { resumption: false, ..sources.policy(&[exact(CART)]) };
    let tls = ClientTls::new(policy).unwrap();
    for _ in 0..2 {
        assert!(!resumed(&tls, &server).await);
    }
}

#[tokio::test]
async fn a_stricter_policy_never_resumes_a_laxer_session() {
    let ca = Ca::new("root");
    let server = Server::new(&ca.issue(&Ask::none().uri(CART)));
    let sources = Sources::trusting(&[&ca]);
    let lax = IdentityMatch::TrustDomain("prod.example".to_owned());
    let lax = ClientTls::new(sources.policy(&[lax])).unwrap();
    assert!(!resumed(&lax, &server).await);
    assert!(resumed(&lax, &server).await);
    let strict = ClientTls::new(sources.policy(&[exact("spiffe://prod.example/web")])).unwrap();
    let error = call(&strict, &server).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::WrongIdentity);
}

#[tokio::test]
async fn a_rotation_of_roots_or_of_the_own_key_ends_sessions() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let terms = Terms { clients: Some(&old), ..Terms::default() };
    let server = Server::with(&old.issue(&Ask::none().uri(CART)), &terms);
    let sources = Sources::trusting(&[&old]);
    let own = Ask::none().uri("spiffe://prod.example/web");
    sources.own(&old.issue(&own)).unwrap();
    let tls = ClientTls::new(sources.mutual(&[exact(CART)])).unwrap();
    assert!(!resumed(&tls, &server).await);
    assert!(resumed(&tls, &server).await);
    sources.own(&old.issue(&own)).unwrap();
    assert!(!resumed(&tls, &server).await);
    assert!(resumed(&tls, &server).await);
    sources.trust(&[&old, &new]).unwrap();
    assert!(!resumed(&tls, &server).await);
    assert!(resumed(&tls, &server).await);
    // The same again is no rotation.
    sources.trust(&[&old, &new]).unwrap();
    assert!(resumed(&tls, &server).await);
    // A root that is gone is not trusted through a session that it began.
    sources.trust(&[&new]).unwrap();
    let error = call(&tls, &server).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::UnknownCa);
}

#[tokio::test]
async fn a_session_does_not_outlive_its_certificate() {
    let ca = Ca::new("root");
    let soon = ahead(Duration::from_secs(2));
    let server = Server::new(&ca.issue(&Ask::none().uri(CART).lasting(ago(DAY), soon)));
    let sources = Sources::trusting(&[&ca]);
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    assert!(!resumed(&tls, &server).await);
    assert!(resumed(&tls, &server).await);
    // Dates are whole seconds, the last one included.
    while SystemTime::now() <= soon + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = call(&tls, &server).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::Expired);
    // With a new one the server is itself again.
    server.show(&ca.issue(&Ask::none().uri(CART)));
    assert!(!resumed(&tls, &server).await);
    assert!(resumed(&tls, &server).await);
}

#[tokio::test]
async fn a_session_does_not_outlive_its_root_or_what_is_between() {
    let soon = ahead(Duration::from_secs(2));
    let root = Ca::lasting("short root", ago(DAY), soon);
    let lasting = Ca::new("root");
    let between = lasting.lasting_intermediate("short intermediate", Some(soon));
    let cases = [
        (&root, root.issue(&Ask::none().uri(CART))),
        (&lasting, between.issue(&Ask::none().uri(CART)).through(&between)),
    ];
    let mut sessions = Vec::new();
    for (ca, shown) in cases {
        let (server, sources) = (Server::new(&shown), Sources::trusting(&[ca]));
        let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
        assert!(!resumed(&tls, &server).await);
        assert!(resumed(&tls, &server).await);
        sessions.push((tls, server, sources));
    }
    while SystemTime::now() <= soon + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (tls, server, _sources) in sessions {
        let error = call(&tls, &server).await.err().expect("the session was resumed");
        assert_eq!(error.kind(), TlsErrorKind::Expired);
    }
}
