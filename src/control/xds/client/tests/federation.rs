use super::*;

const CDS: Kind = Kind::Cluster;
const LDS: Kind = Kind::Listener;

fn cluster(rest: &str) -> String {
    format!("xdstp://{rest}")
}

/// `a` asks server 1, `b` the same, `c` whom the default asks.
fn bed() -> Bed {
    let mut given = settings(Mode::Sotw, Features::default(), 3);
    given.default = vec![ServerId(0)];
    given.authorities = [
        ("a".into(), vec![ServerId(1)]),
        ("b".into(), vec![ServerId(1)]),
        ("c".into(), Vec::new()),
        ("nowhere".into(), vec![ServerId(9)]),
    ]
    .into_iter()
    .collect();
    Bed::new(given)
}

#[test]
fn federation_resource_context_param_order() {
    for kind in Kind::ALL {
        let mut bed = bed();
        let of_type = kind.url().rsplit('/').next().unwrap();
        let first = format!("xdstp://a/{of_type}/x?a=1&b=2");
        let second = format!("xdstp://a/{of_type}/x?b=2&a=1");
        bed.watch(kind, &second);
        let sent = bed.sent();
        assert_eq!(sent[0].resource_names, std::slice::from_ref(&first), "one order");
        bed.answer_from(1, kind, "1", "n", &[(&second, "v1")]);
        assert_eq!(
            bed.told(),
            [format!("{kind} {second} = v1")],
            "under the name it is watched by"
        );
        bed.watch(kind, &first);
        assert_eq!(bed.told(), [format!("{kind} {first} = v1")]);
        bed.answer_from(1, kind, "2", "o", &[(&first, "v2")]);
        assert_eq!(bed.told().len(), 2, "both are told");
        bed.unwatch(kind, &first);
        assert_eq!(bed.asked(1).len(), 1, "one resource, and one still watches");
        bed.unwatch(kind, &second);
        assert_eq!(bed.asked(1).len(), 0);
    }
}

/// grpc-go: `TestAuthority_XDSChannelSharing`.
#[test]
fn authority_xds_channel_sharing() {
    let mut bed = bed();
    let of_type = "envoy.config.cluster.v3.Cluster";
    let (a, b) = (cluster(&format!("a/{of_type}/x")), cluster(&format!("b/{of_type}/x")));
    let c = cluster(&format!("c/{of_type}/x"));
    bed.watch(CDS, &a);
    bed.watch(CDS, &b);
    assert_eq!(bed.links(), ["open s1"], "one stream per server, not per authority");
    bed.watch(CDS, &c);
    bed.watch(CDS, "plain");
    assert_eq!(bed.links(), ["open s0"]);
    bed.answer_from(1, CDS, "1", "n", &[(&a, "v1"), (&b, "v1")]);
    assert_eq!(bed.told(), [format!("CDS {a} = v1"), format!("CDS {b} = v1")]);
}

/// grpc-go: `TestAuthority_XDSChannelClose`.
#[test]
fn authority_xds_channel_close() {
    let mut bed = bed();
    let of_type = "envoy.config.cluster.v3.Cluster";
    let (a, b) = (cluster(&format!("a/{of_type}/x")), cluster(&format!("b/{of_type}/x")));
    bed.watch(CDS, &a);
    bed.watch(CDS, &b);
    bed.unwatch(CDS, &a);
    assert_eq!(bed.links(), ["open s1"]);
    bed.unwatch(CDS, &b);
    assert_eq!(bed.links(), ["close s1"]);
    bed.watch(CDS, &b);
    assert_eq!(bed.links(), ["open s1"]);
}

#[test]
fn federation_unknown_authority() {
    let mut bed = bed();
    for name in [
        "xdstp://d/envoy.config.listener.v3.Listener/x",
        "xdstp://nowhere/envoy.config.listener.v3.Listener/x",
        "*",
        "",
        "xdstp://a/x/y",
    ] {
        bed.watch(LDS, name);
        let told = bed.told();
        assert!(told[0].contains("missing cannot be asked for"), "{told:?}");
        assert!(matches!(&bed.client.known(LDS, name)[..], [Watched::Missing(_)]));
        bed.unwatch(LDS, name);
    }
    assert_eq!(bed.links(), [""; 0]);
}

#[test]
fn the_same_name_of_another_authority_is_another_resource() {
    let mut bed = bed();
    let name = |authority: &str| format!("xdstp://{authority}/envoy.config.cluster.v3.Cluster/x");
    bed.watch(CDS, &name("a"));
    bed.watch(CDS, &name("b"));
    bed.answer_from(1, CDS, "1", "n", &[(&name("a"), "v1"), (&name("b"), "bad")]);
    assert_eq!(
        bed.told(),
        [format!("CDS {} = v1", name("a")), format!("CDS {} missing refused: bad", name("b"))]
    );
}
