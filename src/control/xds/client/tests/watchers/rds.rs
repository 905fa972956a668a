use super::*;

const RDS: Kind = Kind::Routes;

/// grpc-go: `TestRDSWatch`.
#[test]
fn rds_watch() {
    one_watch(RDS);
}

/// grpc-go: `TestRDSWatch_TwoWatchesForSameResourceName`.
#[test]
fn rds_watch_two_watches_for_same_resource_name() {
    two_watches_for_same_resource_name(RDS);
}

/// grpc-go: `TestRDSWatch_ThreeWatchesForDifferentResourceNames`.
#[test]
fn rds_watch_three_watches_for_different_resource_names() {
    three_watches_for_different_resource_names(RDS);
}

/// grpc-go: `TestRDSWatch_ResourceCaching`.
#[test]
fn rds_watch_resource_caching() {
    resource_caching(RDS);
}

/// grpc-go: `TestRDSWatch_ExpiryTimerFiresBeforeResponse`.
#[test]
fn rds_watch_expiry_timer_fires_before_response() {
    expiry_timer_fires_before_response(RDS);
}

/// grpc-go: `TestRDSWatch_ValidResponseCancelsExpiryTimerBehavior`.
#[test]
fn rds_watch_valid_response_cancels_expiry_timer_behavior() {
    valid_response_cancels_expiry_timer_behavior(RDS);
}

/// grpc-go: `TestRDSWatch_NACKError`.
#[test]
fn rds_watch_nack_error() {
    nack_error(RDS);
}

/// grpc-go: `TestRDSWatch_PartialValid`.
#[test]
fn rds_watch_partial_valid() {
    partial_valid(RDS);
}
