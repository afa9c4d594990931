//! `/tmp/perf-PID.map`: names of code that a JIT made, for perf and for us. Source: Linux,
//! tools/perf/Documentation/ jit-interface.txt; written by `jcmd PID Compiler.perfmap` (JDK 17 and
//! later), by `-XX:+DumpPerfMapAtExit` and by perf-map-agent.

use offheap_model::{Frame, FrameKind};

/// Code by address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PerfMap {
    /// First address, first address after it, name as in the file; by address.
    ranges: Vec<(u64, u64, Box<str>)>,
    /// Lines that make no sense.
    pub bad_lines: u64,
}

/// Reads a map. Of code at one address the last line counts: it was compiled last.
pub fn read(bytes: &[u8]) -> PerfMap {
    let mut map = PerfMap::default();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match range(&String::from_utf8_lossy(line)) {
            Some(range) => map.ranges.push(range),
            None => map.bad_lines += 1,
        }
    }
    // Stable, so that of equal starts the file's last stands last.
    map.ranges.sort_by_key(|(start, ..)| *start);
    map.ranges.reverse();
    map.ranges.dedup_by_key(|(start, ..)| *start);
    map.ranges.reverse();
    map
}

fn range(line: &str) -> Option<(u64, u64, Box<str>)> {
    let mut fields = line.trim_end().splitn(3, ' ');
    let mut hex = || {
        let field = fields.next()?;
        u64::from_str_radix(field.strip_prefix("0x").unwrap_or(field), 16).ok()
    };
    let (start, size) = (hex()?, hex()?);
    let name = fields.next()?.trim();
    (size > 0 && !name.is_empty()).then_some((start, start.checked_add(size)?, name.into()))
}

impl PerfMap {
    /// The frame that `address` lies in.
    pub fn frame(&self, address: u64) -> Option<Frame> {
        let after = self.ranges.partition_point(|(start, ..)| *start <= address);
        let (_, end, name) = self.ranges.get(after.checked_sub(1)?)?;
        (address < *end).then(|| frame(name))
    }

    /// How many pieces of code it names.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// HotSpot's `void app.Main.leak(int)`, perf-map-agent's `Lapp/Main;::leak`, async-profiler-like
/// `app/Main.leak`; what has no class is a stub of the JVM.
fn frame(text: &str) -> Frame {
    let bare = text.split('(').next().unwrap_or(text).trim();
    let bare = bare.rsplit(' ').next().unwrap_or(bare);
    let method = match bare.split_once(";::") {
        Some((class, method)) => format!("{}.{method}", class.trim_start_matches('L')).replace('/', "."),
        None => bare.replace('/', "."),
    };
    let is_method = text.contains(";::")
        || text.contains('(') && method.contains('.') && !text.starts_with("StubRoutines");
    let (name, kind) =
        if is_method { (method, FrameKind::Java) } else { (format!("[{text}]"), FrameKind::Jvm) };
    Frame { name, kind, file: None, line: None, module: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_stubs_are_told_apart_and_gaps_have_no_name() {
        let map = read(
            b"7f0000001000 100 void app.Main.leak(int, java.lang.String)\n\
              0x7f0000002000 0x40 Interpreter\nnonsense\n7f0000003000 20 Lapp/Main;::run\n\
              7f0000001000 80 byte[] app.Main.newer()\n7f0000004000 10 StubRoutines (1)\n",
        );
        let name = |address| map.frame(address).map(|frame| (frame.name, frame.kind));
        assert_eq!(name(0x7f00_0000_1010), Some(("app.Main.newer".to_owned(), FrameKind::Java)));
        assert_eq!(name(0x7f00_0000_1090), None);
        assert_eq!(name(0x7f00_0000_2000), Some(("[Interpreter]".to_owned(), FrameKind::Jvm)));
        assert_eq!(name(0x7f00_0000_301f), Some(("app.Main.run".to_owned(), FrameKind::Java)));
        assert_eq!(name(0x7f00_0000_4001), Some(("[StubRoutines (1)]".to_owned(), FrameKind::Jvm)));
        assert_eq!((map.len(), map.bad_lines, name(0)), (4, 1, None));
    }
}
