//! What `heaptrack_print` makes of a heaptrack file: lists of stacks with what they leaked. Source:
//! heaptrack, src/analyze/print/heaptrack_print.cpp. Its units are of 1000.

use crate::builder::named;
use crate::words::{Base, number, size};
use crate::{Builder, Error, Parsed};
use offheap_model::{Frame, FrameKind, ProfileSite};

const FORMAT: &str = "heaptrack_print output";

/// True where it starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line.starts_with("reading file \"") && line.contains("please wait")
}

/// True where it may start with it: the titles of its lists.
pub(crate) fn perhaps(line: &str) -> bool {
    matches!(line, "MEMORY LEAKS" | "PEAK MEMORY CONSUMERS" | "MOST CALLS TO ALLOCATION FUNCTIONS")
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    crate::words::any_of(head, 200, |line| begins(line) || perhaps(line))
}

/// What a list's entry starts with: `1.00K leaked over 1 calls from`, `1.00K peak memory consumed
/// over 1 calls from`.
fn entry(line: &str) -> Option<(u64, u64, bool)> {
    let (size_text, rest) = line.split_once(' ')?;
    let is_leak = rest.starts_with("leaked over ");
    if !is_leak && !rest.starts_with("peak memory consumed over ") && !rest.starts_with("consumed over ") {
        return None;
    }
    let (_, calls) = rest.split_once(" over ")?;
    let (calls, _) = calls.split_once(" calls from")?;
    Some((size(size_text, Base::Decimal)?, number(calls)?, is_leak))
}

/// Reads the list of leaks; where there is none the list of who had most at the peak, as live.
///
/// # Errors
/// There is neither.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = String::from_utf8_lossy(bytes);
    let leaks = text.lines().any(|line| entry(line).is_some_and(|(_, _, is_leak)| is_leak));
    let mut builder = Builder::new();
    let mut open: Option<(ProfileSite, Vec<Frame>)> = None;
    let (mut entries, mut beneath, mut said) = (0u64, false, Vec::new());
    let close = |open: &mut Option<(ProfileSite, Vec<Frame>)>, builder: &mut Builder| {
        if let Some((site, frames)) = open.take() {
            let stack: Vec<u32> = frames.into_iter().map(|frame| builder.frame(frame)).collect();
            builder.add(&stack, &site);
        }
    };
    for line in text.lines() {
        let bare = line.trim();
        if let Some((bytes, calls, is_leak)) = entry(bare) {
            // Deeper entries say where the calls of one above come from.
            beneath = line.starts_with("  ");
            if beneath {
                continue;
            }
            close(&mut open, &mut builder);
            if is_leak == leaks {
                entries += 1;
                let leak_bytes = if is_leak { bytes } else { 0 };
                let site = ProfileSite {
                    live_bytes: bytes,
                    leak_bytes,
                    live_count: calls,
                    ..ProfileSite::default()
                };
                open = Some((site, Vec::new()));
            }
        } else if bare.is_empty() || perhaps(bare) {
            close(&mut open, &mut builder);
            if bare.is_empty() {
                beneath = false;
            }
        } else if bare.starts_with("total memory leaked: ") || bare.starts_with("suppressed leaks: ") {
            close(&mut open, &mut builder);
            said.push(bare.to_owned());
        } else if let Some((_, frames)) = open.as_mut().filter(|_| !beneath) {
            let count = frames.len();
            match (frames.last_mut(), bare.strip_prefix("at "), bare.strip_prefix("in ")) {
                (Some(frame), Some(place), _) if line.starts_with("  ") => {
                    let (file, at) = place.rsplit_once(':').unwrap_or((place, ""));
                    (frame.file, frame.line) = (Some(file.to_owned()), at.parse().ok());
                }
                (Some(frame), _, Some(module)) if line.starts_with("  ") => {
                    frame.module = Some(module.to_owned())
                }
                _ if line.starts_with("  ") => {}
                _ if count < crate::builder::MAX_DEPTH => frames.push(named(bare, FrameKind::Native)),
                _ => {}
            }
        }
    }
    close(&mut open, &mut builder);
    if entries == 0 {
        return Err(Error::NotThis {
            format: FORMAT,
            reason: "it lists neither leaks nor who had most at the peak".into(),
        });
    }
    if !leaks {
        said.push("it has no list of leaks: these are the largest at the peak".to_owned());
    }
    builder.profile().notes.extend(said);
    builder.profile().sampling.interval_bytes = 1;
    Ok(builder.finish(Vec::new(), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, collapsed};

    #[test]
    fn leaks_with_their_stacks() {
        let text = "reading file \"heaptrack.a.out.1.zst\" - please wait, this might take some time...\nDebuggee command was: ./a.out\n\
            PEAK MEMORY CONSUMERS\n9.00K peak memory consumed over 3 calls from\nmain\n  in /src/a.out\n\nMEMORY LEAKS\n\
            1.00K leaked over 2 calls from\nmalloc\n  at ../malloc.c:1\n  in /lib/libc.so.6\nmain\n  at /src/memory.c:6\n  in /src/a.out\n\
            72B leaked over 1 calls from:\nleak(int)\n  in /src/a.out\n  40B leaked over 1 calls from:\n    main\n      in /src/a.out\n\n\
            total memory leaked: 1.07K\nsuppressed leaks: 0B\n";
        assert!(is(text.as_bytes()));
        let profile = read(text.as_bytes()).unwrap().profile;
        assert_eq!(collapsed::write(&profile, Figure::LeakBytes, false), "main;malloc 1000\nleak(int) 72\n");
        assert_eq!(profile.sites[0].live_count, 2);
        let main = profile.frames.iter().find(|frame| frame.name == "main").unwrap();
        assert_eq!(
            (main.file.as_deref(), main.line, main.module.as_deref()),
            (Some("/src/memory.c"), Some(6), Some("/src/a.out"))
        );
        assert!(profile.notes.iter().any(|note| note == "total memory leaked: 1.07K"));
        let peak = &text[..text.find("MEMORY LEAKS").unwrap()];
        assert_eq!(
            collapsed::write(&read(peak.as_bytes()).unwrap().profile, Figure::LiveBytes, false),
            "main 9000\n"
        );
    }
}
