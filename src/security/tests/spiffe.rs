//! The grammar of SPIFFE ids, by what SPIFFE-ID §2 says and shows.

use proptest::prelude::*;

use super::*;

#[test]
fn ids_of_the_specification() {
    for (text, domain, path) in [
        //= SPIFFE-ID §2.2: its examples
        ("spiffe://staging.example.com/payments/mysql", "staging.example.com", "/payments/mysql"),
        ("spiffe://staging.example.com/payments/web-fe", "staging.example.com", "/payments/web-fe"),
        (
            "spiffe://k8s-west.example.com/ns/staging/sa/default",
            "k8s-west.example.com",
            "/ns/staging/sa/default",
        ),
        (
            "spiffe://example.com/9eebccd2-12bf-40a6-b262-65fe0487d453",
            "example.com",
            "/9eebccd2-12bf-40a6-b262-65fe0487d453",
        ),
        //= SPIFFE-ID §2: the path may be missing
        ("spiffe://example.com", "example.com", ""),
        //= SPIFFE-ID §2.1: lower-case letters, digits, dots, dashes and underscores
        ("spiffe://1.2.3.4/a", "1.2.3.4", "/a"),
        ("spiffe://a_b-c.d/A.b_C-9", "a_b-c.d", "/A.b_C-9"),
        ("spiffe://td/...", "td", "/..."),
    ] {
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!((id.trust_domain(), id.path(), id.as_str()), (domain, path, text));
    }
}

#[test]
fn what_is_no_id() {
    for text in [
        "",
        "example.com/a",
        //= SPIFFE-ID §2: the scheme is `spiffe`
        "https://example.com/a",
        "SPIFFE://example.com/a",
        "spiffe:/example.com/a",
        "spiffe:example.com",
        //= SPIFFE-ID §2: a trust domain name that is not empty
        "spiffe://",
        "spiffe:///a",
        //= SPIFFE-ID §2: neither a query nor a fragment
        "spiffe://example.com/a?b",
        "spiffe://example.com/a#b",
        "spiffe://example.com?b",
        //= SPIFFE-ID §2.1: neither user info nor a port
        "spiffe://user@example.com/a",
        "spiffe://example.com:80/a",
        "spiffe://example.com:/a",
        //= SPIFFE-ID §2.1: lower case only, nothing percent-encoded
        "spiffe://Example.com/a",
        "spiffe://ex%61mple.com/a",
        "spiffe://[::1]/a",
        "spiffe://bücher.example/a",
        //= SPIFFE-ID §2.2: no empty segment, no slash at the end, no dots alone
        "spiffe://example.com/",
        "spiffe://example.com//a",
        "spiffe://example.com/a/",
        "spiffe://example.com/./a",
        "spiffe://example.com/a/..",
        "spiffe://example.com/a b",
        "spiffe://example.com/%61",
        "spiffe://example.com/ü",
        "spiffe://example.com/a\0",
    ] {
        assert!(text.parse::<SpiffeId>().is_err(), "{text}");
    }
}

#[test]
fn lengths() {
    //= SPIFFE-ID §2.3: 2048 bytes for an id, 255 for a trust domain
    let id = |bytes: usize| format!("spiffe://d/{}", "a".repeat(bytes - "spiffe://d/".len()));
    assert!(id(2048).parse::<SpiffeId>().is_ok());
    assert!(id(2049).parse::<SpiffeId>().is_err());
    assert!("a".repeat(255).parse::<TrustDomain>().is_ok());
    assert!("a".repeat(256).parse::<TrustDomain>().is_err());
    assert!(format!("spiffe://{}/a", "a".repeat(256)).parse::<SpiffeId>().is_err());
}

#[test]
fn a_trust_domain_with_or_without_its_scheme() {
    let plain: TrustDomain = "prod.example".parse().unwrap();
    assert_eq!("spiffe://prod.example".parse::<TrustDomain>().unwrap(), plain);
    for text in ["", "spiffe://", "prod.example/a", "Prod", "a:1", "spiffe://prod.example/"] {
        assert!(text.parse::<TrustDomain>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(text in "(spiffe://)?[a-z0-9._/@:%?#-]{0,40}") {
        if let Ok(id) = text.parse::<SpiffeId>() {
            let parts = format!("spiffe://{}{}", id.trust_domain(), id.path());
            prop_assert_eq!(&parts, &text);
            prop_assert!(!id.trust_domain().is_empty());
            prop_assert!(id.path().is_empty() || id.path().starts_with('/'));
            prop_assert!(!id.path().ends_with('/'));
        }
    }

    #[test]
    fn any_text_is_read(text in any::<String>()) {
        drop((text.parse::<SpiffeId>(), text.parse::<TrustDomain>()));
    }
}
