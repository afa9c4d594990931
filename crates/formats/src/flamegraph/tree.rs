//! Stacks folded into a tree.

use foldhash::fast::RandomState;
use offheap_model::{FrameKind, Profile, ProfileSite};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Nodes narrower than this part of the whole are left out: a tenth of a pixel on a wide screen.
const NARROWEST: f64 = 0.1 / 4000.0;

/// Frames of a stack that are drawn, from the outermost inwards.
const DEEPEST: usize = 1024;

struct Node {
    name: u32,
    kind: FrameKind,
    values: [u64; 2],
    children: Vec<usize>,
}

pub(super) struct Tree {
    nodes: Vec<Node>,
    by_parent: HashMap<(usize, u32, FrameKind), usize, RandomState>,
    names: Vec<String>,
    numbers: HashMap<String, u32, RandomState>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        let root = Node { name: 0, kind: FrameKind::Native, values: [0; 2], children: Vec::new() };
        Tree {
            nodes: vec![root],
            by_parent: HashMap::default(),
            names: vec!["all".to_owned()],
            numbers: HashMap::default(),
        }
    }

    pub(super) fn add(&mut self, profile: &Profile, values: impl Fn(&ProfileSite) -> [u64; 2]) {
        let numbers: Vec<u32> = profile.frames.iter().map(|frame| self.number(&frame.name)).collect();
        for site in &profile.sites {
            let values = values(site);
            if values == [0, 0] {
                continue;
            }
            let mut at = 0;
            self.count(at, values);
            for index in site.stack.iter().rev().take(DEEPEST) {
                let index = *index as usize;
                let (Some(name), Some(frame)) = (numbers.get(index), profile.frames.get(index)) else {
                    continue;
                };
                let next = self.nodes.len();
                let child = *self.by_parent.entry((at, *name, frame.kind)).or_insert(next);
                if child == next {
                    self.nodes.push(Node {
                        name: *name,
                        kind: frame.kind,
                        values: [0; 2],
                        children: Vec::new(),
                    });
                    if let Some(parent) = self.nodes.get_mut(at) {
                        parent.children.push(child);
                    }
                }
                at = child;
                self.count(at, values);
            }
        }
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn count(&mut self, node: usize, more: [u64; 2]) {
        if let Some(node) = self.nodes.get_mut(node) {
            for (sum, more) in node.values.iter_mut().zip(more) {
                *sum = sum.saturating_add(more);
            }
        }
    }

    /// The names, the nodes in pre-order as `[depth, name, kind, value, other value]`, and how many
    /// were too narrow.
    pub(super) fn finish(mut self, diff: bool) -> (Vec<String>, Vec<Value>, usize) {
        let width = |node: &Node| node.values[0].max(node.values[1]);
        let narrowest = (self.nodes.first().map_or(0, width) as f64 * NARROWEST) as u64;
        for index in 0..self.nodes.len() {
            let mut children = std::mem::take(&mut self.nodes[index].children);
            // By name: two pages of one program can be laid side by side.
            children.sort_by_key(|child| {
                self.nodes.get(*child).and_then(|node| self.names.get(node.name as usize))
            });
            self.nodes[index].children = children;
        }
        let mut out = Vec::new();
        let mut stack = vec![(0usize, 0usize)];
        while let Some((index, depth)) = stack.pop() {
            let Some(node) = self.nodes.get(index) else { continue };
            let other = if diff { node.values[1] } else { 0 };
            let kind = crate::json::kind(node.kind);
            out.push(json!([depth, node.name, kind, node.values[0], other]));
            let wide = node
                .children
                .iter()
                .rev()
                .filter(|child| self.nodes.get(**child).is_some_and(|child| width(child) > narrowest));
            stack.extend(wide.map(|child| (*child, depth + 1)));
        }
        let left_out = self.nodes.len() - out.len();
        (self.names, out, left_out)
    }
}
