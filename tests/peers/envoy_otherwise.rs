//! What the mesh does otherwise than Envoy with routes and their edits, row by row of docs/ENVOY.md:
//! `traffic/otherwise.envoy.yaml` and `traffic/otherwise.mesh.yaml`.

use http::Method;

use crate::twin::{Ask, Otherwise, Seen, Twin, alike, otherwise};

async fn twin() -> Twin {
    let theirs = include_str!("traffic/otherwise.envoy.yaml");
    Twin::new(theirs, include_str!("traffic/otherwise.mesh.yaml"), &[]).await
}

fn status(seen: &Seen) -> String {
    seen.status.to_string()
}

/// A status, and where it leads.
fn place(seen: &Seen) -> String {
    let location = seen.headers.get("location").map_or("nowhere", String::as_str);
    format!("{} {location}", seen.status)
}

/// Who has edited the request last.
fn edited(seen: &Seen) -> String {
    let edits = ["by-the-service", "by-the-route"];
    edits.into_iter().filter(|by| seen.body.contains(by)).collect()
}

#[tokio::test]
async fn what_redirects_do_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin().await;
    let at_port = |path| Ask::get(path).with("host", "shop:8080");
    let rows: [Otherwise; 8] = [
        // 302, unless something is said.
        (
            Ask::get("/moved"),
            place,
            ["301 http://shop.example/there", "302 http://shop.example/there"],
        ),
        // A new host keeps the port, a scheme has its own, and the usual one is not told.
        (
            at_port("/moved-host"),
            place,
            ["301 http://other.example/moved-host", "302 http://other.example:8080/moved-host"],
        ),
        (
            at_port("/moved-scheme"),
            place,
            ["301 https://shop:8080/moved-scheme", "302 https://shop/moved-scheme"],
        ),
        (
            at_port("/moved-port"),
            place,
            ["301 http://shop:80/moved-port", "302 http://shop/moved-port"],
        ),
        // A query that is brought, and the request's own.
        (
            Ask::get("/moved-query/7?q=1"),
            place,
            ["301 http://shop.example/items?id=7?q=1", "302 http://shop.example/items?id=7&q=1"],
        ),
        (
            Ask::get("/moved-stripped/7?q=1"),
            place,
            ["301 http://shop.example/items", "302 http://shop.example/items?id=7"],
        ),
        // What the request makes of it must be a path.
        (
            Ask::get("/moved-astray/shop.evil"),
            place,
            ["301 http://shop.example/shop.evil", "400 nowhere"],
        ),
        (
            Ask::get("/moved-hash/1?q=1"),
            place,
            ["301 http://shop.example/there#1?q=1", "400 nowhere"],
        ),
    ];
    otherwise(&twin, rows).await;
}

#[tokio::test]
async fn what_routes_do_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin().await;
    let upgrade = |path, to| Ask::get(path).with("connection", "upgrade").with("upgrade", to);
    let told = |seen: &Seen| seen.headers.get("x-told").cloned().unwrap_or_default();
    let many = "/xsxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let rows: [Otherwise; 8] = [
        // The most specific edit of a request has the last word, and of a response the first.
        (Ask::get("/ordered"), edited, ["by-the-service", "by-the-route"]),
        (Ask::get("/ordered").time(1), told, ["by-the-service", "by-the-service"]),
        // At most 64 matches are rewritten.
        (Ask::get(many), status, ["200", "400"]),
        // What is not listed passes where the list only refuses, or there is none.
        (upgrade("/socket", "websocket"), status, ["403", "200"]),
        (upgrade("/socket-refused", "websocket"), status, ["403", "403"]),
        (upgrade("/socket-refused", "other"), status, ["403", "200"]),
        // A header is no way around the rules of the service that leads to the cluster.
        (Ask::get("/named").with("x-to", "b"), status, ["200", "403"]),
        (Ask::get("/named").with("x-to", "b").method(Method::POST), status, ["200", "200"]),
    ];
    otherwise(&twin, rows).await;
}

#[tokio::test]
async fn what_retries_do_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin().await;
    let doing = |path, what| Ask::get(path).with("x-do", what);
    let body = |seen: &Seen| seen.body.clone();
    let asking = |what, list| {
        let ask = doing("/asked", what).with("x-envoy-retry-on", "retriable-status-codes");
        ask.with("x-envoy-retriable-status-codes", list)
    };
    let hedged = doing("/asked", "sleep=450").with("x-envoy-hedge-on-per-try-timeout", "true");
    let listed = doing("/listed", "teapot=1").with("x-envoy-retry-on", "retriable-status-codes");
    let any = asking("once=200", "200");
    let rows: [Otherwise; 6] = [
        // Three attempts, unless something is said.
        (doing("/unsaid", "fail=2"), status, ["503", "200"]),
        // The number of a further attempt is told.
        (doing("/retried", "retold"), body, ["", "1"]),
        // Of what a request asks for by its headers: hedges, numbers, ranges, lists that nothing reads.
        (hedged, status, ["200", "504"]),
        (any.clone(), status, ["200", "200"]),
        (asking("teapot=1", "410-420"), status, ["418", "200"]),
        (listed, status, ["200", "418"]),
    ];
    otherwise(&twin, rows).await;
    assert_eq!(twin.tries(&any), [2, 1]);
    // Three retries in flight are all that a cluster has there.
    let asks: Vec<_> = (0..6).map(|time| doing("/retried", "relapse=300").time(time)).collect();
    let served = twin.together(&asks).await;
    let served = served.map(|seen| seen.iter().filter(|(seen, _)| seen.status == 200).count());
    assert_eq!(served, [3, 6]);
    // What was never sent is sent again, whatever is said of retries.
    let mut failed = [0, 0];
    for time in 0..6 {
        let ask = Ask::get("/half-dead").method(Method::POST).time(time);
        for (seen, failed) in twin.ask(&ask).await.iter().zip(&mut failed) {
            *failed += usize::from(seen.status == 503 && seen.flag == "UF");
        }
    }
    assert!(failed[0] > 0 && failed[1] == 0, "{failed:?}");
    // Who asks for what is there gets it from both.
    alike(&twin, [doing("/asked", "fail=1").without_place()]).await;
}
