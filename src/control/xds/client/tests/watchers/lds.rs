use super::*;

const LDS: Kind = Kind::Listener;

/// grpc-go: `TestLDSWatch`.
#[test]
fn lds_watch() {
    one_watch(LDS);
}

/// grpc-go: `TestLDSWatch_TwoWatchesForSameResourceName`.
#[test]
fn lds_watch_two_watches_for_same_resource_name() {
    two_watches_for_same_resource_name(LDS);
}

/// grpc-go: `TestLDSWatch_ThreeWatchesForDifferentResourceNames`.
#[test]
fn lds_watch_three_watches_for_different_resource_names() {
    three_watches_for_different_resource_names(LDS);
}

/// grpc-go: `TestLDSWatch_ResourceCaching`.
#[test]
fn lds_watch_resource_caching() {
    resource_caching(LDS);
}

/// grpc-go: `TestLDSWatch_ExpiryTimerFiresBeforeResponse`.
#[test]
fn lds_watch_expiry_timer_fires_before_response() {
    expiry_timer_fires_before_response(LDS);
}

/// grpc-go: `TestLDSWatch_ValidResponseCancelsExpiryTimerBehavior`.
#[test]
fn lds_watch_valid_response_cancels_expiry_timer_behavior() {
    valid_response_cancels_expiry_timer_behavior(LDS);
}

/// grpc-go: `TestLDSWatch_ResourceRemoved`.
#[test]
fn lds_watch_resource_removed() {
    resource_removed(LDS);
}

/// grpc-go: `TestLDSWatch_NewWatcherForRemovedResource`.
#[test]
fn lds_watch_new_watcher_for_removed_resource() {
    new_watcher_for_removed_resource(LDS);
}

/// grpc-go: `TestLDSWatch_NACKError`.
#[test]
fn lds_watch_nack_error() {
    nack_error(LDS);
}

/// grpc-go: `TestLDSWatch_ResourceCaching_NACKError`.
#[test]
fn lds_watch_resource_caching_nack_error() {
    resource_caching_nack_error(LDS);
}

/// grpc-go: `TestLDSWatch_PartialValid`.
#[test]
fn lds_watch_partial_valid() {
    partial_valid(LDS);
}

/// grpc-go: `TestLDSWatch_PartialResponse`.
#[test]
fn lds_watch_partial_response() {
    partial_response(LDS);
}
