//! The same traffic through Envoy and through the mesh, from the same rules in the words of each:
//! `traffic/envoy.yaml` and `traffic/mesh.yaml`. What they do differently is in docs/ENVOY.md.

use http::Method;

use crate::twin::{Ask, Otherwise, Seen, Twin, alike, otherwise};

async fn twin() -> Twin {
    Twin::new(include_str!("traffic/envoy.yaml"), include_str!("traffic/mesh.yaml"), &[]).await
}

#[tokio::test]
async fn routes_take_the_same_requests_as_in_envoy() {
    let twin = twin().await;
    let paths = [
        "/exact",
        "/exact/",
        "/exact?q=1",
        "/folded",
        "/FOLDED",
        "/folded/x",
        "/admin",
        "/admin/",
        "/admin/x",
        "/administrator",
        "/text",
        "/textual",
        "/tex",
        "/r/1",
        "/r/12",
        "/r/",
        "/r/1/x",
        "/users/7/orders/1",
        "/users/7/orders/1/2",
        "/users/7/orders/",
        "/users/7/orders",
        "/users//orders/1",
        "/users/7/8/orders/1",
        "/headers",
        "/nowhere",
        "/",
        "//exact",
        "/%65xact",
        "/admin%2Fx",
        "/exact;x",
        "/headers/x",
    ];
    alike(&twin, paths.map(Ask::get)).await;
}

#[tokio::test]
async fn headers_queries_and_methods_match_as_in_envoy() {
    let twin = twin().await;
    let headers = [
        ("x-exact", "yes"),
        ("x-exact", "Yes"),
        ("x-exact", "yes, no"),
        ("x-exact", ""),
        ("x-prefix", "yet"),
        ("x-prefix", "y"),
        ("x-suffix", "tes"),
        ("x-suffix", "est"),
        ("x-contains", "hello"),
        ("x-contains", "hi"),
        ("x-regex", "yes"),
        ("x-regex", "yess"),
        ("x-range", "5"),
        ("x-range", "9"),
        ("x-range", "10"),
        ("x-range", "-5"),
        ("x-range", "5.0"),
        ("x-range", "seven"),
        ("x-present", "1"),
        ("x-present", ""),
        ("x-folded", "yEs"),
    ];
    alike(&twin, headers.map(|(name, value)| Ask::get("/headers").with(name, value))).await;
    // One of several lines of a header suffices (Envoy: since 1.39).
    let several = [["no", "yes"], ["yes", "no"], ["no", "none"]];
    let several =
        several.map(|[one, two]| Ask::get("/headers").with("x-exact", one).with("x-exact", two));
    alike(&twin, several).await;
    for (path, name) in [("/inverted", "x-not"), ("/absent", "x-absent"), ("/missing", "x-missing")]
    {
        let values = ["yes", "no", ""].map(|value| Ask::get(path).with(name, value));
        alike(&twin, values).await;
        alike(&twin, [Ask::get(path)]).await;
    }
    let queries = [
        "/query?q=1",
        "/query?q=2",
        "/query?q=",
        "/query?q",
        "/query?x=1&q=1",
        "/query?q=1&q=2",
        "/query?q=2&q=1",
        "/query?Q=1",
        "/query?there",
        "/query?there=",
        "/query?there=x",
        "/query?q=%31",
        "/query",
    ];
    alike(&twin, queries.map(Ask::get)).await;
    let methods = [Method::GET, Method::DELETE, Method::POST];
    alike(&twin, methods.map(|method| Ask::get("/method").method(method))).await;
}

#[tokio::test]
async fn requests_and_responses_are_changed_as_in_envoy() {
    let twin = twin().await;
    let paths = [
        "/old",
        "/old/",
        "/old/x",
        "/old/x?q=1",
        "/moved",
        "/moved?q=1",
        "/secure",
        "/secure?q=1",
        "/closed",
        "/v1",
        "/v1/x",
        "/v1/x/y?q=1",
        "/swap/left/right",
        "/swap/left/right/on?q=1",
        "/swap/none",
        "/host",
        "/host-header",
    ];
    alike(&twin, paths.map(Ask::get)).await;
    alike(&twin, [Ask::get("/host-header").with("x-host", "by.header")]).await;
    let edit = || Ask::get("/edit");
    alike(
        &twin,
        [
            edit(),
            edit().with("x-remove", "1").with("x-set", "old").with("x-add", "one"),
            edit().with("x-fill", "mine").with("x-there", "old"),
            edit().with("x-set", "old").with("x-set", "older").with("x-edited", "by-the-caller"),
        ],
    )
    .await;
}

#[tokio::test]
async fn values_hosts_and_named_filters_are_those_of_envoy() {
    let twin = twin().await;
    let values = || Ask::get("/values");
    alike(
        &twin,
        [
            values(),
            values().with("x-name", "kim"),
            values().with("x-absent", "there").with("x-name", "kim").with("x-none", "old"),
            values().method(Method::DELETE),
            Ask::get("/auto"),
            Ask::get("/drill"),
            Ask::get("/drill-other"),
        ],
    )
    .await;
}

#[tokio::test]
async fn clusters_are_named_and_hashed_as_in_envoy() {
    let twin = twin().await;
    for path in ["/named", "/named-else"] {
        let named = ["a", "b", "nobody", ""].map(|cluster| Ask::get(path).with("x-to", cluster));
        alike(&twin, named).await;
        alike(&twin, [Ask::get(path)]).await;
    }
    let users = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "kim", "lee", "x", "y", "z", "q"];
    alike(&twin, users.map(|user| Ask::get("/hashed").with("x-user", user))).await;
}

#[tokio::test]
async fn retries_and_timeouts_are_those_of_envoy() {
    let twin = twin().await;
    let doing = |path, what| Ask::get(path).with("x-do", what);
    alike(
        &twin,
        [
            doing("/retried", "fail=1"),
            doing("/retried", "fail=2"),
            doing("/retried", "fail=3"),
            doing("/retried", "status=404"),
            doing("/exact", "fail=1"),
            doing("/by-status", "teapot=1"),
            doing("/by-status", "teapot=2"),
            doing("/by-status", "fail=1"),
            doing("/slow", "sleep=1000"),
            doing("/slow", "sleep=10"),
            doing("/each-slow", "stumble=1000"),
            doing("/each-slow", "sleep=1000"),
        ],
    )
    .await;
}

#[tokio::test]
async fn shares_are_those_of_envoy() {
    let twin = twin().await;
    for (path, share) in [("/split", 20), ("/share", 30)] {
        let mut got = [0, 0];
        for _ in 0..500 {
            for (place, seen) in twin.ask(&Ask::get(path)).await.iter().enumerate() {
                got[place] += usize::from(seen.body.starts_with("b "));
            }
        }
        // Envoy's draws have no seed: five standard deviations.
        for (got, tolerance) in got.into_iter().zip([52, 25]) {
            assert!(got.abs_diff(share * 5) <= tolerance, "{path}: {got} of 500, {share} %");
        }
    }
}

#[tokio::test]
async fn what_is_done_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin().await;
    let path = |seen: &Seen| seen.body.split(' ').nth(2).unwrap_or_default().to_owned();
    let status = |seen: &Seen| seen.status.to_string();
    let rows: [Otherwise; 3] = [
        // A prefix that is replaced by `/` leaves one slash.
        (Ask::get("/api/x"), path, ["//x", "/x"]),
        // What may have been worked on is not repeated unless it is idempotent.
        (Ask::get("/retried").method(Method::POST).with("x-do", "fail=1"), status, ["200", "503"]),
        (
            Ask::get("/each-slow").method(Method::POST).with("x-do", "stumble=1000"),
            status,
            ["200", "504"],
        ),
    ];
    otherwise(&twin, rows).await;
}
