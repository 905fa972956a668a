use super::*;
use crate::config::{
    DescriptorEntry, DescriptorHeaders, DescriptorQuery, HeaderMatch, QueryMatch, StringMatch,
};

fn header(name: &str, key: &str, skip_if_absent: bool) -> DescriptorPart {
    let mut source = DescriptorSource::new(name);
    (source.key, source.skip_if_absent) = (key.to_owned(), skip_if_absent);
    DescriptorPart::Header(source)
}

/// No key is set.
fn on(_: &str) -> Arc<Switch> {
    Arc::new(Switch::new(None))
}

fn request() -> Request<()> {
    Request::post("http://shop.prod/cart?item=7&item=8&q=a%20b%2Bc%FF")
        .header("x-user", "ann")
        .header("x-user", "bob")
        .body(())
        .unwrap()
}

fn described(parts: impl IntoIterator<Item = DescriptorPart>) -> Option<Vec<(String, String)>> {
    let labels = [("cluster".to_owned(), "front".to_owned())].into();
    let describing = Describing::new(&[RateDescriptor::new(parts)], 0, &labels, on);
    let said = describing.describe(&request(), Some("carts"), &Random::seeded(1));
    let pair = |(key, value): &(Cow<'static, str>, String)| (key.to_string(), value.clone());
    Some(said.first()?.entries().iter().map(pair).collect())
}

fn one(part: DescriptorPart) -> Option<(String, String)> {
    described([part])?.pop()
}

fn pair(key: &str, value: &str) -> Option<(String, String)> {
    Some((key.to_owned(), value.to_owned()))
}

//= Envoy `config.route.v3.RateLimit.Action`: the entries that the documentation shows
#[test]
fn each_part_makes_the_entry_that_envoy_makes() {
    assert_eq!(one(DescriptorPart::SourceCluster), pair("source_cluster", "front"));
    assert_eq!(one(DescriptorPart::DestinationCluster), pair("destination_cluster", "carts"));
    assert_eq!(one(header("x-user", "user", false)), pair("user", "ann"));
    assert_eq!(
        one(header(":path", "path", false)),
        pair("path", "/cart?item=7&item=8&q=a%20b%2Bc%FF")
    );
    assert_eq!(one(header(":method", "", false)), pair(":method", "POST"));
    assert_eq!(one(header(":authority", "host", false)), pair("host", "shop.prod"));
    assert_eq!(one(header(":scheme", "scheme", false)), pair("scheme", "http"));
    let query = DescriptorSource::new("item");
    assert_eq!(one(DescriptorPart::Query(query)), pair("item", "7"));
    let query = DescriptorSource::new("q");
    assert_eq!(one(DescriptorPart::Query(query)), pair("q", "a b+c\u{fffd}"));
    let fixed = DescriptorPart::Fixed(DescriptorEntry::new("", "slow"));
    assert_eq!(one(fixed), pair("generic_key", "slow"));
    let fixed = DescriptorPart::Fixed(DescriptorEntry::new("speed", "slow"));
    assert_eq!(one(fixed), pair("speed", "slow"));
}

#[test]
fn what_matches_or_must_not_makes_a_fixed_entry() {
    for (name, invert, expected) in [
        ("x-user", false, pair("header_match", "known")),
        ("x-user", true, None),
        ("x-none", false, None),
        ("x-none", true, pair("header_match", "known")),
    ] {
        let mut it = DescriptorHeaders::default();
        it.value = "known".into();
        it.headers = vec![HeaderMatch::new(name, StringMatch::Present)];
        it.invert = invert;
        assert_eq!(one(DescriptorPart::HeadersMatch(it)), expected, "{name} {invert}");
    }
    let mut it = DescriptorQuery::default();
    (it.key, it.value) = (Some("kind".into()), "item".into());
    it.query = vec![QueryMatch::new("item", StringMatch::Exact("7".into()))];
    assert_eq!(one(DescriptorPart::QueryMatch(it.clone())), pair("kind", "item"));
    it.query = vec![QueryMatch::new("item", StringMatch::Exact("8".into()))];
    assert_eq!(one(DescriptorPart::QueryMatch(it)), None);
}

#[test]
fn a_part_that_is_not_there_drops_the_description_or_itself() {
    let user = || header("x-user", "user", false);
    assert_eq!(described([user(), header("x-none", "none", false)]), None);
    let kept = described([user(), header("x-none", "none", true)]).unwrap();
    assert_eq!(kept, [("user".to_owned(), "ann".to_owned())]);
    assert_eq!(described([header("x-none", "none", true)]), None, "nothing is left");
}

#[test]
fn parts_keep_their_order_and_descriptions_their_stage_and_hits() {
    let fixed = |value| DescriptorPart::Fixed(DescriptorEntry::new("k", value));
    let mut second = RateDescriptor::new([fixed("a"), fixed("b")]);
    (second.stage, second.hits) = (Some(1), Some(5));
    let list = [RateDescriptor::new([fixed("c")]), second];
    let labels = BTreeMap::new();
    let of = |stage| {
        let describing = Describing::new(&list, stage, &labels, on);
        describing.describe(&request(), None, &Random::seeded(1))
    };
    assert_eq!(of(0), [Descriptor::new().entry("k", "c")]);
    assert_eq!(of(1), [Descriptor::new().entry("k", "a").entry("k", "b").hits(5)]);
    assert!(of(2).is_empty());
    // This process has no such label, and the call no cluster.
    let parts = [DescriptorPart::SourceCluster, DescriptorPart::DestinationCluster];
    for part in parts {
        let describing = Describing::new(&[RateDescriptor::new([part])], 0, &labels, on);
        assert!(describing.describe(&request(), None, &Random::seeded(1)).is_empty());
    }
}

#[test]
fn a_description_is_off_while_its_key_says_so() {
    let fixed = |value| DescriptorPart::Fixed(DescriptorEntry::new("k", value));
    let mut second = RateDescriptor::new([fixed("b")]);
    second.disable_key = Some("reports".into());
    let switch = Arc::new(Switch::new(None));
    let list = [RateDescriptor::new([fixed("a")]), second];
    let describing = Describing::new(&list, 0, &BTreeMap::new(), |key| {
        assert_eq!(key, "reports");
        Arc::clone(&switch)
    });
    let described = || describing.describe(&request(), None, &Random::seeded(1)).len();
    assert_eq!(described(), 2);
    switch.set(Some(0.0));
    assert_eq!(described(), 1);
    switch.set(None);
    assert_eq!(described(), 2);
}
