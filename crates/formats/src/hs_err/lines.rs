//! Lines of a log.

use super::{Refused, Signal};
use crate::words::{self, Base};
use offheap_model::{Frame, FrameKind};
use std::collections::{BTreeMap, BTreeSet};

/// `185282K, …` → bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let word = text.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    // A limit that is none may be larger than any memory.
    words::size(word, Base::Binary).or_else(|| word.parse().ok())
}

/// `si_signo: 11 (SIGSEGV), si_code: 1 (SEGV_MAPERR), si_addr: 0x10`; the first of JDK 8
/// `si_signo=SIGSEGV: si_errno=0, si_code=1 (SEGV_MAPERR), si_addr=0x10`.
pub(super) fn signal_info(text: &str) -> Signal {
    let in_brackets = |text: &str| Some(text.split_once('(')?.1.split_once(')')?.0.to_owned());
    let mut signal = Signal::default();
    if let Some((_, address)) = text.split_once(" address 0x").filter(|_| text.contains("0xc000")) {
        // Windows: `EXCEPTION_ACCESS_VIOLATION (0xc0000005), reading address 0x8`;
        // `ExceptionCode=0xc0000005, …` up to JDK 8.
        let name = text.split([' ', ',']).next().unwrap_or_default();
        signal.name =
            if name.starts_with("ExceptionCode=") { "EXCEPTION_ACCESS_VIOLATION" } else { name }.to_owned();
        signal.code =
            text.split(", ").nth(1).and_then(|what| what.split(' ').next()).unwrap_or_default().to_owned();
        signal.address = u64::from_str_radix(address.trim(), 16).ok();
        return signal;
    }
    let text = text.replacen(": si_errno", ", si_errno", 1);
    let parts = text.split(", ").filter_map(|part| part.split_once(": ").or_else(|| part.split_once('=')));
    for (key, value) in parts {
        match key {
            "si_signo" => signal.name = in_brackets(value).unwrap_or_else(|| value.to_owned()),
            "si_code" => signal.code = in_brackets(value).unwrap_or_default(),
            "si_addr" => {
                signal.address = value.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok())
            }
            "si_pid" => signal.sender = value.parse().ok(),
            _ => {}
        }
    }
    signal
}

/// `key: value` of the container's section; keys have no blanks.
pub(super) fn pair(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once(':')?;
    (!key.contains(' ')).then(|| (key.to_owned(), value.trim().to_owned()))
}

/// A line of a stack: `V  [libjvm.so+0xedfde1]  os::malloc+0x1`, `j  app.Main.leak(I)V+4`,
/// `J 33 c1 app.Main.leak(I)V (279 bytes) @ 0x…`, `v  ~StubRoutines::call_stub`.
pub(super) fn frame(line: &str) -> Option<Frame> {
    let (kind, rest) = line.split_once(' ')?;
    let rest = rest.trim();
    let mut frame =
        Frame { name: rest.to_owned(), kind: FrameKind::Native, file: None, line: None, module: None };
    match kind {
        "C" | "V" => {
            frame.kind = if kind == "V" { FrameKind::Jvm } else { FrameKind::Native };
            if let Some((place, name)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                let (module, offset) = place.rsplit_once("+0x").unwrap_or((place, ""));
                frame.module = Some(module.to_owned());
                let name = name.trim();
                // JDK 21 and later add the file: `  (os_linux.cpp:123)`.
                let (name, source) = match name.rsplit_once("  (") {
                    Some((name, source)) => (name, source.trim_end_matches(')')),
                    None => (name, ""),
                };
                if let Some((file, at)) = source.rsplit_once(':') {
                    frame.file = Some(file.to_owned());
                    frame.line = at.parse().ok();
                }
                frame.name = match name.rsplit_once("+0x") {
                    Some((name, _)) => name.to_owned(),
                    None if name.is_empty() => format!("{module}+0x{offset}"),
                    None => name.to_owned(),
                };
            }
        }
        "j" => {
            frame.kind = FrameKind::Java;
            frame.name = rest.split('(').next().unwrap_or(rest).to_owned();
        }
        "J" => {
            frame.kind = FrameKind::Java;
            let method =
                rest.split(' ').find(|word| word.contains('(') && word.contains('.')).unwrap_or(rest);
            frame.name = method.split('(').next().unwrap_or(method).to_owned();
        }
        "v" => frame.kind = FrameKind::Jvm,
        _ => return None,
    }
    Some(frame)
}

/// Whether a word of the head is the name of a signal, or of an exception of Windows.
pub(super) fn is_signal(name: &str) -> bool {
    let is_upper =
        name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    is_upper && (name.starts_with("SIG") || name.starts_with("EXCEPTION_"))
}

/// `Native memory allocation (malloc) failed to allocate 32744 bytes for ChunkPool::allocate`, `…
/// (mmap) failed to map …`, up to JDK 8 also `requested 32744 bytes for …`.
pub(super) fn refused(text: &str) -> Option<Refused> {
    let by = text
        .split_once("allocation (")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("malloc", |(by, _)| by);
    let (_, rest) = [" failed to allocate ", " failed to map ", "requested "]
        .iter()
        .find_map(|words| text.split_once(words))?;
    let (bytes, rest) = rest.split_once(" bytes")?;
    // `for committing reserved memory.`, from JDK 21 on `. Error detail: committing reserved
    // memory.`
    let purpose =
        rest.strip_prefix(" for ").or_else(|| rest.strip_prefix(". Error detail: ")).unwrap_or(rest);
    let purpose = purpose.trim().trim_end_matches(". Out of swap space?").trim_end_matches('.');
    Some(Refused { bytes: bytes.trim().parse().ok()?, by: by.to_owned(), purpose: purpose.to_owned() })
}

/// Whether a line of the head is a reason, and no advice yet.
pub(super) fn is_reason(text: &str) -> bool {
    !text.starts_with("Possible solutions")
        && !text.starts_with("This output file")
        && !text.contains("Error (")
}

/// `MemAvailable:   300000 kB`, of the section with /proc/meminfo.
pub(super) fn meminfo(line: &str) -> Option<(&'static str, u64)> {
    const KEYS: [&str; 7] =
        ["MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree", "CommitLimit", "Committed_AS"];
    let (key, value) = line.split_once(':')?;
    let key = KEYS.into_iter().find(|known| *known == key.trim())?;
    Some((key, value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)?))
}

/// The name of a Java thread in the list of them: `  0x… JavaThread "main" daemon [_thread_blocked,
/// id=8, …]`.
pub(super) fn java_thread(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(" JavaThread \"")?;
    // Names may hold quotes: the state stands behind the last one.
    let end = rest
        .find("\" [")
        .or_else(|| rest.find("\" daemon"))
        .or_else(|| rest.find("\"  "))
        .or_else(|| rest.rfind('"'))?;
    rest.get(..end)
}

/// Pools that are told apart: no program has more.
const MOST_POOLS: usize = 10_000;

/// Threads by the names of their pools.
#[derive(Default)]
pub(super) struct Pools {
    /// By the name with each number as `N`: how many, and the names with only the last number so.
    all: BTreeMap<String, (u64, BTreeSet<String>)>,
}

impl Pools {
    pub(super) fn add(&mut self, name: &str) {
        let cut = name.char_indices().nth(200).and_then(|(at, _)| name.get(..at)).unwrap_or(name);
        let every = words::without_numbers(cut, 'N');
        let bare = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let last = if bare.len() < name.len() { format!("{bare}N") } else { name.to_owned() };
        if self.all.len() < MOST_POOLS || self.all.contains_key(&every) {
            let pool = self.all.entry(every).or_default();
            pool.0 += 1;
            if pool.1.len() < 2 {
                pool.1.insert(last);
            }
        }
    }

    /// Most first.
    pub(super) fn list(self) -> Vec<(String, u64)> {
        let name =
            |every: String, names: BTreeSet<String>| match names.into_iter().collect::<Vec<_>>().as_slice() {
                [one] => one.clone(),
                _ => every,
            };
        let mut list: Vec<(String, u64)> =
            self.all.into_iter().map(|(every, (count, names))| (name(every, names), count)).collect();
        list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_end_where_their_unit_does() {
        for (text, bytes) in [
            ("185282K (peak: 185282K)", 185_282 << 10),
            ("16303368k(1063636k free)", 16_303_368 << 10),
            ("3g", 3 << 30),
            ("536870912", 536_870_912),
            // What version 1 of control groups has for no limit.
            ("9223372036854771712", 9_223_372_036_854_771_712),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        assert_eq!((size("unlimited"), size("-1"), size("")), (None, None, None));
    }
}
