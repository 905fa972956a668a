//! What changes while connections stand.

use super::*;

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";
const WEB: &str = "spiffe://prod.example/ns/shop/sa/web";

/// Whether the connection is still believed after everything has had its turn.
async fn stands(vouched: &mut std::pin::Pin<Box<impl Future<Output = Withdrawn>>>) -> bool {
    tokio::time::timeout(Duration::from_millis(20), vouched).await.is_err()
}

#[tokio::test]
async fn a_root_that_is_removed_takes_its_connections_along_and_no_others() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let sources = Sources::trusting(&[&old, &new]);
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    let server = Server::new(&old.issue(&Ask::none().uri(CART)));
    let by_old = call(&tls, &server).await.unwrap();
    server.show(&new.issue(&Ask::none().uri(CART)));
    let by_new = call(&tls.endpoint(), &server).await.unwrap();
    let mut by_old = Box::pin(by_old.vouched.withdrawn());
    let mut by_new = Box::pin(by_new.vouched.withdrawn());
    assert!(stands(&mut by_old).await && stands(&mut by_new).await);
    // A third beside them changes nothing.
    sources.trust(&[&old, &new, &Ca::new("third")]).unwrap();
    assert!(stands(&mut by_old).await && stands(&mut by_new).await);
    // One that cannot be used changes nothing.
    sources.publish_trust.refused("ca.crt cannot be read");
    assert!(stands(&mut by_old).await && stands(&mut by_new).await);
    sources.trust(&[&new]).unwrap();
    assert_eq!(end(by_old).await, Withdrawn::RootRemoved);
    assert!(stands(&mut by_new).await);
}

#[tokio::test]
async fn a_change_between_handshake_and_watching_is_not_missed() {
    let ca = Ca::new("root");
    let sources = Sources::trusting(&[&ca]);
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    let server = Server::new(&ca.issue(&Ask::none().uri(CART)));
    let made = call(&tls, &server).await.unwrap();
    sources.trust(&[&Ca::new("new")]).unwrap();
    assert_eq!(end(made.vouched.withdrawn()).await, Withdrawn::RootRemoved);
}

#[tokio::test]
async fn a_renewed_own_certificate_leaves_connections_alone_and_another_name_does_not() {
    let ca = Ca::new("root");
    let sources = Sources::trusting(&[&ca]);
    sources.own(&ca.issue(&Ask::none().uri(WEB).dns("web.prod"))).unwrap();
    let terms = Terms { clients: Some(&ca), ..Terms::default() };
    let server = Server::with(&ca.issue(&Ask::none().uri(CART)), &terms);
    let tls = ClientTls::new(sources.mutual(&[exact(CART)])).unwrap();
    let made = call(&tls, &server).await.unwrap();
    let mut vouched = Box::pin(made.vouched.withdrawn());
    sources.own(&ca.issue(&Ask::none().uri(WEB))).unwrap();
    assert!(stands(&mut vouched).await);
    let renewed = call(&tls, &server).await.unwrap();
    assert_eq!(renewed.met.client, Some(vec![WEB.to_owned()]));
    sources.own(&ca.issue(&Ask::none().uri("spiffe://prod.example/other"))).unwrap();
    assert_eq!(end(vouched).await, Withdrawn::IdentityChanged);
    assert_eq!(Withdrawn::IdentityChanged.reason().as_str(), "identity changed");
}

#[tokio::test]
async fn a_connection_without_own_certificate_does_not_mind_it() {
    let ca = Ca::new("root");
    let sources = Sources::trusting(&[&ca]);
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    let server = Server::new(&ca.issue(&Ask::none().uri(CART)));
    let made = call(&tls, &server).await.unwrap();
    let mut vouched = Box::pin(made.vouched.withdrawn());
    sources.own(&ca.issue(&Ask::none().uri(WEB))).unwrap();
    sources.own(&ca.issue(&Ask::none().uri(CART))).unwrap();
    assert!(stands(&mut vouched).await);
}

#[tokio::test]
async fn sources_that_end_are_never_a_reason() {
    let ca = Ca::new("root");
    let sources = Sources::trusting(&[&ca]);
    sources.own(&ca.issue(&Ask::none().uri(WEB))).unwrap();
    let tls = ClientTls::new(sources.mutual(&[exact(CART)])).unwrap();
    let server = Server::new(&ca.issue(&Ask::none().uri(CART)));
    let Sources { publish_trust, publish_identity, .. } = sources;
    let made = call(&tls, &server).await.unwrap();
    let mut vouched = Box::pin(made.vouched.withdrawn());
    assert!(stands(&mut vouched).await);
    drop(publish_identity);
    drop(publish_trust);
    assert!(stands(&mut vouched).await);
    call(&tls, &server).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_revoked_takes_its_connections_along() {
    let ca = Ca::new("root");
    let sources = Sources::silent();
    let list = |serials: &[u64]| {
        let roots = Roots::new().pem(ca.pem().as_bytes()).unwrap();
        sources.publish_trust.roots(roots.crl_pem(ca.revoke(serials).as_bytes()).unwrap()).unwrap();
    };
    list(&[1]);
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    let made = |serial| {
        let server = Server::new(&ca.issue(&Ask::none().uri(CART).serial(serial)));
        let tls = tls.endpoint();
        async move { call(&tls, &server).await.unwrap().vouched }
    };
    let (two, three) = (made(2).await, made(3).await);
    let (mut two, mut three) = (Box::pin(two.withdrawn()), Box::pin(three.withdrawn()));
    list(&[1, 2]);
    assert_eq!(end(two.as_mut()).await, Withdrawn::Revoked);
    assert!(stands(&mut three).await);
}

#[tokio::test]
async fn a_first_revocation_list_takes_connections_along() {
    let ca = Ca::new("root");
    let sources = Sources::trusting(&[&ca]);
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    let made = |serial| {
        let server = Server::new(&ca.issue(&Ask::none().uri(CART).serial(serial)));
        let tls = tls.endpoint();
        async move { call(&tls, &server).await.unwrap().vouched }
    };
    let (two, three) = (made(2).await, made(3).await);
    let (mut two, mut three) = (Box::pin(two.withdrawn()), Box::pin(three.withdrawn()));
    assert!(stands(&mut two).await);
    let roots = Roots::new().pem(ca.pem().as_bytes()).unwrap();
    sources.publish_trust.roots(roots.crl_pem(ca.revoke(&[2]).as_bytes()).unwrap()).unwrap();
    assert_eq!(end(two.as_mut()).await, Withdrawn::Revoked);
    assert!(stands(&mut three).await);
}

#[tokio::test]
async fn a_certificate_that_has_ended_since_is_revoked_nevertheless() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let ca = Ca::new("root");
    let through = ca.lasting_intermediate("between", Some(ago(HOUR)));
    let sources = Sources::trusting(&[&ca]);
    let compiled = sources.policy(&[exact(CART)]).compile(&Shared::default()).unwrap();
    // Connections that were made two hours ago.
    let made = |shown: &Issued| {
        let chain = shown.certificates();
        let then = ago(2 * HOUR).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let then = rustls::pki_types::UnixTime::since_unix_epoch(then);
        let rules = &compiled.current().unwrap().rules;
        let verdict = Arc::new(rules.check(&chain[0], &chain[1..], then).unwrap());
        Box::pin(Vouched::new(Arc::clone(&compiled), None, verdict, &chain).withdrawn())
    };
    let short = |serial| Ask::none().uri(CART).serial(serial).lasting(ago(DAY), ago(HOUR));
    let long = |serial| Ask::none().uri(CART).serial(serial);
    let (mut two, mut three) = (made(&ca.issue(&short(2))), made(&ca.issue(&short(3))));
    let mut behind = made(&through.issue(&long(2)).through(&through));
    assert!(stands(&mut two).await && stands(&mut three).await && stands(&mut behind).await);
    let roots = Roots::new().pem(ca.pem().as_bytes()).unwrap();
    let roots = roots.crl_pem(ca.revoke(&[2]).as_bytes()).unwrap();
    sources.publish_trust.roots(roots.crl_pem(through.revoke(&[2]).as_bytes()).unwrap()).unwrap();
    assert_eq!(end(two).await, Withdrawn::Revoked);
    assert_eq!(end(behind).await, Withdrawn::Revoked);
    // Of the same age, and on no list.
    assert!(stands(&mut three).await);
}

#[tokio::test]
async fn a_revoked_certificate_of_several_expected_names_takes_its_connections_along() {
    let prod = Ca::new("prod");
    let domain = || "prod.example".parse().unwrap();
    let sources = Sources::silent();
    let roots = || Roots::new().domain_pem(domain(), prod.pem().as_bytes()).unwrap();
    sources.publish_trust.roots(roots()).unwrap();
    // No root vouches for the name of DNS: what is told of it last is no revocation.
    let expected = [exact(CART), exact("cart.prod")];
    let tls = ClientTls::new(sources.policy(&expected)).unwrap();
    let server = Server::new(&prod.issue(&Ask::none().uri(CART).dns("cart.prod").serial(2)));
    let mut vouched = Box::pin(call(&tls, &server).await.unwrap().vouched.withdrawn());
    let list = |serial| roots().crl_pem(prod.revoke(&[serial]).as_bytes()).unwrap();
    sources.publish_trust.roots(list(1)).unwrap();
    assert!(stands(&mut vouched).await);
    sources.publish_trust.roots(list(2)).unwrap();
    assert_eq!(end(vouched).await, Withdrawn::Revoked);
}

#[tokio::test]
async fn roots_by_domain_of_a_second_source_take_connections_of_other_roots_along() {
    let (any, prod) = (Ca::new("any"), Ca::new("prod"));
    let (first, second) = (Sources::trusting(&[&any]), Sources::trusting(&[&any]));
    let trust = vec![first.trust.clone(), second.trust.clone()];
    let policy = Policy { trust, ..first.policy(&[exact(CART)]) };
    let tls = ClientTls::new(policy).unwrap();
    let server = Server::new(&any.issue(&Ask::none().uri(CART)));
    let mut vouched = Box::pin(call(&tls, &server).await.unwrap().vouched.withdrawn());
    assert!(stands(&mut vouched).await);
    let domain = "prod.example".parse().unwrap();
    let roots = Roots::new().domain_pem(domain, prod.pem().as_bytes()).unwrap();
    second.publish_trust.roots(roots).unwrap();
    // New connections are refused, so old ones must not stand either.
    let error = call(&tls.endpoint(), &server).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::UnknownCa);
    assert_eq!(end(vouched).await, Withdrawn::RootRemoved);
}

#[tokio::test]
async fn the_root_of_one_trust_domain_is_not_missed_by_another() {
    let (prod, partner) = (Ca::new("prod"), Ca::new("partner"));
    let sources = Sources::silent();
    let publish = |prod: &Ca, partner: &Ca| {
        let roots = Roots::new()
            .domain_pem("prod.example".parse().unwrap(), prod.pem().as_bytes())
            .and_then(|roots| {
                roots.domain_pem("partner.example".parse().unwrap(), partner.pem().as_bytes())
            });
        sources.publish_trust.roots(roots.unwrap()).unwrap();
    };
    publish(&prod, &partner);
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    let server = Server::new(&prod.issue(&Ask::none().uri(CART)));
    let mut vouched = Box::pin(call(&tls, &server).await.unwrap().vouched.withdrawn());
    publish(&prod, &Ca::new("partner 2"));
    assert!(stands(&mut vouched).await);
    // The same root, for somebody else: it does not vouch for this one any more.
    publish(&partner, &prod);
    assert_eq!(end(vouched).await, Withdrawn::RootRemoved);
}

#[tokio::test]
async fn handshakes_in_the_middle_of_rotations_all_succeed() {
    let (one, two) = (Ca::new("one"), Ca::new("two"));
    let sources = Arc::new(Sources::trusting(&[&one]));
    let own = |ca: &Ca| ca.issue(&Ask::none().uri(WEB));
    sources.own(&own(&one)).unwrap();
    let tls = ClientTls::new(sources.mutual(&[exact(CART)])).unwrap();
    let server = Server::new(&one.issue(&Ask::none().uri(CART)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (tls, server) = (tls.endpoint(), server.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    call(&tls, &server).await.unwrap();
                }
            })
        })
        .collect();
    // Both roots, then the certificates, then the new root alone: in the order that operators keep.
    sources.trust(&[&one, &two]).unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
        sources.own(&own(&two)).unwrap();
        server.show(&two.issue(&Ask::none().uri(CART)));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    sources.trust(&[&two]).unwrap();
    call(&tls, &server).await.unwrap();
}
