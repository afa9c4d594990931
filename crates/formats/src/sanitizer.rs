//! Leak reports of LeakSanitizer, alone or in AddressSanitizer (clang and gcc).
//!
//! `Direct leak of N byte(s) in M object(s) allocated from:` and then the stack, a line a frame:
//! `#0 0x… in function file:line:column`, or `(module+0xoffset)` where there are no symbols.
//! Source: LLVM, compiler-rt lib/lsan/lsan_common.cpp, `LeakReport::PrintReportForLeak`.

use crate::{Builder, Error, Parsed};
use offheap_model::{Frame, FrameKind, ProfileSite};

const FORMAT: &str = "sanitizer report";

/// True where `head` holds the first line of a report.
pub(crate) fn is(head: &[u8]) -> bool {
    plain(head).lines().any(|line| {
        line.starts_with("==")
            && (line.contains("ERROR: LeakSanitizer:") || line.contains("ERROR: AddressSanitizer:"))
    })
}

/// True where a report starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line.starts_with("==")
        && (line.contains("ERROR: LeakSanitizer:") || line.contains("ERROR: AddressSanitizer:"))
}

/// The text without the colours that a terminal gets (`ESC [ 1 m`).
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut pieces = text.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        plain.push_str(rest.strip_prefix('m').unwrap_or(rest));
    }
    plain
}

/// Reads the leaks of a report; text around it (a program's own output) is passed over.
///
/// # Errors
/// It reports no leak; what it does report is in the reason.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = plain(bytes);
    let mut builder = Builder::new();
    let mut leak: Option<(ProfileSite, Vec<u32>)> = None;
    let (mut leaks, mut summary) = (0u64, None);
    for line in text.lines().map(str::trim).chain([""]) {
        if let Some(figures) = leak_header(line) {
            leak = Some((figures, Vec::new()));
        } else if line.starts_with('#') {
            if let (Some((_, stack)), Some(frame)) = (&mut leak, frame(line)) {
                stack.push(builder.frame(frame));
            }
        } else if let Some((figures, stack)) = leak.take() {
            builder.add(&stack, &figures);
            leaks += 1;
        }
        if let Some(text) = line.strip_prefix("SUMMARY: ") {
            summary = Some(text.to_owned());
        }
    }
    if leaks == 0 {
        let found = summary.unwrap_or_else(|| "no `… leak of … byte(s)` in it".to_owned());
        return Err(Error::NotThis { format: FORMAT, reason: format!("it reports no leak: {found}") });
    }
    match summary {
        Some(summary) => builder.profile().notes.push(summary),
        None => builder.profile().notes.push("the report has no SUMMARY: it may be cut off".to_owned()),
    }
    builder.profile().sampling.interval_bytes = 1;
    Ok(builder.finish(Vec::new(), None))
}

fn leak_header(line: &str) -> Option<ProfileSite> {
    let rest = line.strip_prefix("Direct leak of ").or_else(|| line.strip_prefix("Indirect leak of "))?;
    let mut words = rest.split(' ');
    let bytes: u64 = words.next()?.parse().ok()?;
    // byte(s) in 10 object(s)
    let count: u64 = words.nth(2)?.parse().ok()?;
    Some(ProfileSite { live_bytes: bytes, leak_bytes: bytes, live_count: count, ..ProfileSite::default() })
}

/// `#1 0x55f0 in app::leak(int) /src/leak.cpp:7:3`
fn frame(line: &str) -> Option<Frame> {
    let mut frame =
        Frame { name: String::new(), kind: FrameKind::Native, file: None, line: None, module: None };
    let (_, rest) = line.split_once(" 0x")?;
    let (address, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    // gcc and clang may put the build id behind it.
    let rest = rest.split(" (BuildId:").next().unwrap_or(rest).trim();
    let (name, place) = match rest.strip_prefix("in ") {
        Some(rest) => rest.rfind(' ').map_or((rest, ""), |blank| (&rest[..blank], rest[blank..].trim())),
        None => ("", rest),
    };
    if let Some(module) = place.strip_prefix('(') {
        let module = module.trim_end_matches(')');
        frame.module = Some(module.rsplit_once('+').map_or(module, |(path, _)| path).to_owned());
    } else if !place.is_empty() {
        // file, file:line or file:line:column
        let mut parts = place.split(':');
        frame.file = parts.next().map(str::to_owned);
        frame.line = parts.next().and_then(|line| line.parse().ok());
    }
    frame.name = match (name, place) {
        ("", place) if place.starts_with('(') => place.trim_matches(['(', ')']).to_owned(),
        ("", _) => format!("0x{address}"),
        (name, _) => name.to_owned(),
    };
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    // As gcc 12 writes it with ASAN_OPTIONS=color=always.
    #[test]
    fn colours_are_left_out() {
        let text = "\n=====\n\u{1b}[1m\u{1b}[31m==10612==ERROR: LeakSanitizer: detected memory leaks\n\u{1b}[1m\u{1b}[0m\n\
            \u{1b}[1m\u{1b}[34mDirect leak of 9600 byte(s) in 200 object(s) allocated from:\n\
            \u{1b}[1m\u{1b}[0m    #0 0x7f in malloc (/lib/libc.so.6+0x1)\n    #1 0x55 in app::leak(int) /tmp/leak.cpp:7\n\n\
            SUMMARY: AddressSanitizer: 9600 byte(s) leaked in 200 allocation(s).\n";
        assert!(is(text.as_bytes()));
        let profile = read(text.as_bytes()).unwrap().profile;
        assert_eq!((profile.sites[0].leak_bytes, profile.sites[0].live_count), (9600, 200));
        assert_eq!(profile.frames[0].name, "malloc");
    }

    #[test]
    fn frames_of_all_looks() {
        let read = |line| frame(line).map(|f| (f.name, f.file, f.line, f.module)).unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            read("#1 0x55 in app::f(int, char) /src/a b.cpp:7"),
            // A path with a blank can't be told from a name with one: it is what comes after the
            // last.
            ("app::f(int, char) /src/a".into(), text("b.cpp"), Some(7), None)
        );
        assert_eq!(
            read("#0 0x4f in malloc (/lib/libc.so.6+0x4f) (BuildId: ab12)"),
            ("malloc".into(), None, None, text("/lib/libc.so.6"))
        );
        assert_eq!(
            read("#2 0x7f (/lib/libx.so+0x7f)"),
            ("/lib/libx.so+0x7f".into(), None, None, text("/lib/libx.so"))
        );
        assert_eq!(read("#3 0xdead  (<unknown module>)").0, "<unknown module>");
    }
}
