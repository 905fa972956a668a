//! Runtime keys: shares that are changed without a word about routes.

use super::{CLUSTERS, World, refusal, support::get};

const KEYED: &str = "
services:
  shop:
    routes:
      - matches: [{fraction: {percent: 0, key: Shop.Canary}}]
        clusters: [{name: b}]
      - clusters: [{name: a}]
        filters: [{mirror: {cluster: c, percent: 0, key: shop.copies}}]
runtime: {unused: 1} #
";

#[tokio::test]
async fn a_key_is_set_by_the_file_and_over_it_by_the_code() {
    let mut world = World::new(&format!("{KEYED}{CLUSTERS}")).await;
    assert_eq!(world.who(get("/")).await, "a");
    world.edit("{unused: 1} #", "{shop.canary: 100} #");
    world.until("b", || get("/")).await;
    world.mesh.set_runtime_key("SHOP.canary", 0.0).unwrap();
    assert_eq!(world.who(get("/")).await, "a");
    let told = format!("{:#}", world.mesh.describe());
    assert!(told.contains("runtime.shop.canary = 0 % (code)"), "{told}");
    assert!(told.contains("0 % of them (by runtime key Shop.Canary)"), "{told}");
    world.mesh.clear_runtime_key("shop.canary").unwrap();
    assert_eq!(world.who(get("/")).await, "b");
    let told = format!("{:#}", world.mesh.describe());
    assert!(told.contains("runtime.shop.canary = 100 % (file "), "{told}");
    // A key that is taken back leaves what the field says.
    world.edit("{shop.canary: 100} #", "{} #");
    world.until("a", || get("/")).await;
}

#[tokio::test]
async fn a_mirror_has_a_key() {
    let world =
        World::with(&format!("{KEYED}{CLUSTERS}"), |it| it.runtime_key("shop.copies", 100.0)).await;
    for _ in 0..5 {
        assert_eq!(world.who(get("/")).await, "a");
    }
    super::eventually(async || world.servers["c"].requests() == 5).await;
    world.mesh.set_runtime_key("shop.copies", 0.0).unwrap();
    for _ in 0..5 {
        assert_eq!(world.who(get("/")).await, "a");
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(world.servers["c"].requests(), 5);
}

#[tokio::test]
async fn a_bad_key_is_refused_and_its_last_good_value_stays() {
    let mut world = World::new(&format!("{KEYED}{CLUSTERS}")).await;
    world.edit("{unused: 1} #", "{shop.canary: 100} #");
    world.until("b", || get("/")).await;
    world.edit("{shop.canary: 100} #", "{shop.canary: 101, shop.copies: much} #");
    let refused = || world.mesh.describe().refused;
    super::eventually(async || refused().len() == 2).await;
    let told = refused();
    let has =
        |part: &str, text: &str| told.iter().any(|it| it.part == part && it.text.contains(text));
    assert!(
        has("runtime shop.canary", "runtime.shop.canary = 101: must be in 0..=100 (line "),
        "{told:?}"
    );
    assert!(has("runtime shop.copies", "expected a number"), "{told:?}");
    assert_eq!(world.who(get("/")).await, "b");
    for (key, percent) in [("", 1.0), ("a", -1.0), ("a", f64::NAN)] {
        assert!(world.mesh.set_runtime_key(key, percent).is_err());
    }
    let error = refusal("services: {}\nruntime: [1]\n").await;
    assert!(error.contains("`runtime` must be a map"), "{error}");
    let built = tower_mesh::Mesh::builder()
        .config_file(&world.file)
        .runtime_key("a", 1000.0)
        .build()
        .unwrap_err();
    assert!(built.to_string().contains("runtime.a = 1000: must be in 0..=100"), "{built}");
}
