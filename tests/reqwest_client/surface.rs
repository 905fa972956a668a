//! Every method of reqwest's builder and client is here, and every setting of its client has its
//! row in the documents: a new one is noticed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::documents::{read, rows, spans};

/// The platform of the compiler.
fn host() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// Where the source of the reqwest in use is.
fn reqwest() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--offline", "--locked", "--all-features"]);
    // A fresh machine has the crates of its own platform alone.
    command.args(["--filter-platform", &host()]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| {
        package["name"] == "reqwest" && package["version"].as_str().unwrap().starts_with("0.13.")
    });
    let manifest = package.unwrap()["manifest_path"].as_str().unwrap();
    Path::new(manifest).parent().unwrap().to_owned()
}

/// The public methods of a type, in its source.
fn methods(source: &str, of: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in source.lines() {
        match line {
            line if line.starts_with("impl") => inside = line == format!("impl {of} {{"),
            "}" => inside = false,
            line if inside => {
                if let Some(rest) = line.strip_prefix("    pub fn ") {
                    let name = rest.split(['(', '<']).next().unwrap();
                    found.insert(name.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

fn theirs(file: &str, of: &str) -> BTreeSet<String> {
    let path = reqwest().join("src/async_impl").join(file);
    let found = methods(&fs::read_to_string(&path).unwrap(), of);
    assert!(!found.is_empty(), "{}: no methods of {of}", path.display());
    found
}

fn ours(file: &str, of: &str) -> BTreeSet<String> {
    methods(&read(format!("src/adapt/reqwest/{file}")), of)
}

#[test]
fn every_method_of_the_request_builder_is_here() {
    let theirs = theirs("request.rs", "RequestBuilder");
    let ours = ours("request.rs", "RequestBuilder");
    let missing: Vec<_> = theirs.difference(&ours).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let own: Vec<_> = ours.difference(&theirs).collect();
    assert_eq!(own, ["call"], "what reqwest's builder does not have");
}

#[test]
fn every_method_of_the_client_is_here() {
    let theirs = theirs("client.rs", "Client");
    let ours = ours("client.rs", "Client");
    let missing: Vec<_> = theirs.difference(&ours).collect();
    // It is made by a mesh.
    assert_eq!(missing, ["builder", "new"]);
    assert!(ours.is_subset(&theirs));
}

/// What `build` looks for in a client's `Debug` text, of which the tests' reqwest has `gzip` alone.
#[test]
fn whatever_unpacks_is_shown_by_reqwest() {
    let client = fs::read_to_string(reqwest().join("src/async_impl/client.rs")).unwrap();
    let (before, fields) = client.split_once("struct Accepts {\n").unwrap();
    assert!(before.trim_end().lines().last().unwrap().contains("Debug"), "derived, so shown whole");
    let fields = fields.split("}\n").next().unwrap().lines().map(str::trim);
    let fields: Vec<_> = fields.filter(|line| !line.starts_with("#[cfg(feature = ")).collect();
    assert_eq!(fields, ["gzip: bool,", "brotli: bool,", "zstd: bool,", "deflate: bool,"]);
    let shown = client.matches("f.field(\"accepts\", &self.accepts);").count();
    assert_eq!(shown, 2, "of the builder and of the client");
}

#[test]
fn every_setting_of_the_client_has_its_row() {
    let text = read("docs/REQWEST.md");
    let rows = rows(&text);
    let table: BTreeSet<&str> = rows.iter().flat_map(|cells| spans(&cells[0])).collect();
    let theirs = theirs("client.rs", "ClientBuilder");
    let missing: Vec<_> = theirs.iter().filter(|name| !table.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/REQWEST.md has no row of {missing:?}");
    for setter in ours("builder.rs", "ClientBuilder") {
        assert!(table.contains(setter.as_str()), "docs/REQWEST.md has no row of {setter}");
    }
}

#[test]
fn every_row_names_a_test() {
    let text = read("docs/REQWEST.md");
    for cells in rows(&text) {
        // What one word of reqwest means has no more than two cells.
        let proved = cells.len() == 2 || spans(cells.last().unwrap()).iter().any(is_test);
        assert!(proved, "docs/REQWEST.md: `{}` names no test", cells[0]);
    }
}

fn is_test(span: &&str) -> bool {
    span.starts_with("tests/") && span.contains("::")
}

#[test]
fn handles_go_anywhere_and_futures_between_threads() {
    use tower_mesh::adapt::reqwest::{Client, ClientBuilder, RequestBuilder, ResponseFuture};
    fn anywhere<T: Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    fn cloned<T: Clone>() {}
    fn sent<T: Send + std::fmt::Debug + 'static>() {}
    anywhere::<Client>();
    cloned::<Client>();
    anywhere::<ClientBuilder>();
    anywhere::<RequestBuilder>();
    sent::<ResponseFuture>();
    assert!(size_of::<Client>() <= 8);
    let bytes = size_of::<ResponseFuture>();
    assert!(bytes <= 3072, "ResponseFuture has {bytes} bytes");
}
