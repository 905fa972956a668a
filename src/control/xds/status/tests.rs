use super::*;

#[test]
fn states_are_called_as_by_csds() {
    let all = [
        (ResourceState::Requested, "REQUESTED"),
        (ResourceState::DoesNotExist, "DOES_NOT_EXIST"),
        (ResourceState::Acked, "ACKED"),
        (ResourceState::Nacked, "NACKED"),
        (ResourceState::ReceivedError, "RECEIVED_ERROR"),
        (ResourceState::Timeout, "TIMEOUT"),
    ];
    for (state, word) in all {
        assert_eq!(state.to_string(), word);
    }
}
