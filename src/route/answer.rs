//! Answers that are made here: redirects, direct responses, what an invalid backend gives.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE,
};

use super::{redirect::Redirect, rewrite::Unusable, table::Rule};
use crate::{
    config::{self, DirectResponse},
    core::{Body, grpc},
};

/// A compiled answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Redirect(Box<Redirect>),
    Direct(Box<Direct>),
}

#[derive(Debug)]
pub(crate) struct Direct {
    status: StatusCode,
    body: String,
    headers: HeaderMap,
    grpc: Option<i32>,
}

impl Answer {
    pub(super) fn redirect(redirect: &config::Redirect) -> Self {
        Self::Redirect(Box::new(Redirect::new(redirect)))
    }

    pub(super) fn direct(direct: &DirectResponse) -> Self {
        let headers = direct.headers.iter().filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        });
        Self::Direct(Box::new(Direct {
            status: StatusCode::from_u16(direct.status).unwrap_or(StatusCode::OK),
            body: direct.body.clone(),
            headers: headers.collect(),
            grpc: direct.grpc,
        }))
    }

    /// What a backend answers that cannot be called.
    //= Gateway API HTTPBackendRef: 500; GRPCBackendRef: UNAVAILABLE
    pub(crate) fn invalid() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let (body, headers) = (String::new(), HeaderMap::new());
        Self::Direct(Box::new(Direct { status, body, headers, grpc: Some(14) }))
    }

    /// Its text, if it has one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Redirect(_) => None,
            Self::Direct(direct) => Some(&direct.body).filter(|it| !it.is_empty()).map(|it| &**it),
        }
    }

    /// The answer to a request, or the part of it that has no form on the wire.
    pub(crate) fn response<B>(
        &self,
        request: &Request<B>,
        rule: Option<&Rule>,
        is_grpc: bool,
    ) -> Result<Response<Body>, Unusable> {
        match self {
            Self::Redirect(redirect) => redirect.response(request, rule),
            Self::Direct(direct) => {
                let mut response = direct.response(is_grpc);
                if request.method() == Method::HEAD {
                    *response.body_mut() = Body::empty();
                }
                Ok(response)
            }
        }
    }
}

impl Direct {
    fn response(&self, is_grpc: bool) -> Response<Body> {
        if is_grpc {
            let code = self.grpc.unwrap_or_else(|| grpc::of_http(self.status.as_u16()));
            let mut response = grpc::answer(code, &self.body);
            for (name, value) in &self.headers {
                // What says how the call went is not for a header to say.
                if name != CONTENT_TYPE && !name.as_str().starts_with("grpc-") {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            return response;
        }
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        if !self.body.is_empty() {
            //= Envoy sendLocalReply
            let text = HeaderValue::from_static("text/plain");
            response.headers_mut().insert(CONTENT_TYPE, text);
        }
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_direct_response_do_not_say_how_a_grpc_call_went() {
        let mut direct = DirectResponse::default();
        (direct.status, direct.grpc) = (503, Some(14));
        for (name, value) in [
            ("content-type", "text/html"),
            ("grpc-status", "0"),
            ("x-a", "1"),
            ("Grpc-Message", "x"),
        ] {
            direct.headers.insert(name.into(), value.into());
        }
        let request = Request::post("/a.B/Get").body(()).unwrap();
        let answer = Answer::direct(&direct);
        let response = answer.response(&request, None, true).unwrap();
        let header = |name: &str| {
            response
                .headers()
                .get_all(name)
                .iter()
                .map(|it| it.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(header("content-type"), ["application/grpc"]);
        assert_eq!(header("grpc-status"), ["14"]);
        assert!(header("grpc-message").is_empty());
        assert_eq!(header("x-a"), ["1"]);
        let plain = answer.response(&request, None, false).unwrap();
        assert_eq!(plain.headers()[CONTENT_TYPE], "text/html");
    }
}
