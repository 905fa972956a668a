//! What balancers that hash may say.

use super::{
    super::{
        Balancer, Cluster, ConfigErrors, HashCookie, HashHeader, HashOn, HashPolicy, Maglev,
        RingHash,
    },
    message,
};

#[test]
fn what_a_hashing_balancer_cannot_be_is_refused_with_its_range() {
    fn ring(fill: impl FnOnce(&mut RingHash)) -> Result<(), ConfigErrors> {
        let mut ring = RingHash::default();
        fill(&mut ring);
        let mut cluster = Cluster::default();
        cluster.balancer = Some(Balancer::RingHash(ring));
        cluster.validate("a")
    }
    fn maglev(fill: impl FnOnce(&mut Maglev)) -> Result<(), ConfigErrors> {
        let mut maglev = Maglev::default();
        fill(&mut maglev);
        let mut cluster = Cluster::default();
        cluster.balancer = Some(Balancer::Maglev(maglev));
        cluster.validate("a")
    }
    let on = |on| vec![HashPolicy::new(on)];
    let named = |name: &str| HashHeader { name: name.into(), rewrite: None };
    ring(|_| {}).unwrap();
    maglev(|_| {}).unwrap();
    ring(|ring| (ring.minimum_ring_size, ring.maximum_ring_size) = (Some(7), Some(7))).unwrap();
    maglev(|maglev| maglev.table_size = Some(5_000_011)).unwrap();
    for (refused, text) in [
        (
            ring(|ring| ring.minimum_ring_size = Some(0)),
            "ring_hash.minimum_ring_size = 0: must be in 1..=8388608",
        ),
        (
            ring(|ring| ring.maximum_ring_size = Some(8_388_609)),
            "ring_hash.maximum_ring_size = 8388609: must be in 1..=8388608",
        ),
        (
            ring(|ring| ring.maximum_ring_size = Some(1_000)),
            "ring_hash.minimum_ring_size = 1024: must be at most maximum_ring_size (1000)",
        ),
        (
            ring(|ring| ring.balance_percent = Some(99)),
            "ring_hash.balance_percent = 99: must be at least 100",
        ),
        (
            ring(|ring| ring.request_header = Some("a b".into())),
            "ring_hash.request_header = a b: must be the name of a header",
        ),
        (
            ring(|ring| ring.hash = on(HashOn::SourceIp)),
            "ring_hash.hash[0].on = source_ip: not supported yet: a call has no caller's address",
        ),
        (
            ring(|ring| ring.hash = on(HashOn::Header(named("")))),
            "ring_hash.hash[0].on.header.name = : must be the name of a header",
        ),
        (
            maglev(|maglev| maglev.table_size = Some(65_536)),
            "maglev.table_size = 65536: must be a prime in 2..=5000011",
        ),
        (
            maglev(|maglev| maglev.table_size = Some(5_000_077)),
            "maglev.table_size = 5000077: must be a prime in 2..=5000011",
        ),
        (
            maglev(|maglev| maglev.hash = on(HashOn::PathSegment(64))),
            "maglev.hash[0].on.path_segment = 64: must be in 0..=63",
        ),
        (
            maglev(|maglev| maglev.hash = on(HashOn::FilterState("user".into()))),
            "maglev.hash[0].on.filter_state = user: not supported yet",
        ),
        (
            maglev(|maglev| maglev.hash = on(HashOn::Query(String::new()))),
            "maglev.hash[0].on.query = : must not be empty",
        ),
    ] {
        assert_eq!(message(refused), format!("clusters.a.balancer.{text}"));
    }
    for (name, path, attribute) in
        [("a b", "/", "x"), ("", "/", "x"), ("a", "/;", "x"), ("a", "/\n", "x"), ("a", "/", "a;b")]
    {
        let mut cookie = HashCookie { name: name.into(), ..HashCookie::default() };
        cookie.path = Some(path.into());
        cookie.attributes.insert("SameSite".into(), attribute.into());
        let text = message(maglev(|maglev| maglev.hash = on(HashOn::Cookie(cookie))));
        assert!(text.starts_with("clusters.a.balancer.maglev.hash[0].on.cookie."), "{text}");
    }
}
