//! The trace context that one process hands to the next.

use std::{fmt, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{lists, traceparent::Ids};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(super) const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The trace that a request is a part of: W3C's `traceparent`, `tracestate` and `baggage`.
///
/// The server side of an application reads it from the request that it answers, and puts it into
/// the extensions of the requests that it makes for it:
///
/// ```
/// use tower_mesh::TraceContext;
///
/// # let mut inbound = http::HeaderMap::new();
/// # inbound.insert("traceparent",
/// #     "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
/// let mut request = http::Request::get("http://users.prod/1").body(()).unwrap();
/// if let Some(context) = TraceContext::from_headers(&inbound) {
///     request.extensions_mut().insert(context);
/// }
/// ```
///
/// Where no tracer is given to the mesh it goes out as it came. With one, the spans of the call
/// are its children. A `traceparent` header of the outgoing request wins over it. Where
/// endpoints are told of it, attempt layers and what is below them find it in the headers alone.
///
/// Cloning it allocates nothing.
#[derive(Clone)]
pub struct TraceContext {
    ids: Ids,
    /// The header that it came with, if that is the text of its ids: most contexts are only passed
    /// on. One of another origin is written where it is sent.
    parent: Option<HeaderValue>,
    state: Option<HeaderValue>,
    baggage: Option<HeaderValue>,
}

/// Headers up to which a pass over all of them costs less than looking two up.
const FEW: usize = 16;

/// What of a trace the headers of a request name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Named<'a> {
    /// The one `traceparent`.
    pub(super) parent: Option<&'a HeaderValue>,
    /// There is a `tracestate`.
    pub(super) has_state: bool,
}

// === impl Named ===

impl<'a> Named<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        if headers.len() > FEW {
            let mut all = headers.get_all(TRACEPARENT).iter();
            let parent = all.next().filter(|_| all.next().is_none());
            return Self { parent, has_state: headers.contains_key(TRACESTATE) };
        }
        let (mut parents, mut parent, mut has_state) = (0, None, false);
        for (name, value) in headers {
            if *name == TRACEPARENT {
                (parents, parent) = (parents + 1, Some(value));
            } else if *name == TRACESTATE {
                has_state = true;
            }
        }
        Self { parent: parent.filter(|_| parents == 1), has_state }
    }
}

// === impl TraceContext ===

impl TraceContext {
    /// A context of these ids; `None` if either is all zeroes, which W3C forbids.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> Option<Self> {
        Some(Self::of(Ids::new(trace_id, span_id, u8::from(sampled))?))
    }

    pub(crate) fn of(ids: Ids) -> Self {
        Self { ids, parent: None, state: None, baggage: None }
    }

    /// Reads the headers of a request; `None` without exactly one valid `traceparent`.
    ///
    /// As strict as W3C asks: version `ff`, ids of zeroes and uppercase digits are no context, and
    /// a higher version is read as far as it is known. A `tracestate` that breaks its grammar, or
    /// has more than 32 members, is dropped; of one over 512 bytes whole entries are, those over
    /// 128 bytes first. `baggage` is kept up to 64 members and 8192 bytes.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let (Some(given), None) = (all.next(), all.next()) else { return None };
        let ids = Ids::parse(given.as_bytes())?;
        let parent = (given.as_bytes() == ids.text()).then(|| {
            let mut parent = given.clone();
            parent.set_sensitive(true);
            parent
        });
        let state = headers.get_all(TRACESTATE).iter();
        let baggage = headers.get_all(BAGGAGE).iter();
        Some(Self {
            ids,
            parent,
            state: lists::tracestate(state),
            baggage: lists::baggage(baggage),
        })
    }

    /// Writes it into the headers of a request, over what they have; without a `baggage` of its
    /// own, theirs stays. The values are marked sensitive: they differ from call to call, and
    /// would drive the stable headers out of HTTP/2's header table.
    pub fn write(&self, headers: &mut HeaderMap) {
        self.clone().write_owned(headers);
    }

    /// The same without a copy.
    pub(crate) fn write_owned(self, headers: &mut HeaderMap) {
        self.write_over(headers, true);
    }

    /// The same over headers of which is known whether there is a `tracestate` among them.
    pub(super) fn write_over(self, headers: &mut HeaderMap, has_state: bool) {
        headers.insert(TRACEPARENT, self.parent.unwrap_or_else(|| value(&self.ids.text())));
        match self.state {
            Some(state) => drop(headers.insert(TRACESTATE, state)),
            None if has_state => drop(headers.remove(TRACESTATE)),
            None => {}
        }
        if let Some(baggage) = self.baggage {
            headers.insert(BAGGAGE, baggage);
        }
    }

    /// The id of the whole trace.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.ids.trace
    }

    /// The id of the span that is the parent of what this process does.
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.ids.span
    }

    /// Whether whoever sent it may have recorded that span.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.ids.is_sampled()
    }

    /// The header that it came with or is sent with, of version 00.
    #[must_use]
    pub fn traceparent(&self) -> HeaderValue {
        self.parent.clone().unwrap_or_else(|| value(&self.ids.text()))
    }

    /// What tracing systems have said beside it.
    #[must_use]
    pub fn tracestate(&self) -> Option<&HeaderValue> {
        self.state.as_ref()
    }

    /// What the application has said beside it.
    #[must_use]
    pub fn baggage(&self) -> Option<&HeaderValue> {
        self.baggage.as_ref()
    }

    pub(crate) fn ids(&self) -> Ids {
        self.ids
    }

    /// The same trace state and baggage beside other ids.
    pub(crate) fn with_ids(&self, ids: Ids) -> Self {
        Self { state: self.state.clone(), baggage: self.baggage.clone(), ..Self::of(ids) }
    }

    #[cfg(feature = "otel-033")]
    pub(crate) fn with_state(self, state: Option<HeaderValue>) -> Self {
        Self { state, ..self }
    }

    #[cfg(feature = "otel-033")]
    pub(crate) fn with_baggage(self, baggage: Option<HeaderValue>) -> Self {
        Self { baggage, ..self }
    }
}

impl PartialEq for TraceContext {
    /// The header that it came with says what its ids say.
    fn eq(&self, other: &Self) -> bool {
        (self.ids, &self.state, &self.baggage) == (other.ids, &other.state, &other.baggage)
    }
}

impl Eq for TraceContext {}

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    /// Reads a `traceparent` alone.
    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        Ids::parse(text.as_bytes()).map(Self::of).ok_or(InvalidTraceparent(()))
    }
}

impl fmt::Display for TraceContext {
    /// Its `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.ids.text()).unwrap_or_default())
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self})")
    }
}

/// A text is no `traceparent`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidTraceparent(());

impl fmt::Display for InvalidTraceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no valid traceparent: expected 00-<32 digits>-<16 digits>-<2 digits>, in lowercase hexadecimal")
    }
}

impl std::error::Error for InvalidTraceparent {}

/// A value of visible characters, kept out of HTTP/2's header table.
pub(super) fn value(text: &[u8]) -> HeaderValue {
    let mut value = HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_context_goes_out_as_it_came() {
        let inbound = headers(&[
            ("traceparent", PARENT),
            ("tracestate", "rojo=00f067aa0ba902b7"),
            ("tracestate", "congo=t61rcWkgMzE"),
            ("baggage", "user=7;private"),
        ]);
        let context = TraceContext::from_headers(&inbound).unwrap();
        let mut outbound = headers(&[("tracestate", "stale=1")]);
        context.write(&mut outbound);
        assert_eq!(outbound["traceparent"], PARENT);
        assert_eq!(outbound["tracestate"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
        assert_eq!(outbound["baggage"], "user=7;private");
        assert!(outbound.values().all(HeaderValue::is_sensitive));
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(PARENT.parse::<TraceContext>().unwrap().ids(), context.ids());
    }

    #[test]
    fn two_parents_are_none() {
        let inbound = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        assert_eq!(TraceContext::from_headers(&inbound), None);
        assert_eq!(TraceContext::from_headers(&headers(&[("tracestate", "foo=1")])), None);
    }

    #[test]
    fn few_headers_and_many_name_the_same() {
        for others in [0, FEW, 4 * FEW] {
            let mut map = HeaderMap::new();
            for n in 0..others {
                let name: HeaderName = format!("x-{n}").parse().unwrap();
                map.insert(name, HeaderValue::from_static("1"));
            }
            let said = |map: &HeaderMap| {
                let Named { parent, has_state } = Named::of(map);
                (parent.cloned(), has_state)
            };
            assert_eq!(said(&map), (None, false), "{others}");
            map.insert(TRACEPARENT, HeaderValue::from_static(PARENT));
            assert_eq!(said(&map), (Some(HeaderValue::from_static(PARENT)), false), "{others}");
            map.insert(TRACESTATE, HeaderValue::from_static("a=1"));
            assert_eq!(said(&map), (Some(HeaderValue::from_static(PARENT)), true), "{others}");
            map.append(TRACEPARENT, HeaderValue::from_static(PARENT));
            assert_eq!(said(&map), (None, true), "{others}");
        }
    }

    #[test]
    fn a_higher_version_is_sent_on_as_version_00() {
        let future = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more";
        let context = TraceContext::from_headers(&headers(&[("traceparent", future)])).unwrap();
        let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
        assert_eq!(context.traceparent(), sent);
    }

    #[test]
    fn an_id_of_zeroes_makes_no_context() {
        assert_eq!(TraceContext::new([0; 16], [1; 8], true), None);
        assert_eq!(TraceContext::new([1; 16], [0; 8], true), None);
        let error = "00-0-0-0".parse::<TraceContext>().unwrap_err();
        assert!(error.to_string().contains("no valid traceparent"));
    }

    #[test]
    fn a_context_that_is_passed_on_is_not_copied() {
        let inbound = headers(&[("traceparent", PARENT)]);
        let context = TraceContext::from_headers(&inbound).unwrap();
        let mut outbound = HeaderMap::new();
        context.write(&mut outbound);
        let (came, sent) = (&inbound["traceparent"], &outbound["traceparent"]);
        assert_eq!(came.as_bytes().as_ptr(), sent.as_bytes().as_ptr());
    }
}
