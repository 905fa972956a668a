use super::*;

const EDS: Kind = Kind::Endpoints;

/// grpc-go: `TestEDSWatch`.
#[test]
fn eds_watch() {
    one_watch(EDS);
}

/// grpc-go: `TestEDSWatch_TwoWatchesForSameResourceName`.
#[test]
fn eds_watch_two_watches_for_same_resource_name() {
    two_watches_for_same_resource_name(EDS);
}

/// grpc-go: `TestEDSWatch_ThreeWatchesForDifferentResourceNames`.
#[test]
fn eds_watch_three_watches_for_different_resource_names() {
    three_watches_for_different_resource_names(EDS);
}

/// grpc-go: `TestEDSWatch_ResourceCaching`.
#[test]
fn eds_watch_resource_caching() {
    resource_caching(EDS);
}

/// grpc-go: `TestEDSWatch_ExpiryTimerFiresBeforeResponse`.
#[test]
fn eds_watch_expiry_timer_fires_before_response() {
    expiry_timer_fires_before_response(EDS);
}

/// grpc-go: `TestEDSWatch_ValidResponseCancelsExpiryTimerBehavior`.
#[test]
fn eds_watch_valid_response_cancels_expiry_timer_behavior() {
    valid_response_cancels_expiry_timer_behavior(EDS);
}

/// grpc-go: `TestEDSWatch_NACKError`.
#[test]
fn eds_watch_nack_error() {
    nack_error(EDS);
}

/// grpc-go: `TestEDSWatch_PartialValid`.
#[test]
fn eds_watch_partial_valid() {
    partial_valid(EDS);
}
