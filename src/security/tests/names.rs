//! Which names are accepted, and from whose roots.

use proptest::prelude::*;

use super::*;
use crate::config::{SanKind, SanMatch, StringMatch};

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";

fn san(kind: Option<SanKind>, matcher: StringMatch) -> IdentityMatch {
    let mut san = SanMatch::new(matcher);
    san.kind = kind;
    IdentityMatch::San(san)
}

/// Whether this certificate will do for this expectation; its CA is trusted.
fn accepts(expected: &IdentityMatch, ask: &Ask) -> bool {
    let ca = Ca::new("root");
    let sources = Sources::trusting(&[&ca]);
    check(&sources, expected, &ca.issue(ask)).is_ok()
}

fn check(
    sources: &Sources,
    expected: &IdentityMatch,
    shown: &Issued,
) -> Result<verifier::Verdict, TlsError> {
    let compiled =
        sources.policy(std::slice::from_ref(expected)).compile(&Shared::default()).unwrap();
    let chain = shown.certificates();
    let now = rustls::pki_types::UnixTime::now();
    compiled.current().unwrap().rules.check(&chain[0], &chain[1..], now)
}

#[test]
fn dns_names_by_their_rules() {
    let shop = Ask::none().dns("*.shop.prod").dns("Cart.Prod");
    for (name, will_do) in [
        ("cart.prod", true),
        ("CART.prod", true),
        ("a.shop.prod", true),
        //= RFC 9525 §6.3: a wildcard is one label, the leftmost
        ("a.b.shop.prod", false),
        ("shop.prod", false),
        ("cart.prod.evil", false),
        ("xcart.prod", false),
    ] {
        assert_eq!(accepts(&exact(name), &shop), will_do, "{name}");
    }
    //= RFC 9525 §6.3: the subject's common name is not looked at
    let mut params = Ask::none();
    params.params.distinguished_name.push(DnType::CommonName, "cart.prod");
    assert!(!accepts(&exact("cart.prod"), &params));
}

#[test]
fn spiffe_ids_exactly_below_and_by_domain() {
    let cart = Ask::none().uri(CART).dns("cart.prod");
    let prefix = |text: &str| IdentityMatch::Prefix(text.to_owned());
    let domain = |text: &str| IdentityMatch::TrustDomain(text.to_owned());
    for (expected, will_do) in [
        (exact(CART), true),
        (exact("cart.prod"), true),
        (exact("spiffe://prod.example/ns/shop/sa/car"), false),
        (exact("spiffe://prod.example/ns/shop/sa/cart/x"), false),
        (exact("spiffe://prod.example/ns/shop/sa/Cart"), false),
        (prefix("spiffe://prod.example"), true),
        (prefix("spiffe://prod.example/"), true),
        (prefix("spiffe://prod.example/ns/shop"), true),
        (prefix("spiffe://prod.example/ns/shop/"), true),
        (prefix(CART), true),
        (prefix("spiffe://prod.example/ns/sho"), false),
        (prefix("spiffe://prod.exampl"), false),
        (domain("prod.example"), true),
        (domain("spiffe://prod.example"), true),
        (domain("example"), false),
        (domain("prod.example.evil"), false),
    ] {
        assert_eq!(accepts(&expected, &cart), will_do, "{expected:?}");
    }
}

#[test]
fn a_prefix_does_not_end_in_the_middle_of_a_trust_domain() {
    let prefix = IdentityMatch::Prefix("spiffe://prod".to_owned());
    assert!(!accepts(&prefix, &Ask::none().uri("spiffe://prod.evil/ns/shop")));
    assert!(!accepts(&prefix, &Ask::none().uri("spiffe://prod-evil/ns/shop")));
}

/// Roots for any name beside those of a trust domain: the first vouch for nobody of the domain.
#[test]
fn a_spiffe_uri_in_another_case_does_not_escape_its_trust_domain() {
    use StringMatch as M;
    let (prod, web) = (Ca::new("prod"), Ca::new("web"));
    let sources = Sources::silent();
    let roots = Roots::new().pem(web.pem().as_bytes()).unwrap();
    let roots = roots.domain_pem("prod.example".parse().unwrap(), prod.pem().as_bytes());
    sources.publish_trust.roots(roots.unwrap()).unwrap();
    let folded = |matcher| {
        let mut san = SanMatch::new(matcher);
        san.ignore_case = true;
        IdentityMatch::San(san)
    };
    let mut all = vec![
        san(None, M::Contains("prod.example/admin".to_owned())),
        san(Some(SanKind::Uri), M::Suffix("//prod.example/admin".to_owned())),
        folded(M::Exact("spiffe://prod.example/admin".to_owned())),
        folded(M::Prefix("spiffe://prod.example/".to_owned())),
    ];
    if cfg!(feature = "regex") {
        all.push(san(Some(SanKind::Uri), M::Regex("(?i)spiffe://prod.example/.*".to_owned())));
        all.push(folded(M::Regex(".*//prod.example/admin".to_owned())));
    }
    for expected in all {
        for uri in ["SPIFFE://prod.example/admin", "Spiffe://prod.example/admin"] {
            for ca in [&web, &prod] {
                let error = check(&sources, &expected, &ca.issue(&Ask::none().uri(uri)));
                let error = error.expect_err(uri);
                assert_eq!(
                    error.kind(),
                    TlsErrorKind::BadCertificate,
                    "{uri} {expected:?} {error}"
                );
                assert!(error.to_string().contains("malformed"), "{error}");
            }
        }
        let admin = Ask::none().uri("spiffe://prod.example/admin");
        assert!(check(&sources, &expected, &prod.issue(&admin)).is_ok(), "{expected:?}");
        assert!(check(&sources, &expected, &web.issue(&admin)).is_err(), "{expected:?}");
    }
}

#[test]
fn names_that_look_so() {
    use SanKind as K;
    use StringMatch as M;
    let text = str::to_owned;
    let all = Ask::none().uri(CART).dns("*.Cart.prod").email("ops@cart.prod").ip("10.0.0.1");
    for (kind, matcher, will_do) in [
        (Some(K::Dns), M::Exact(text("a.cart.prod")), true),
        (Some(K::Dns), M::Exact(text("*.cart.prod")), true),
        (Some(K::Dns), M::Suffix(text(".CART.prod")), true),
        (Some(K::Dns), M::Exact(text("cart.prod")), false),
        (Some(K::Dns), M::Prefix(text("spiffe://")), false),
        (Some(K::Uri), M::Exact(text(CART)), true),
        (Some(K::Uri), M::Prefix(text("spiffe://prod.example/ns/sho")), true),
        (Some(K::Uri), M::Exact(text("SPIFFE://prod.example/ns/shop/sa/cart")), false),
        (Some(K::Email), M::Exact(text("ops@cart.prod")), true),
        (Some(K::Email), M::Exact(text("OPS@cart.prod")), false),
        (Some(K::Ip), M::Exact(text("10.0.0.1")), true),
        (Some(K::Ip), M::Exact(text("10.0.0.2")), false),
        (None, M::Exact(text("a.cart.prod")), true),
        (None, M::Exact(text("10.0.0.1")), true),
        (None, M::Contains(text("@cart")), true),
        (None, M::Contains(text("evil")), false),
    ] {
        let expected = san(kind, matcher);
        assert_eq!(accepts(&expected, &all), will_do, "{expected:?}");
    }
    let IdentityMatch::San(mut folded) = san(Some(K::Email), M::Exact(text("OPS@cart.prod")))
    else {
        unreachable!()
    };
    folded.ignore_case = true;
    assert!(accepts(&IdentityMatch::San(folded), &all));
}

#[cfg(feature = "regex")]
#[test]
fn a_regular_expression_takes_the_whole_of_a_name() {
    use SanKind as K;
    let regex = |kind, text: &str| san(kind, StringMatch::Regex(text.to_owned()));
    let all = Ask::none().uri(CART).dns("Cart.prod").email("ops@cart.prod").ip("10.0.0.1");
    for (kind, text, will_do) in [
        (Some(K::Dns), r"cart\.prod", true),
        (Some(K::Dns), r"CART\.PROD", true),
        (Some(K::Dns), "c[a-z]+.prod", true),
        (Some(K::Dns), "art.prod", false),
        (Some(K::Dns), "cart.pro", false),
        (Some(K::Dns), "cart|x.prod", false),
        (Some(K::Dns), "cart.|prod", false),
        (Some(K::Dns), r"x|cart\.prod", true),
        (Some(K::Dns), "spiffe://.*", false),
        (Some(K::Uri), r"spiffe://prod\.example/ns/[^/]+/sa/cart", true),
        (Some(K::Uri), r"prod\.example/ns/shop/sa/cart", false),
        (Some(K::Uri), "spiffe://PROD.example/.*", false),
        (Some(K::Uri), "(?i)spiffe://PROD.example/.*", true),
        (Some(K::Email), r"[a-z]+@cart\.prod", true),
        (Some(K::Email), "OPS@.*", false),
        (Some(K::Ip), r"10\.0\.0\.[0-9]", true),
        (Some(K::Ip), r"0\.0\.0\.1", false),
        (None, "ops@.*", true),
        (None, r"10\.0\.0\.[2-9]", false),
    ] {
        let expected = regex(kind, text);
        assert_eq!(accepts(&expected, &all), will_do, "{expected:?}");
    }
    for (text, name, will_do) in [
        ("a.b", "a.b", true),
        ("a.b", "a-b", true),
        ("a.b", "xa.b", false),
        ("a.b", "a.bx", false),
        ("a|b", "a", true),
        ("a|b", "b", true),
        ("a|b", "ab", false),
        ("a|b", "ax", false),
        ("a|b", "xb", false),
        ("^a|b$", "ab", false),
        ("(?x)a # b", "a", false),
    ] {
        let expected = regex(Some(K::Dns), text);
        let is_compiled = expected::Expected::compile(&expected).is_ok();
        let is_taken = is_compiled && accepts(&expected, &Ask::none().dns(name));
        assert_eq!(is_taken, will_do, "`{text}` of {name}");
    }
    let mut folded = SanMatch::new(StringMatch::Regex(r"OPS@CART\.PROD".to_owned()));
    folded.ignore_case = true;
    assert!(accepts(&IdentityMatch::San(folded), &all));
    // As for every match: of a workload with two ids, neither counts.
    let two = Ask::none().uri(CART).uri("spiffe://prod.example/ns/shop/sa/web");
    assert!(!accepts(&regex(Some(K::Uri), "spiffe://prod.example/.*"), &two));
}

#[cfg(feature = "regex")]
#[test]
fn a_regular_expression_that_cannot_be_kept_to_is_refused_with_its_reason() {
    use SanKind::{Dns, Email, Ip, Uri};
    let sources = Sources::trusting(&[&Ca::new("root")]);
    for (text, wanted) in [
        ("(", "identities[0].san.matcher.regex = (: is not a regular expression: unclosed group"),
        ("a)|(b", "is not a regular expression: unopened group"),
        (r"(a)\1", "backreferences are not supported"),
        ("((a{100}){100}){100}", "is too large: compiled, it must be at most 65536 bytes"),
        (".*", "anybody would pass"),
        (".+", "anybody would pass"),
    ] {
        for kind in [None, Some(Dns), Some(Uri)] {
            let expected = san(kind, StringMatch::Regex(text.to_owned()));
            let refused = sources.policy(&[expected]).compile(&Shared::default());
            let error = refused.err().unwrap_or_else(|| panic!("{text} is let in")).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
    for (kind, text, is_anybodys) in [
        (Dns, r"[\w.-]+", true),
        (Dns, r"([\w-]+\.)*prod", false),
        (Dns, r"(cart\.prod)?", false),
        (Uri, "spiffe://.*", true),
        (Uri, "https?://.+", true),
        (Uri, "spiffe://prod.example/.*", false),
        (Email, ".+@.+", true),
        (Email, ".+@prod.example", false),
        (Ip, r"[0-9.]+", true),
        (Ip, r"[0-9a-f:]+", true),
        (Ip, r"10\.[0-9.]+", false),
    ] {
        let expected = san(Some(kind), StringMatch::Regex(text.to_owned()));
        let refused = sources.policy(&[expected]).compile(&Shared::default()).err();
        assert_eq!(refused.is_some(), is_anybodys, "{kind:?} {text}: {refused:?}");
    }
}

#[test]
fn a_san_match_on_a_workload_keeps_to_the_rules_of_workloads() {
    let two = Ask::none().uri(CART).uri("spiffe://prod.example/ns/shop/sa/web");
    let expected = san(Some(SanKind::Uri), StringMatch::Exact(CART.to_owned()));
    assert!(!accepts(&expected, &two));
    let signs = Ask::none().uri(CART).usage(KeyUsagePurpose::KeyCertSign);
    assert!(!accepts(&expected, &signs));
    // Other URIs have no such rule.
    let web = Ask::none().uri("https://cart.prod/a").uri("https://cart.prod/b");
    let expected = san(Some(SanKind::Uri), StringMatch::Prefix("https://cart.prod/".to_owned()));
    assert!(accepts(&expected, &web));
}

#[test]
fn matches_that_would_let_anybody_pass_are_refused() {
    use StringMatch as M;
    let sources = Sources::trusting(&[&Ca::new("root")]);
    let mut other = SanMatch::new(M::Suffix(".example".to_owned()));
    other.oid = Some("1.2.3".to_owned());
    for expected in [
        exact(""),
        exact("spiffe://prod.example"),
        exact("spiffe://"),
        IdentityMatch::Prefix(String::new()),
        IdentityMatch::Prefix("spiffe://".to_owned()),
        IdentityMatch::Prefix("prod.example/".to_owned()),
        IdentityMatch::TrustDomain(String::new()),
        IdentityMatch::TrustDomain("*".to_owned()),
        san(None, M::Prefix(String::new())),
        san(None, M::Contains(String::new())),
        san(None, M::Suffix(String::new())),
        san(None, M::Exact(String::new())),
        san(None, M::Regex(".*".to_owned())),
        san(Some(SanKind::Uri), M::Regex("(".to_owned())),
        san(Some(SanKind::Other), M::Suffix(".example".to_owned())),
        san(None, M::Present),
        san(Some(SanKind::Uri), M::Present),
        IdentityMatch::San(other),
    ] {
        let refused = sources.policy(std::slice::from_ref(&expected)).compile(&Shared::default());
        assert!(refused.is_err(), "{expected:?}");
    }
}

#[test]
fn a_trust_domain_is_vouched_for_by_its_own_roots_alone() {
    let (prod, partner, web) = (Ca::new("prod"), Ca::new("partner"), Ca::new("web"));
    let sources = Sources::silent();
    let domain = |name: &str| name.parse().unwrap();
    let roots = Roots::new()
        .domain_pem(domain("prod.example"), prod.pem().as_bytes())
        .and_then(|roots| roots.domain_pem(domain("partner.example"), partner.pem().as_bytes()));
    sources.publish_trust.roots(roots.clone().unwrap()).unwrap();
    let of_partner = "spiffe://partner.example/cart";
    let issue = |ca: &Ca, uri: &str| ca.issue(&Ask::none().uri(uri).dns("cart.prod"));
    let kind = |expected: &str, shown: &Issued| {
        check(&sources, &exact(expected), shown).map_or_else(|error| Some(error.kind()), |_| None)
    };
    assert_eq!(kind(CART, &issue(&prod, CART)), None);
    assert_eq!(kind(of_partner, &issue(&partner, of_partner)), None);
    // The partner names one of ours, and we one of the partner's.
    assert_eq!(kind(CART, &issue(&partner, CART)), Some(TlsErrorKind::UnknownCa));
    assert_eq!(kind(of_partner, &issue(&prod, of_partner)), Some(TlsErrorKind::UnknownCa));
    // A domain without roots.
    let third = "spiffe://third.example/cart";
    assert_eq!(kind(third, &issue(&prod, third)), Some(TlsErrorKind::UnknownCa));
    // A trust domain says nothing of DNS names: the partner's least of all.
    assert_eq!(kind("cart.prod", &issue(&partner, of_partner)), Some(TlsErrorKind::UnknownCa));
    assert_eq!(kind("cart.prod", &issue(&prod, CART)), Some(TlsErrorKind::UnknownCa));

    // Roots for any name, beside: for DNS names, and for no SPIFFE id.
    sources.publish_trust.roots(roots.unwrap().pem(web.pem().as_bytes()).unwrap()).unwrap();
    let kind = |expected: &str, shown: &Issued| {
        check(&sources, &exact(expected), shown).map_or_else(|error| Some(error.kind()), |_| None)
    };
    assert_eq!(kind("cart.prod", &web.issue(&Ask::none().dns("cart.prod"))), None);
    assert_eq!(kind(CART, &issue(&web, CART)), Some(TlsErrorKind::UnknownCa));
    assert_eq!(kind(third, &issue(&web, third)), Some(TlsErrorKind::UnknownCa));
    assert_eq!(kind("cart.prod", &issue(&partner, of_partner)), Some(TlsErrorKind::UnknownCa));
}

#[test]
fn one_of_several_expectations_will_do() {
    let (prod, web) = (Ca::new("prod"), Ca::new("web"));
    let sources = Sources::silent();
    let roots = Roots::new().domain_pem("prod.example".parse().unwrap(), prod.pem().as_bytes());
    sources
        .publish_trust
        .roots(roots.and_then(|roots| roots.pem(web.pem().as_bytes())).unwrap())
        .unwrap();
    let compiled =
        sources.policy(&[exact("cart.prod"), exact(CART)]).compile(&Shared::default()).unwrap();
    let rules = compiled.current().unwrap();
    let check = |shown: &Issued| {
        let now = rustls::pki_types::UnixTime::now();
        rules.rules.check(&shown.certificates()[0], &[], now).map(|verdict| verdict.name.unwrap())
    };
    // Both names, by a root that may give only the second: the second counts.
    let both = prod.issue(&Ask::none().uri(CART).dns("cart.prod"));
    assert_eq!(check(&both).unwrap(), CART);
    let both = web.issue(&Ask::none().uri(CART).dns("cart.prod"));
    assert_eq!(check(&both).unwrap(), "cart.prod");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A prefix takes an id if and only if its segments are the first of the id's.
    #[test]
    fn a_prefix_is_whole_segments(
        id in prop::collection::vec("[a-c]{1,2}", 1..5),
        prefix in prop::collection::vec("[a-c]{1,2}", 0..5),
    ) {
        let path = |segments: &[String]| {
            segments.iter().map(|segment| format!("/{segment}")).collect::<String>()
        };
        let whole: SpiffeId = format!("spiffe://d{}", path(&id)).parse().unwrap();
        let start: SpiffeId = format!("spiffe://d{}", path(&prefix)).parse().unwrap();
        prop_assert_eq!(whole.starts_with(&start), id.starts_with(&prefix));
    }

    /// Any bytes in place of a certificate are refused, and nothing panics.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(certificate::Facts::read(&bytes).is_err());
    }

    /// A certificate with one byte changed is never somebody else's.
    #[test]
    fn a_changed_byte_is_never_believed(at in any::<prop::sample::Index>(), by in 1..=255_u8) {
        let (sources, der) = &*SHOWN;
        let compiled = sources.policy(&[exact(CART)]).compile(&Shared::default()).unwrap();
        let mut changed = der.to_vec();
        let at = at.index(changed.len());
        changed[at] ^= by;
        let now = rustls::pki_types::UnixTime::now();
        let checked = compiled.current().unwrap().rules.check(&changed.into(), &[], now);
        prop_assert!(checked.is_err());
    }
}

static SHOWN: std::sync::LazyLock<(Sources, CertificateDer<'static>)> =
    std::sync::LazyLock::new(|| {
        let ca = Ca::new("root");
        let shown = ca.issue(&Ask::none().uri(CART));
        (Sources::trusting(&[&ca]), shown.certificates().remove(0))
    });

#[test]
fn only_dns_names_are_asked_for() {
    use crate::security::name_to_ask_for;
    for name in ["users", "users.prod.svc.cluster.local", "outbound_.80_._.users.prod"] {
        assert_eq!(name_to_ask_for(name).as_deref(), Some(name));
    }
    for name in ["10.0.0.1", "::1", "outbound|80||users.prod", "*.prod", ""] {
        assert_eq!(name_to_ask_for(name), None, "{name}");
    }
}
