//! From copies of the live file over a window to sites with live bytes, ages and slopes.

use super::frames::{Frames, sort};
use super::names::{Libraries, Names};
use offheap_diagnose::stats::{Point, Trend};
use offheap_linux::Process;
use offheap_live::{Counter, LiveError, Reader, RegionKind, Stack};
use offheap_model::units::bytes;
use offheap_model::{Age, Frame, FrameLabel, Profile, ProfileSite, Sampling};
use std::collections::{HashMap, HashSet};

/// Fewer readings than these give no slope.
const MIN_POINTS: usize = 5;
/// More readings than these are not kept: then every other one goes, so that a window has no limit.
const MAX_READINGS: usize = 64;

/// By stack; `None` where there are several.
type Classes = HashMap<u32, Option<String>>;

/// A stack's key in the live file; `None` for samples whose stack could not be kept.
type Key = Option<u32>;

/// What is live at a moment. Keys are indices of the live file, which never change their meaning
/// while it lives.
#[derive(Debug)]
struct Reading {
    seconds: f64,
    live: HashMap<Key, f64>,
}

/// The totals at the window's begin: an agent that was there before has counted on.
#[derive(Debug, Default)]
struct Before {
    allocated: HashMap<u32, (f64, f64)>,
    samples: u64,
    dropped: u64,
}

/// Readings of one live file over a window.
#[derive(Debug)]
pub struct Window {
    start_ms: i64,
    start_ns: u64,
    before: Before,
    readings: Vec<Reading>,
    /// What the stacks map, that map instead of allocating.
    maps: HashMap<u32, RegionKind>,
    /// The class of the Java objects that the stacks allocate, as far as it is one.
    classes: Classes,
    last: Vec<u8>,
    last_ns: u64,
    libraries: Libraries,
}

/// A live sampled block, mapping or Java object.
struct Piece {
    key: Key,
    bytes: f64,
    count: f64,
    time_ns: u64,
}

impl Window {
    /// Begins with the reading `bytes`, taken at `now_ns` of CLOCK_MONOTONIC and `start_ms` of the
    /// calendar. `was_there`: the agent is an earlier run's, and its totals so far are not this
    /// window's.
    ///
    /// # Errors
    /// It is no live file.
    pub fn begin(bytes: Vec<u8>, now_ns: u64, start_ms: i64, was_there: bool) -> Result<Window, LiveError> {
        let reader = Reader::new(&bytes)?;
        let before = if was_there {
            Before {
                allocated: reader.stacks().map(|s| (s.id, (s.alloc_bytes, s.alloc_count))).collect(),
                samples: reader.counter(Counter::Samples),
                dropped: reader.dropped(),
            }
        } else {
            Before::default()
        };
        Window::new(start_ms, now_ns, before, bytes, now_ns)
    }

    /// Begins with the reading `bytes` of an agent that was there from its process's begin on: all
    /// that it has counted is the window's.
    ///
    /// # Errors
    /// It is no live file.
    pub fn from_begin(bytes: Vec<u8>, now_ns: u64) -> Result<Window, LiveError> {
        let info = Reader::new(&bytes)?.info();
        let start_ms = i64::try_from(info.start_realtime_ns / 1_000_000).unwrap_or(0);
        Window::new(start_ms, info.start_monotonic_ns, Before::default(), bytes, now_ns)
    }

    fn new(
        start_ms: i64,
        start_ns: u64,
        before: Before,
        bytes: Vec<u8>,
        now_ns: u64,
    ) -> Result<Window, LiveError> {
        let mut window = Window {
            start_ms,
            start_ns,
            before,
            readings: Vec::new(),
            maps: HashMap::new(),
            classes: Classes::new(),
            last: Vec::new(),
            last_ns: now_ns,
            libraries: Libraries::default(),
        };
        window.add(bytes, now_ns)?;
        Ok(window)
    }

    /// From the one reading that a live file gives whose process may have ended: the window is from
    /// its making to the last thing in it. It has no slopes.
    ///
    /// # Errors
    /// It is no live file.
    pub fn left_behind(bytes: Vec<u8>) -> Result<Window, LiveError> {
        let reader = Reader::new(&bytes)?;
        let info = reader.info();
        let times = reader.samples().map(|sample| sample.time_ns);
        let times = times.chain(reader.regions().map(|region| region.time_ns));
        let times = times.chain(reader.stacks().map(|stack| stack.first_ns));
        let last_ns = times.fold(info.start_monotonic_ns, u64::max);
        Window::from_begin(bytes, last_ns)
    }

    /// Whether `bytes` go on with this window: a process that replaces itself (exec) begins another
    /// live file.
    pub fn goes_on_with(&self, bytes: &[u8]) -> bool {
        let made = |bytes| Reader::new(bytes).map(|reader| reader.info().start_monotonic_ns);
        made(bytes).is_ok_and(|new| made(&self.last).is_ok_and(|last| last == new))
    }

    /// Adds a reading.
    ///
    /// # Errors
    /// It is no live file.
    pub fn add(&mut self, bytes: Vec<u8>, now_ns: u64) -> Result<(), LiveError> {
        let reader = Reader::new(&bytes)?;
        let mut live: HashMap<Key, f64> = HashMap::new();
        self.maps.extend(reader.regions().filter_map(|region| Some((region.stack?, region.kind))));
        for object in reader.objects() {
            let class = object.class.map(|class| String::from_utf8_lossy(class).replace('/', "."));
            if let Some(stack) = object.stack {
                let known = self.classes.entry(stack).or_insert_with(|| class.clone());
                if *known != class {
                    *known = None;
                }
            }
        }
        for piece in pieces(&reader) {
            *live.entry(piece.key).or_default() += piece.bytes;
        }
        if self.readings.len() >= MAX_READINGS {
            let mut place = 0;
            self.readings.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        self.readings.push(Reading { seconds: seconds(self.start_ns, now_ns), live });
        (self.last, self.last_ns) = (bytes, now_ns);
        Ok(())
    }

    /// Reads the symbols of the libraries seen so far while `process` lives: a container's file
    /// system ends with it.
    ///
    /// # Errors
    /// As [`Window::add`], which has already looked.
    pub fn learn(&self, process: &Process) -> Result<(), LiveError> {
        let reader = Reader::new(&self.last)?;
        let mut names = Names::new(reader, Some(process), &self.libraries);
        for stack in reader.stacks() {
            names.frames(&stack);
        }
        Ok(())
    }

    /// Samples taken in the window up to the latest reading.
    pub fn samples(&self) -> u64 {
        let taken = Reader::new(&self.last).map_or(0, |reader| reader.counter(Counter::Samples));
        taken.saturating_sub(self.before.samples)
    }

    /// Java objects sampled up to the latest reading.
    pub fn objects(&self) -> u64 {
        Reader::new(&self.last).map_or(0, |reader| reader.counter(Counter::Objects))
    }

    /// Live bytes at the latest reading.
    pub fn live_bytes(&self) -> f64 {
        self.readings.last().map_or(0.0, |reading| reading.live.values().sum())
    }

    /// The profile, at the moment of the latest reading, with the names of `process`'s libraries.
    ///
    /// # Errors
    /// As [`Window::add`], which has already looked.
    pub fn profile(&self, process: &Process) -> Result<Profile, LiveError> {
        self.profile_of(Some(process))
    }

    /// As [`Window::profile`], also where there is no process any more: its libraries are then
    /// looked for in our own file system, and believed by their build id or their age.
    ///
    /// # Errors
    /// As [`Window::add`].
    pub fn profile_of(&self, process: Option<&Process>) -> Result<Profile, LiveError> {
        let reader = Reader::new(&self.last)?;
        let length = seconds(self.start_ns, self.last_ns);
        let tail_ns = self.last_ns - (self.last_ns - self.start_ns) / 3;
        let mut groups = Groups::new(Names::new(reader, process, &self.libraries), &self.maps, &self.classes);
        for piece in pieces(&reader) {
            let site = groups.site(&reader, piece.key);
            site.live_bytes += piece.bytes;
            site.live_count += piece.count;
            if piece.time_ns < tail_ns && !site.space {
                site.leak_bytes += piece.bytes;
            }
            site.ages.push((seconds(piece.time_ns, self.last_ns), piece.count));
        }
        for stack in reader.stacks() {
            let (bytes, count) = self.before.allocated.get(&stack.id).copied().unwrap_or_default();
            let site = groups.site(&reader, Some(stack.id));
            site.allocated_bytes += stack.alloc_bytes - bytes;
            site.allocated_count += stack.alloc_count - count;
        }
        for (index, reading) in self.readings.iter().enumerate() {
            for (key, bytes) in &reading.live {
                let site = groups.site(&reader, *key);
                site.series.resize(self.readings.len(), 0.0);
                if let Some(sum) = site.series.get_mut(index) {
                    *sum += bytes;
                }
            }
        }
        let times: Vec<f64> = self.readings.iter().map(|reading| reading.seconds).collect();
        let (frames, groups) = groups.finish();
        let spaces: f64 = groups.iter().filter(|group| group.space).map(|group| group.live_bytes).sum();
        let mut notes = Vec::new();
        if spaces > 0.0 {
            notes.push(format!(
                "{} of the live bytes are the JVM's own spaces (Java heap, metaspace, code cache, what the collector needs), \
                 which it has mapped itself: no leak of this code. offheap map PID tells how much of each there is.",
                bytes(spaces as u64)
            ));
        }
        let left = reader.counter(Counter::SlotsLeft);
        if left > 0 {
            notes.push(format!(
                "{left} places that lead to malloc were left alone, since the program protects them: what is allocated by way of \
                 them is not seen."
            ));
        }
        let mut sites: Vec<ProfileSite> = groups.into_iter().map(|group| group.site(&times)).collect();
        // What an earlier run saw come and go is nothing of this window.
        sites.retain(|site| site.live_bytes > 0 || site.allocated_bytes > 0);
        sort(&mut sites);
        Ok(Profile {
            start_ms: self.start_ms,
            seconds: length,
            sampling: Sampling {
                interval_bytes: reader.info().interval,
                samples: reader.counter(Counter::Samples).saturating_sub(self.before.samples),
                dropped: reader.dropped().saturating_sub(self.before.dropped),
            },
            frames,
            sites,
            notes,
        })
    }
}

/// All that is live. A block that moves while it is read can be seen twice: an address counts once.
fn pieces<'a>(reader: &Reader<'a>) -> impl Iterator<Item = Piece> + use<'a> {
    let mut seen = HashSet::new();
    let blocks = reader.samples().filter(move |sample| seen.insert(sample.addr)).map(|sample| Piece {
        key: sample.stack,
        bytes: sample.size as f64 * sample.weight,
        count: sample.weight,
        time_ns: sample.time_ns,
    });
    let regions = reader.regions().map(|region| Piece {
        key: region.stack,
        bytes: region.end.saturating_sub(region.start) as f64 * region.weight,
        count: region.weight,
        time_ns: region.time_ns,
    });
    let objects = reader.objects().map(|object| Piece {
        key: object.stack,
        bytes: object.size as f64 * object.weight,
        count: object.weight,
        time_ns: object.time_ns,
    });
    blocks.chain(regions).chain(objects)
}

/// Stacks that read the same are one site: the same call at two addresses, or compiled twice.
struct Groups<'a> {
    names: Names<'a>,
    maps: &'a HashMap<u32, RegionKind>,
    classes: &'a Classes,
    frames: Frames,
    by_key: HashMap<Key, usize>,
    by_stack: HashMap<Vec<u32>, usize>,
    groups: Vec<Group>,
}

#[derive(Debug, Default)]
struct Group {
    stack: Vec<u32>,
    /// Mapped by the JVM for one of its spaces. Which of them grows, and whether that is a leak, is
    /// the account's to say.
    space: bool,
    live_bytes: f64,
    live_count: f64,
    leak_bytes: f64,
    allocated_bytes: f64,
    allocated_count: f64,
    /// Age in seconds and weight of each live sample.
    ages: Vec<(f64, f64)>,
    /// Live bytes at each reading; empty where there were none at any.
    series: Vec<f64>,
}

impl<'a> Groups<'a> {
    fn new(names: Names<'a>, maps: &'a HashMap<u32, RegionKind>, classes: &'a Classes) -> Self {
        Groups {
            names,
            maps,
            classes,
            frames: Frames::default(),
            by_key: HashMap::new(),
            by_stack: HashMap::new(),
            groups: Vec::new(),
        }
    }

    fn site(&mut self, reader: &Reader<'a>, key: Key) -> &mut Group {
        let index = match self.by_key.get(&key) {
            Some(index) => *index,
            None => {
                let (stack, space) = self.stack(reader, key);
                let new = self.groups.len();
                let index = *self.by_stack.entry(stack.clone()).or_insert(new);
                if index == new {
                    self.groups.push(Group { stack, space, ..Group::default() });
                }
                self.by_key.insert(key, index);
                index
            }
        };
        // Every index in the maps is one of a group that was pushed before.
        &mut self.groups[index]
    }

    /// The frames of a stack, and whether it maps a space of the JVM.
    fn stack(&mut self, reader: &Reader<'a>, key: Key) -> (Vec<u32>, bool) {
        let stack = key.and_then(|key| reader.stack(key));
        let mut frames = stack.map(|stack| self.names.frames(&stack)).unwrap_or_default();
        let kind = key.and_then(|key| self.maps.get(&key)).copied();
        // Nothing that an application asks for is mapped by libjvm itself: direct memory is
        // malloc's, files are libnio's.
        let space = matches!(kind, Some(RegionKind::Anonymous | RegionKind::File))
            && stack.is_some_and(|stack| is_called_by_the_jvm(reader, &stack));
        if frames.is_empty() {
            frames.push(FrameLabel::NoStack.frame());
        }
        // The allocator's own functions are in no stack; without a word a mapping would pass for a
        // malloc.
        if space {
            frames.insert(0, FrameLabel::JvmSpace.frame());
        }
        if stack.is_some_and(|stack| stack.is_object()) {
            let class = key.and_then(|key| self.classes.get(&key)).and_then(Option::as_deref);
            frames.insert(0, FrameLabel::Objects(class).frame());
        }
        match kind {
            Some(RegionKind::Anonymous) => frames.insert(0, FrameLabel::Map.frame()),
            Some(RegionKind::File) => frames.insert(0, FrameLabel::MapOfFile.frame()),
            Some(RegionKind::ThreadStack) => frames.insert(0, FrameLabel::ThreadStack.frame()),
            _ => {}
        }
        (self.frames.numbers(frames), space)
    }

    fn finish(self) -> (Vec<Frame>, Vec<Group>) {
        (self.frames.list(), self.groups)
    }
}

/// Whether the caller of the allocator is the JVM itself.
fn is_called_by_the_jvm(reader: &Reader<'_>, stack: &Stack<'_>) -> bool {
    let module = stack.frames().next().and_then(|frame| frame.module).and_then(|index| reader.module(index));
    module.is_some_and(|module| module.path.ends_with(b"/libjvm.so"))
}

impl Group {
    fn site(mut self, times: &[f64]) -> ProfileSite {
        self.ages.sort_by(|a, b| a.0.total_cmp(&b.0));
        let points: Vec<Point> =
            times.iter().zip(&self.series).map(|(t, v)| Point { t: *t, v: *v }).collect();
        // Readings of what lives for longer than their distance are no independent draws: the
        // trend's interval knows that.
        let slope = (points.len() >= MIN_POINTS && !self.space).then(|| Trend::of(&points).slope);
        ProfileSite {
            stack: self.stack,
            live_bytes: self.live_bytes.round() as u64,
            live_count: self.live_count.round() as u64,
            leak_bytes: self.leak_bytes.round() as u64,
            allocated_bytes: self.allocated_bytes.max(0.0).round() as u64,
            allocated_count: self.allocated_count.max(0.0).round() as u64,
            slope_bytes_per_s: slope.map(|slope| slope.per_s),
            slope_ci95: slope.map(|slope| slope.ci95),
            age_seconds: (!self.ages.is_empty())
                .then(|| Age { p50: quantile(&self.ages, 0.5), p90: quantile(&self.ages, 0.9) }),
        }
    }
}

/// The value below which `share` of the weight lies; `values` are sorted.
fn quantile(values: &[(f64, f64)], share: f64) -> f64 {
    let wanted = values.iter().map(|(_, weight)| weight).sum::<f64>() * share;
    let mut sum = 0.0;
    let at = values.iter().find(|(_, weight)| {
        sum += weight;
        sum >= wanted
    });
    at.or(values.last()).map_or(0.0, |(value, _)| *value)
}

fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_go_by_weight() {
        let ages = [(1.0, 1.0), (2.0, 1.0), (3.0, 8.0)];
        assert_eq!((quantile(&ages, 0.1), quantile(&ages, 0.5), quantile(&ages, 0.9)), (1.0, 3.0, 3.0));
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn what_is_no_live_file_is_an_error() {
        assert!(Window::begin(vec![0; 8192], 0, 0, false).is_err());
    }
}
