//! Where the table looks first: rules by the elements that their paths begin with.
//!
//! The index only leaves rules out that cannot match; whether one matches is for the rule to say. A
//! path is walked once, element by element, and ends where no rule goes on: what it costs grows with
//! the path's length and with the rules on its way, never with their number.

use std::collections::HashMap;

use crate::config::path::Anchor;

/// Rules by number, in order.
#[derive(Debug)]
pub(super) struct Index {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, usize>,
    /// Rules for the path that ends here.
    exact: Vec<u32>,
    /// Rules for it and all that goes on from here.
    under: Vec<u32>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Numbers rise from call to call.
    pub(super) fn add(&mut self, anchor: &Anchor<'_>, rule: u32) {
        let (node, is_exact) = match anchor {
            Anchor::Anything => (0, false),
            Anchor::Exact(path) => match path.strip_prefix('/') {
                Some(path) => (self.node(path.split('/')), true),
                None => (0, false),
            },
            Anchor::Under(path) => match path.strip_prefix('/') {
                Some(path) => (self.node(path.split('/')), false),
                None => (0, false),
            },
            Anchor::Elements(elements) => (self.node(elements.iter().copied()), false),
            Anchor::Service(service) => (self.node(service.split('/')), false),
        };
        if let Some(node) = self.nodes.get_mut(node) {
            if is_exact { node.exact.push(rule) } else { node.under.push(rule) }
        }
    }

    fn node<'a>(&mut self, elements: impl Iterator<Item = &'a str>) -> usize {
        let (mut at, mut next) = (0, self.nodes.len());
        for element in elements {
            let Some(node) = self.nodes.get_mut(at) else { return 0 };
            at = match node.children.get(element) {
                Some(child) => *child,
                None => {
                    node.children.insert(element.into(), next);
                    self.nodes.push(Node::default());
                    next += 1;
                    next - 1
                }
            };
        }
        at
    }

    /// The first rule that matches, of those that can.
    pub(super) fn first(&self, path: &str, matches: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best = u32::MAX;
        let mut look = |rules: &[u32]| {
            for rule in rules.iter().copied().take_while(|rule| *rule < best) {
                if matches(rule) {
                    best = rule;
                    break;
                }
            }
        };
        let mut node = self.nodes.first()?;
        look(&node.under);
        let mut elements = path.strip_prefix('/').into_iter().flat_map(|path| path.split('/'));
        let ended = loop {
            let Some(element) = elements.next() else { break true };
            let child = node.children.get(element).and_then(|child| self.nodes.get(*child));
            let Some(child) = child else { break false };
            node = child;
            look(&node.under);
        };
        if ended {
            look(&node.exact);
        }
        (best < u32::MAX).then_some(best)
    }
}
