//! What is not believed, and what the error says of it.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";

/// Who is expected, who answers by which CA; what the client says.
async fn refusal(trusted: &[&Ca], expected: &str, shown: &Issued) -> TlsError {
    let sources = Sources::trusting(trusted);
    let tls = ClientTls::new(sources.policy(&[exact(expected)])).unwrap();
    call(&tls, &Server::new(shown)).await.err().unwrap()
}

#[tokio::test]
async fn each_bad_certificate_is_refused_for_what_it_is() {
    use TlsErrorKind as K;
    let ca = Ca::new("root");
    let (foreign, namesake) = (Ca::new("another"), Ca::new("root"));
    let good = || Ask::none().uri(CART);
    let dated = |from, until| good().lasting(from, until);
    let cases = [
        (ca.issue(&dated(ago(DAY * 9), ago(DAY))), K::Expired, "has expired: valid until"),
        (ca.issue(&dated(ahead(DAY), ahead(DAY * 9))), K::NotYetValid, "not valid yet: valid from"),
        (foreign.issue(&good()), K::UnknownCa, "no trusted root vouches"),
        (namesake.issue(&good()), K::UnknownCa, "the name of its issuer, and another key"),
        (ca.issue(&Ask::none().uri("spiffe://prod.example/b")), K::WrongIdentity, "somebody else"),
        (ca.issue(&Ask::none().dns("cart.prod")), K::WrongIdentity, "names cart.prod"),
        (ca.issue(&Ask::none()), K::WrongIdentity, "only its subject"),
        (ca.issue(&good().uri("spiffe://prod.example/b")), K::BadCertificate, "several URIs"),
        (ca.issue(&good().uri("https://cart.prod")), K::BadCertificate, "several URIs"),
        (ca.issue(&Ask::none().uri("spiffe://prod.example")), K::BadCertificate, "has no path"),
        (ca.issue(&Ask::none().uri("spiffe://Prod.Example/a")), K::BadCertificate, "malformed"),
        (ca.issue(&good().usage(KeyUsagePurpose::KeyCertSign)), K::BadCertificate, "may sign"),
        (ca.issue(&good().usage(KeyUsagePurpose::CrlSign)), K::BadCertificate, "may sign"),
        (
            ca.issue(&good().only(KeyUsagePurpose::KeyEncipherment)),
            K::BadCertificate,
            "lacks digital",
        ),
        (ca.issue(&good().client_only()), K::BadCertificate, "was refused"),
        (ca.issue(&good().ca()), K::BadCertificate, "a CA's, not an endpoint's"),
    ];
    for (index, (shown, kind, words)) in cases.into_iter().enumerate() {
        let error = refusal(&[&ca], CART, &shown).await;
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{index}: {text}");
        assert!(text.contains(words), "{index}: {text}");
        assert!(text.contains(&format!("expected {CART}")), "{index}: {text}");
        assert!(text.contains("; check "), "{index}: {text}");
        assert!(!error.presented_names().is_empty(), "{index}: {text}");
        let error = crate::Error::from(error);
        assert_eq!(error.kind(), crate::ErrorKind::Identity);
        assert_eq!(error.phase(), crate::Phase::Tls);
    }
}

#[tokio::test]
async fn another_service_is_named() {
    let ca = Ca::new("root");
    let shown = ca.issue(&Ask::none().uri("spiffe://prod.example/ns/shop/sa/web").dns("web.prod"));
    let error = refusal(&[&ca], CART, &shown).await;
    let wanted = format!(
        "the endpoint is somebody else; its certificate names \
         spiffe://prod.example/ns/shop/sa/web, web.prod; expected {CART}; check that the address \
         belongs to the service that is called, and the identities that are expected of it"
    );
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test]
async fn an_expired_intermediate_and_an_expired_root_vouch_for_nobody() {
    let root = Ca::new("root");
    let mut params = ca_params("old");
    (params.not_before, params.not_after) = (ago(DAY * 9).into(), ago(DAY).into());
    let key = Key::generate().unwrap();
    let old = Ca(CertifiedIssuer::signed_by(params, key, &root.0).unwrap());
    let shown = old.issue(&Ask::none().uri(CART)).through(&old);
    let error = refusal(&[&root], CART, &shown).await;
    assert_eq!(error.kind(), TlsErrorKind::Expired);
    assert!(error.to_string().contains("a certificate of its chain has expired"), "{error}");

    let old = Ca::lasting("old root", ago(DAY * 9), ago(DAY));
    let error = refusal(&[&old], CART, &old.issue(&Ask::none().uri(CART))).await;
    assert_eq!(error.kind(), TlsErrorKind::Expired);
}

#[tokio::test]
async fn a_root_without_the_leaf_is_no_leaf() {
    let ca = Ca::new("root");
    // A self-signed certificate of the right name, not in the bundle.
    let key = Key::generate().unwrap();
    let own = Ask::none().uri(CART).params.self_signed(&key).unwrap();
    let shown = Issued { chain: own.pem(), key: key.serialize_pem() };
    assert_eq!(refusal(&[&ca], CART, &shown).await.kind(), TlsErrorKind::UnknownCa);
}

#[tokio::test]
async fn names_written_by_strangers_stay_on_one_line() {
    let ca = Ca::new("root");
    let shown = ca.issue(&Ask::none().uri("https://a\r\nall is well\u{1b}[2J"));
    let text = refusal(&[&ca], CART, &shown).await.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_along_the_chain() {
    let root = Ca::new("root");
    let one = root.intermediate("one");
    let shown = |serial| one.issue(&Ask::none().uri(CART).serial(serial)).through(&one);
    let sources = Sources::silent();
    let roots = || Roots::new().pem(root.pem().as_bytes()).unwrap();
    let lists = one.revoke(&[7]) + &root.revoke(&[]);
    sources.publish_trust.roots(roots().crl_pem(lists.as_bytes()).unwrap()).unwrap();
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    call(&tls, &Server::new(&shown(8))).await.unwrap();
    let error = call(&tls, &Server::new(&shown(7))).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::Revoked);
    // A CA that has no list is believed.
    let lists = root.revoke(&[7]);
    sources.publish_trust.roots(roots().crl_pem(lists.as_bytes()).unwrap()).unwrap();
    call(&tls.endpoint(), &Server::new(&shown(7))).await.unwrap();
    // A list that is not its issuer's revokes nothing, and is not passed over.
    let lists = Ca::new("one").revoke(&[]);
    sources.publish_trust.roots(roots().crl_pem(lists.as_bytes()).unwrap()).unwrap();
    let error = call(&tls.endpoint(), &Server::new(&shown(8))).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::BadCertificate, "{error}");
}

#[tokio::test]
async fn the_server_that_asks_for_a_certificate_gets_one_or_is_named() {
    for versions in [TLS_1_3, TLS_1_2] {
        let (ca, other) = (Ca::new("root"), Ca::new("another"));
        let terms = Terms { clients: Some(&ca), versions, ..Terms::default() };
        let server = Server::with(&ca.issue(&Ask::none().uri(CART)), &terms);
        let sources = Sources::trusting(&[&ca]);
        let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
        let error = call(&tls, &server).await.err().unwrap();
        assert_eq!(error.kind(), TlsErrorKind::CertificateRequired, "{error}");
        assert!(error.to_string().contains("none is configured"), "{error}");
        assert!(error.to_string().contains("security mode is `mutual`"), "{error}");

        sources.own(&other.issue(&Ask::none().uri("spiffe://other.example/web"))).unwrap();
        let tls = ClientTls::new(sources.mutual(&[exact(CART)])).unwrap();
        let error = call(&tls, &server).await.err().unwrap();
        assert_eq!(error.kind(), TlsErrorKind::CertificateRefused, "{error}");
        assert!(error.to_string().contains("spiffe://other.example/web, valid until"), "{error}");
    }
}

/// A stream that breaks what is written once it is told to.
struct Breaks(DuplexStream, Arc<AtomicBool>);

impl AsyncRead for Breaks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Breaks {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let mut buf = buf.to_vec();
        if self.1.load(Ordering::SeqCst)
            && let Some(last) = buf.last_mut()
        {
            *last ^= 1;
        }
        Pin::new(&mut self.0).poll_write(cx, &buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A server asks for a certificate, goes on without one, and meets something else later: what was sent
/// before may have been worked on.
#[tokio::test]
async fn an_alert_after_the_handshake_that_speaks_of_no_certificate_is_no_refusal() {
    let ca = Ca::new("root");
    let terms = Terms { clients: Some(&ca), optional: true, versions: TLS_1_3, ..Terms::default() };
    let server = Server::with(&ca.issue(&Ask::none().uri(CART)), &terms);
    let sources = Sources::trusting(&[&ca]);
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    assert!(call(&tls, &server).await.is_ok(), "none is needed");
    let (near, served) = server.accept();
    let broken = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Breaks(near, Arc::clone(&broken)));
    let mut stream = TokioIo::new(tls.handshake(io).await.unwrap().io);
    broken.store(true, Ordering::SeqCst);
    stream.write_all(b"ping").await.unwrap();
    stream.flush().await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    let error = told(&error);
    assert_eq!(error.kind(), TlsErrorKind::Alert, "{error}");
    assert!(!error.is_refusal());
    assert!(served.await.unwrap().is_err());
}

#[tokio::test]
async fn what_is_no_tls_is_told_apart() {
    let ca = Ca::new("root");
    let sources = Sources::trusting(&[&ca]);
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    let answer = |bytes: &'static [u8]| {
        let tls = tls.clone();
        async move {
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            far.write_all(bytes).await.unwrap();
            far.shutdown().await.unwrap();
            tls.handshake(TokioIo::new(near)).await.err().unwrap()
        }
    };
    let error = answer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(error.kind(), TlsErrorKind::NotTls);
    assert!(error.to_string().contains("check that the endpoint speaks TLS"), "{error}");
    assert!(!error.is_refusal());
    assert_eq!(answer(b"").await.kind(), TlsErrorKind::Io);
    assert_eq!(crate::Error::from(answer(b"").await).kind(), crate::ErrorKind::Connect);
    // handshake_failure, fatal.
    assert_eq!(answer(&[21, 3, 3, 0, 2, 2, 40]).await.kind(), TlsErrorKind::Incompatible);
    // unrecognized_name, fatal.
    let error = answer(&[21, 3, 3, 0, 2, 2, 112]).await;
    assert!(error.to_string().contains("SNI"), "{error}");
}

#[tokio::test]
async fn a_server_without_the_key_is_refused() {
    let ca = Ca::new("root");
    let (shown, other) = (ca.issue(&Ask::none().uri(CART)), ca.issue(&Ask::none().uri(CART)));
    let server = Server::new(&shown);
    let stolen = CertifiedKey::new(shown.certificates(), other.certified().key);
    *server.certificate.0.lock().unwrap() = Arc::new(stolen);
    for dangerous in [false, true] {
        let sources = Sources::trusting(&[&ca]);
        if dangerous {
            let trust: Box<dyn Verify> = Box::new(Trust::dangerous().any_certificate());
            trust.run(sources.publish_trust.clone()).await;
        }
        let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
        let error = call(&tls, &server).await.err().unwrap();
        assert_eq!(error.kind(), TlsErrorKind::BadCertificate, "{error}");
        assert!(error.to_string().contains("did not prove its certificate"), "{error}");
    }
}

#[test]
fn bad_pairs_are_refused_for_what_they_are() {
    let ca = Ca::new("root");
    let (one, two) = (ca.issue(&Ask::none().uri(CART)), ca.issue(&Ask::none().uri(CART)));
    let old = ca.issue(&Ask::none().uri(CART).lasting(ago(DAY * 9), ago(DAY)));
    let early = ca.issue(&Ask::none().uri(CART).lasting(ahead(DAY), ahead(DAY * 9)));
    let half = one.chain.len() / 2;
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let broken = one.key.replace("-----END", "");
    let cases: [(&str, &str, &str); 10] = [
        (&one.chain, &two.key, "the key does not belong to the certificate"),
        (&old.chain, &old.key, "the certificate was valid until"),
        (&early.chain, &early.key, "the certificate is not valid before"),
        (&one.chain[..half], &one.key, "the chain: it ends in the middle of a section"),
        ("", &one.key, "the chain: no certificate in it"),
        (&one.key, &one.key, "the chain: no certificate in it"),
        (&one.chain, "", "no private key in the key's file"),
        (&one.chain, &one.chain, "it holds a certificate"),
        (&one.chain, &encrypted, "the key is encrypted"),
        (&one.chain, &broken, "the key: it ends in the middle of a section"),
    ];
    let sources = Sources::silent();
    sources.own(&one).unwrap();
    for (chain, key, words) in cases {
        let error = sources.publish_identity.pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), TlsErrorKind::NoIdentity);
        assert!(sources.heard.refused().last().unwrap().contains(words));
        let state = sources.identity.state();
        assert_eq!(state.generation, 1);
        assert!(state.problem.unwrap().contains(words));
        assert_eq!(state.good.unwrap().key.cert, one.certificates());
    }
    sources.own(&two).unwrap();
    assert_eq!(sources.identity.state().problem, None);
    assert_eq!(sources.identity.state().generation, 2);
}

#[test]
fn bad_bundles_are_refused_for_what_they_are() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&Ask::none().uri(CART));
    let sources = Sources::trusting(&[&ca]);
    let publish = |bundle: &str| {
        let roots = Roots::new().pem(bundle.as_bytes());
        roots.and_then(|roots| sources.publish_trust.roots(roots)).unwrap_err().to_string()
    };
    assert!(publish("").contains("no certificate in it"));
    assert!(publish(&leaf.key).contains("no certificate in it"));
    assert!(publish(&(ca.pem() + &leaf.chain)).contains("root 2: `` is no CA's certificate"));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(publish(garbage).contains("its encoding is broken"));
    let error = sources.publish_trust.roots(Roots::new()).unwrap_err();
    assert!(error.to_string().contains("there is no root"), "{error}");
    let empty = Roots::new().domain_der("prod.example".parse().unwrap(), []);
    let error = sources.publish_trust.roots(empty).unwrap_err();
    assert!(error.to_string().contains("prod.example has no root"), "{error}");
    assert_eq!(sources.trust.state().generation, 1);
    assert_eq!(sources.trust.state().good.unwrap().summary(), "1 roots for any name");
}
