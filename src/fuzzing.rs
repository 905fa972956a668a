//! What the fuzz targets reach: decoders and encoders behind plain arguments, and the checks that
//! need private types. Compiled under `--cfg fuzzing` only; not part of the API.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a finding is a panic"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::{Body as _, Frame, SizeHint};

pub use http::Uri;

pub use crate::route::fuzz::session;
#[cfg(feature = "_tls")]
pub use crate::security::fuzz::certificate;

use crate::{
    Call, Error, ErrorKind, Phase,
    config::{Match, PathMatch, QueryMatch, StringMatch, name::Name},
    core::{BoxError, Instant, Outgoing, Random, ReplayBody, grpc},
    resilience::{
        Budget, deadline,
        retry::{self, Policy, after},
    },
    route::{Asked, Matcher, Split},
    transport::prepare,
};

/// Reads an answer of a rate limit service: what it adds can be sent.
#[cfg(feature = "rls")]
pub fn rate_limit(message: &[u8]) {
    use crate::{
        config::headers::is_editable,
        resilience::global_rate_limit::{Answer, Asker},
    };

    let Ok(answer) = Answer::read(message) else { return };
    let mut headers = HeaderMap::new();
    Asker::change_request(&answer, &mut headers);
    assert!(headers.keys().all(|name| is_editable(name) && !name.as_str().starts_with("grpc-")));
    if let Some(limits) = &answer.limits {
        limits.write(&mut headers);
        assert!(headers.contains_key("x-ratelimit-remaining"));
    }
    assert!(answer.quota.is_none_or(|quota| quota.requests > 0 && !answer.is_over));
}

/// Reads a mesh file; what is valid compiles, and is the same when it is written and read again.
#[cfg(feature = "file")]
pub fn mesh_file(bytes: &[u8]) {
    use crate::discover::file::parse::parse;

    let Ok(parsed) = parse(bytes) else { return };
    let labels = BTreeMap::new();
    for (name, service) in &parsed.services.good {
        if service.validate(name).is_err() {
            continue;
        }
        for route in &service.routes {
            for rule in &route.matches {
                Matcher::new(rule, &labels).expect("a valid match compiles");
            }
            let split = Split::new(route.clusters.iter().map(|target| (target.weight, ())));
            let choose = |word| split.get(split.place(word));
            assert!(choose(0).is_some() && choose(u64::MAX).is_some());
            let policies = [&service.policy, &route.policy];
            for retry in policies.iter().filter_map(|policy| policy.retry.as_ref()) {
                let _policy: Policy = Policy::new(retry);
                let budget = retry.budget.as_ref().map(Budget::new);
                if let Some(budget) = budget {
                    budget.deposit(0);
                    let _granted: bool = budget.withdraw(u64::MAX / 2);
                }
            }
        }
    }
    for (name, cluster) in &parsed.clusters.good {
        let _checked: Result<(), _> = cluster.validate(name);
    }
    let written = serde_json::json!({
        "services": parsed.services.good,
        "clusters": parsed.clusters.good,
    });
    let again = parse(written.to_string().as_bytes()).expect("what was written is read");
    let refused = (&again.services.refused, &again.clusters.refused);
    assert!(
        refused.0.is_empty() && refused.1.is_empty() && again.unknown.is_empty(),
        "{refused:?}"
    );
    assert_eq!(again.services.good, parsed.services.good);
    assert_eq!(again.clusters.good, parsed.clusters.good);
}

fn one(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_bytes(value).ok()?);
    Some(headers)
}

/// Every header that states a time: read, and written again as no more than was read.
pub fn times(value: &[u8]) {
    let now = Instant::now();
    for name in [grpc::GRPC_TIMEOUT, grpc::HTTP_TIMEOUT] {
        let Some(headers) = one(name, value) else { return };
        let _inherited = Call::new().inherit(&headers);
        let scope = deadline::Scope { timeout: Some(Duration::from_secs(1)), whole_response: true };
        let bounds = deadline::of(&headers, None, scope, now);
        assert!(bounds.head.is_some() && bounds.head <= bounds.body);
        if let Some(read) = grpc::timeout_of(&headers) {
            let mut written = HeaderMap::new();
            written.insert(grpc::GRPC_TIMEOUT, grpc::timeout_value(read));
            let again = grpc::timeout_of(&written).expect("what was written is read");
            assert!(again <= read, "{again:?} of {read:?}");
            let mut written = HeaderMap::new();
            written.insert(grpc::HTTP_TIMEOUT, grpc::millis_value(read));
            let again = grpc::timeout_of(&written).expect("what was written is read");
            assert!(again <= read.max(Duration::from_millis(1)), "{again:?} of {read:?}");
        }
    }
    for name in [grpc::GRPC_ATTEMPTS, grpc::HTTP_ATTEMPTS, grpc::GRPC_STATUS] {
        let Some(headers) = one(name, value) else { return };
        let _retry: bool = grpc::is_retry(&headers);
        let _status: Option<i32> = grpc::status_of(&headers);
    }
    let max = Duration::from_secs(300);
    let Some(headers) = one(http::header::RETRY_AFTER, value) else { return };
    for now in [SystemTime::UNIX_EPOCH, SystemTime::now()] {
        if let after::Pushback::AtLeast(wait) = after::http(&headers, max, || now) {
            assert!(wait <= max);
        }
    }
    let Some(headers) = one(grpc::GRPC_PUSHBACK, value) else { return };
    match after::grpc(&headers) {
        after::Pushback::After(wait) => assert!(wait <= Duration::from_millis(u32::MAX.into())),
        pushback => assert_eq!(pushback, after::Pushback::Stop),
    }
    for headers in [one(http::header::RETRY_AFTER, value), one(grpc::GRPC_PUSHBACK, value)] {
        let headers = headers.unwrap_or_default();
        let status = http::StatusCode::SERVICE_UNAVAILABLE;
        let policy = Policy::new(&crate::Retry::standard());
        let random = Random::seeded(1);
        let _decision = policy.decide(1, retry::Met::of(status, &headers), &random);
    }
}

/// A service name is what its own text is read as.
pub fn name(text: &str) {
    if let Ok(name) = Name::parse(text) {
        // Its text says nothing of `https`, which is the call's.
        let again = Name::parse(&name.to_string()).map(|again| again.to_string());
        assert_eq!(again, Ok(name.to_string()), "`{text}` is {name:?}");
    }
}

/// A `grpc-message` is one header value, and decodes to the error's text.
pub fn message(text: &str) {
    let error = Error::new(ErrorKind::Timeout, Phase::Headers).detail(text.to_owned());
    let trailers = grpc::trailers(&error);
    let value = trailers.get(grpc::GRPC_MESSAGE).expect("a message").as_bytes();
    assert!(value.iter().all(|byte| (b' '..=b'~').contains(byte)), "{value:?}");
    let decoded = percent_encoding::percent_decode(value).decode_utf8().expect("UTF-8");
    assert_eq!(decoded, error.to_string());
    assert_eq!(grpc::status_of(&trailers), Some(4));
}

/// Kind 0 to 4, and the text to compare with.
fn text(kind: u8, text: &str) -> StringMatch {
    match kind % 5 {
        0 => StringMatch::Exact(text.to_owned()),
        1 => StringMatch::Prefix(text.to_owned()),
        2 => StringMatch::Suffix(text.to_owned()),
        3 => StringMatch::Contains(text.to_owned()),
        _ => StringMatch::Present,
    }
}

/// Whether a request to `uri` matches; `None` when the rule is refused or there is no such URI.
#[must_use]
pub fn matches(uri: &str, path: Option<(bool, &str)>, query: &[(u8, &str, &str)]) -> Option<bool> {
    let mut rule = Match::default();
    rule.path = path.map(|(exact, path)| {
        if exact { PathMatch::Exact(path.to_owned()) } else { PathMatch::Prefix(path.to_owned()) }
    });
    rule.query = query
        .iter()
        .map(|(kind, name, value)| QueryMatch::new(*name, text(*kind, value)))
        .collect();
    let request = Request::get(uri).body(()).ok()?;
    let matcher = Matcher::new(&rule, &BTreeMap::new()).ok()?;
    let random = Random::seeded(1);
    Some(matcher.mismatch(&Asked::new(&request, &random)).is_none())
}

/// A request as HTTP/1.1 and HTTP/2 send it: the path stays, and there is an authority.
pub fn prepared(uri: &str, host: Option<&[u8]>) {
    let request = || {
        let mut request = Request::get(uri).body(()).ok()?;
        if let Some(host) = host {
            request.headers_mut().insert(http::header::HOST, HeaderValue::from_bytes(host).ok()?);
        }
        Some(request)
    };
    let path = |request: &Request<()>| request.uri().path_and_query().cloned();
    let (Some(mut first), Some(mut second)) = (request(), request()) else { return };
    let before = path(&first).filter(|path| path.as_str() != "");
    prepare::http1(&mut first, "10.0.0.1:80");
    assert!(prepare::http2(&mut second, "10.0.0.1:80", false));
    assert!(first.headers().contains_key(http::header::HOST));
    assert!(second.uri().authority().is_some() && second.uri().scheme().is_some());
    if let Some(before) = before {
        assert_eq!(path(&first).as_ref(), Some(&before));
        assert_eq!(path(&second).as_ref(), Some(&before));
    }
}

/// What a request body does when it is polled.
#[derive(Clone, Debug)]
pub enum Step {
    Data(Vec<u8>),
    Pending,
    Trailers,
    Fail,
}

struct Script {
    steps: VecDeque<Step>,
    /// Whether it tells how much is left.
    exact: bool,
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Pending) => Poll::Pending,
            Some(Step::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
            Some(Step::Trailers) => {
                let mut trailers = HeaderMap::new();
                trailers.insert("sum", HeaderValue::from_static("1"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Step::Fail) => Poll::Ready(Some(Err("failed".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.exact && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.exact { SizeHint::with_exact(size(&self.steps)) } else { SizeHint::default() }
    }
}

fn size<'a>(steps: impl IntoIterator<Item = &'a Step>) -> u64 {
    let length = |step: &Step| if let Step::Data(bytes) = step { bytes.len() as u64 } else { 0 };
    steps.into_iter().map(length).sum()
}

/// Attempts at sending a body, each polled so many times, the last to its end: every attempt
/// sends the bytes from the first on, and one that ends has sent all of them.
pub fn replay(steps: &[Step], cap: usize, exact: bool, attempts: &[u8]) {
    // Nothing follows the end of a body.
    let end = steps.iter().position(|step| matches!(step, Step::Trailers | Step::Fail));
    let steps = &steps[..end.map_or(steps.len(), |end| end + 1)];
    let bytes: Vec<u8> = steps
        .iter()
        .filter_map(|step| if let Step::Data(bytes) = step { Some(bytes.as_slice()) } else { None })
        .flatten()
        .copied()
        .collect();
    let fails = matches!(steps.last(), Some(Step::Fail));
    let with_trailers = matches!(steps.last(), Some(Step::Trailers));
    let script = Script { steps: steps.iter().cloned().collect(), exact };
    let (body, again) = ReplayBody::arm(Outgoing::new(script), cap);
    let mut current = Attempt::new(body);
    let mut older: Vec<Attempt> = Vec::new();
    for polls in attempts {
        for _ in 0..*polls {
            current.poll(&bytes, exact);
        }
        let over = if exact { bytes.len() } else { current.longest(&older) } > cap;
        match again.next() {
            Ok(body) => {
                assert!(!over, "over the cap, and replayed");
                assert!(!current.failed, "a failed body was replayed");
                older.push(std::mem::replace(&mut current, Attempt::new(body)));
                for old in &mut older {
                    old.abandoned();
                }
            }
            Err(_) => assert!(over || current.failed, "within the cap, and refused"),
        }
    }
    let limit = steps.len() + bytes.len() + 8;
    for _ in 0..limit {
        current.poll(&bytes, exact);
    }
    assert!(current.ended || current.failed, "it never ends");
    assert_eq!(current.failed, fails);
    if !fails {
        assert_eq!(current.sent, bytes);
        assert_eq!(current.trailers, usize::from(with_trailers));
    }
}

struct Attempt {
    body: Outgoing,
    sent: Vec<u8>,
    trailers: usize,
    ended: bool,
    failed: bool,
    cut_off: bool,
}

impl Attempt {
    fn new(body: Outgoing) -> Self {
        Self { body, sent: Vec::new(), trailers: 0, ended: false, failed: false, cut_off: false }
    }

    fn frame(&mut self) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn longest(&self, older: &[Self]) -> usize {
        older.iter().map(|old| old.sent.len()).max().unwrap_or(0).max(self.sent.len())
    }

    fn poll(&mut self, all: &[u8], exact: bool) {
        let hint = self.body.size_hint();
        let left = (all.len() - self.sent.len()) as u64;
        if !self.failed {
            assert!(hint.lower() <= left, "{hint:?} of {left}");
            assert!(hint.upper().is_none_or(|upper| left <= upper), "{hint:?} of {left}");
            assert!(!exact || hint.exact() == Some(left), "{hint:?} of {left}");
        }
        let over = self.body.is_end_stream();
        match self.frame() {
            Poll::Pending => assert!(!over, "over, and pending"),
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(_))) => {
                assert!(!self.failed && !self.ended && !over, "it failed after its end");
                self.failed = true;
            }
            Poll::Ready(Some(Ok(frame))) => {
                assert!(!self.failed && !self.ended && !over, "a frame after the end");
                match frame.into_data() {
                    Ok(bytes) => {
                        assert_eq!(self.trailers, 0, "data after the trailers");
                        self.sent.extend_from_slice(&bytes);
                        assert!(all.starts_with(&self.sent), "other bytes");
                    }
                    Err(_) => self.trailers += 1,
                }
            }
        }
    }

    /// A newer attempt has begun: it fails once, unless it was over already.
    fn abandoned(&mut self) {
        match self.frame() {
            Poll::Ready(Some(Err(_))) => {
                assert!(!self.ended && !self.cut_off, "it failed twice");
                self.cut_off = true;
            }
            Poll::Ready(None) => assert!(self.ended || self.cut_off || self.trailers > 0),
            frame => panic!("an abandoned attempt got {frame:?}"),
        }
    }
}

/// `traceparent`, `tracestate` and `baggage`, a header a line: what is read is written in version
/// 00 and read as the same again; lists keep their order and their limits.
pub fn trace(bytes: &[u8]) {
    use crate::{
        TraceContext,
        observe::trace::{Ids, baggage, tracestate},
    };

    if let Some(ids) = Ids::parse(bytes) {
        assert_eq!(Ids::parse(&ids.text()), Some(ids));
    }
    let mut headers = HeaderMap::new();
    let names = ["traceparent", "tracestate", "baggage", "tracestate"];
    for (line, name) in bytes.split(|byte| *byte == b'\n').zip(names.iter().cycle()).take(64) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(*name, value);
        }
    }
    for (kept, name, most) in [
        (tracestate(headers.get_all("tracestate").iter()), "tracestate", 512),
        (baggage(headers.get_all("baggage").iter()), "baggage", 8192),
    ] {
        let Some(kept) = kept else { continue };
        assert!(!kept.is_empty() && kept.len() <= most && kept.is_sensitive());
        let came = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let came = came.collect::<Vec<_>>().join(&b","[..]);
        let mut came = came.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for member in kept.as_bytes().split(|byte| *byte == b',') {
            assert!(came.any(|given| given == member), "what never came, or out of order");
        }
    }
    let Some(context) = TraceContext::from_headers(&headers) else { return };
    let mut written = HeaderMap::new();
    context.write(&mut written);
    assert_eq!(written["traceparent"].len(), 55);
    assert_eq!(TraceContext::from_headers(&written).as_ref(), Some(&context));
    assert_eq!(context.to_string().parse::<TraceContext>().unwrap().span_id(), context.span_id());
}

/// A load report: the first byte says whether the rest is the header of any form, the binary one,
/// the message itself, or a stream of messages. What is read gives bounded weights, and is written and read again.
#[cfg(feature = "orca")]
pub fn load_report(bytes: &[u8]) {
    use crate::balance::report::{Format, Metric, Report, Rules, Signal, message, read};

    let Some((form, rest)) = bytes.split_first() else { return };
    if *form == b'f' {
        return frames(rest);
    }
    let header = |name| one(HeaderName::from_static(name), rest).and_then(|it| read(&it));
    let report: Option<Report> = match form {
        b'm' => message(Bytes::copy_from_slice(rest)),
        b'b' => header("endpoint-load-metrics-bin"),
        _ => header("endpoint-load-metrics"),
    };
    let Some(report) = report else { return };
    let metrics = ["named_metrics.foo", "utilization.foo", "mem_utilization"];
    let metrics = metrics.iter().filter_map(|name| Metric::parse(name)).collect();
    let rules = Rules { blackout: 0, expiration: 1, penalty: 1.0, metrics };
    if let Some(weight) = rules.weight(&report) {
        assert!((1e-30..=1e30).contains(&weight), "{weight}");
    }
    let _signal: Option<Signal> = Signal::of(&report);
    for format in [Format::Text, Format::Json, Format::Binary] {
        let mut written = HeaderMap::new();
        report.write(&mut written, format);
        let again = read(&written);
        if format == Format::Binary && report != Report::default() {
            assert!(again.is_some() || report.named_metrics.len() > 100, "{written:?}");
        }
    }
}

/// The messages of a stream are the same, however their bytes come.
#[cfg(feature = "orca")]
fn frames(bytes: &[u8]) {
    let taken = |most: usize| {
        let (mut read, mut met) = (bytes::BytesMut::new(), Vec::new());
        for piece in bytes.chunks(most) {
            read.extend_from_slice(piece);
            while let Some(message) = crate::core::framed::next(&mut read) {
                met.push(message);
            }
        }
        (met, read)
    };
    assert_eq!(taken(1), taken(bytes.len().max(1)));
}

/// A client of control planes, its servers and streams, as the bytes have them.
#[cfg(feature = "xds")]
pub fn xds_client(script: &[u8]) {
    crate::control::xds::script(script);
}

/// Resources of any content, from their bytes to a mesh without a network.
#[cfg(feature = "xds")]
pub fn xds_whole(script: &[u8]) {
    drop(crate::control::xds::whole(script));
}

/// A bootstrap of control planes, or the variables of a pod.
#[cfg(feature = "xds")]
pub fn xds_bootstrap(text: &[u8]) {
    crate::control::xds::read_bootstrap(text);
}

/// What is told to a server of load reports, its answers and streams as the bytes have them.
#[cfg(feature = "xds")]
pub fn xds_reports(script: &[u8]) {
    let _told: usize = crate::control::xds::reports(script);
}

/// What is taken for a token: the answer of a metadata server, the content of a file.
#[cfg(feature = "xds")]
pub fn xds_token(bytes: &[u8]) {
    let _is_token: bool = crate::control::xds::read_token(bytes);
}

/// A file that is taken for the cache of a client of control planes.
#[cfg(feature = "xds")]
pub fn xds_cache(bytes: &[u8]) {
    crate::control::xds::read_cache(bytes);
}

/// A resource of a control plane: it is read, valid, and does what it says whatever calls meet, or is refused.
#[cfg(feature = "xds")]
pub mod xds {
    use crate::control::xds::{Kind, beside, comes_in, read_secret, reads};

    pub fn listener(bytes: &[u8]) {
        reads(Kind::Listener, bytes);
    }

    /// A listener of calls that come in.
    pub fn inbound(bytes: &[u8]) {
        comes_in(bytes);
    }

    pub fn routes(bytes: &[u8]) {
        reads(Kind::Routes, bytes);
    }

    pub fn cluster(bytes: &[u8]) {
        reads(Kind::Cluster, bytes);
    }

    /// Clusters with it, too; nothing that is said of it shows its key.
    pub fn secret(bytes: &[u8]) {
        read_secret(bytes);
    }

    pub fn endpoints(bytes: &[u8]) {
        reads(Kind::Endpoints, bytes);
    }

    /// Two of them, the second beside the first.
    pub fn endpoints_again(bytes: &[u8]) {
        beside(bytes);
    }
}
