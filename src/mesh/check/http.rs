//! A probe by an HTTP request.

use http::{HeaderName, HeaderValue, Method, Request, Uri, header::USER_AGENT};
use http_body_util::BodyExt as _;

use super::probe::Answer;
use crate::{
    config::{HttpProbe, IntegerRange, hex},
    core::Body,
    mesh::stage::Erased,
};

/// Bytes of an answer that are looked at. Source: Envoy.
const LOOKED_AT: u64 = 1024;

pub(super) async fn ask(endpoint: &dyn Erased, probe: &HttpProbe, host: &str) -> Answer {
    let request = match request(probe, host) {
        Ok(request) => request,
        Err(error) => return Answer::silent(format!("the probe cannot be sent: {error}")),
    };
    let response = match endpoint.call(request).await {
        Ok(response) => response,
        Err(error) => return Answer::failed(&*error),
    };
    let status = response.status();
    let service = response.headers().get("x-envoy-upstream-healthchecked-cluster");
    let service = service.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let limit =
        usize::try_from(probe.response_buffer_bytes.unwrap_or(LOOKED_AT)).unwrap_or(usize::MAX);
    let body = match read(response.into_body(), limit).await {
        Ok(body) => body,
        Err(error) => return Answer::failed(&error),
    };
    if !within(status.as_u16(), &probe.expected, 200..=200) {
        let cause = format!("status {}", status.as_u16());
        //= Envoy: a status that is neither expected nor retriable is believed at once
        return if is_in(status.as_u16(), &probe.retriable) {
            Answer::wavering(cause)
        } else {
            Answer::ill(cause)
        };
    }
    if let Some(expected) = &probe.service
        && !service.as_deref().is_some_and(|name| expected.is_met_by(name))
    {
        return Answer::ill(format!("it is another service: {}", service.unwrap_or_default()));
    }
    if !follows(&body, &probe.receive) {
        return Answer::ill("its answer does not contain what it must");
    }
    Answer::well()
}

fn request(probe: &HttpProbe, host: &str) -> Result<Request<Body>, http::Error> {
    let host = probe.host.as_deref().unwrap_or(host);
    let path = if probe.path.is_empty() { "/" } else { &probe.path };
    let uri = Uri::builder().scheme("http").authority(host).path_and_query(path).build()?;
    let method = probe.method.as_deref().unwrap_or("GET").parse::<Method>()?;
    let body = probe.body.as_deref().and_then(hex).unwrap_or_default();
    let mut request = Request::builder().method(method).uri(uri).body(Body::from(body))?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("tower-mesh/check"));
    for (name, value) in &probe.headers {
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    for name in &probe.remove_headers {
        headers.remove(name);
    }
    Ok(request)
}

/// Reads a body to its end, keeping no more than this.
async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, crate::Error> {
    /// A body that goes on and on is no answer.
    const MOST: usize = 1 << 20;
    let (mut kept, mut seen) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = limit.saturating_sub(kept.len()).min(data.len());
            kept.extend_from_slice(&data[..room]);
            seen = seen.saturating_add(data.len());
        }
        if seen > MOST {
            break;
        }
    }
    Ok(kept)
}

fn is_in(status: u16, ranges: &[IntegerRange]) -> bool {
    ranges.iter().any(|range| (range.start..range.end).contains(&i64::from(status)))
}

fn within(status: u16, ranges: &[IntegerRange], usual: std::ops::RangeInclusive<u16>) -> bool {
    if ranges.is_empty() { usual.contains(&status) } else { is_in(status, ranges) }
}

/// Whether all of these come in the bytes, one after the other.
pub(super) fn follows(bytes: &[u8], expected: &[String]) -> bool {
    let mut rest = bytes;
    for wanted in expected.iter().filter_map(|text| hex(text)) {
        if wanted.is_empty() {
            continue;
        }
        let Some(at) = rest.windows(wanted.len()).position(|part| part == wanted) else {
            return false;
        };
        rest = rest.get(at + wanted.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_come_comes_in_order() {
        let expected = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(follows(b"", &expected(&[])));
        assert!(follows(b"+PONG\r\n", &expected(&["504f4e47"])));
        assert!(follows(b"abcabc", &expected(&["6263", "6162"])));
        assert!(!follows(b"abc", &expected(&["6263", "6162"])));
        assert!(!follows(b"aa", &expected(&["61", "61", "61"])));
    }
}
