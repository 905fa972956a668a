use super::*;

const CDS: Kind = Kind::Cluster;

/// grpc-go: `TestCDSWatch`.
#[test]
fn cds_watch() {
    one_watch(CDS);
}

/// grpc-go: `TestCDSWatch_TwoWatchesForSameResourceName`.
#[test]
fn cds_watch_two_watches_for_same_resource_name() {
    two_watches_for_same_resource_name(CDS);
}

/// grpc-go: `TestCDSWatch_ThreeWatchesForDifferentResourceNames`.
#[test]
fn cds_watch_three_watches_for_different_resource_names() {
    three_watches_for_different_resource_names(CDS);
}

/// grpc-go: `TestCDSWatch_ResourceCaching`.
#[test]
fn cds_watch_resource_caching() {
    resource_caching(CDS);
}

/// grpc-go: `TestCDSWatch_ExpiryTimerFiresBeforeResponse`.
#[test]
fn cds_watch_expiry_timer_fires_before_response() {
    expiry_timer_fires_before_response(CDS);
}

/// grpc-go: `TestCDSWatch_ValidResponseCancelsExpiryTimerBehavior`.
#[test]
fn cds_watch_valid_response_cancels_expiry_timer_behavior() {
    valid_response_cancels_expiry_timer_behavior(CDS);
}

/// grpc-go: `TestCDSWatch_ResourceRemoved`.
#[test]
fn cds_watch_resource_removed() {
    resource_removed(CDS);
}

/// grpc-go: `TestCDSWatch_NACKError`.
#[test]
fn cds_watch_nack_error() {
    nack_error(CDS);
}

/// grpc-go: `TestCDSWatch_PartialValid`.
#[test]
fn cds_watch_partial_valid() {
    partial_valid(CDS);
}

/// grpc-go: `TestCDSWatch_PartialResponse`.
#[test]
fn cds_watch_partial_response() {
    partial_response(CDS);
}
