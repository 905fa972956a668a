//! Routes that no request comes to: run as they are said, and told with the lines of both.

use tower_mesh::Event;

use super::{CLUSTERS, World, refusal, support::get};

const HIDDEN: &str = "
services:
  shop:
    routes:
      - name: all
        matches: [{path: {prefix: /}}]
        clusters: [{name: a}]
      - name: cart #
        matches: [{path: {prefix: /cart}, method: GET}]
        clusters: [{name: b}]
";

#[tokio::test]
async fn a_route_that_another_hides_is_told_with_the_lines_of_both_and_runs() {
    let mut world = World::new(&format!("{HIDDEN}{CLUSTERS}")).await;
    assert_eq!(world.who(get("/cart")).await, "a");
    let file = world.file.display().to_string();
    let expected = format!(
        "no request comes to route cart (line 8 of {file}): route all (line 5 of {file}), which is \
         asked before it, takes all that it would"
    );
    let described = world.mesh.describe();
    assert_eq!(described.refused, []);
    assert_eq!(described.doubtful, [("service shop".to_owned(), expected.clone())]);
    let line = format!("doubtful: service shop: {expected}\n");
    assert!(format!("{described:#}").contains(&line), "{described:#}");
    let explained = world.mesh.explain(&get("http://shop/cart")).unwrap();
    assert_eq!(explained.doubts, [expected]);
    assert!(explained.to_string().contains("doubtful: no request comes to route cart"));
    // The more specific one is asked first now, and nothing hides anything.
    world.edit("  shop:\n", "  shop:\n    order: specificity\n");
    world.until("b", || get("/cart")).await;
    assert_eq!(world.mesh.describe().doubtful, []);
    assert!(world.mesh.explain(&get("http://shop/cart")).unwrap().doubts.is_empty());
}

#[tokio::test]
async fn a_doubt_is_an_event_once_and_equal_rules_are_said_to_be() {
    let text = HIDDEN.replace("{path: {prefix: /cart}, method: GET}", "{path: {prefix: /cart}}");
    let text = text.replace("prefix: /}", "prefix: /cart}");
    let mut world = World::new(&format!("{text}{CLUSTERS}")).await;
    let mut events = world.mesh.events();
    // Another service changes nothing of it; the one that is changed says it anew.
    world.edit("cart #", "basket");
    let doubt = loop {
        if let Event::ConfigDoubted { part, reason, .. } = events.recv().await.unwrap() {
            break format!("{part}: {reason}");
        }
    };
    assert!(doubt.starts_with("service shop: no request comes to route basket (line 8"), "{doubt}");
    assert!(doubt.ends_with("asks for the same"), "{doubt}");
}

#[tokio::test]
async fn what_a_share_or_a_key_leaves_over_is_no_doubt() {
    let shared = HIDDEN.replace("[{path: {prefix: /}}]", "[{fraction: {percent: 100, key: all}}]");
    let world = World::new(&format!("{shared}{CLUSTERS}")).await;
    assert_eq!(world.mesh.describe().doubtful, []);
    // What contradicts itself is refused still.
    let both = HIDDEN.replace("{path: {prefix: /}}", "{path: {prefix: /}, grpc: {}}");
    let error = refusal(&format!("{both}{CLUSTERS}")).await;
    assert!(error.contains("a match has either `path` or `grpc`"), "{error}");
}
