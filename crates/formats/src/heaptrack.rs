//! heaptrack's files, as recorded (`heaptrack --raw`) and as interpreted (what `heaptrack` leaves
//! behind), versions 1 to 3 of the format (heaptrack 1.0 to 1.5). Source: heaptrack,
//! src/analyze/accumulatedtracedata.cpp, src/interpret and src/track/libheaptrack.cpp.
//!
//! A line an event, its first letter the kind, numbers in hexadecimal: `s` a string, `t` a node of
//! the tree of stacks (address or instruction, parent), `a` a kind of allocation (size, stack), `+`
//! and `-`. Interpreted, `i` is an instruction with module, function, file and line, and those
//! inlined there; raw, `m` a module, and a free names a pointer.

use crate::builder::MAX_NAME;
use crate::{Builder, Cut, Error, Mapping, Parsed};
use foldhash::fast::RandomState;
use offheap_model::{Frame, FrameKind, ProfileSite};
use std::collections::HashMap;

const FORMAT: &str = "heaptrack file";

/// No frame's number: there are not so many.
const UNKNOWN: u32 = u32::MAX;

/// Bytes of all mappings' paths that are kept.
const MAX_TEXT: usize = 64 << 20;

/// True where `head` starts like one.
pub(crate) fn is(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    words.next() == Some("v")
        && words.clone().count() >= 1
        && words.all(|word| u64::from_str_radix(word, 16).is_ok())
}

/// Suppressions that are kept: nobody writes more.
const MAX_SUPPRESSIONS: usize = 1000;

/// A pattern of names, as LeakSanitizer has them: anywhere in the name, unless `^` or `$` hold it;
/// `*` is anything.
struct Pattern {
    pieces: Vec<String>,
    at_begin: bool,
    at_end: bool,
}

impl Pattern {
    fn of(text: &str) -> Pattern {
        let (at_begin, at_end) = (text.starts_with('^'), text.ends_with('$'));
        let bare = text.trim_start_matches('^').trim_end_matches('$');
        Pattern { pieces: bare.split('*').map(str::to_owned).collect(), at_begin, at_end }
    }

    fn fits(&self, name: &str) -> bool {
        let mut rest = name;
        for (place, piece) in self.pieces.iter().enumerate() {
            let found = if place == 0 && self.at_begin {
                rest.starts_with(piece.as_str()).then_some(0)
            } else {
                rest.find(piece.as_str())
            };
            let Some(found) = found else { return false };
            rest = rest.get(found + piece.len()..).unwrap_or_default();
        }
        let last = self.pieces.last().map_or("", String::as_str);
        !self.at_end || rest.is_empty() || name.ends_with(last) && !last.is_empty()
    }
}

#[derive(Default)]
struct State {
    version: u64,
    raw: bool,
    strings: Vec<String>,
    /// Frames of an instruction, innermost first.
    instructions: Vec<Vec<u32>>,
    /// (instruction or address, parent); both count from 1, 0 is none.
    nodes: Vec<(u64, u64)>,
    /// (size, node).
    kinds: Vec<(u64, u64)>,
    live: Vec<Tally>,
    /// Raw files: pointer → kind.
    pointers: HashMap<u64, usize, RandomState>,
    by_kind: HashMap<(u64, u64), usize, RandomState>,
    executable: String,
    mappings: Vec<Mapping>,
    unknown_frees: u64,
    /// Bytes of the mappings' paths.
    text: usize,
    /// What leaks to leave out: patterns of names.
    suppressions: Vec<Pattern>,
    /// Raw files: by node, its frame; [`UNKNOWN`] until it is asked for.
    frames: Vec<u32>,
}

#[derive(Default, Clone, Copy)]
struct Tally {
    allocated: u64,
    freed: u64,
}

/// Reads a file, already unfolded from zstd or gzip. What was never freed is live and leaked, as in
/// heaptrack.
///
/// # Errors
/// It does not start with a version, or one not known here.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    if !is(bytes) {
        return Err(Error::NotThis {
            format: FORMAT,
            reason: "its first line is not `v` and a version".into(),
        });
    }
    let mut state = State { version: 1, ..State::default() };
    let mut builder = Builder::new();
    let (mut at, mut cut) = (0u64, None);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let here = at;
        at += line.len() as u64;
        let whole = line.ends_with(b"\n");
        let read = match Numbers::of(line) {
            // Nearly all lines are of these, and there are tens of millions.
            Some((kind, numbers)) => state.numbers(kind, &numbers),
            None => {
                let text = String::from_utf8_lossy(line);
                state.line(text.trim_end_matches(['\n', '\r']), &mut builder)?
            }
        };
        if read.is_none() || !whole {
            cut = Some(Cut {
                at: here,
                reading: format!("a line of kind {:?}", line.first().copied().map_or(' ', char::from)),
            });
            break;
        }
    }
    Ok(state.finish(builder, cut))
}

/// The numbers of a line that has nothing else.
#[derive(Default)]
struct Numbers {
    list: [u64; 4],
    count: usize,
}

impl Numbers {
    /// The kind and the numbers of a line of kind `+`, `-`, `a` or `t`; `None` of any other, and of
    /// one that makes no sense.
    fn of(line: &[u8]) -> Option<(u8, Numbers)> {
        let [kind @ (b'+' | b'-' | b'a' | b't'), b' ', rest @ ..] = line else { return None };
        let mut numbers = Numbers::default();
        let (mut number, mut digits) = (0u64, 0);
        for byte in rest {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b' ' | b'\n' | b'\r' => {
                    if digits > 0 {
                        *numbers.list.get_mut(numbers.count)? = number;
                        numbers.count += 1;
                    }
                    (number, digits) = (0, 0);
                    continue;
                }
                _ => return None,
            };
            number = number << 4 | u64::from(digit);
            digits += 1;
            if digits > 16 {
                return None;
            }
        }
        if digits > 0 {
            *numbers.list.get_mut(numbers.count)? = number;
            numbers.count += 1;
        }
        (numbers.count > 0).then_some((*kind, numbers))
    }

    fn get(&self, place: usize) -> Option<u64> {
        self.list.get(..self.count)?.get(place).copied()
    }
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word, 16).ok()
}

impl State {
    /// `Ok(None)` where the line makes no sense.
    fn line(&mut self, line: &str, builder: &mut Builder) -> Result<Option<()>, Error> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        if kind == "v" {
            let mut words = rest.split(' ').skip(1);
            // The first files had no format version.
            self.version = words.next().and_then(hex).unwrap_or(0);
            if self.version > 3 {
                let reason = format!("format version {}; 1 to 3 are known", self.version);
                return Err(Error::Unsupported { format: FORMAT, reason });
            }
            return Ok(Some(()));
        }
        Ok(self.event(kind, rest, builder))
    }

    fn event(&mut self, kind: &str, rest: &str, builder: &mut Builder) -> Option<()> {
        match kind {
            // Their numbers make no sense, or they would have been read as such.
            "+" | "-" | "a" | "t" => return None,
            "s" => {
                let text = self.string(rest)?;
                let end = (0..=text.len().min(2 * MAX_NAME)).rev().find(|end| text.is_char_boundary(*end));
                self.strings.push(text.get(..end?)?.to_owned());
            }
            "i" => self.instruction(rest, builder)?,
            "m" => self.module(rest)?,
            "x" => self.executable = self.string(rest)?.to_owned(),
            "S" if self.suppressions.len() < MAX_SUPPRESSIONS => {
                let text = self.string(rest).unwrap_or(rest);
                self.suppressions.push(Pattern::of(text.strip_prefix("leak:").unwrap_or(text)));
            }
            // Time, RSS, command, system, and what later versions may add.
            _ => {}
        }
        Some(())
    }

    /// A line of numbers.
    fn numbers(&mut self, kind: u8, numbers: &Numbers) -> Option<()> {
        let first = numbers.get(0)?;
        match kind {
            b't' => self.nodes.push((first, numbers.get(1)?)),
            b'a' => {
                self.kinds.push((first, numbers.get(1)?));
                self.live.push(Tally::default());
            }
            b'+' => {
                let kind = match (numbers.get(1), numbers.get(2)) {
                    (Some(node), Some(_)) => {
                        self.raw = true;
                        self.kind(first, node)
                    }
                    (Some(node), None) => self.kind(first, node),
                    _ => usize::try_from(first).ok()?,
                };
                self.live.get_mut(kind)?.allocated += 1;
                if let Some(lost) = numbers.get(2).and_then(|pointer| self.pointers.insert(pointer, kind)) {
                    // Its free was not seen; the address can't be live twice.
                    self.live.get_mut(lost)?.freed += 1;
                }
            }
            _ if self.raw => match self.pointers.remove(&first) {
                Some(kind) => self.live.get_mut(kind)?.freed += 1,
                None => self.unknown_frees += 1,
            },
            _ => {
                let kind = match numbers.get(1) {
                    Some(node) => self.kind(first, node),
                    None => usize::try_from(first).ok()?,
                };
                self.live.get_mut(kind)?.freed += 1;
            }
        }
        Some(())
    }

    fn kind(&mut self, size: u64, node: u64) -> usize {
        let next = self.kinds.len();
        let kind = *self.by_kind.entry((size, node)).or_insert(next);
        if kind == next {
            self.kinds.push((size, node));
            self.live.push(Tally::default());
        }
        kind
    }

    /// Since version 3 the length comes first: strings may hold blanks, and may be long.
    fn string<'a>(&self, rest: &'a str) -> Option<&'a str> {
        if self.version < 3 {
            return Some(rest);
        }
        let (length, text) = rest.split_once(' ')?;
        // Counted in bytes; a name that is not UTF-8 got longer when it was replaced.
        text.get(..usize::try_from(hex(length)?).ok()?).or(Some(text))
    }

    fn text(&self, number: u64) -> Option<String> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.strings.get(index).cloned()
    }

    /// `address module [function file line [function file line …]]`: the innermost inlined function
    /// is first.
    fn instruction(&mut self, rest: &str, builder: &mut Builder) -> Option<()> {
        let mut numbers = rest.split(' ').map(hex);
        let address = numbers.next()??;
        let module = numbers.next().flatten().and_then(|number| self.text(number));
        let mut frames = Vec::new();
        while let Some(Some(function)) = numbers.next() {
            let file = numbers.next().flatten().and_then(|number| self.text(number));
            let line = numbers.next().flatten().and_then(|line| u32::try_from(line).ok());
            if let Some(name) = self.text(function) {
                frames.push(builder.frame(Frame {
                    name,
                    kind: FrameKind::Native,
                    file,
                    line: line.filter(|line| *line > 0),
                    module: module.clone(),
                }));
            }
        }
        if frames.is_empty() {
            // Interpreted files don't say where a module starts, so the address is all there is.
            frames.push(match &module {
                Some(path) => {
                    let base = path.rsplit('/').next().unwrap_or(path);
                    let name = format!("{base} at {address:#x}");
                    builder.frame(Frame {
                        module: module.clone(),
                        ..crate::builder::named(&name, FrameKind::Native)
                    })
                }
                None => builder.address(address, None),
            });
        }
        self.instructions.push(frames);
        Some(())
    }

    /// `m [length] path base (offset size)*`; `m -` starts a new list.
    fn module(&mut self, rest: &str) -> Option<()> {
        let (path, rest) = if self.version < 3 {
            rest.split_once(' ').unwrap_or((rest, ""))
        } else {
            let path = self.string(rest)?;
            let begin = path.as_ptr() as usize - rest.as_ptr() as usize;
            (path, rest.get(begin + path.len()..)?.trim_start())
        };
        if path == "-" {
            self.mappings.clear();
            return Some(());
        }
        // The executable's path is told once, by `x`.
        let path = if path == "x" && !self.executable.is_empty() {
            self.executable.clone()
        } else {
            path.to_owned()
        };
        let mut numbers = rest.split(' ').map(hex);
        let base = numbers.next()??;
        while let (Some(Some(offset)), Some(Some(size))) = (numbers.next(), numbers.next()) {
            let start = base.checked_add(offset)?;
            // A path stands once in the file for any number of segments.
            self.text = self.text.checked_add(path.len()).filter(|text| *text <= MAX_TEXT)?;
            let path = path.to_owned();
            self.mappings.push(Mapping {
                start,
                end: start.checked_add(size)?,
                offset,
                path,
                build_id: None,
            });
        }
        Some(())
    }

    fn finish(mut self, mut builder: Builder, cut: Option<Cut>) -> Parsed {
        self.mappings.sort_by_key(|mapping| mapping.start);
        if self.instructions.is_empty() {
            self.frames = vec![UNKNOWN; self.nodes.len()];
        }
        let (kinds, live) = (std::mem::take(&mut self.kinds), std::mem::take(&mut self.live));
        let (mut known, mut suppressed) = (HashMap::default(), 0u64);
        for ((size, node), tally) in kinds.iter().zip(&live) {
            let live = tally.allocated.saturating_sub(tally.freed);
            if tally.allocated == 0 {
                continue;
            }
            let stack = self.stack(*node, &mut builder);
            let live_bytes = live.saturating_mul(*size);
            let is_suppressed = live > 0 && self.is_suppressed(&stack, &mut builder, &mut known);
            if is_suppressed {
                suppressed = suppressed.saturating_add(live_bytes);
            }
            builder.add(
                &stack,
                &ProfileSite {
                    live_bytes,
                    leak_bytes: if is_suppressed { 0 } else { live_bytes },
                    live_count: live,
                    allocated_bytes: tally.allocated.saturating_mul(*size),
                    allocated_count: tally.allocated,
                    ..ProfileSite::default()
                },
            );
        }
        builder.profile().sampling.interval_bytes = 1;
        if suppressed > 0 {
            builder.profile().notes.push(format!(
                "{} are suppressed (leak: lines in the file): they count as live and not as leaked",
                offheap_model::units::bytes(suppressed)
            ));
        }
        if self.unknown_frees > 0 {
            builder.profile().notes.push(format!("{} frees of unknown pointers", self.unknown_frees));
        }
        builder.finish(self.mappings, cut)
    }

    /// Whether any frame of `stack` is named by a suppression; `known` are the frames that were
    /// asked for.
    fn is_suppressed(&self, stack: &[u32], builder: &mut Builder, known: &mut HashMap<u32, bool>) -> bool {
        if self.suppressions.is_empty() {
            return false;
        }
        let frames = &builder.profile().frames;
        stack.iter().any(|number| {
            *known.entry(*number).or_insert_with(|| {
                frames.get(*number as usize).is_some_and(|frame| {
                    let names = [Some(&frame.name), frame.file.as_ref(), frame.module.as_ref()];
                    names.into_iter().flatten().any(|name| self.suppressions.iter().any(|one| one.fits(name)))
                })
            })
        })
    }

    fn stack(&mut self, mut node: u64, builder: &mut Builder) -> Vec<u32> {
        let mut stack = Vec::new();
        let deepest = if builder.is_tired() { 1 } else { crate::builder::MAX_DEPTH };
        while let Some((what, parent)) =
            node.checked_sub(1).and_then(|index| self.nodes.get(usize::try_from(index).ok()?))
        {
            if self.instructions.is_empty() {
                // Return addresses: one back is inside the call.
                let address = what.saturating_sub(1);
                let Some(frame) = self.frames.get_mut(node as usize - 1) else { break };
                if *frame == UNKNOWN {
                    *frame = builder.address(address, crate::maps::module(&self.mappings, address));
                }
                stack.push(*frame);
            } else if let Some(frames) =
                what.checked_sub(1).and_then(|index| self.instructions.get(usize::try_from(index).ok()?))
            {
                stack.extend_from_slice(frames);
            }
            // Parents come first in an honest file; anything else could go round for ever.
            if *parent >= node || stack.len() >= deepest {
                break;
            }
            node = *parent;
        }
        stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suppressed_is_live_and_not_leaked() {
        let text = "v 10400 2\nX ./demo\nS leak:^kept$\ns /src/demo\ns main\ns leak\ns kept\ni 401000 1 2\ni 402000 1 3\ni 403000 1 4\n\
            t 1 0\nt 2 1\nt 3 1\na 64 2\na 3e8 3\n+ 0\n+ 1\n";
        let profile = read(text.as_bytes()).unwrap().profile;
        let sum = |of: fn(&ProfileSite) -> u64| profile.sites.iter().map(of).sum::<u64>();
        assert_eq!((sum(|site| site.leak_bytes), sum(|site| site.live_bytes)), (100, 1100));
        assert!(profile.notes[0].starts_with("0.98 KiB are suppressed"), "{:?}", profile.notes);
    }

    #[test]
    fn suppressions_match_as_leaksanitizers_do() {
        for (pattern, name, fits) in [
            ("kept", "was_kept_here", true),
            ("^kept", "was_kept", false),
            ("kept$", "was_kept", true),
            ("kept$", "kept_on", false),
            ("was*here", "was_kept_here", true),
            ("here*was", "was_kept_here", false),
        ] {
            assert_eq!(Pattern::of(pattern).fits(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_frame_without_a_name_has_its_library() {
        let text = "v 10400 2\ns /usr/lib/libdemo.so.1\ni 7f0000001234 1\nt 1 0\na 64 1\n+ 0\n";
        let parsed = read(text.as_bytes()).unwrap();
        assert_eq!(
            (parsed.profile.frames[0].name.as_str(), parsed.addresses.len()),
            ("libdemo.so.1 at 0x7f0000001234", 0)
        );
    }
}
