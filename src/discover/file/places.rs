//! Where the words of a file stand: the line of a path as reports have it.

use std::sync::OnceLock;

use super::tree::{Node, Tree, yaml};
use crate::discover::Places;

/// A file as it was read last. Its lines are looked for when something is wrong, once for all.
#[derive(Debug)]
pub(super) struct Text {
    file: String,
    text: String,
    /// JSON is read as YAML: that knows where things stand.
    tree: OnceLock<Option<Tree>>,
}

impl Text {
    /// `file` is what reports call it. Nothing, where it is no text.
    pub(super) fn new(file: &str, bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.to_owned();
        let file = file.strip_prefix("file ").unwrap_or(file).to_owned();
        Some(Self { file, text, tree: OnceLock::new() })
    }

    /// The line of what stands at the path, or of the nearest that it is in.
    fn line(&self, path: &str) -> Option<usize> {
        let tree = self.tree.get_or_init(|| yaml(&self.text).ok()).as_ref()?;
        let at = find(tree, path)?;
        let before = self.text.as_bytes().get(..at)?;
        Some(before.iter().filter(|byte| **byte == b'\n').count() + 1)
    }
}

impl Places for Text {
    fn place(&self, path: &str) -> Option<String> {
        self.line(path).map(|line| format!("line {line} of {}", self.file))
    }
}

/// Where the deepest thing on the way of the path begins; nothing, if not even its part is there.
/// Unit: bytes.
fn find(tree: &Tree, path: &str) -> Option<usize> {
    let path = path.strip_prefix('.').unwrap_or(path);
    let below = match &tree.node {
        // Names have dots in them: the longest that fits.
        Node::Map(fields) => {
            let rest = |name: &str| {
                let (begin, rest) = (path.get(..name.len())?, path.get(name.len()..)?);
                let ends = rest.is_empty() || rest.starts_with(['.', '[']);
                (ends && begin.eq_ignore_ascii_case(name)).then_some(rest)
            };
            let fits = fields.iter().filter_map(|(name, it)| Some((name.len(), it, rest(name)?)));
            fits.max_by_key(|(length, ..)| *length).map(|(_, it, rest)| (it, rest))
        }
        Node::List(items) => path.strip_prefix('[').and_then(|path| {
            let (index, rest) = path.split_once(']')?;
            Some((items.get(index.parse::<usize>().ok()?)?, rest))
        }),
        _ => None,
    };
    let own = tree.at.map(|(at, _)| at);
    match below {
        Some((tree, rest)) => find(tree, rest).or(own),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "services:
  a.prod:
    policy: {timeout: 1s}
    routes:
      - name: one
        clusters: [{name: x, weight: 0}]
      - name: two
        clusters:
          - name: x
            weight: 0
  A:
    policy:
      timeout: 9s
";

    #[test]
    fn the_line_is_that_of_the_deepest_thing_on_the_way() {
        let text = Text::new("file mesh.yaml", YAML.as_bytes()).unwrap();
        for (path, line) in [
            ("services.a.prod.policy.timeout", 3),
            ("services.a.prod.policy.timeuot", 3),
            ("services.a.prod.routes[0].clusters.weight", 6),
            ("services.a.prod.routes[1].clusters[0].weight", 10),
            ("services.a.prod.routes[1].name", 7),
            ("services.a.policy.timeout", 13),
            ("services.a.prod.routes[7].clusters", 5),
        ] {
            assert_eq!(text.line(path), Some(line), "{path}");
        }
        let place = text.place("services.a.prod.policy").unwrap();
        assert_eq!(place, "line 3 of mesh.yaml");
    }

    #[test]
    fn json_has_lines_too() {
        let json = "{\n  \"services\": {\n\t\"a\": {\n\t\t\"policy\": {\"timeout\": \"0s\"}\n\t}\n  }\n}\n";
        let text = Text::new("file mesh.json", json.as_bytes()).unwrap();
        assert_eq!(text.line("services.a.policy.timeout"), Some(4));
    }

    #[test]
    fn what_is_no_file_has_no_lines() {
        assert!(Text::new("file a", &[0xff]).is_none());
        assert_eq!(Text::new("file a", b"a: [").unwrap().line("a"), None);
        assert_eq!(Text::new("file a", b"7").unwrap().line("a"), Some(1));
    }
}
