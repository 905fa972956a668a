//! What becomes of what is held (gRFC A53, A88).

use envoy_types::pb::{
    envoy::service::discovery::v3::{ResourceError, ResourceName},
    google::rpc,
};

use super::*;

const CDS: Kind = Kind::Cluster;
const LDS: Kind = Kind::Listener;
const RDS: Kind = Kind::Routes;

fn features(fails: bool, ignores: bool) -> Features {
    Features {
        fail_on_data_errors: fails,
        ignore_resource_deletion: ignores,
        ..Features::default()
    }
}

/// What happens to a resource that is held, and whether it is used afterwards.
fn after(features: Features, kind: Kind, event: &str) -> bool {
    let mut bed = Bed::new(settings(Mode::Sotw, features, 1));
    bed.watch(kind, "x");
    bed.answer(kind, "1", "a", &[("x", "v1")]);
    bed.told();
    match event {
        "refused" => bed.answer(kind, "2", "b", &[("x", "bad regex")]),
        _ => bed.answer(kind, "2", "b", &[]),
    }
    let told = bed.told();
    match &bed.client.known(kind, "x")[..] {
        [Watched::Resource { resource, .. }, Watched::Ambient(_)] => {
            assert_eq!(resource, "v1");
            assert!(told.len() == 1 && told[0].contains("ambient"), "{told:?}");
            true
        }
        [Watched::Missing(_)] => {
            assert!(told.len() == 1 && told[0].contains("missing"), "{told:?}");
            false
        }
        other => panic!("{other:?} after {told:?}"),
    }
}

#[test]
fn the_error_matrix_is_that_of_a88() {
    // Kept?                          default  fail   ignore  both
    for (kind, event, expected) in [
        (RDS, "refused", [true, false, true, false]),
        (CDS, "absent", [true, false, true, true]),
        (LDS, "absent", [true, false, true, true]),
    ] {
        let columns = [(false, false), (true, false), (false, true), (true, true)];
        let got = columns.map(|(fails, ignores)| after(features(fails, ignores), kind, event));
        assert_eq!(got, expected, "{kind} {event}");
    }
}

#[test]
fn what_is_wrong_with_a_removed_one_is_over_when_it_comes_again() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "a", &[("c", "v1")]);
    bed.answer(CDS, "2", "b", &[]);
    bed.answer(CDS, "3", "c", &[]);
    let gone = "CDS c ambient does not exist: the server no longer has it";
    assert_eq!(bed.told(), ["CDS c = v1", gone], "said once");
    bed.answer(CDS, "4", "d", &[("c", "v1")]);
    assert_eq!(bed.told(), ["CDS c = v1"], "well again");
    bed.answer(CDS, "5", "e", &[("c", "v1")]);
    assert_eq!(bed.told(), [""; 0]);
}

#[test]
fn an_answer_with_something_nameless_removes_nothing() {
    let mut bed = Bed::new(settings(Mode::Sotw, features(true, false), 1));
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "a", &[("c", "v1")]);
    bed.told();
    bed.answer(CDS, "2", "b", &[("", "nameless")]);
    assert_eq!(bed.told(), [""; 0]);
}

#[test]
fn routes_and_endpoints_are_never_gone_for_not_being_named() {
    for kind in [RDS, Kind::Endpoints] {
        let mut bed = Bed::new(settings(Mode::Sotw, features(true, false), 1));
        bed.watch(kind, "x");
        bed.answer(kind, "1", "a", &[("x", "v1")]);
        bed.answer(kind, "2", "b", &[]);
        assert_eq!(bed.told(), [format!("{kind} x = v1")]);
    }
}

#[test]
fn a_stale_answer_after_a_new_stream_deletes_nothing() {
    // grpc-java #12663: what comes before anything was asked for on the new stream is no answer.
    let mut bed = Bed::new(settings(Mode::Sotw, features(true, false), 1));
    bed.watch(CDS, "c");
    bed.answer(CDS, "1", "a", &[("c", "v1")]);
    bed.told();
    bed.opens = false;
    bed.pass(Duration::from_secs(5));
    bed.close(0, "reset");
    bed.answer(CDS, "0", "x", &[]);
    assert_eq!(bed.told(), [""; 0]);
    assert_eq!(bed.requests().last().unwrap(), "CDS [c] v=1 n= node", "it was not acknowledged");
    // What answers the request that names it counts.
    bed.answer(CDS, "0", "y", &[]);
    assert_eq!(bed.told().len(), 1);
}

fn with_error(kind: Kind, nonce: &str, name: &str, code: i32) -> Message {
    let error = ResourceError {
        resource_name: Some(ResourceName { name: name.to_owned(), ..ResourceName::default() }),
        error_detail: Some(rpc::Status {
            code,
            message: "because".to_owned(),
            details: Vec::new(),
        }),
    };
    let mut message = answer(kind, "2", nonce, &[]);
    if let Message::Sotw(message) = &mut message {
        message.resource_errors.push(error);
    }
    message
}

#[test]
fn an_error_of_the_servers_ends_the_wait_and_counts_by_its_code() {
    let denied =
        |code| format!("RDS x missing the server has an error for it (code {code}): because");
    for code in [5, 7, 14] {
        let mut bed = Bed::sotw();
        bed.watch(RDS, "x");
        bed.requests();
        bed.message(0, with_error(RDS, "a", "x", code));
        assert_eq!(bed.told(), [denied(code)]);
        assert_eq!(bed.requests(), ["RDS [x] v=2 n=a"], "it is no reason to refuse the answer");
        bed.pass(Duration::from_secs(100));
        assert_eq!(bed.told(), [""; 0]);
    }
    for (code, is_kept) in [(5, false), (7, false), (14, true)] {
        let mut bed = Bed::new(settings(Mode::Sotw, features(true, false), 1));
        bed.watch(CDS, "x");
        bed.answer(CDS, "1", "a", &[("x", "v1")]);
        bed.told();
        bed.message(0, with_error(CDS, "b", "x", code));
        let told = bed.told();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].contains("ambient"), is_kept, "{told:?}");
    }
}

#[test]
fn a_server_that_comes_back_makes_well_what_was_wrong_for_its_absence() {
    for mode in [Mode::Sotw, Mode::Delta] {
        let mut bed = Bed::new(settings(mode, Features::default(), 1));
        bed.watch(CDS, "c");
        match mode {
            Mode::Sotw => bed.answer(CDS, "1", "a", &[("c", "v1")]),
            Mode::Delta => bed.message(0, delta(CDS, "a", &[("c", "1", "v1")], &[])),
        }
        bed.close(0, "reset");
        bed.pass(Duration::from_secs(2));
        bed.close(0, "refused");
        assert!(bed.told().last().unwrap().contains("ambient the server cannot be reached"));
        // On a stream that goes on where the last one ended nothing need be said: that it holds is
        // known after a while.
        bed.pass(Duration::from_secs(3));
        assert_eq!(bed.told(), [""; 0]);
        bed.pass(Duration::from_secs(15));
        assert_eq!(bed.told(), ["CDS c = v1"]);
        assert_eq!(bed.client.wake_at(), None);
    }
}

/// grpc-go: `TestWatchErrorsContainNodeID`.
#[test]
fn watch_errors_contain_node_id() {
    let mut bed = Bed::sotw();
    bed.watch(CDS, "c\n");
    bed.watch(CDS, "d");
    bed.answer(CDS, "1", "a", &[("d", "v1")]);
    bed.answer(CDS, "7", "b", &[("d", "bad \u{7}regex")]);
    bed.pass(Duration::from_secs(15));
    bed.watch(CDS, "*");
    let trouble = |bed: &Bed, name: &str| match &bed.client.known(CDS, name)[..] {
        [.., Watched::Missing(trouble) | Watched::Ambient(trouble)] => trouble.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        trouble(&bed, "c\n"),
        "CDS resource `c\\n`: does not exist: no answer named it within 15s (server `s0`, node `n1`); \
         check the name, and that the control plane has it for this node"
    );
    assert_eq!(
        trouble(&bed, "d"),
        "CDS resource `d`, version `7`: refused: bad \\u{7}regex (server `s0`, node `n1`); \
         check what the control plane was given for it"
    );
    assert_eq!(
        trouble(&bed, "*"),
        "CDS resource `*`: cannot be asked for: `*` means all there are (node `n1`); \
         check the name, and the authorities of the bootstrap"
    );
}

/// grpc-go: `TestWatchErrorsContainNodeID_ChannelCreationFailure`.
#[test]
fn watch_errors_contain_node_id_channel_creation_failure() {
    let mut bed = Bed::sotw();
    bed.opens = false;
    bed.watch(CDS, "c");
    bed.close(0, "no such file");
    let known = bed.client.known(CDS, "c");
    let [Watched::Missing(trouble)] = &known[..] else { panic!("{known:?}") };
    assert_eq!(
        trouble.to_string(),
        "CDS resource `c`: the server cannot be reached: stream ended with code 14: no such file \
         (server `s0`, node `n1`); \
         check that the control plane runs and its address and credentials are right"
    );
    assert!(!trouble.cause.is_data_error());
}
