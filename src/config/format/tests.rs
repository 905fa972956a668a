use proptest::prelude::*;

use super::*;

fn made(value: &str, side: Side) -> Vec<Part> {
    match Parsed::new(value, side) {
        Ok(Parsed::Made(Format(parts))) => parts.into_vec(),
        other => panic!("{other:?}"),
    }
}

fn header(name: &str) -> Field {
    Field::Header(HeaderName::try_from(name).unwrap())
}

#[test]
fn what_has_no_operator_is_the_same_for_all() {
    for (value, expected) in [
        ("", ""),
        ("a", "a"),
        ("50%", "50%"),
        ("50%%", "50%"),
        ("%%REQ(x)%%", "%REQ(x)%"),
        ("%d of %20", "%d of %20"),
        ("%A%", "%A%"),
        ("100 % OF%", "100 % OF%"),
    ] {
        let parsed = Parsed::new(value, Side::Request);
        assert_eq!(parsed, Ok(Parsed::Plain(expected.to_owned())), "{value}");
    }
}

#[test]
fn each_operator() {
    let parts = made("a%REQ(x-a?:PATH):7%b%PROTOCOL%", Side::Request);
    let expected = [
        Part::Text("a".into()),
        Part::Fact(Fact::Request(header("x-a"), Some(Field::Path)), Some(7)),
        Part::Text("b".into()),
        Part::Fact(Fact::Protocol, None),
    ];
    assert_eq!(parts, expected);
    for (value, fact) in [
        ("%RESP(Server)%", Fact::Response(HeaderName::from_static("server"), None)),
        ("%RESPONSE_CODE%", Fact::Status),
        ("%UPSTREAM_HOST%", Fact::Endpoint),
        ("%ROUTE_NAME%", Fact::Route),
        ("%UPSTREAM_CLUSTER%", Fact::Cluster),
        ("%REQ(:authority)%", Fact::Request(Field::Authority, None)),
        ("%START_TIME%", Fact::Started(Clock::new(None).unwrap())),
        ("%START_TIME(%s.%3f)%", Fact::Started(Clock::new(Some("%s.%3f")).unwrap())),
    ] {
        assert_eq!(made(value, Side::Response), [Part::Fact(fact, None)], "{value}");
    }
}

#[test]
fn what_is_known_at_once_is_filled_in_at_once() {
    let Ok(Parsed::Plain(path)) = Parsed::new("<%ENVIRONMENT(PATH):3%>", Side::Request) else {
        panic!("the same for all");
    };
    assert_eq!(path.len(), 5, "{path}");
    let nobody = Parsed::new("%ENVIRONMENT(NOBODY_SETS_THIS)%", Side::Request);
    assert_eq!(nobody, Ok(Parsed::Plain(String::new())));
    assert!(
        matches!(Parsed::new("%HOSTNAME%", Side::Request), Ok(Parsed::Plain(it)) if !it.is_empty())
    );
}

#[test]
fn what_cannot_be_filled_in_is_named() {
    for (value, side, expected) in [
        ("%DOWNSTREAM_REMOTE_ADDRESS%", Side::Request, "`%DOWNSTREAM_REMOTE_ADDRESS%` is not supp"),
        ("%RESP(a)%", Side::Request, "`%RESP%` is of responses"),
        ("%UPSTREAM_HOST%", Side::Request, "`%UPSTREAM_HOST%` is of responses"),
        ("%RESPONSE_CODE%", Side::Request, "is of responses"),
        ("%REQ%", Side::Request, "needs a header in brackets"),
        ("%REQ()%", Side::Request, "needs a header in brackets"),
        ("%REQ(a b)%", Side::Request, "`a b` of `%REQ%` is not a header name"),
        ("%REQ(a?)%", Side::Request, "`` of `%REQ%` is not a header name"),
        ("%RESP(:status)%", Side::Response, "`:status` of `%RESP%` is not a header name"),
        ("%REQ(a", Side::Request, "`%REQ` is not closed"),
        ("%REQ(a)b", Side::Request, "`%REQ` is not closed"),
        ("%REQ(a):x%", Side::Request, "`x` of `%REQ` is no length"),
        ("%PROTOCOL(x)%", Side::Request, "takes no `(x)`"),
        ("%HOSTNAME(x)%", Side::Request, "takes no `(x)`"),
        ("%ENVIRONMENT%", Side::Request, "needs the name of a variable"),
        ("%START_TIME(%Q)%", Side::Request, "`%Q` is no part of a time"),
    ] {
        let error = Parsed::new(value, side).unwrap_err();
        assert!(error.contains(expected), "{value}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(value in "[%A-Z_()?:a-z0-9 ]{0,40}") {
        for side in [Side::Request, Side::Response] {
            if let Ok(Parsed::Plain(text)) = Parsed::new(&value, side) {
                // Doubled percent signs are single ones: it cannot have grown, but for what the
                // process itself says.
                prop_assert!(text.len() <= value.len() || value.contains("HOSTNAME"));
            }
        }
    }
}
