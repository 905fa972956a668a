//! What several rooms read from a request's URI, or write into it.

use http::{
    Request, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

/// The same with this authority, in the place of one that it has. It is whole then: what it has not is
/// `http` and `/`.
pub(crate) fn with_authority(uri: Uri, authority: Authority) -> Uri {
    let mut parts = uri.into_parts();
    parts.authority = Some(authority);
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    // All three parts are there, which is what makes a URI whole.
    Uri::from_parts(parts).unwrap_or_default()
}

/// An authority without the user before its host, who is part of no name and is told to no server.
//= RFC 9110 §4.2.4: userinfo is not sent, and may be there to deceive
pub(crate) fn bare(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Whether it is a host, perhaps with a port, and nobody's name before it.
pub(crate) fn is_authority(text: &str) -> bool {
    !text.is_empty() && !text.contains('@') && text.parse::<Authority>().is_ok()
}

/// The first parameter of that name in the query, as it is written.
//= Gateway API HTTPQueryParamMatch: the first decides; not decoded, as Envoy has it
pub(crate) fn parameter<'a, B>(request: &'a Request<B>, name: &str) -> Option<&'a str> {
    let query = request.uri().query()?;
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_makes_a_uri_whole() {
        for (uri, expected) in [
            ("/1?a=b", "http://other:1/1?a=b"),
            ("https://users/1", "https://other:1/1"),
            ("users:80", "http://other:1/"),
            ("*", "http://other:1/*"),
        ] {
            let authority = Authority::from_static("other:1");
            let uri = with_authority(uri.parse().unwrap(), authority);
            assert_eq!(uri.to_string().replace("1*", "1/*"), expected);
        }
    }

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let request = Request::get("/?a&b=1&b=2&c=%20").body(()).unwrap();
        let found = ["a", "b", "c", "d"].map(|name| parameter(&request, name));
        assert_eq!(found, [Some(""), Some("1"), Some("%20"), None]);
    }
}
