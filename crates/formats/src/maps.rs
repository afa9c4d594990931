//! Heap profiles in text that name frames by their addresses: figures and stacks, then
//! `/proc/PID/maps`, which names the files that the addresses lie in.

use crate::builder::{MAX_DEPTH, kind_by_name, named};
use crate::{Builder, Cut, Mapping, Parsed};
use foldhash::fast::RandomState;
use offheap_model::{Frame, FrameKind, ProfileSite};
use std::collections::HashMap;

/// What names addresses, where the file says: the functions at an address, innermost first.
pub(crate) type Names = HashMap<u64, Vec<String>, RandomState>;

/// Stands for a stack of which the profiler could not find a single frame.
pub(crate) const NO_STACK: &str = "(no stack)";

/// Why there are such.
const WHY_NO_STACK: &str = "have no stack: where the profiler was called, its unwinder found nothing to go by (jemalloc's \
    default unwinder, and code without unwind tables or frame pointers, as a JVM compiles it); build jemalloc with \
    --enable-prof-libunwind or --enable-prof-frameptr, or look with offheap profile";

/// Such a profile while it is read.
#[derive(Default)]
pub(crate) struct Stacks {
    builder: Builder,
    names: Names,
    frames: HashMap<u64, Vec<u32>, RandomState>,
    without: (u64, u64),
    mappings: Vec<Mapping>,
    samples: u64,
}

impl Stacks {
    /// Gives each line before `MAPPED_LIBRARIES:` to `each`, which says what it was reading where a
    /// line makes no sense; and where the readable part ends.
    pub(crate) fn read(
        text: &str,
        names: Names,
        mut each: impl FnMut(&mut Stacks, &str) -> Result<(), &'static str>,
    ) -> (Stacks, Option<Cut>) {
        let (lines, maps) = match text.find("\nMAPPED_LIBRARIES:") {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let mut stacks = Stacks { mappings: mappings(maps), names, ..Stacks::default() };
        stacks.mappings.sort_by_key(|mapping| mapping.start);
        let mut at = 0;
        for line in lines.split_inclusive('\n') {
            if let Err(reading) = each(&mut stacks, line.trim()) {
                return (stacks, Some(Cut { at, reading: reading.to_owned() }));
            }
            at += line.len() as u64;
        }
        let reading = "the stacks: MAPPED_LIBRARIES does not follow";
        let cut = maps.is_empty().then(|| Cut { at, reading: reading.to_owned() });
        (stacks, cut)
    }

    /// The frames of return addresses, innermost first, at most [`MAX_DEPTH`] of them: each one
    /// byte back, into the call it returns from.
    pub(crate) fn frames(&mut self, addresses: &str) -> Option<Vec<u32>> {
        let mut stack = Vec::new();
        for word in addresses.split_ascii_whitespace() {
            let returns = u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()?;
            let address = returns.checked_sub(1)?;
            let frames = self.frames.entry(address).or_insert_with(|| {
                match self.names.get(&returns).or_else(|| self.names.get(&address)) {
                    Some(names) => {
                        names.iter().map(|name| self.builder.frame(named(name, kind_by_name(name)))).collect()
                    }
                    None => vec![self.builder.address(address, module(&self.mappings, address))],
                }
            });
            let room = MAX_DEPTH.saturating_sub(stack.len());
            stack.extend_from_slice(frames.get(..room).unwrap_or(frames));
        }
        Some(stack)
    }

    /// The frame of a function that the file names beside its address.
    pub(crate) fn named(&mut self, frame: Frame) -> u32 {
        self.builder.frame(frame)
    }

    /// Adds `live count, live bytes, allocated count, allocated bytes` of the samples at `stack`,
    /// each pair scaled up by `scale`.
    pub(crate) fn add(&mut self, stack: &[u32], figures: [u64; 4], scale: impl Fn(u64, u64) -> (u64, u64)) {
        let [count, bytes, all_count, all_bytes] = figures;
        self.samples = self.samples.saturating_add(count);
        let (live_count, live_bytes) = scale(count, bytes);
        let (allocated_count, allocated_bytes) = scale(all_count, all_bytes);
        let site = ProfileSite {
            live_count,
            live_bytes,
            allocated_count,
            allocated_bytes,
            ..ProfileSite::default()
        };
        if stack.is_empty() {
            self.without = (self.without.0 + 1, self.without.1.saturating_add(live_bytes));
            let frame = self.builder.frame(named(NO_STACK, FrameKind::Native));
            self.builder.add(&[frame], &site);
            return;
        }
        self.builder.add(stack, &site);
    }

    /// Live samples so far.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    pub(crate) fn note(&mut self, note: String) {
        self.builder.profile().notes.push(note);
    }

    pub(crate) fn finish(mut self, interval: u64, cut: Option<Cut>) -> Parsed {
        if self.without.0 > 0 {
            let note =
                format!("{} of live memory {WHY_NO_STACK}", offheap_model::units::bytes(self.without.1));
            self.note(note);
        }
        self.builder.profile().sampling.interval_bytes = interval;
        self.builder.profile().sampling.samples = self.samples;
        self.builder.finish(self.mappings, cut)
    }
}

/// `n: n [n: n]`: live blocks and bytes, allocated blocks and bytes.
pub(crate) fn four(text: &str) -> Option<[u64; 4]> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    let mut next = || numbers.next()?.parse().ok();
    let four = [next()?, next()?, next()?, next()?];
    text.trim_end().ends_with(']').then_some(four)
}

/// The mappings of files in `text`; other lines are passed over. Layout: proc(5), `/proc/pid/maps`.
pub(crate) fn mappings(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(mapping).collect()
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let _permissions = fields.next()?;
    let offset = fields.next()?;
    let (_device, _inode) = (fields.next()?, fields.next()?);
    // A path may hold blanks: it is all the rest.
    let path = line.get(line.find('/')?..)?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        path: path.to_owned(),
        build_id: None,
    })
}

/// The file that is mapped at `address`; `mappings` are sorted.
pub(crate) fn module(mappings: &[Mapping], address: u64) -> Option<&str> {
    let next = mappings.partition_point(|mapping| mapping.start <= address);
    let mapping = mappings.get(next.checked_sub(1)?)?;
    (address < mapping.end).then_some(mapping.path.as_str())
}

/// What a sampled figure stands for: of blocks of mean size s sampled each `interval` bytes by a
/// Poisson process, one is seen with probability 1 − e^(−s / interval). jeprof does the same for
/// `heap_v2`.
pub(crate) fn unbias(count: u64, bytes: u64, interval: u64) -> (u64, u64) {
    if count == 0 || interval <= 1 {
        return (count, bytes);
    }
    let ratio = bytes as f64 / count as f64 / interval as f64;
    let seen = 1.0 - (-ratio).exp();
    if seen <= 0.0 {
        return (count, bytes);
    }
    ((count as f64 / seen).round() as u64, (bytes as f64 / seen).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_of_long_inlined_ones_ends() {
        let names = Names::from_iter([(0x2000, vec!["f".to_owned(); 1000])]);
        let mut stacks = Stacks { names, ..Stacks::default() };
        let addresses = "0x1000 ".to_owned() + &"0x2000 ".repeat(1000);
        let frames = stacks.frames(&addresses).unwrap();
        assert_eq!(frames.len(), MAX_DEPTH);
        assert_ne!(frames[0], frames[1]);
        assert_eq!(stacks.frames(&(addresses + "nonsense")), None);
    }
}
