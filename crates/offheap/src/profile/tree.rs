//! A profile as a tree on the terminal: from the threads' first frames inwards, heaviest branch
//! first.

use offheap_model::units::bytes;
use offheap_model::{Frame, FrameKind, Profile, ProfileSite};
use offheap_present::terminal::{Style, Tone, fit};
use std::collections::BTreeMap;

/// Branches lighter than this share of the whole are left out without `--all`.
const SHOWN_SHARE: f64 = 0.01;
/// Lines without `--all`.
const LINES: usize = 120;
/// Frames of a stack that are looked at, the outermost; real ones have fewer.
const DEPTH: usize = 600;

/// A frame with all that was allocated below it.
#[derive(Debug, Default)]
struct Node {
    bytes: u64,
    /// By index into the profile's frames.
    inner: BTreeMap<u32, Node>,
}

/// A figure of a site.
type Figure = fn(&ProfileSite) -> u64;

/// `profile` as a tree by leaked bytes; where nothing leaked by live, where nothing lives by
/// allocated bytes.
pub fn render(profile: &Profile, style: Style) -> String {
    let figures: [(&str, Figure); 3] = [
        ("leaked", |site| site.leak_bytes),
        ("live", |site| site.live_bytes),
        ("allocated", |site| site.allocated_bytes),
    ];
    let sum = |of: Figure| profile.sites.iter().map(of).fold(0, u64::saturating_add);
    let Some((what, of)) = figures.into_iter().find(|(_, of)| sum(*of) > 0) else {
        return String::new();
    };
    let mut root = Node::default();
    for site in profile.sites.iter().filter(|site| of(site) > 0) {
        let bytes = of(site);
        let mut node = &mut root;
        node.bytes = node.bytes.saturating_add(bytes);
        for index in site.stack.iter().rev().take(DEPTH) {
            node = node.inner.entry(*index).or_default();
            node.bytes = node.bytes.saturating_add(bytes);
        }
    }
    let title = format!("Tree of the {} {what}, callers first", bytes(root.bytes));
    let mut lines = vec![style.paint(Tone::Strong, &title)];
    let least = if style.all { 0.0 } else { root.bytes as f64 * SHOWN_SHARE };
    branch(profile, &root, "", root.bytes, least, style, &mut lines);
    let most = if style.all { usize::MAX } else { LINES };
    let cut = lines.len().saturating_sub(most);
    lines.truncate(most);
    if cut > 0 {
        lines.push(style.paint(Tone::Dim, &format!("… {cut} lines more (--all)")));
    }
    lines.join("\n") + "\n"
}

/// The lines of what is inside `node`. A chain without branches stays in its column.
fn branch(
    profile: &Profile,
    node: &Node,
    indent: &str,
    whole: u64,
    least: f64,
    style: Style,
    lines: &mut Vec<String>,
) {
    let mut inner: Vec<(&u32, &Node)> =
        node.inner.iter().filter(|(_, node)| node.bytes as f64 >= least).collect();
    inner.sort_by_key(|(_, node)| std::cmp::Reverse(node.bytes));
    // Only a branch that takes all of it is no fork.
    let forks = inner.len() > 1 || inner.first().is_some_and(|(_, first)| first.bytes < node.bytes);
    let count = inner.len();
    for (place, (index, node)) in inner.into_iter().enumerate() {
        let (mark, next) = match (forks, place + 1 == count) {
            (false, _) => ("", ""),
            (true, false) => ("├ ", "│ "),
            (true, true) => ("└ ", "  "),
        };
        let share = node.bytes as f64 * 100.0 / whole.max(1) as f64;
        let name = profile.frames.get(*index as usize).map_or_else(String::new, label);
        let line = format!("{share:5.1} %  {:>9}  {indent}{mark}{name}", bytes(node.bytes));
        lines.push(fit(&line, style.width));
        branch(profile, node, &format!("{indent}{next}"), whole, least, style, lines);
    }
}

fn label(frame: &Frame) -> String {
    // Java and Python say it by their form; of the others the library helps.
    let module = match (frame.kind, &frame.module) {
        (FrameKind::Native | FrameKind::Jvm, Some(module)) => module.rsplit('/').next().unwrap_or_default(),
        _ => "",
    };
    let file = frame.file.as_deref().map(|file| file.rsplit('/').next().unwrap_or_default());
    match (file, frame.line) {
        (Some(file), Some(line)) => format!("{}  {file}:{line}", frame.name),
        _ if module.is_empty() => frame.name.clone(),
        _ => format!("{}  {module}", frame.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_callers_are_shown_once_and_forks_are_marked() {
        let frame =
            |name: &str, kind| Frame { name: name.to_owned(), kind, file: None, line: None, module: None };
        let site = |stack: &[u32], bytes| ProfileSite {
            stack: stack.to_vec(),
            live_bytes: bytes,
            ..Default::default()
        };
        let profile = Profile {
            frames: vec![
                frame("main", FrameKind::Java),
                frame("handle", FrameKind::Java),
                frame("codec_open", FrameKind::Native),
                frame("cache_put", FrameKind::Native),
                frame("rare", FrameKind::Native),
            ],
            sites: vec![site(&[2, 1, 0], 3 << 20), site(&[3, 1, 0], 1 << 20), site(&[4, 0], 1000)],
            ..Profile::default()
        };
        let text = render(&profile, Style::default());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "Tree of the 4.00 MiB live, callers first",
                "100.0 %   4.00 MiB  main",
                "100.0 %   4.00 MiB  └ handle",
                " 75.0 %   3.00 MiB    ├ codec_open",
                " 25.0 %   1.00 MiB    └ cache_put",
            ]
        );
        assert!(render(&profile, Style { all: true, ..Style::default() }).contains("└ rare"));
        assert_eq!(render(&Profile::default(), Style::default()), "");
        let endless = Profile {
            sites: vec![site(&vec![0; 1_000_000], 1)],
            frames: profile.frames,
            ..Profile::default()
        };
        assert!(render(&endless, Style::default()).lines().count() < 200);
    }
}
