//! The code of a process that no agent can be loaded into, by probes of the kernel.

use super::frames::{Frames, sort};
use super::names::{Libraries, native_frames};
use offheap_diagnose::is_of_pages;
use offheap_linux::page_bytes;
use offheap_model::{Age, Frame, FrameLabel, Profile, ProfileSite, Sampling, vocabulary};
use offheap_probe::{Block, Module, ProbeError, Sampler, Total};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// What came in this last part of the window may go yet.
const TAIL: f64 = 1.0 / 3.0;
/// Pages that came in this many last seconds may go yet: pages were seen to stay, and are all young
/// where a large block has just been replaced by a larger one.
/// Unit: s.
const YOUNG: f64 = 5.0;

/// The sampled allocations of a process, gathered over a window.
#[derive(Debug)]
pub struct Probed {
    sampler: Sampler,
    start_ms: i64,
    libraries: Libraries,
    /// The frames of addresses that were named before, by the library, where it begins, and the
    /// address: a profile is made every few seconds, and its stacks are much the same.
    named: RefCell<HashMap<(String, u64, u64), Vec<Frame>>>,
}

impl Probed {
    /// Begins.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn start(pid: i32) -> Result<Probed, ProbeError> {
        let start_ms = crate::clock::now_ms();
        let sampler = Sampler::start(pid)?;
        Ok(Probed { sampler, start_ms, libraries: Libraries::default(), named: RefCell::default() })
    }

    /// How long until there is something to do.
    pub fn wait(&self) -> Duration {
        self.sampler.wait()
    }

    /// Does it: takes some samples, if it is time.
    pub fn step(&mut self) {
        self.sampler.burst();
    }

    /// The sites as they are now.
    pub fn profile(&self) -> Profile {
        let seconds = self.sampler.seconds();
        let mut profile = Profile {
            start_ms: self.start_ms,
            seconds,
            sampling: Sampling {
                interval_bytes: 0,
                samples: self.sampler.samples(),
                dropped: self.sampler.lost(),
            },
            ..Profile::default()
        };
        profile.notes.push(
            "No agent can be loaded into a program without a JVM while it runs: these are blocks of malloc, sampled by probes \
             of the kernel in short bursts, and still in use; and memory that has a mapping of its own, page by page, with the \
             code that was first to write to it."
                .to_owned(),
        );
        // Stacks that read the same are one site.
        let mut by_frames: HashMap<Vec<Frame>, (Vec<Block>, Vec<Total>)> = HashMap::new();
        let mut blocks: HashMap<usize, Vec<Block>> = HashMap::new();
        let live = self.sampler.live();
        for block in live.blocks {
            blocks.entry(block.stack).or_default().push(block);
        }
        for (number, (stack, total)) in self.sampler.stacks().iter().zip(self.sampler.totals()).enumerate() {
            if total.count == 0.0 {
                continue;
            }
            let site = by_frames.entry(self.frames(stack)).or_default();
            site.0.extend(blocks.remove(&number).unwrap_or_default());
            site.1.push(*total);
        }
        for page in live.pages {
            let Some(stack) = self.sampler.stacks().get(page.stack) else { continue };
            let frames = writer(self.frames(stack), page.is_block);
            let weight = page.bytes / page_bytes() as f64;
            let block = Block { at: page.at, bytes: page_bytes(), weight, stack: page.stack };
            by_frames.entry(frames).or_default().0.push(block);
        }
        let mut numbered = Frames::default();
        for (frames, (blocks, totals)) in by_frames {
            let tail = if is_of_pages(&frames) { YOUNG.min(seconds * TAIL) } else { seconds * TAIL };
            profile.sites.push(site(numbered.numbers(frames), blocks, &totals, seconds, seconds - tail));
        }
        profile.frames = numbered.list();
        sort(&mut profile.sites);
        profile
    }

    fn frames(&self, stack: &[u64]) -> Vec<Frame> {
        let frames: Vec<Frame> = stack.iter().flat_map(|address| self.frame(*address)).collect();
        if frames.is_empty() {
            return vec![FrameLabel::NoStack.frame()];
        }
        frames
    }

    fn frame(&self, address: u64) -> Vec<Frame> {
        let known = |module: &&Module| module.holds(address);
        let Some(module) = self.sampler.modules().iter().find(known) else { return Vec::new() };
        let place = (module.path.clone(), module.start, address);
        if let Some(frames) = self.named.borrow().get(&place) {
            return frames.clone();
        }
        let process = self.sampler.process();
        let vmas = process.maps().unwrap_or_default();
        let wanted = offheap_symbols::Module {
            path: &module.path,
            start: module.start,
            build_id: &module.build_id,
            loaded: None,
        };
        let symbols = self.libraries.symbols(Some(process), &vmas, wanted);
        // A return address may lie behind the last instruction of the caller.
        let own = address.wrapping_sub(module.bias).wrapping_sub(1);
        let frames = native_frames(symbols.as_deref(), own, &module.path);
        self.named.borrow_mut().insert(place, frames.clone());
        frames
    }
}

/// The stack of the code that was first to write to a page, labelled in the place of the
/// allocator's frame: without the C library's own, which copies or clears for its caller.
fn writer(frames: Vec<Frame>, is_block: bool) -> Vec<Frame> {
    let own = frames.iter().position(|frame| !vocabulary::is_c_library(frame.file_name())).unwrap_or(0);
    let label = if is_block { FrameLabel::FirstWrite } else { FrameLabel::FirstWriteToMap };
    std::iter::once(label.frame()).chain(frames.into_iter().skip(own)).collect()
}

/// What the blocks of one stack come to: those in use, and all that were allocated.
/// Growth is what came until `over`, seconds.
fn site(stack: Vec<u32>, mut blocks: Vec<Block>, totals: &[Total], seconds: f64, over: f64) -> ProfileSite {
    blocks.sort_by_key(|block| block.at);
    let bytes = |blocks: &[Block]| blocks.iter().map(|b| b.bytes as f64 * b.weight).sum::<f64>();
    let until = |at: f64| {
        let end = blocks.partition_point(|block| block.at.as_secs_f64() <= at);
        blocks.get(..end).map_or(0.0, bytes)
    };
    // All of it came in the time that it was watched.
    let (old, over) = (until(over), over.max(1.0));
    // Blocks of one burst are one piece of luck.
    let mut bursts: Vec<Duration> =
        blocks.iter().map(|block| block.at).take_while(|at| at.as_secs_f64() <= over).collect();
    bursts.dedup();
    let error = 1.96 / (bursts.len().max(1) as f64).sqrt();
    let slope = old / over;
    // Oldest first.
    let age = |part: usize| blocks.get(blocks.len() / part).map_or(0.0, |b| seconds - b.at.as_secs_f64());
    let live = (bytes(&blocks), blocks.iter().map(|block| block.weight).sum::<f64>());
    let allocated = |of: fn(&Total) -> f64| totals.iter().map(of).sum::<f64>();
    ProfileSite {
        stack,
        live_bytes: live.0.round() as u64,
        live_count: live.1.round() as u64,
        leak_bytes: until(seconds * (1.0 - TAIL)).round() as u64,
        allocated_bytes: allocated(Total::bytes).max(live.0).round() as u64,
        allocated_count: allocated(|total| total.count).max(live.1).round() as u64,
        slope_bytes_per_s: Some(slope),
        slope_ci95: Some([slope * (1.0 - error), slope * (1.0 + error)]),
        age_seconds: (!blocks.is_empty()).then(|| Age { p50: age(2), p90: age(10) }),
    }
}
