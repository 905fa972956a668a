//! Bounds of a call beyond its timeout: how long a stream may last, and what gRPC's own bound may do.

use std::time::Duration;

use http::HeaderMap;

use super::{
    Bounds, Scope,
    decision::{bounds, explicit, grpc_timeout},
};
use crate::{
    config::GrpcTimeout,
    core::{Call, Instant, earliest},
};

/// What bounds a whole stream, both directions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Extent {
    /// From the start of a call to the end of its trailers.
    pub(crate) stream: Option<Duration>,
    /// The same of a gRPC call.
    rpc: Option<Duration>,
    /// The longest `grpc-timeout` that is honoured, and the bound of a call that has none.
    pub(crate) max: Option<Duration>,
    offset: Duration,
}

// === impl Extent ===

impl Extent {
    //= gRFC A31: grpc_timeout_header_max takes the place of max_stream_duration, and 0 is no bound
    pub(crate) fn new(stream: Option<Duration>, grpc: Option<&GrpcTimeout>) -> Self {
        let max = grpc.and_then(|grpc| grpc.max);
        Self {
            stream,
            rpc: if max.is_some() { None } else { stream },
            max: max.filter(|max| !max.is_zero()),
            offset: grpc.and_then(|grpc| grpc.offset).unwrap_or_default(),
        }
    }

    /// The bounds of a call that starts `now`. `rpc` are the headers of one that speaks gRPC.
    pub(crate) fn bounds(
        &self,
        rpc: Option<&HeaderMap>,
        call: Option<&Call>,
        scope: Scope,
        now: Instant,
    ) -> Bounds {
        let (wire, stream) = match rpc {
            Some(headers) => (self.wire(grpc_timeout(headers)), self.rpc),
            None => (None, self.stream),
        };
        let Bounds { head, body } = bounds(explicit(wire, call, now), scope, now);
        let at = stream.and_then(|stream| now.checked_add(stream));
        Bounds { head: earliest(head, at), body: earliest(body, at) }
    }

    /// What comes of the caller's `grpc-timeout`.
    //= Envoy FilterUtility::finalTimeout: less the offset, unless nothing would be left; then at most
    //= the maximum, which holds where nothing is said, too
    fn wire(&self, said: Option<Duration>) -> Option<Duration> {
        let less = |said: Duration| {
            let left = said.checked_sub(self.offset).filter(|left| !left.is_zero());
            left.unwrap_or(said)
        };
        let said = said.map(less);
        earliest(said, self.max)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn extent(max: Option<Duration>, offset: Option<Duration>) -> Extent {
        let mut grpc = GrpcTimeout::default();
        (grpc.max, grpc.offset) = (max, offset);
        Extent::new(Some(7 * SECOND), Some(&grpc))
    }

    /// The bound of a gRPC call that says this, in seconds.
    fn rpc(extent: Extent, said: Option<&'static str>) -> Option<Duration> {
        let (now, mut headers) = (Instant::now(), HeaderMap::new());
        if let Some(said) = said {
            headers.insert("grpc-timeout", HeaderValue::from_static(said));
        }
        let bounds = extent.bounds(Some(&headers), None, Scope::default(), now);
        assert_eq!(bounds.head, bounds.body);
        bounds.head.map(|at| at - now)
    }

    #[test]
    fn the_longest_grpc_timeout_bounds_whoever_asks_for_more_or_says_nothing() {
        let capped = extent(Some(5 * SECOND), None);
        assert_eq!(rpc(capped, Some("3S")), Some(3 * SECOND));
        assert_eq!(rpc(capped, Some("9S")), Some(5 * SECOND));
        assert_eq!(rpc(capped, None), Some(5 * SECOND));
    }

    #[test]
    fn no_maximum_is_no_bound_and_an_unsaid_one_leaves_the_streams() {
        assert_eq!(rpc(extent(Some(Duration::ZERO), None), Some("9S")), Some(9 * SECOND));
        assert_eq!(rpc(extent(Some(Duration::ZERO), None), None), None);
        assert_eq!(rpc(extent(None, None), None), Some(7 * SECOND));
        assert_eq!(rpc(extent(None, None), Some("9S")), Some(7 * SECOND));
    }

    #[test]
    fn the_offset_is_taken_off_unless_nothing_would_be_left() {
        let offset = extent(Some(5 * SECOND), Some(SECOND));
        assert_eq!(rpc(offset, Some("3S")), Some(2 * SECOND));
        assert_eq!(rpc(offset, Some("1S")), Some(SECOND));
        assert_eq!(rpc(offset, Some("5S")), Some(4 * SECOND));
        assert_eq!(rpc(offset, Some("60S")), Some(5 * SECOND));
    }

    #[test]
    fn a_stream_is_bounded_in_both_directions_and_a_shorter_timeout_still_ends_at_its_head() {
        let now = Instant::now();
        let extent = Extent::new(Some(7 * SECOND), None);
        let scope = Scope { timeout: Some(SECOND), whole_response: false };
        let bounds = extent.bounds(None, None, scope, now);
        assert_eq!(bounds, Bounds { head: Some(now + SECOND), body: Some(now + 7 * SECOND) });
        let call = Call::new().timeout(3 * SECOND);
        let bounds = extent.bounds(None, Some(&call), Scope::default(), now);
        assert_eq!(bounds.body, Some(now + 3 * SECOND));
    }
}
