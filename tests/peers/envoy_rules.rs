//! The same rules of authorisation in Envoy's RBAC filter and in the mesh: `traffic/rules.envoy.yaml` and
//! `traffic/rules.mesh.yaml`.

use http::Method;

use crate::twin::{Ask, Otherwise, Seen, Twin, alike, otherwise};

async fn twin() -> Twin {
    let theirs = include_str!("traffic/rules.envoy.yaml");
    Twin::new(theirs, include_str!("traffic/rules.mesh.yaml"), &[]).await
}

#[tokio::test]
async fn who_is_let_in_is_let_in_by_envoy() {
    let twin = twin().await;
    let team = |ask: Ask, team| ask.with("x-team", team);
    let post = |path| Ask::get(path).method(Method::POST);
    let of = |path, one, other| Ask::get(path).with("x-a", one).with("x-b", other);
    alike(
        &twin,
        [
            // Allowed by a rule, or by none.
            team(Ask::get("/open"), "shop"),
            team(Ask::get("/open/x?q=1"), "shop"),
            team(post("/open"), "shop"),
            team(post("/open/write"), "shop"),
            team(post("/open/writers"), "shop"),
            team(post("/open/write?q=1"), "shop"),
            team(post("/open"), "ops-1"),
            team(post("/open"), "ops"),
            team(post("/open"), ""),
            team(Ask::get("/open"), "Shop"),
            Ask::get("/open"),
            post("/open").with("x-admin", ""),
            post("/open").with("x-admin", "yes"),
            team(Ask::grpc("/open"), "shop"),
            // Each of several lines is a value, and a list in one line is one.
            team(team(Ask::get("/open"), "shop"), "else"),
            team(team(Ask::get("/open"), "else"), "shop"),
            team(Ask::get("/open"), "shop, else"),
            // Denied by a rule, or by none.
            Ask::get("/shut"),
            Ask::get("/shut/admin"),
            Ask::get("/shut/admin/x"),
            Ask::get("/shut/administrator"),
            Ask::get("/shut/Admin"),
            Ask::get("/shut?admin"),
            post("/shut"),
            team(post("/shut"), "shop"),
            team(post("/shut/admin"), "shop"),
            of("/shut/x", "1", "2"),
            of("/shut/x", "1", "3"),
            of("/shut/x", "2", "1"),
            of("/shut/1", "1", "2"),
            of("/shut/x/y", "1", "2"),
            of("/shut/x?q=1", "1", "2"),
            Ask::grpc("/shut/admin"),
            // What denies wins.
            Ask::get("/both"),
            team(Ask::get("/both"), "shop"),
            Ask::get("/both/secret"),
            team(Ask::get("/both/secret"), "shop"),
            team(Ask::get("/both/secret?q=1"), "shop"),
            team(Ask::get("/both/secrets"), "shop"),
            Ask::get("/nobody"),
            team(Ask::get("/nobody"), "shop"),
            // What is only tried out decides nothing.
            Ask::get("/dry"),
        ]
        .map(Ask::without_flag),
    )
    .await;
}

#[tokio::test]
async fn what_rules_do_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin().await;
    let status = |seen: &Seen| format!("{} {}", seen.status, seen.flag);
    let rows: [Otherwise; 4] = [
        // A denial has a flag.
        (Ask::get("/shut/admin"), status, ["403 ", "403 AZ"]),
        // A path that can be read in two ways is in doubt, and doubt denies.
        (Ask::get("/shut/%61dmin"), status, ["200 ", "403 AZ"]),
        (Ask::get("/shut//admin"), status, ["200 ", "403 AZ"]),
        (Ask::get("/shut/x/../admin"), status, ["200 ", "403 AZ"]),
    ];
    otherwise(&twin, rows).await;
}
