//! Makes a [`Profile`] out of stacks as a reader meets them.

use crate::Cut;
use foldhash::fast::RandomState;
use offheap_model::{Frame, FrameKind, Profile, ProfileSite};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Frames of a stack that are kept, from the innermost on.
pub(crate) const MAX_DEPTH: usize = 4096;

/// Frames of all stacks together that are kept. Formats with trees of stacks can claim thousands of
/// frames in a few bytes; ten thousand honest stacks have a fiftieth of this.
const MAX_FRAMES: usize = 1 << 25;

/// Frames that are met in all stacks together; stacks beyond that are shortened too. What a few
/// bytes claim over and over takes time, though it takes no memory.
const MAX_MET: u64 = 1 << 29;

/// Bytes of a name, a file or a module that are kept: C++ has names of ten thousand.
pub(crate) const MAX_NAME: usize = offheap_demangle::MOST;

/// Text of all frames together that is kept, bytes. A file can name one long string in each of a
/// million frames; an honest profile has a million frames of two hundred bytes.
const MAX_TEXT: usize = 256 << 20;

/// The frame that stands for those whose names are beyond that.
const NAMELESS: &str = "(too many names)";

/// What a reader gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// The profile.
    pub profile: Profile,
    /// For each of the profile's frames its address, where the file has addresses instead of names;
    /// such a frame's name is the address in hexadecimal until somebody symbolises it. Empty where
    /// the file has names.
    pub addresses: Vec<Option<u64>>,
    /// What was mapped where, for symbolising.
    pub mappings: Vec<Mapping>,
    /// Where the readable part ends, where that is before the file's end.
    pub cut: Option<Cut>,
}

impl Parsed {
    /// The same with names for frames that are only addresses, where `name` knows one; sites that
    /// are one by then are added up.
    pub fn named(self, mut name: impl FnMut(u64, &Frame) -> Option<Frame>) -> Parsed {
        if self.addresses.iter().all(Option::is_none) {
            return self;
        }
        let mut builder = Builder::new();
        let mut numbers = Vec::with_capacity(self.profile.frames.len());
        for (frame, address) in self.profile.frames.iter().zip(&self.addresses) {
            let named = address.and_then(|address| name(address, frame));
            numbers.push(match (named, *address) {
                (Some(named), _) => builder.frame(named),
                (None, Some(_)) => builder.intern(frame.clone(), *address),
                (None, None) => builder.frame(frame.clone()),
            });
        }
        for site in &self.profile.sites {
            let stack: Vec<u32> =
                site.stack.iter().filter_map(|index| numbers.get(*index as usize).copied()).collect();
            builder.add(&stack, site);
        }
        let Builder { profile: Profile { frames, sites, .. }, .. } = &mut builder;
        let (frames, sites) = (std::mem::take(frames), std::mem::take(sites));
        *builder.profile() = Profile { frames, sites, ..self.profile };
        let cut = self.cut.clone();
        // It is among the notes already.
        let parsed = builder.finish(self.mappings, None);
        Parsed { cut, ..parsed }
    }
}

/// A mapping of a file into the profiled process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset in the file that `start` shows.
    pub offset: u64,
    /// The file.
    pub path: String,
    /// The file's build id in hexadecimal, where the profile tells it.
    pub build_id: Option<String>,
}

/// Makes a profile: every frame once, every stack once, the figures of equal stacks added.
#[derive(Debug)]
pub struct Builder {
    profile: Profile,
    frames: HashMap<(Frame, Option<u64>), u32, RandomState>,
    sites: HashMap<Vec<u32>, usize, RandomState>,
    addresses: Vec<Option<u64>>,
    has_addresses: bool,
    kept: usize,
    met: u64,
    /// Bytes of text that may still be kept.
    room: usize,
    shortened: u64,
    nameless: u64,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            profile: Profile::default(),
            frames: HashMap::default(),
            sites: HashMap::default(),
            addresses: Vec::new(),
            has_addresses: false,
            kept: 0,
            met: 0,
            room: MAX_TEXT,
            shortened: 0,
            nameless: 0,
        }
    }
}

impl Builder {
    /// An empty one.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The number of `frame` in the profile.
    pub fn frame(&mut self, frame: Frame) -> u32 {
        self.intern(frame, None)
    }

    /// The number of a frame known by its address only, in `module` where that is known.
    pub fn address(&mut self, address: u64, module: Option<&str>) -> u32 {
        let frame = Frame {
            name: format!("{address:#x}"),
            kind: FrameKind::Native,
            file: None,
            line: None,
            module: module.map(str::to_owned),
        };
        self.intern(frame, Some(address))
    }

    fn intern(&mut self, mut frame: Frame, address: Option<u64>) -> u32 {
        self.has_addresses |= address.is_some();
        let texts = [Some(&mut frame.name), frame.file.as_mut(), frame.module.as_mut()];
        texts.into_iter().flatten().for_each(shorten);
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let bytes = frame.name.len() + length(&frame.file) + length(&frame.module);
        match self.frames.entry((frame, address)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) if bytes > self.room && new.key().0.name != NAMELESS => {
                let kind = new.key().0.kind;
                self.nameless += 1;
                self.intern(named(NAMELESS, kind), None)
            }
            Entry::Vacant(new) => {
                // As many as there are bytes in the file at most: no file has 2^32 of them.
                let number = u32::try_from(self.profile.frames.len()).unwrap_or(u32::MAX);
                self.room = self.room.saturating_sub(bytes);
                self.profile.frames.push(new.key().0.clone());
                self.addresses.push(address);
                *new.insert(number)
            }
        }
    }

    /// Adds `figures` (its `stack` is ignored) to the site with `stack`, innermost frame first.
    pub fn add(&mut self, stack: &[u32], figures: &ProfileSite) {
        let mut stack = stack.get(..MAX_DEPTH).unwrap_or(stack);
        self.met = self.met.saturating_add(stack.len() as u64);
        let is_too_much = || self.kept + stack.len() > MAX_FRAMES && !self.sites.contains_key(stack);
        if self.met > MAX_MET || is_too_much() {
            stack = stack.get(..1).unwrap_or(stack);
            self.shortened += 1;
        }
        let index = match self.sites.get(stack) {
            Some(index) => *index,
            None => {
                self.kept += stack.len();
                self.sites.insert(stack.to_vec(), self.profile.sites.len());
                self.profile.sites.push(ProfileSite { stack: stack.to_vec(), ..ProfileSite::default() });
                self.profile.sites.len() - 1
            }
        };
        let Some(site) = self.profile.sites.get_mut(index) else { return };
        for (sum, more) in [
            (&mut site.live_bytes, figures.live_bytes),
            (&mut site.live_count, figures.live_count),
            (&mut site.leak_bytes, figures.leak_bytes),
            (&mut site.allocated_bytes, figures.allocated_bytes),
            (&mut site.allocated_count, figures.allocated_count),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// The same with C++ and Rust names as their authors wrote them.
    fn in_plain_names(self) -> Builder {
        let mut plain = Builder { shortened: self.shortened, nameless: self.nameless, ..Builder::new() };
        let numbers: Vec<u32> = self
            .profile
            .frames
            .iter()
            .zip(&self.addresses)
            .map(|(frame, address)| {
                let name = crate::mangled::plain(&frame.name).unwrap_or_else(|| frame.name.clone());
                plain.intern(Frame { name, ..frame.clone() }, *address)
            })
            .collect();
        for site in &self.profile.sites {
            let stack: Vec<u32> =
                site.stack.iter().filter_map(|index| numbers.get(*index as usize).copied()).collect();
            plain.add(&stack, site);
        }
        let Profile { frames, sites, .. } = std::mem::take(&mut plain.profile);
        plain.profile = Profile { frames, sites, ..self.profile };
        plain
    }

    /// The profile under construction, for everything but its frames and sites.
    pub fn profile(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// The result; its sites sorted as [`Profile::sites`] asks for.
    pub fn finish(mut self, mappings: Vec<Mapping>, cut: Option<Cut>) -> Parsed {
        if self.profile.frames.iter().any(|frame| crate::mangled::is_mangled(&frame.name)) {
            self = self.in_plain_names();
        }
        let mut profile = self.profile;
        profile.sites.sort_by(|a, b| {
            (b.leak_bytes, b.live_bytes, b.allocated_bytes)
                .cmp(&(a.leak_bytes, a.live_bytes, a.allocated_bytes))
                .then_with(|| a.stack.cmp(&b.stack))
        });
        profile.notes.extend(cut.iter().map(Cut::to_string));
        if self.shortened > 0 {
            let what =
                "stacks are shortened to their innermost frame: all together are too many frames to keep";
            profile.notes.push(format!("{} {what}", self.shortened));
        }
        if self.nameless > 0 {
            profile.notes.push(format!(
                "{} frames have lost their names: all together are too long to keep",
                self.nameless
            ));
        }
        let addresses = if self.has_addresses { self.addresses } else { Vec::new() };
        Parsed { profile, addresses, mappings, cut }
    }
}

impl Builder {
    /// Whether stacks are shortened by now whatever they are: a reader need not make long ones any
    /// more.
    pub(crate) fn is_tired(&self) -> bool {
        self.met > MAX_MET
    }
}

/// Cuts a text that is longer than any name.
fn shorten(text: &mut String) {
    if text.len() > MAX_NAME {
        *text = short(text);
    }
}

/// A copy of `text`, cut where it is longer than any name.
fn short(text: &str) -> String {
    if text.len() <= MAX_NAME {
        return text.to_owned();
    }
    let end = (0..=MAX_NAME).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let mut cut = text.get(..end).unwrap_or_default().to_owned();
    cut.push('…');
    cut
}

/// What kind of frame a bare `name` stands for, by its look: there is nothing else to go by in
/// formats that keep only names.
pub(crate) fn kind_by_name(name: &str) -> FrameKind {
    if name.ends_with(".py") || name.contains(".py:") {
        return FrameKind::Python;
    }
    let native = name.contains("::") || name.contains('(') || name.contains('<') || name.contains(".so");
    let dotted = name.rsplit_once(['.', '/']).is_some_and(|(class, method)| {
        !class.is_empty()
            && !method.is_empty()
            && class.starts_with(|c: char| c.is_ascii_lowercase())
            && class.contains(['.', '/'])
            && class.chars().any(|c| c.is_ascii_uppercase())
    });
    // `<init>` and `<clinit>` are Java's own.
    let java = dotted && (!native || name.ends_with(".<init>") || name.ends_with(".<clinit>"));
    if java { FrameKind::Java } else { FrameKind::Native }
}

/// A frame of which only the name is known; one that is longer than any name is not copied whole.
pub(crate) fn named(name: &str, kind: FrameKind) -> Frame {
    Frame { name: short(name), kind, file: None, line: None, module: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_are_one_site_and_the_worst_is_first() {
        let mut builder = Builder::new();
        let main = builder.frame(named("main", FrameKind::Native));
        let leak = builder.frame(named("leak", FrameKind::Native));
        assert_eq!(builder.frame(named("main", FrameKind::Native)), main);
        let bytes = |live_bytes| ProfileSite { live_bytes, ..ProfileSite::default() };
        builder.add(&[main], &bytes(5));
        builder.add(&[leak, main], &bytes(4));
        builder.add(&[leak, main], &bytes(4));
        let profile = builder.finish(Vec::new(), None).profile;
        assert_eq!(profile.sites.len(), 2);
        assert_eq!((profile.sites[0].live_bytes, profile.sites[0].stack.clone()), (8, vec![leak, main]));
    }

    #[test]
    fn all_stacks_together_are_bounded_and_no_byte_is_lost() {
        let mut builder = Builder::new();
        let frames: Vec<u32> =
            (0..3).map(|n| builder.frame(named(&n.to_string(), FrameKind::Native))).collect();
        let rounds = (MAX_FRAMES / MAX_DEPTH) as u32 + 100;
        let mut stack = vec![frames[0]; MAX_DEPTH];
        for round in 0..rounds {
            // All differ.
            for bit in 0..20 {
                stack[1 + bit] = frames[(round >> bit & 1) as usize];
            }
            builder.add(&stack, &ProfileSite { live_bytes: 1, ..ProfileSite::default() });
        }
        let profile = builder.finish(Vec::new(), None).profile;
        assert!(profile.sites.iter().map(|site| site.stack.len()).sum::<usize>() <= MAX_FRAMES + 100);
        assert_eq!(profile.sites.iter().map(|site| site.live_bytes).sum::<u64>(), u64::from(rounds));
        assert!(profile.notes[0].starts_with("100 stacks are shortened"), "{:?}", profile.notes);
    }

    #[test]
    fn what_is_met_over_and_over_is_shortened_in_the_end() {
        let mut builder = Builder::new();
        let frame = builder.frame(named("f", FrameKind::Native));
        let stack = vec![frame; MAX_DEPTH];
        let rounds = MAX_MET / MAX_DEPTH as u64 + 100;
        for _ in 0..rounds {
            builder.add(&stack, &ProfileSite { live_bytes: 1, ..ProfileSite::default() });
        }
        assert!(builder.is_tired());
        let profile = builder.finish(Vec::new(), None).profile;
        let sites: Vec<_> = profile.sites.iter().map(|site| (site.stack.len(), site.live_bytes)).collect();
        assert_eq!(sites, [(MAX_DEPTH, rounds - 100), (1, 100)]);
        assert!(profile.notes[0].starts_with("100 stacks are shortened"), "{:?}", profile.notes);
    }

    #[test]
    fn text_is_bounded_however_often_it_is_named() {
        let mut builder = Builder { room: 100_000, ..Builder::new() };
        let long = "x".repeat(40 << 10);
        for line in 0..100 {
            let mut frame = named(&long, FrameKind::Native);
            frame.line = Some(line);
            let frame = builder.frame(frame);
            builder.add(&[frame], &ProfileSite { live_bytes: 1, ..ProfileSite::default() });
        }
        let profile = builder.finish(Vec::new(), None).profile;
        let lengths: Vec<usize> = profile.frames.iter().map(|frame| frame.name.len()).collect();
        // Each is cut, and when there is no more room the others are one.
        let cut = MAX_NAME + '…'.len_utf8();
        assert_eq!(named(&long, FrameKind::Native).name.len(), cut);
        assert_eq!(lengths, [cut, cut, cut, NAMELESS.len()]);
        assert_eq!(profile.sites.iter().map(|site| site.live_bytes).sum::<u64>(), 100);
        assert!(profile.notes[0].starts_with("97 frames have lost their names"), "{:?}", profile.notes);
    }

    #[test]
    fn names_show_their_kind() {
        for java in ["java.lang.Thread.run", "org/example/App.main", "a.B.<init>"] {
            assert_eq!(kind_by_name(java), FrameKind::Java, "{java}");
        }
        for native in
            ["malloc", "std::vector<a.b.C>::push_back", "libfoo.so.1", "operator new(unsigned long)", "x.c"]
        {
            assert_eq!(kind_by_name(native), FrameKind::Native, "{native}");
        }
    }
}
