//! Handshakes that succeed: chains, versions, protocols, names sent, both directions.

use super::*;
use crate::config::{Protocol, TlsVersion};

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";
const WEB: &str = "spiffe://prod.example/ns/shop/sa/web";
const OFFERED: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";

#[tokio::test]
async fn a_dns_name_is_proved_by_a_chain() {
    let ca = Ca::new("root");
    let server = Server::new(&ca.issue(&Ask::none().dns("cart.prod")));
    let sources = Sources::trusting(&[&ca]);
    let tls = ClientTls::new(sources.policy(&[exact("cart.prod")])).unwrap();
    let made = call(&tls, &server).await.unwrap();
    assert_eq!(made.peer.identity.as_deref(), Some("cart.prod"));
    assert_eq!(made.met.sni.as_deref(), Some("cart.prod"));
    assert_eq!(made.met.client, None);
    assert!(made.peer.not_after.unwrap() > SystemTime::now());
}

#[tokio::test]
async fn a_long_chain_is_built_whatever_its_order() {
    let root = Ca::new("root");
    let chain = ["one", "two", "three"].iter().fold(vec![root], |mut chain, name| {
        let next = chain[chain.len() - 1].intermediate(name);
        chain.push(next);
        chain
    });
    let [root, one, two, three] = <[Ca; 4]>::try_from(chain).ok().unwrap();
    let leaf = three.issue(&Ask::none().dns("cart.prod"));
    let mixed = leaf.clone().through(&one).through(&three).through(&two);
    let sources = Sources::trusting(&[&root]);
    let tls = ClientTls::new(sources.policy(&[exact("cart.prod")])).unwrap();
    call(&tls, &Server::new(&mixed)).await.unwrap();
    // A missing link is not made up for.
    let broken = leaf.through(&one).through(&three);
    let error = call(&tls, &Server::new(&broken)).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::UnknownCa);
}

#[tokio::test]
async fn a_chain_is_no_longer_than_allowed() {
    let root = Ca::new("root");
    let (one, leaf) = {
        let one = root.intermediate("one");
        let leaf = one.issue(&Ask::none().dns("cart.prod")).through(&one);
        (one, leaf)
    };
    drop(one);
    let server = Server::new(&leaf);
    let sources = Sources::trusting(&[&root]);
    let deep =
        |max| Policy { max_verify_depth: Some(max), ..sources.policy(&[exact("cart.prod")]) };
    call(&ClientTls::new(deep(1)).unwrap(), &server).await.unwrap();
    let error = call(&ClientTls::new(deep(0)).unwrap(), &server).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::BadCertificate);
    assert!(error.to_string().contains("longer than allowed"), "{error}");
}

#[tokio::test]
async fn both_sides_prove_who_they_are() {
    let ca = Ca::new("root");
    for versions in [TLS_1_3, TLS_1_2] {
        let terms = Terms { clients: Some(&ca), versions, ..Terms::default() };
        let server = Server::with(&ca.issue(&Ask::none().uri(CART)), &terms);
        let sources = Sources::trusting(&[&ca]);
        sources.own(&ca.issue(&Ask::none().uri(WEB))).unwrap();
        let tls = ClientTls::new(sources.mutual(&[exact(CART)])).unwrap();
        let made = call(&tls, &server).await.unwrap();
        assert_eq!(made.peer.identity.as_deref(), Some(CART));
        assert_eq!(made.met.client, Some(vec![WEB.to_owned()]));
    }
}

#[tokio::test]
async fn no_name_is_sent_for_a_spiffe_id_unless_one_is_set() {
    let ca = Ca::new("root");
    let server = Server::new(&ca.issue(&Ask::none().uri(CART)));
    let sources = Sources::trusting(&[&ca]);
    let made = call(&ClientTls::new(sources.policy(&[exact(CART)])).unwrap(), &server).await;
    assert_eq!(made.unwrap().met.sni, None);
    let policy = Policy { sni: Some("outbound.cart".into()), ..sources.policy(&[exact(CART)]) };
    let made = call(&ClientTls::new(policy).unwrap(), &server).await;
    assert_eq!(made.unwrap().met.sni.as_deref(), Some("outbound.cart"));
}

#[tokio::test]
async fn the_name_sent_is_not_the_name_expected() {
    let ca = Ca::new("root");
    let server = Server::new(&ca.issue(&Ask::none().dns("cart.prod")));
    let sources = Sources::trusting(&[&ca]);
    let policy = Policy { sni: Some("front.door".into()), ..sources.policy(&[exact("cart.prod")]) };
    let made = call(&ClientTls::new(policy).unwrap(), &server).await.unwrap();
    assert_eq!(made.met.sni.as_deref(), Some("front.door"));
    assert_eq!(made.peer.identity.as_deref(), Some("cart.prod"));
}

#[tokio::test]
async fn an_address_is_proved_by_an_address() {
    let ca = Ca::new("root");
    let server = Server::new(&ca.issue(&Ask::none().ip("10.0.0.1").ip("fd00::1")));
    let sources = Sources::trusting(&[&ca]);
    for address in ["10.0.0.1", "fd00::1"] {
        let tls = ClientTls::new(sources.policy(&[exact(address)])).unwrap();
        let made = call(&tls, &server).await.unwrap();
        assert_eq!((made.met.sni, made.peer.identity.as_deref()), (None, Some(address)));
    }
    let tls = ClientTls::new(sources.policy(&[exact("10.0.0.2")])).unwrap();
    let error = call(&tls, &server).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::WrongIdentity);
}

#[tokio::test]
async fn protocols_are_agreed_on() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&Ask::none().dns("cart.prod"));
    let sources = Sources::trusting(&[&ca]);
    let offer = |alpn: &[&str]| {
        let alpn = alpn.iter().map(|name| (*name).to_owned()).collect();
        let policy = Policy { alpn, ..sources.policy(&[exact("cart.prod")]) };
        ClientTls::new(policy).unwrap()
    };
    let both = Server::with(&leaf, &Terms { alpn: &["h2", "http/1.1"], ..Terms::default() });
    let old = Server::with(&leaf, &Terms { alpn: &["http/1.1"], ..Terms::default() });
    let none = Server::new(&leaf);
    let agreed = |made: Result<Made, TlsError>| made.unwrap().protocol;
    assert_eq!(agreed(call(&offer(&["h2"]), &both).await), Some(Protocol::Http2));
    assert_eq!(agreed(call(&offer(&["h2", "http/1.1"]), &old).await), Some(Protocol::Http1));
    assert_eq!(agreed(call(&offer(&["h2"]), &none).await), None);
    assert_eq!(agreed(call(&offer(&[]), &both).await), None);
    let error = call(&offer(&["h2"]), &old).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::Incompatible);
    assert!(error.to_string().contains("ALPN"), "{error}");
}

#[tokio::test]
async fn versions_are_kept_to() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&Ask::none().dns("cart.prod"));
    let sources = Sources::trusting(&[&ca]);
    let policy =
        Policy { min_version: Some(TlsVersion::V1_3), ..sources.policy(&[exact("cart.prod")]) };
    let tls = ClientTls::new(policy).unwrap();
    call(&tls, &Server::with(&leaf, &Terms { versions: TLS_1_3, ..Terms::default() }))
        .await
        .unwrap();
    let old = Server::with(&leaf, &Terms { versions: TLS_1_2, ..Terms::default() });
    let error = call(&tls, &old).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::Incompatible);
}

#[tokio::test]
async fn groups_and_ciphers_are_kept_to() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&Ask::none().dns("cart.prod"));
    let sources = Sources::trusting(&[&ca]);
    let base = || sources.policy(&[exact("cart.prod")]);
    let policy = Policy { groups: vec!["P-384".into()], ..base() };
    let made = call(&ClientTls::new(policy).unwrap(), &Server::new(&leaf)).await.unwrap();
    assert_eq!(made.met.group, "secp384r1");
    let policy = Policy { ciphers: vec!["ECDHE-ECDSA-AES128-GCM-SHA256".into()], ..base() };
    let old = Server::with(&leaf, &Terms { versions: TLS_1_2, ..Terms::default() });
    call(&ClientTls::new(policy).unwrap(), &old).await.unwrap();
    let policy = Policy { ciphers: vec!["ECDHE-RSA-AES128-GCM-SHA256".into()], ..base() };
    let error = call(&ClientTls::new(policy).unwrap(), &old).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::Incompatible);
}

/// What rustls never offers can never be chosen: to leave it out is the stricter reading.
#[tokio::test]
async fn names_that_others_know_count_for_nothing_beside_those_that_are_offered() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&Ask::none().dns("cart.prod"));
    let sources = Sources::trusting(&[&ca]);
    let base = || sources.policy(&[exact("cart.prod")]);
    let ciphers = vec!["AES128-GCM-SHA256".into(), OFFERED.into()];
    let old = Server::with(&leaf, &Terms { versions: TLS_1_2, ..Terms::default() });
    call(&ClientTls::new(Policy { ciphers, ..base() }).unwrap(), &old).await.unwrap();
    let groups = vec!["P-521".into(), "P-384".into()];
    let tls = ClientTls::new(Policy { groups, ..base() }).unwrap();
    let made = call(&tls, &Server::new(&leaf)).await.unwrap();
    assert_eq!(made.met.group, "secp384r1");
}

#[cfg(feature = "tls-aws-lc-rs")]
#[tokio::test]
async fn the_post_quantum_exchange_is_preferred() {
    let ca = Ca::new("root");
    let server = Server::new(&ca.issue(&Ask::none().dns("cart.prod")));
    let sources = Sources::trusting(&[&ca]);
    let tls = ClientTls::new(sources.policy(&[exact("cart.prod")])).unwrap();
    assert_eq!(call(&tls, &server).await.unwrap().met.group, "X25519MLKEM768");
}

#[tokio::test]
async fn skipping_is_possible_in_code_alone() {
    let (ca, other) = (Ca::new("root"), Ca::new("another"));
    let old = Ask::none().dns("somebody").lasting(ago(DAY * 9), ago(DAY));
    let server = Server::new(&other.issue(&old));
    let sources = Sources::silent();
    let trust: Box<dyn Verify> = Box::new(Trust::dangerous().any_certificate());
    assert_eq!(trust.name(), "dangerous: any certificate");
    trust.run(sources.publish_trust.clone()).await;
    let tls = ClientTls::new(sources.policy(&[exact("cart.prod")])).unwrap();
    let made = call(&tls, &server).await.unwrap();
    assert_eq!((made.peer.identity, &*made.peer.names), (None, &["somebody".to_owned()][..]));
    let anchors = sources.trust.state().good.unwrap();
    assert_eq!(anchors.summary(), "everybody is believed (dangerous)");
    // As soon as somebody has to be believed, what was made without does not stand.
    sources.trust(&[&ca]).unwrap();
    assert_eq!(end(made.vouched.withdrawn()).await, Withdrawn::RootRemoved);
    let error = call(&tls, &server).await.err().unwrap();
    assert!(error.is_refusal(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_first_connection_waits_for_both_sources() {
    let ca = Ca::new("root");
    let terms = Terms { clients: Some(&ca), ..Terms::default() };
    let server = Server::with(&ca.issue(&Ask::none().uri(CART)), &terms);
    let sources = Sources::silent();
    let tls = ClientTls::new(sources.mutual(&[exact(CART)])).unwrap();
    let waiting = tokio::spawn({
        let (tls, server) = (tls.clone(), server.clone());
        async move { call(&tls, &server).await.map(|made| made.met.client) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    sources.trust(&[&ca]).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    sources.own(&ca.issue(&Ask::none().uri(WEB))).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), Some(vec![WEB.to_owned()]));
}

#[tokio::test]
async fn a_source_that_failed_is_not_waited_for() {
    let ca = Ca::new("root");
    let server = Server::new(&ca.issue(&Ask::none().uri(CART)));
    let sources = Sources::trusting(&[&ca]);
    sources.publish_identity.refused("tls.key cannot be read: permission denied");
    let tls = ClientTls::new(sources.mutual(&[exact(CART)])).unwrap();
    let error = call(&tls, &server).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::NoIdentity);
    assert!(error.to_string().contains("tls.key cannot be read"), "{error}");

    let sources = Sources::silent();
    sources.publish_trust.refused("ca.crt: no certificate in it");
    let tls = ClientTls::new(sources.policy(&[exact(CART)])).unwrap();
    let error = call(&tls, &server).await.err().unwrap();
    assert_eq!(error.kind(), TlsErrorKind::NoTrust);

    // One that went without a word.
    let (publisher, silent) = TrustHandle::trust("gone", sources.heard.weak());
    drop(publisher);
    let tls = ClientTls::new(Policy::new(crypto(), silent, vec![exact(CART)])).unwrap();
    let error = call(&tls, &server).await.err().unwrap();
    assert!(error.to_string().contains("ended before it said anything"), "{error}");
}

#[test]
fn equal_policies_share_connections_and_others_do_not() {
    let ca = Ca::new("root");
    let (sources, others) = (Sources::trusting(&[&ca]), Sources::trusting(&[&ca]));
    let tls = |policy| ClientTls::new(policy).unwrap();
    let base = || sources.policy(&[exact("cart.prod")]);
    let one = tls(base());
    assert_eq!(one, tls(base()));
    assert_eq!(one, one.endpoint());
    let stricter = [
        sources.policy(&[exact(CART)]),
        sources.mutual(&[exact("cart.prod")]),
        others.policy(&[exact("cart.prod")]),
        Policy { sni: Some("cart.prod".into()), ..base() },
        Policy { alpn: vec!["h2".into()], ..base() },
        Policy { min_version: Some(TlsVersion::V1_3), ..base() },
        Policy { groups: vec!["P-256".into()], ..base() },
        Policy { max_verify_depth: Some(3), ..base() },
    ];
    for policy in stricter {
        let other = tls(policy);
        assert_ne!(one, other, "{other:?}");
    }
}

#[test]
fn a_policy_that_cannot_be_kept_to_is_refused_by_name() {
    let ca = Ca::new("root");
    let sources = Sources::trusting(&[&ca]);
    let base = || sources.policy(&[exact("cart.prod")]);
    let refused = [
        (sources.policy(&[]), "identities = []: must name whom"),
        (sources.policy(&[exact("*.prod")]), "identities[0].exact = *.prod: must be a DNS name"),
        (Policy { sni: Some("10.0.0.1".into()), ..base() }, "sni = 10.0.0.1: must be a DNS name"),
        (Policy { trust: Vec::new(), ..base() }, "roots = none"),
        (Policy { alpn: vec![String::new()], ..base() }, "alpn = : must have 1 to 255 bytes"),
        (Policy { ciphers: vec!["RC4-MD5".into()], ..base() }, "ciphers = RC4-MD5"),
        // Well known, and nothing is left.
        (Policy { ciphers: vec!["AES128-SHA".into()], ..base() }, "ciphers = AES128-SHA"),
        (
            Policy { ciphers: vec![OFFERED.into(), "ECDHE-RSA-AES128".into()], ..base() },
            "ciphers = ECDHE-RSA-AES128:",
        ),
        (Policy { groups: vec!["sect571r1".into()], ..base() }, "groups = sect571r1"),
        (Policy { max_version: Some(TlsVersion::V1_1), ..base() }, "max_version"),
        (
            Policy {
                min_version: Some(TlsVersion::V1_3),
                max_version: Some(TlsVersion::V1_2),
                ..base()
            },
            "min_version = 1.3: must be at most",
        ),
    ];
    for (policy, wanted) in refused {
        let error = ClientTls::new(policy).err().unwrap().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn what_trusts_the_same_sources_shares_their_roots() {
    let ca = Ca::new("root");
    let sources = Sources::trusting(&[&ca]);
    let shared = Shared::default();
    let compile = |policy: Policy, shared: &Shared| {
        policy.compile(shared).map_err(|e| e.to_string()).unwrap()
    };
    let one = compile(sources.policy(&[exact("cart.prod")]), &shared);
    let same = compile(sources.policy(&[exact("cart.prod")]), &shared);
    assert!(Arc::ptr_eq(&one, &same));
    let unresumed = Policy { resumption: false, ..sources.policy(&[exact("cart.prod")]) };
    assert!(!Arc::ptr_eq(&one, &compile(unresumed, &shared)));
    // Another name: other rules over the same roots.
    let other = compile(sources.policy(&[exact("users.prod")]), &shared);
    let pools = |policy: &Arc<policy::Compiled>| policy.current().unwrap().rules.pools_for_tests();
    let first = pools(&one);
    assert!(Arc::ptr_eq(&first, &pools(&other)));
    // Other sources are others, and so are newer words of the same.
    let more = Policy { trust: vec![sources.trust.clone(); 2], ..sources.policy(&[exact("a")]) };
    assert!(!Arc::ptr_eq(&first, &pools(&compile(more, &shared))));
    sources.trust(&[&ca, &Ca::new("new")]).unwrap();
    let second = pools(&one);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &pools(&other)));
    // What nobody uses is let go of.
    let gone = Arc::downgrade(&second);
    drop((one, same, other, first, second));
    assert!(gone.upgrade().is_none());
}
