//! What Envoy and the mesh make of responses, redirects, cookies, queries and runtime keys:
//! `traffic/answers.envoy.yaml` and `traffic/answers.mesh.yaml`.

use crate::twin::{Ask, Seen, Twin, alike};

async fn twin() -> Twin {
    let theirs = include_str!("traffic/answers.envoy.yaml");
    Twin::new(theirs, include_str!("traffic/answers.mesh.yaml"), &[]).await
}

#[tokio::test]
async fn headers_of_responses_are_appended_and_kept_as_in_envoy() {
    let twin = twin().await;
    let asks = ["/appended", "/absent", "/present", "/by-cluster"].map(Ask::get);
    alike(&twin, asks).await;
    // The endpoint says `x-secret`, and nothing of `x-told`.
    let told = async |path| {
        let [_, mesh] = twin.ask(&Ask::get(path).time(1)).await;
        ["x-secret", "x-told"].map(|name| mesh.headers.get(name).cloned().unwrap_or_default())
    };
    assert_eq!(told("/appended").await, ["42, 43", "first"]);
    assert_eq!(told("/absent").await, ["42", "first"]);
    assert_eq!(told("/present").await, ["43", ""]);
    assert_eq!(told("/by-cluster").await, ["", "by-the-cluster"]);
}

#[tokio::test]
async fn redirects_and_direct_responses_are_those_of_envoy() {
    let twin = twin().await;
    let swap = || Ask::get("/swap").with("x-swap", "1");
    alike(&twin, [swap(), Ask::get("/swap?q=1").with("x-swap", "1")]).await;
    let paths = [
        "/swap/left/right",
        "/swap/left/right/on?q=1",
        "/swap/none",
        "/shelf",
        "/shelf/",
        "/shelf/x?q=1",
        "/shelves",
        "/stripped?q=1",
        "/teapot",
        "/empty",
        "/said",
    ];
    alike(&twin, paths.map(Ask::get)).await;
    let [_, mesh] = twin.ask(&Ask::get("/teapot").time(1)).await;
    assert_eq!((mesh.status, &*mesh.body), (418, "short and stout"));
}

#[tokio::test]
async fn cookies_queries_and_runtime_keys_match_as_in_envoy() {
    let twin = twin().await;
    let cookies = [
        "tier=gold",
        "tier=silver",
        "a=1; tier=gold",
        "tier=\"gold\"",
        "tier=gold; tier=silver",
        "tier=silver; tier=gold",
        "Tier=gold",
        "tier=",
        "user=kim; lang=de-AT",
        "user=kim",
        "user=Kim; lang=de",
        "lang=de;user=kim",
    ];
    alike(&twin, cookies.map(|cookie| Ask::get("/cookie").with("cookie", cookie))).await;
    let two = Ask::get("/cookie").with("cookie", "a=1").with("cookie", "tier=gold");
    alike(&twin, [two, Ask::get("/cookie"), Ask::get("/no-cookie")]).await;
    let others = ["tier=gold", "tier=silver", "a=1"];
    alike(&twin, others.map(|cookie| Ask::get("/no-cookie").with("cookie", cookie))).await;
    let queries = [
        "/query?p=yes",
        "/query?p=no",
        "/query?p=y",
        "/query?s=es",
        "/query?s=est",
        "/query?c=hello",
        "/query?c=hi",
        "/query?r=yes",
        "/query?r=yess",
        "/query?f=yEs",
        "/query?f=no",
        "/query?one=1",
        "/query?one=1&two=2",
        "/query?two=2&one=1",
        "/query?one=1&two=3",
    ];
    alike(&twin, queries.map(Ask::get)).await;
    // A key that is set takes the place of the share, whichever way; one that is not leaves it.
    alike(&twin, ["/all", "/none", "/unset"].map(Ask::get)).await;
}

/// The value of the cookie that a response sets, and what follows it. Envoy's has quotes.
fn made(seen: &Seen) -> (String, String) {
    let cookie = seen.headers.get("set-cookie").map_or("", String::as_str);
    let (pair, rest) = cookie.split_once(';').unwrap_or((cookie, ""));
    let value = pair.strip_prefix("seat=").unwrap_or_default();
    (value.trim_matches('"').to_owned(), rest.to_owned())
}

#[tokio::test]
async fn a_cookie_is_made_for_who_has_none_and_leads_back_as_in_envoy() {
    let twin = twin().await;
    let attributes = [
        ("/sticky", " Max-Age=60; Path=/sticky; SameSite=Strict; HttpOnly"),
        ("/sticky-session", " HttpOnly"),
    ];
    for (path, expected) in attributes {
        for time in 0..8 {
            let seen = twin.ask(&Ask::get(path).time(time)).await;
            for seen in &seen {
                let (value, rest) = made(seen);
                assert_eq!((value.len(), &*rest), (16, expected), "{path}: {seen:?}");
                // Who comes back with it meets the same endpoint, by either, and is told nothing.
                let cookie: &'static str = format!("seat={value}").leak();
                let back = Ask::get(path).with("cookie", cookie);
                alike(&twin, [back.clone()]).await;
                for again in twin.ask(&back.time(1)).await {
                    assert_eq!(again.body.get(..1), seen.body.get(..1), "{path}: {again:?}");
                    assert_eq!(again.headers.get("set-cookie"), None, "{path}");
                }
            }
        }
    }
    // Nothing is made where nothing says so, and an empty one is none.
    let given = ["seat=5", "seat=\"5\"", "seat=six"];
    alike(&twin, given.map(|cookie| Ask::get("/sticky-given").with("cookie", cookie))).await;
    for seen in twin.ask(&Ask::get("/sticky-given")).await {
        assert_eq!(seen.headers.get("set-cookie"), None, "{seen:?}");
    }
    for seen in twin.ask(&Ask::get("/sticky").with("cookie", "seat=")).await {
        assert_eq!(made(&seen).0.len(), 16, "{seen:?}");
    }
}
