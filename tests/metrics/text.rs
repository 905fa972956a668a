//! The text for Prometheus.

use super::*;

/// A line of the text: name, labels, value.
fn parse(line: &str) -> (String, String, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
        None => (series, ""),
    };
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap() };
    (name.into(), labels.into(), value)
}

#[tokio::test(start_paused = true)]
async fn the_text_is_whole_in_order_and_the_same_each_time() {
    let leaves = Leaves::new(3);
    let mesh = leaves
        .mesh(|number, _| async move { Ok(if number == 0 { answer(500) } else { ok("") }) })
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for path in ["/", "/a", "/b"].repeat(10) {
        client.send(get(path)).await.unwrap();
        client.send(post(path, "x")).await.unwrap();
        let mut declared = get(path);
        declared.extensions_mut().insert(Call::new().no_retry());
        client.send(declared).await.unwrap();
    }
    let text = mesh.prometheus();
    assert_eq!(text, mesh.prometheus());
    let (mut seen, mut typed, mut last) = (BTreeSet::new(), BTreeSet::new(), String::new());
    let mut bucket = (String::new(), 0.0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            last = rest.split(' ').next().unwrap().to_owned();
            assert!(typed.insert(last.clone()), "{last} is told twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (name, labels, value) = parse(line);
        assert!(name.starts_with(&last), "{line} is not of {last}");
        assert!(seen.insert((name.clone(), labels.clone())), "{line} is told twice");
        if let Some((rest, _)) = labels.split_once("le=") {
            // Each bound holds what those below it hold.
            let of = format!("{name}{rest}");
            assert!(bucket.0 != of || value >= bucket.1, "{line}");
            bucket = (of, value);
        }
        if let Some(histogram) = name.strip_suffix("_count") {
            let comma = if labels.is_empty() { "" } else { "," };
            let all = format!("{histogram}_bucket{{{labels}{comma}le=\"+Inf\"}} {value}");
            assert!(text.contains(&all), "{all}");
        }
    }
    assert!(typed.contains("http_client_request_duration_seconds"), "{typed:?}");
    assert!(typed.contains("mesh_client_config_applied_total"));
    let open = mesh.metrics().to_open_metrics();
    assert!(open.ends_with("# EOF\n") && open.contains("# UNIT mesh_client_call_duration_seconds"));
    assert!(open.contains("# TYPE mesh_client_config_applied counter"));
}
