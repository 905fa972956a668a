//! Routes that no request comes to, and matches that contradict themselves: run as they are said, and told
//! with the lines of both.

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
    let doubts: Vec<_> = described.doubtful.iter().map(ToString::to_string).collect();
    assert_eq!(doubts, [format!("service shop: {expected}")]);
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

#[tokio::test]
async fn a_match_that_contradicts_itself_is_told_with_the_lines_of_both_parts_and_the_others_run() {
    let text = "
services:
  shop:
    routes:
      - name: beta
        matches:
          - query:
              - {name: v, matcher: {exact: '1'}}
              - {name: v, matcher: {exact: '2'}}
          - {path: {exact: /beta}}
        clusters: [{name: b}]
      - name: both
        matches:
          - headers:
              - {name: x-kind, matcher: {exact: one}}
              - {name: X-Kind, matcher: {exact: two}}
        clusters: [{name: b}]
      - clusters: [{name: a}]
";
    let world = World::new(&format!("{text}{CLUSTERS}")).await;
    let file = world.file.display().to_string();
    let expected = [
        format!(
            "no request comes to match 1 of route beta: no parameter `v` meets both `query[0]` \
             (line 8 of {file}) and `query[1]` (line 9 of {file})"
        ),
        format!(
            "route both takes none but requests with several `x-kind`: no value meets both \
             `headers[0]` (line 15 of {file}) and `headers[1]` (line 16 of {file})"
        ),
    ];
    let described = world.mesh.describe();
    assert_eq!(described.refused, []);
    let told: Vec<_> = described.doubtful.into_iter().map(|doubt| doubt.text).collect();
    assert_eq!(told, expected);
    for (path, who) in [("/?v=1", "a"), ("/?v=2", "a"), ("/beta", "b"), ("/", "a")] {
        assert_eq!(world.who(get(path)).await, who, "{path}");
    }
    let mut request = get("/");
    request.headers_mut().append("x-kind", "one".parse().unwrap());
    request.headers_mut().append("x-kind", "two".parse().unwrap());
    assert_eq!(world.who(request).await, "b");
}

#[tokio::test]
async fn what_no_value_can_be_is_refused_with_its_line() {
    let said = |matches: &str| HIDDEN.replace("[{path: {prefix: /}}]", matches);
    for (matches, reason) in [
        ("[{headers: [{name: x, matcher: {range: {start: 5, end: 5}}}]}]", "holds no number"),
        ("[{query: [{name: x, matcher: {range: {start: 6, end: 5}}}]}]", "holds no number"),
        ("[{path: {exact: /a, prefix: /b}}]", "line 6"),
    ] {
        let error = refusal(&format!("{}{CLUSTERS}", said(matches))).await;
        assert!(error.contains(reason) && error.contains("line 6"), "{error}");
    }
}
