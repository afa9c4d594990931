//! Text of bcc's `memleak` (memleak_example.txt): every interval `[11:16:33] Top 10 stacks with
//! outstanding allocations:`, then for each stack `960 bytes in 15 allocations from stack` and its
//! frames, `function+0xoffset [module]`, in newer ones after their address; that of bcc's
//! libbpf-tools (memleak.c) has `0 [<00005581a2c5e1a5>] function+0xoffset [module]`.
//!
//! Each interval shows all that is outstanding then, so the last one is taken.

use crate::builder::named;
use crate::maps::NO_STACK;
use crate::{Builder, Error, Parsed};
use offheap_model::{Frame, FrameKind, ProfileSite};

const FORMAT: &str = "memleak output";

/// True where `head` holds a headline of it.
pub(crate) fn is(head: &[u8]) -> bool {
    String::from_utf8_lossy(head).lines().any(is_headline)
}

/// `[11:16:33] Top 10 stacks with outstanding allocations:`
pub(crate) fn is_headline(line: &str) -> bool {
    // Behind what the terminal shows of Ctrl-C.
    line.trim_start_matches("^C").starts_with('[')
        && line.contains("] Top ")
        && line.contains(" stacks with outstanding allocations")
}

/// Reads the last interval that shows anything.
///
/// # Errors
/// There is none.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let intervals = lines.iter().filter(|line| is_headline(line)).count();
    let is_stack = |line: &&str| header(line).is_some();
    let last = lines
        .iter()
        .rposition(is_stack)
        .and_then(|stack| lines.get(..stack)?.iter().rposition(|line| is_headline(line)))
        .ok_or_else(|| Error::NotThis {
            format: FORMAT,
            reason: "no stack with outstanding allocations is in it".into(),
        })?;
    let mut builder = Builder::new();
    let close = |(figures, mut stack): (ProfileSite, Vec<u32>), builder: &mut Builder| {
        if stack.is_empty() {
            // Of --combined-only, and where the kernel could not unwind.
            stack.push(builder.frame(named(NO_STACK, FrameKind::Native)));
        }
        builder.add(&stack, &figures);
    };
    let mut open: Option<(ProfileSite, Vec<u32>)> = None;
    for line in lines.get(last + 1..).unwrap_or_default().iter().copied().chain(["end"]) {
        if let Some(figures) = header(line) {
            if let Some(before) = open.replace((figures, Vec::new())) {
                close(before, &mut builder);
            }
        } else if line.starts_with([' ', '\t']) {
            // With -a single allocations are listed before the stacks.
            if let Some((_, stack)) = &mut open
                && !line.trim_start().starts_with("addr = ")
                && !line.trim().is_empty()
            {
                stack.push(builder.frame(frame(line.trim())));
            }
        } else if let Some(before) = open.take() {
            close(before, &mut builder);
        }
    }
    if intervals > 1 {
        builder.profile().notes.push(format!("the last of {intervals} intervals"));
    }
    Ok(builder.finish(Vec::new(), None))
}

fn header(line: &str) -> Option<ProfileSite> {
    let (bytes, rest) = line.trim().split_once(" bytes in ")?;
    let (count, _) = rest.split_once(" allocations from stack")?;
    let bytes = bytes.parse().ok()?;
    Some(ProfileSite { live_bytes: bytes, live_count: count.parse().ok()?, ..ProfileSite::default() })
}

fn frame(text: &str) -> Frame {
    // Number and address.
    let numbered = text.split_once(" [<").and_then(|(_, rest)| rest.split_once(">]"));
    let address;
    let named = match (numbered, text.strip_prefix("0x").and_then(|rest| rest.split_once(['\t', ' ']))) {
        (Some((digits, rest)), _) if rest.trim() == "<null sym>" => {
            address = format!("0x{}", digits.trim_start_matches('0'));
            &address
        }
        // Only the file is known.
        (Some((digits, rest)), _) if rest.trim().starts_with('[') => {
            let path = rest.trim().trim_matches(['[', ']']);
            let base = path.rsplit('/').next().unwrap_or(path);
            let name = format!("{base} at 0x{}", digits.trim_start_matches('0'));
            return Frame {
                name,
                kind: FrameKind::Native,
                file: None,
                line: None,
                module: Some(path.to_owned()),
            };
        }
        (Some((_, rest)), _) | (None, Some((_, rest))) => rest.trim(),
        (None, None) => text,
    };
    let (name, module) = match named.strip_suffix(']').and_then(|rest| rest.rsplit_once(" [")) {
        Some((name, module)) => (name, Some(module.to_owned())),
        None => (named, None),
    };
    let name = name.rsplit_once("+0x").map_or(name, |(name, _)| name);
    let kind = if module.is_some() { FrameKind::Native } else { crate::builder::kind_by_name(name) };
    Frame { name: name.to_owned(), kind, file: None, line: None, module }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_one_with_libbpf() {
        let text = "[17:1:0] Top 10 stacks with outstanding allocations:\n1024 bytes in 4 allocations from stack\n\
            \taddr = 0x55d3 size = 256\n\t0 [<000055d3a5e7c1a5>] app::leak+0x15 [/tmp/app]\n\
            \t1 [<00007f0000001234>] <null sym>\n\t2 [<000055d3a5e7c200>] main+0x9 app.c:12\n";
        let profile = read(text.as_bytes()).unwrap().profile;
        assert_eq!((profile.sites[0].live_bytes, profile.sites[0].live_count), (1024, 4));
        let frames: Vec<_> =
            profile.frames.iter().map(|frame| (frame.name.as_str(), frame.module.as_deref())).collect();
        assert_eq!(frames, [("app::leak", Some("/tmp/app")), ("0x7f0000001234", None), ("main", None)]);
    }

    #[test]
    fn the_last_interval_counts() {
        let text = "Attaching to pid 5193, Ctrl+C to quit.\n\
            [11:16:33] Top 2 stacks with outstanding allocations:\n\
            \t80 bytes in 5 allocations from stack\n\t\t main+0x6d [allocs]\n\t\t __libc_start_main+0xf0 [libc-2.21.so]\n\
            [11:16:38] Top 2 stacks with outstanding allocations:\n\
            \taddr = 70fb90 size = 16\n\
            \t176 bytes in 11 allocations from stack\n\t\t0x00007f0e1\tapp::leak(int)+0x6d [allocs]\n\t\t[unknown]\n\
            \t16 bytes in 1 allocations from stack\n\t\tmain+0x8 [allocs]\n";
        assert!(is(text.as_bytes()));
        let profile = read(text.as_bytes()).unwrap().profile;
        assert_eq!(profile.sites.len(), 2);
        assert_eq!((profile.sites[0].live_bytes, profile.sites[0].live_count), (176, 11));
        let frame = &profile.frames[profile.sites[0].stack[0] as usize];
        assert_eq!((frame.name.as_str(), frame.module.as_deref()), ("app::leak(int)", Some("allocs")));
        assert!(read(b"Attaching to pid 1\n").is_err());
    }
}
