//! Whatever a control plane says, in whatever order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Word {
    Ask(u8),
    Forget(u8),
    /// It is forgotten, and asked for again before anything is done.
    Again(u8),
    Listener(u8, Option<u8>),
    Routes(u8, Vec<u8>),
    Cluster(u8, u8),
    Endpoints(u8, u8),
    Missing(u8, u8),
    /// The mesh refuses it from now on, or no more.
    Refuse(bool, u8, bool),
}

fn word() -> impl Strategy<Value = Word> {
    let few = || 0..3_u8;
    prop_oneof![
        few().prop_map(Word::Ask),
        few().prop_map(Word::Forget),
        few().prop_map(Word::Again),
        (few(), prop::option::of(few())).prop_map(|(a, b)| Word::Listener(a, b)),
        (few(), prop::collection::vec(few(), 0..3)).prop_map(|(a, b)| Word::Routes(a, b)),
        (few(), 0..6_u8).prop_map(|(a, b)| Word::Cluster(a, b)),
        (few(), few()).prop_map(|(a, b)| Word::Endpoints(a, b)),
        (0..4_u8, few()).prop_map(|(a, b)| Word::Missing(a, b)),
        (any::<bool>(), few(), any::<bool>()).prop_map(|(a, b, c)| Word::Refuse(a, b, c)),
    ]
}

proptest! {
    /// Whatever a control plane says, in whatever order: no service leads to a cluster that is not
    /// there (`World` asserts it), whoever asks and has no service is told why, and nothing is left when
    /// nothing is asked for.
    #[test]
    fn no_call_sees_a_route_without_its_cluster(words in prop::collection::vec(word(), 0..60)) {
        let mut world = World::default();
        for word in words {
            match word {
                Word::Ask(it) => world.ask(&format!("s{it}")),
                Word::Forget(it) => {
                    world.graph.forget(&format!("s{it}"));
                    world.settle();
                }
                Word::Again(it) => {
                    world.graph.forget(&format!("s{it}"));
                    world.ask(&format!("s{it}"));
                }
                Word::Listener(it, from) => {
                    let from = match from {
                        Some(from) => RoutesFrom::Named(format!("r{from}").into()),
                        None => RoutesFrom::Inline(routes("", &["c0"])),
                    };
                    world.tell(listener(&format!("s{it}"), from));
                }
                Word::Routes(it, leads) => {
                    let leads: Vec<String> = leads.iter().map(|it| format!("c{it}")).collect();
                    let leads: Vec<&str> = leads.iter().map(String::as_str).collect();
                    world.tell(Resource::Routes(routes(&format!("r{it}"), &leads)));
                }
                Word::Cluster(it, from) => {
                    let from = match from {
                        0..3 => EndpointsFrom::Eds {
                            service_name: Some(format!("e{from}").into()),
                        },
                        3 => EndpointsFrom::Inline,
                        4 => EndpointsFrom::Aggregate(vec!["c0".into(), "c1".into()]),
                        _ => EndpointsFrom::Aggregate(vec!["c2".into(), "c1".into()]),
                    };
                    world.tell(cluster(&format!("c{it}"), from));
                }
                Word::Endpoints(it, address) => {
                    let address = format!("10.0.0.{address}:80");
                    world.tell(endpoints(&format!("e{it}"), &[&address]));
                }
                Word::Refuse(is_service, it, now) => {
                    let kind = if is_service { "service s" } else { "cluster c" };
                    let what = format!("{kind}{it}");
                    let _ = if now {
                        world.refuses.insert(what)
                    } else {
                        world.refuses.remove(&what)
                    };
                }
                Word::Missing(kind, it) => {
                    let kind = Kind::ALL[usize::from(kind)];
                    let letter = ["s", "r", "c", "e"][kind as usize];
                    world.miss(kind, &format!("{letter}{it}"), "gone");
                }
            }
            for name in world.graph.names() {
                let is_there = world.services.contains_key(&**name);
                prop_assert_eq!(world.graph.serves(name).is_some(), is_there);
                let is_told =
                    world.lacks.contains_key(&**name) || world.refused.contains(&**name);
                prop_assert!(is_there || is_told || !world.graph.is_answered(name), "{}", name);
            }
        }
        for it in 0..3 {
            world.graph.forget(&format!("s{it}"));
        }
        world.settle();
        prop_assert!(world.watched.is_empty() && world.clusters.is_empty());
        prop_assert!(world.services.is_empty() && world.graph.users.is_empty());
        prop_assert!(world.graph.published.is_empty() && world.graph.good.is_empty());
        prop_assert!(world.graph.lines.is_empty() && world.lines.is_empty());
    }
}
