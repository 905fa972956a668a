//! What grpc-go's tests of watchers hold, for each type of resources: one test per type and rule.

mod cds;
mod eds;
mod lds;
mod rds;

use super::*;

/// A name of the old style, and one of an authority that has no servers of its own.
fn names(kind: Kind) -> [String; 2] {
    ["x".to_owned(), format!("xdstp://a/{}/x", kind.message())]
}

fn bed(features: Features, linger: Linger) -> Bed {
    let mut given = settings(Mode::Sotw, features, 1);
    given.authorities = [("a".into(), Vec::new())].into_iter().collect();
    given.linger = linger;
    Bed::new(given)
}

fn plain() -> Bed {
    bed(Features::default(), Linger { grace: Duration::ZERO, names: 256 })
}

fn lingering() -> Bed {
    bed(Features::default(), Linger { grace: Duration::from_secs(60), names: 2 })
}

/// What is held goes when the server has it no longer, or when it stays and that is said.
fn deleting(fail_on_data_errors: bool) -> Bed {
    let features = Features { fail_on_data_errors, ..Features::default() };
    bed(features, Linger { grace: Duration::ZERO, names: 256 })
}

fn is(kind: Kind, name: &str, content: &str) -> String {
    format!("{kind} {name} = {content}")
}

fn absent(kind: Kind, name: &str) -> String {
    format!("{kind} {name} missing does not exist: no answer named it within 15s")
}

fn gone(kind: Kind, name: &str, fail_on_data_errors: bool) -> String {
    let how = if fail_on_data_errors { "missing" } else { "ambient" };
    format!("{kind} {name} {how} does not exist: the server no longer has it")
}

const NOTHING: [&str; 0] = [];

/// One watcher of one resource hears of that one, until it watches no more.
fn one_watch(kind: Kind) {
    for name in names(kind) {
        let mut bed = plain();
        bed.watch(kind, &name);
        bed.answer(kind, "1", "a", &[(&name, "v1"), ("other", "v1")]);
        assert_eq!(bed.told(), [is(kind, &name, "v1")]);
        assert_eq!(bed.client.dump().count(), 1, "what nobody asked for is not kept");
        // The same bytes, and an update of another: nobody is told.
        bed.answer(kind, "2", "b", &[(&name, "v1"), ("other", "v2")]);
        assert_eq!(bed.told(), NOTHING);
        // An update of what is not watched any more, on a stream that lives on.
        bed.watch(kind, "stays");
        bed.unwatch(kind, &name);
        bed.answer(kind, "3", "c", &[(&name, "v2"), ("stays", "v1")]);
        assert_eq!(bed.told(), [is(kind, "stays", "v1")]);
        bed.unwatch(kind, "stays");
        assert_eq!(bed.links(), ["open s0", "close s0"], "nothing is asked for any more");
        assert_eq!(bed.client.wake_at(), None);
    }
}

/// Two watch the same: both hear of it, and the one that is left still does.
fn two_watches_for_same_resource_name(kind: Kind) {
    for name in names(kind) {
        let mut bed = plain();
        bed.watch(kind, &name);
        bed.watch(kind, &name);
        assert_eq!(bed.requests(), [format!("{kind} [{name}] v= n= node")], "asked for once");
        bed.answer(kind, "1", "a", &[(&name, "v1")]);
        assert_eq!(bed.told(), [is(kind, &name, "v1")]);
        let known = bed.client.known(kind, &name);
        assert!(matches!(&known[..], [Watched::Resource { resource, .. }] if resource == "v1"));
        bed.requests();
        bed.unwatch(kind, &name);
        assert_eq!(bed.requests(), NOTHING, "one is left");
        bed.answer(kind, "2", "b", &[(&name, "v1")]);
        assert_eq!(bed.told(), NOTHING, "that is no news");
        bed.answer(kind, "3", "c", &[(&name, "v2")]);
        assert_eq!(bed.told(), [is(kind, &name, "v2")]);
        bed.unwatch(kind, &name);
        assert_eq!(bed.asked(0), NOTHING);
    }
}

/// Two watch one resource and a third another: one request asks for both, and all hear.
fn three_watches_for_different_resource_names(kind: Kind) {
    let [old, new] = names(kind);
    let mut bed = plain();
    for name in [&old, &old, &new] {
        bed.client.watch(bed.now, kind, name);
    }
    bed.run();
    assert_eq!(bed.requests(), [format!("{kind} [{old},{new}] v= n= node")], "one for all");
    bed.answer(kind, "1", "a", &[(&old, "v1"), (&new, "v2")]);
    assert_eq!(bed.told(), [is(kind, &old, "v1"), is(kind, &new, "v2")]);
    bed.requests();
    bed.unwatch(kind, &old);
    assert_eq!(bed.requests(), NOTHING, "one of two is left");
    bed.unwatch(kind, &new);
    assert_eq!(bed.requests(), [format!("{kind} [{old}] v=1 n=a")]);
}

/// Who comes later has it from what is known, and the server is not asked again.
fn resource_caching(kind: Kind) {
    for name in names(kind) {
        let mut bed = lingering();
        bed.watch(kind, &name);
        bed.answer(kind, "1", "a", &[(&name, "v1")]);
        assert_eq!(bed.requests().len(), 2, "one asks, one acknowledges");
        bed.told();
        bed.watch(kind, &name);
        let known = bed.client.known(kind, &name);
        assert!(matches!(&known[..], [Watched::Resource { resource, .. }] if resource == "v1"));
        // Nobody watches it for a while: who comes back has it at once, too.
        bed.unwatch(kind, &name);
        bed.unwatch(kind, &name);
        bed.pass(Duration::from_secs(59));
        bed.watch(kind, &name);
        assert_eq!(bed.told(), [is(kind, &name, "v1")]);
        assert_eq!(bed.requests(), NOTHING);
        bed.unwatch(kind, &name);
        bed.pass(Duration::from_secs(61));
        assert_eq!(bed.links(), ["open s0", "close s0"]);
        assert_eq!(bed.client.dump().count(), 0);
    }
}

/// A server that says nothing of it within the time says that it is not there.
fn expiry_timer_fires_before_response(kind: Kind) {
    for name in names(kind) {
        let mut bed = plain();
        bed.watch(kind, &name);
        bed.pass(Duration::from_millis(14_999));
        assert_eq!(bed.told(), NOTHING);
        bed.pass(Duration::from_millis(1));
        assert_eq!(bed.told(), [absent(kind, &name)]);
        // It comes after all.
        bed.answer(kind, "1", "a", &[(&name, "v1")]);
        assert_eq!(bed.told(), [is(kind, &name, "v1")]);
    }
}

/// An answer in time ends the wait, be it good or refused.
fn valid_response_cancels_expiry_timer_behavior(kind: Kind) {
    let mut bed = plain();
    bed.watch(kind, "x");
    bed.pass(Duration::from_secs(10));
    bed.answer(kind, "1", "a", &[("x", "v1")]);
    bed.pass(Duration::from_secs(100));
    assert_eq!(bed.told(), [is(kind, "x", "v1")]);
    assert_eq!(bed.client.wake_at(), None);
    bed.watch(kind, "y");
    bed.answer(kind, "2", "b", &[("x", "v1"), ("y", "bad")]);
    assert_eq!(bed.told(), [format!("{kind} y missing refused: bad")]);
    bed.pass(Duration::from_secs(100));
    assert_eq!(bed.told(), NOTHING);
}

/// What an answer does not name any more is gone, and nothing is said of the others.
fn resource_removed(kind: Kind) {
    for fails in [false, true] {
        let [old, new] = names(kind);
        let mut bed = deleting(fails);
        bed.watch(kind, &old);
        bed.watch(kind, &new);
        bed.answer(kind, "1", "a", &[(&old, "v1"), (&new, "v1")]);
        assert_eq!(bed.told().len(), 2);
        bed.answer(kind, "2", "b", &[(&new, "v1")]);
        assert_eq!(bed.told(), [gone(kind, &old, fails)]);
        bed.answer(kind, "3", "c", &[(&new, "v2")]);
        assert_eq!(bed.told(), [is(kind, &new, "v2")], "said once");
        // It is still asked for, and may come again.
        assert_eq!(bed.asked(0).len(), 2);
        bed.answer(kind, "4", "d", &[(&old, "v1"), (&new, "v2")]);
        assert_eq!(bed.told(), [is(kind, &old, "v1")]);
    }
}

/// Who comes after it was removed is told so at once.
fn new_watcher_for_removed_resource(kind: Kind) {
    for fails in [false, true] {
        let mut bed = deleting(fails);
        bed.watch(kind, "x");
        bed.answer(kind, "1", "a", &[("x", "v1")]);
        bed.told();
        bed.answer(kind, "2", "b", &[]);
        assert_eq!(bed.told(), [gone(kind, "x", fails)]);
        bed.requests();
        bed.watch(kind, "x");
        let known = bed.client.known(kind, "x");
        let trouble = match (&known[..], fails) {
            ([Watched::Missing(trouble)], true) => trouble,
            ([Watched::Resource { .. }, Watched::Ambient(trouble)], false) => trouble,
            _ => panic!("{known:?}"),
        };
        assert_eq!(trouble.cause, Cause::Removed);
        assert_eq!(bed.requests(), NOTHING);
    }
}

/// Who watches what is refused is told why, whenever it comes.
fn nack_error(kind: Kind) {
    let mut bed = plain();
    bed.watch(kind, "x");
    bed.requests();
    bed.answer(kind, "1", "a", &[("x", "bad field y")]);
    assert_eq!(bed.requests(), [format!("{kind} [x] v= n=a error")]);
    assert_eq!(bed.told(), [format!("{kind} x missing refused: bad field y")]);
    // Who comes now is told at once, and the server is not asked again.
    bed.watch(kind, "x");
    let known = bed.client.known(kind, "x");
    let [Watched::Missing(trouble)] = &known[..] else { panic!("{known:?}") };
    assert_eq!(trouble.cause, Cause::Refused("bad field y".to_owned()));
    assert_eq!(trouble.version.as_deref(), Some("1"));
    assert_eq!((bed.told(), bed.requests()), (vec![], vec![]));
}

/// Who comes after a good one and a refused one has the good one and hears of the error.
fn resource_caching_nack_error(kind: Kind) {
    let mut bed = lingering();
    bed.watch(kind, "x");
    bed.answer(kind, "1", "a", &[("x", "v1")]);
    bed.answer(kind, "2", "b", &[("x", "bad field y")]);
    let both = [is(kind, "x", "v1"), format!("{kind} x ambient refused: bad field y")];
    assert_eq!(bed.told(), both);
    bed.requests();
    bed.watch(kind, "x");
    let known = bed.client.known(kind, "x");
    let [Watched::Resource { resource, version }, Watched::Ambient(trouble)] = &known[..] else {
        panic!("{known:?}")
    };
    assert_eq!((resource.as_str(), &**version), ("v1", "1"));
    assert_eq!(trouble.cause, Cause::Refused("bad field y".to_owned()));
    assert_eq!(trouble.version.as_deref(), Some("2"));
    // So does who comes after nobody has watched it for a while.
    bed.unwatch(kind, "x");
    bed.unwatch(kind, "x");
    bed.pass(Duration::from_secs(30));
    assert_eq!(bed.told(), NOTHING);
    bed.watch(kind, "x");
    assert_eq!(bed.told(), both);
    assert_eq!(bed.requests(), NOTHING);
}

/// Of an answer that is good in part the good is used, and who watches the bad is told why.
fn partial_valid(kind: Kind) {
    let [evil, good] = names(kind);
    let mut bed = plain();
    bed.watch(kind, &evil);
    bed.watch(kind, &good);
    bed.requests();
    bed.answer(kind, "1", "a", &[(&evil, "bad field y"), (&good, "v1")]);
    let mut told = bed.told();
    told.sort();
    assert_eq!(
        told,
        [format!("{kind} {evil} missing refused: bad field y"), is(kind, &good, "v1")]
    );
    let sent = bed.sent();
    assert_eq!((sent[0].version_info.as_str(), sent[0].response_nonce.as_str()), ("", "a"));
    let message = &sent[0].error_detail.as_ref().unwrap().message;
    assert!(message.contains("`x`: bad field y") && !message.contains(&good), "{message}");
}

/// What the server has never named may still come, until its time is over.
fn partial_response(kind: Kind) {
    for comes in [false, true] {
        let [first, second] = names(kind);
        let mut bed = plain();
        bed.watch(kind, &first);
        bed.watch(kind, &second);
        bed.answer(kind, "1", "a", &[(&first, "v1")]);
        assert_eq!(bed.told(), [is(kind, &first, "v1")]);
        bed.pass(Duration::from_millis(14_999));
        assert_eq!(bed.told(), NOTHING, "the second may still come");
        if comes {
            bed.answer(kind, "2", "b", &[(&first, "v1"), (&second, "v1")]);
            assert_eq!(bed.told(), [is(kind, &second, "v1")], "the first is as it was");
        }
        bed.pass(Duration::from_secs(1));
        let late = if comes { Vec::new() } else { vec![absent(kind, &second)] };
        assert_eq!(bed.told(), late);
    }
}
