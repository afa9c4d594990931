//! gperftools' heap profiles in text: of the heap profiler (`HEAPPROFILE`), of tcmalloc's sampler
//! (`MallocExtension::GetHeapSample`), and Go's (`/debug/pprof/heap?debug=1`). Source: gperftools,
//! docs/heapprofile.html, the header line of `pprof`; Go, runtime/pprof `writeHeapInternal`.
//!
//! `heap profile: live: bytes [allocated: bytes] @ kind/interval`, then the same in each line with
//! its stack, then `MAPPED_LIBRARIES:`. The kind says how figures are scaled up: `heapprofile` not
//! at all (every allocation is seen), all others as a Poisson process. Go has names in comments
//! behind each stack, and no libraries.

use crate::builder::named;
use crate::maps::{Names, Stacks, four, unbias};
use crate::{Cut, Error, Parsed};
use offheap_model::{Frame, FrameKind};

const FORMAT: &str = "gperftools heap profile";

/// True where `head` starts like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"heap profile:")
}

/// True where one starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line.starts_with("heap profile:") && line.contains('@')
}

/// Reads a profile. Addresses are those of the calls, ready to be symbolised; Go's text has names
/// beside them.
///
/// # Errors
/// The first line is not its header.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    read_named(&String::from_utf8_lossy(bytes), Names::default())
}

/// The same, of addresses that have `names`.
pub(crate) fn read_named(text: &str, names: Names) -> Result<Parsed, Error> {
    let no_header =
        || Error::NotThis { format: FORMAT, reason: "its first line is not `heap profile: …`".into() };
    let header =
        text.lines().next().and_then(|line| line.strip_prefix("heap profile:")).ok_or_else(no_header)?;
    let (figures, kind) = header.split_once('@').unwrap_or((header, "heapprofile"));
    four(figures).ok_or_else(no_header)?;
    let (kind, interval) = kind.trim().split_once('/').unwrap_or((kind.trim(), ""));
    let interval: u64 = interval.parse().unwrap_or(0);
    let (kind, interval) = sampling(kind, interval);
    let (mut open, mut gos, mut gos_end): (Option<Open>, bool, bool) = (None, false, false);
    let (mut stacks, mut cut) = Stacks::read(text, names, |stacks, line| {
        if let Some(comment) = line.strip_prefix('#') {
            gos |= comment.starts_with('\t');
            gos_end |= comment.starts_with(" runtime.MemStats");
            if let (Some(open), Some(frame)) = (&mut open, gos_frame(comment)) {
                open.named.push(stacks.named(frame));
            }
            return Ok(());
        }
        if line.is_empty() || line.starts_with("heap profile:") || gos_end {
            return Ok(());
        }
        let read = line.split_once('@').and_then(|(figures, stack)| {
            // It is read when the names are known that may follow.
            stack.split_ascii_whitespace().all(|word| word.starts_with("0x")).then_some(())?;
            Some((four(figures)?, stack.to_owned()))
        });
        let (figures, addresses) = read.ok_or("a stack with its figures")?;
        let next = Open { figures, addresses, named: Vec::new() };
        match open.replace(next) {
            Some(before) => before.close(stacks, kind, interval),
            None => Ok(()),
        }
    });
    if let Some(last) = open
        && let Err(reading) = last.close(&mut stacks, kind, interval)
    {
        cut = cut.or(Some(Cut { at: text.len() as u64, reading: reading.to_owned() }));
    }
    // Go's text has no list of libraries.
    if gos_end {
        cut = None;
    } else if let Some(cut) = cut.as_mut().filter(|_| gos) {
        cut.reading = "the stacks: # runtime.MemStats does not follow".to_owned();
    }
    Ok(stacks.finish(if kind == Kind::Whole { 1 } else { interval }, cut))
}

/// A stack with its figures, until the names that may follow are read.
struct Open {
    figures: [u64; 4],
    addresses: String,
    named: Vec<u32>,
}

impl Open {
    fn close(self, stacks: &mut Stacks, kind: Kind, interval: u64) -> Result<(), &'static str> {
        let stack = if self.named.is_empty() {
            stacks.frames(&self.addresses).ok_or("a stack with its figures")?
        } else {
            self.named
        };
        stacks.add(&stack, self.figures, |count, bytes| match kind {
            Kind::Whole => (count, bytes),
            Kind::Sampled => unbias(count, bytes, interval),
        });
        Ok(())
    }
}

/// How a profile's figures came about.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Every allocation is in it.
    Whole,
    /// Sampled as a Poisson process.
    Sampled,
}

/// The kind and the mean bytes between two samples, as google/pprof (profile/legacy_profile.go,
/// parseHeapHeader) takes them: of `heap` (Go, and gperftools of old) the figure is twice the
/// interval.
fn sampling(kind: &str, interval: u64) -> (Kind, u64) {
    match kind {
        "heap_v2" | "heapz_v2" => (Kind::Sampled, interval),
        "heap" => (Kind::Sampled, interval / 2),
        _ => (Kind::Whole, interval),
    }
}

/// `\t0x401000\tmain.leak+0x10\t/src/demo.go:7`, behind the `#` of Go's text.
fn gos_frame(comment: &str) -> Option<Frame> {
    let mut words = comment.strip_prefix('\t')?.split('\t').map(str::trim).filter(|word| !word.is_empty());
    words.next()?.strip_prefix("0x")?;
    let name = words.next()?;
    let name = name.rsplit_once("+0x").map_or(name, |(name, _)| name);
    let (file, line) = words.next().and_then(|place| place.rsplit_once(':')).unzip();
    Some(Frame {
        file: file.map(str::to_owned),
        line: line.and_then(|line| line.parse().ok()),
        ..named(name, FrameKind::Native)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // As Go 1.22's runtime/pprof writes it with debug=1.
    #[test]
    fn gos_text_has_names_and_half_the_interval() {
        let text = "heap profile: 2: 3145728 [4: 7340032] @ heap/1048576\n\
            1: 2097152 [2: 4194304] @ 0x401001 0x402001\n#\t0x401000\tmain.leak+0x10\t/src/demo.go:7\n\
            #\t0x402000\tmain.main+0x20\t/src/demo.go:12\n\n\
            1: 1048576 [2: 3145728] @ 0x403001 0x402001\n#\t0x403000\tmain.cache+0x10\t\t/src/demo.go:9\n\
            #\t0x402000\tmain.main+0x20\t/src/demo.go:12\n\n\n# runtime.MemStats\n# Alloc = 3200000\n";
        let parsed = read(text.as_bytes()).unwrap();
        let stacks: Vec<(String, u64)> = parsed
            .profile
            .sites
            .iter()
            .map(|site| (parsed.profile.frames[site.stack[0] as usize].name.clone(), site.live_bytes))
            .collect();
        // 2 MiB / (1 - e^-4), 1 MiB / (1 - e^-2)
        assert_eq!(stacks, [("main.leak".to_owned(), 2_136_279), ("main.cache".to_owned(), 1_212_697)]);
        assert_eq!(
            (parsed.cut, parsed.addresses.len(), parsed.profile.sampling.interval_bytes),
            (None, 0, 524_288)
        );
        assert_eq!(parsed.profile.frames[0].line, Some(7));
        let cut = read(&text.as_bytes()[..text.len() - 40]).unwrap().cut.unwrap();
        assert!(cut.reading.contains("MemStats"), "{cut}");
    }

    #[test]
    fn each_kind_is_scaled_as_it_says() {
        let live = |kind: &str| {
            let text = format!(
                "heap profile: 1: 1000 [0: 0] @ {kind}\n1: 1000 [0: 0] @ 0x10\n\nMAPPED_LIBRARIES:\n"
            );
            read(text.as_bytes()).unwrap().profile.sites[0].live_bytes
        };
        // 1000 / (1 - e^-1), 1000 / (1 - e^-2)
        assert_eq!(
            [live("heapprofile"), live("heap_v2/1000"), live("heapz_v2/1000"), live("heap/1000")],
            [1000, 1582, 1582, 1157]
        );
    }
}
