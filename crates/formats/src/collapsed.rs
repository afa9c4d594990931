//! Collapsed (folded) stacks: a line a stack, outermost frame first, frames apart by `;`, then a
//! blank and the figure.
//!
//! Source: Brendan Gregg's FlameGraph (`stackcollapse-*.pl`, `flamegraph.pl`); the suffixes that
//! tell the kind of a frame (`_[j]` compiled, `_[i]` inlined, `_[k]` kernel; async-profiler adds
//! `_[0]` interpreted, `_[1]` C1) from the same.

use crate::builder::{kind_by_name, named};
use crate::{Builder, Error, Figure, Parsed};
use offheap_model::{FrameKind, Profile, ProfileSite};
use std::fmt::Write;

const FORMAT: &str = "collapsed stacks file";

/// Writes `figure` of every site that has any. With `annotate`, Java frames get `_[j]` for tools
/// that colour by it.
pub fn write(profile: &Profile, figure: Figure, annotate: bool) -> String {
    let mut text = String::new();
    for site in profile.sites.iter().filter(|site| figure.of(site) > 0) {
        for (place, index) in site.stack.iter().rev().enumerate() {
            let Some(frame) = profile.frames.get(*index as usize) else { continue };
            if place > 0 {
                text.push(';');
            }
            // A name may hold anything: what would end it early is replaced.
            text.extend(frame.name.chars().map(|c| match c {
                ';' => ':',
                c if c.is_control() => ' ',
                c => c,
            }));
            if annotate && frame.kind == FrameKind::Java {
                text.push_str("_[j]");
            }
        }
        // Writing to a String can't fail.
        let _ = writeln!(text, " {}", figure.of(site));
    }
    text
}

/// Reads collapsed stacks; the figure is taken as live bytes. Lines that are none are counted in a
/// note.
///
/// # Errors
/// No line of it is a collapsed stack.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let mut builder = Builder::new();
    let (mut good, mut bad) = (0u64, 0u64);
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((stack, figure)) = split(line) else {
            bad += 1;
            continue;
        };
        good += 1;
        let mut stack: Vec<u32> = stack.split(';').map(|name| builder.frame(frame(name))).collect();
        stack.reverse();
        builder.add(&stack, &ProfileSite { live_bytes: figure, ..ProfileSite::default() });
    }
    if good == 0 {
        return Err(Error::NotThis {
            format: FORMAT,
            reason: "no line is frames apart by ; and a number".into(),
        });
    }
    if bad > 0 {
        builder.profile().notes.push(format!("{bad} lines are no stacks and were left out"));
    }
    Ok(builder.finish(Vec::new(), None))
}

/// True where the first lines are collapsed stacks, at least one of them with two frames.
pub(crate) fn is(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    // The last line may be cut by the end of `head`.
    let whole: Vec<&str> = lines.by_ref().take(5).collect();
    let whole = if whole.len() > 1 && !text.ends_with('\n') && whole.len() < 5 {
        whole.get(..whole.len() - 1).unwrap_or_default()
    } else {
        whole.as_slice()
    };
    !whole.is_empty()
        && whole.iter().all(|line| split(line.trim_end()).is_some())
        && whole.iter().any(|line| line.contains(';'))
}

/// True where collapsed stacks may start with `line` in a longer text: two frames at least, and
/// neither looks like prose.
pub(crate) fn begins(line: &str) -> bool {
    split(line)
        .is_some_and(|(stack, _)| stack.contains(';') && !stack.contains("; ") && !stack.contains(": "))
}

/// True where `line` can be of it.
pub(crate) fn has(line: &str) -> bool {
    split(line.trim()).is_some() || line.starts_with('#')
}

fn split(line: &str) -> Option<(&str, u64)> {
    let (stack, figure) = line.rsplit_once([' ', '\t'])?;
    // Sampled figures scaled up may be written as floats.
    let figure = figure.parse().ok().or_else(|| {
        let float: f64 = figure.parse().ok()?;
        (float.is_finite() && float >= 0.0).then_some(float.round() as u64)
    })?;
    (!stack.trim().is_empty()).then_some((stack, figure))
}

fn frame(text: &str) -> offheap_model::Frame {
    for suffix in ["_[j]", "_[i]", "_[0]", "_[1]"] {
        if let Some(name) = text.strip_suffix(suffix) {
            return named(&java_name(name), FrameKind::Java);
        }
    }
    if let Some(name) = text.strip_suffix("_[k]") {
        return named(name, FrameKind::Native);
    }
    match kind_by_name(text) {
        FrameKind::Java => named(&java_name(text), FrameKind::Java),
        kind => named(text, kind),
    }
}

/// `java/lang/Thread.run` → `java.lang.Thread.run`.
fn java_name(name: &str) -> String {
    name.replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text =
            "java.lang.Thread.run_[j];app.Main.leak_[j];Java_app_Main_leak;malloc 4096\nmain;malloc 12\n";
        let parsed = read(text.as_bytes()).unwrap();
        assert_eq!(parsed.profile.sites[0].live_bytes, 4096);
        let innermost = parsed.profile.sites[0].stack[0] as usize;
        assert_eq!(parsed.profile.frames[innermost].name, "malloc");
        assert_eq!(write(&parsed.profile, Figure::LiveBytes, true), text);
        assert!(is(text.as_bytes()));
    }

    #[test]
    fn names_cannot_break_a_line_and_junk_is_counted() {
        let mut builder = Builder::new();
        let frame = builder.frame(named("a;b\nc 5", FrameKind::Native));
        builder.add(&[frame], &ProfileSite { live_bytes: 7, ..ProfileSite::default() });
        let text = write(&builder.finish(Vec::new(), None).profile, Figure::LiveBytes, false);
        assert_eq!(text, "a:b c 5 7\n");
        let parsed = read(b"x;y 1\nnonsense\n# comment\nx;y 2.6\n").unwrap();
        assert_eq!(parsed.profile.sites[0].live_bytes, 4);
        assert_eq!(parsed.profile.notes.len(), 1);
        assert!(read(b"no stacks here").is_err() && !is(b"no stacks here 1 2 x"));
    }
}
