//! Profiles as the page wants them: each frame once, stacks as paths in one tree, sites as columns.

use offheap_diagnose::domain_of;
use offheap_model::{Frame, FrameKind, Profile, ProfileSite, Sampling, vocabulary};
use serde::Serialize;
use std::collections::HashMap;

/// Sites that are kept; they come with the most leaked bytes first.
const SITES: usize = 20_000;
/// Instants that are kept, evenly.
const INSTANTS: usize = 24;

/// The allocation sites.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(crate) struct Code {
    start_ms: i64,
    seconds: f64,
    sampling: Sampling,
    notes: Vec<String>,
    modules: Vec<String>,
    frames: Vec<Row>,
    /// Numbers of the frames that only hand an allocation on: a site is named by who asked for it.
    plumbing: Vec<u32>,
    /// Numbers of the frames that are methods of the JDK.
    jdk: Vec<u32>,
    /// The tree of stacks, outermost frame at the root: how far before each node its parent is
    /// (mostly 1, which keeps the page small), and its frame. Node 0 is the root, which has
    /// neither.
    up: Vec<u32>,
    node_frames: Vec<u32>,
    sites: Columns,
    instants: Vec<Instant>,
    /// How many sites were left out, and their live bytes.
    left_out: (usize, u64),
}

/// A frame: name, kind (its first letter; `v` for the JVM), file, line, number of the module.
type Row = (String, char, Option<String>, Option<u32>, Option<usize>);

/// A column each, all of one length.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
struct Columns {
    /// The node of the innermost frame.
    node: Vec<u32>,
    domain: Vec<&'static str>,
    live: Vec<u64>,
    count: Vec<u64>,
    leak: Vec<u64>,
    allocated: Vec<u64>,
    /// Bytes per second, and the 95 % interval.
    slope: Vec<Option<f64>>,
    low: Vec<Option<f64>>,
    high: Vec<Option<f64>>,
    /// Seconds: half, and a tenth of what is live is older.
    p50: Vec<Option<f64>>,
    p90: Vec<Option<f64>>,
}

/// Live bytes at one instant, only of sites that had some: of each how far after the one before it
/// is (of the first: its own number), and its bytes.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
struct Instant {
    ms: i64,
    step: Vec<usize>,
    live: Vec<u64>,
}

#[derive(Default)]
struct Builder {
    frames: Vec<Frame>,
    numbers: HashMap<Frame, u32>,
    parents: Vec<u32>,
    node_frames: Vec<u32>,
    children: HashMap<(u32, u32), u32>,
    columns: Columns,
    by_node: HashMap<u32, usize>,
}

impl Code {
    /// The sites of `profile`, with those that only `instants` have.
    pub(crate) fn of(profile: &Profile, instants: &[(i64, Profile)]) -> Code {
        let mut builder = Builder { parents: vec![0], node_frames: vec![0], ..Builder::default() };
        for site in profile.sites.iter().take(SITES) {
            builder.site(profile, site);
        }
        let left = profile.sites.get(SITES..).unwrap_or_default();
        let left_out =
            (left.len(), left.iter().fold(0, |sum: u64, site| sum.saturating_add(site.live_bytes)));
        let step = instants.len().div_ceil(INSTANTS).max(1);
        let last = instants.len().saturating_sub(1);
        let kept = instants.iter().enumerate().filter(|(index, _)| (last - index).is_multiple_of(step));
        let mut instants: Vec<Instant> = Vec::new();
        for (_, (ms, profile)) in kept {
            // Two within a second are one to whoever reads their times.
            if instants.last().is_some_and(|last| ms - last.ms < 1000) {
                instants.pop();
            }
            instants.push(builder.instant(*ms, profile));
        }
        let numbers = |is: fn(&Frame) -> bool| {
            let frames = (0..).zip(&builder.frames);
            frames.filter(|(_, frame)| is(frame)).map(|(number, _)| number).collect()
        };
        let plumbing = numbers(|frame| vocabulary::is_plumbing(&frame.name));
        let jdk = numbers(|frame| frame.kind == FrameKind::Java && vocabulary::is_of_jdk(&frame.name));
        let (modules, frames) = builder.frames();
        Code {
            start_ms: profile.start_ms,
            seconds: profile.seconds,
            sampling: profile.sampling.clone(),
            notes: profile.notes.clone(),
            modules,
            frames,
            plumbing,
            jdk,
            up: builder.parents.iter().enumerate().map(|(node, parent)| node as u32 - parent).collect(),
            node_frames: builder.node_frames,
            sites: builder.columns,
            instants,
            left_out,
        }
    }
}

impl Builder {
    fn site(&mut self, profile: &Profile, site: &ProfileSite) {
        let index = self.row(profile, &site.stack);
        let columns = &mut self.columns;
        // Two sites of one stack are one row.
        let add = |column: &mut Vec<u64>, more: u64| {
            if let Some(sum) = column.get_mut(index) {
                *sum = sum.saturating_add(more);
            }
        };
        add(&mut columns.live, site.live_bytes);
        add(&mut columns.count, site.live_count);
        add(&mut columns.leak, site.leak_bytes);
        add(&mut columns.allocated, site.allocated_bytes);
        let set = |column: &mut Vec<Option<f64>>, value: Option<f64>| {
            if let Some(cell) = column.get_mut(index) {
                // One decimal is more than can be known; NaN and infinity have no JSON.
                *cell = value.filter(|value| value.is_finite()).map(|value| (value * 10.0).round() / 10.0);
            }
        };
        set(&mut columns.slope, site.slope_bytes_per_s);
        set(&mut columns.low, site.slope_ci95.map(|[low, _]| low));
        set(&mut columns.high, site.slope_ci95.map(|[_, high]| high));
        set(&mut columns.p50, site.age_seconds.map(|age| age.p50));
        set(&mut columns.p90, site.age_seconds.map(|age| age.p90));
    }

    fn instant(&mut self, ms: i64, profile: &Profile) -> Instant {
        let mut live: Vec<(usize, u64)> = profile
            .sites
            .iter()
            .take(SITES)
            .filter(|site| site.live_bytes > 0)
            .map(|site| (self.row(profile, &site.stack), site.live_bytes))
            .collect();
        live.sort_unstable();
        let mut before = 0;
        let step = |(site, _): &(usize, u64)| site - std::mem::replace(&mut before, *site);
        Instant {
            ms,
            step: live.iter().map(step).collect(),
            live: live.iter().map(|(_, bytes)| *bytes).collect(),
        }
    }

    /// The row of a stack, made where there was none.
    fn row(&mut self, profile: &Profile, stack: &[u32]) -> usize {
        let frames: Vec<&Frame> =
            stack.iter().filter_map(|index| profile.frames.get(*index as usize)).collect();
        let mut node = 0;
        for frame in frames.iter().rev() {
            let frame = self.number(frame);
            let next = self.parents.len() as u32;
            let child = *self.children.entry((node, frame)).or_insert(next);
            if child == next {
                self.parents.push(node);
                self.node_frames.push(frame);
            }
            node = child;
        }
        let next = self.columns.node.len();
        let row = *self.by_node.entry(node).or_insert(next);
        if row == next {
            let columns = &mut self.columns;
            columns.node.push(node);
            let frames: Vec<Frame> = frames.into_iter().cloned().collect();
            columns.domain.push(domain_of(&frames).as_str());
            for column in [&mut columns.live, &mut columns.count, &mut columns.leak, &mut columns.allocated] {
                column.push(0);
            }
            for column in
                [&mut columns.slope, &mut columns.low, &mut columns.high, &mut columns.p50, &mut columns.p90]
            {
                column.push(None);
            }
        }
        row
    }

    fn number(&mut self, frame: &Frame) -> u32 {
        if let Some(number) = self.numbers.get(frame) {
            return *number;
        }
        let number = self.frames.len() as u32;
        self.frames.push(frame.clone());
        self.numbers.insert(frame.clone(), number);
        number
    }

    fn frames(&mut self) -> (Vec<String>, Vec<Row>) {
        let mut modules: Vec<String> = Vec::new();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let frames = std::mem::take(&mut self.frames)
            .into_iter()
            .map(|frame| {
                let module = frame.module.map(|module| {
                    *numbers.entry(module).or_insert_with_key(|module| {
                        modules.push(module.clone());
                        modules.len() - 1
                    })
                });
                let kind = match frame.kind {
                    FrameKind::Java => 'j',
                    FrameKind::Native => 'n',
                    FrameKind::Jvm => 'v',
                    FrameKind::Python => 'p',
                };
                (frame.name, kind, frame.file, frame.line, module)
            })
            .collect();
        (modules, frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str) -> Frame {
        Frame { name: name.to_owned(), kind: FrameKind::Java, file: None, line: None, module: None }
    }

    fn profile(names: &[&str], sites: &[(&[u32], u64)]) -> Profile {
        Profile {
            frames: names.iter().map(|name| frame(name)).collect(),
            sites: sites
                .iter()
                .map(|(stack, live)| ProfileSite {
                    stack: stack.to_vec(),
                    live_bytes: *live,
                    slope_bytes_per_s: Some(f64::NAN),
                    ..ProfileSite::default()
                })
                .collect(),
            ..Profile::default()
        }
    }

    #[test]
    fn instants_are_of_the_same_sites_whatever_their_numbers() {
        let now = profile(&["a", "b", "main"], &[(&[0, 2], 70), (&[1, 2], 30)]);
        // The same stack under other numbers, and one that is gone by now.
        let before = profile(&["main", "a", "gone"], &[(&[1, 0], 10), (&[2, 0], 5), (&[99], 1)]);
        let code = Code::of(&now, &[(1000, before), (2000, now.clone())]);
        assert_eq!(code.up, [0, 1, 1, 2, 3], "one main, below it a, b and gone");
        assert_eq!(code.instants[0].step, [0, 2, 1], "sites 0, 2 and 3");
        assert_eq!(code.instants[1].live, [70, 30]);
        assert_eq!(code.sites.live, [70, 30, 0, 0]);
        assert_eq!(code.sites.slope, [None; 4], "no JSON can hold a NaN");
    }

    #[test]
    fn what_names_no_site_is_marked_for_the_page() {
        let names =
            ["malloc", "java.util.zip.Deflater.init", "app.Codec.open", "operator new(unsigned long)"];
        let code = Code::of(&profile(&names, &[(&[0, 1, 2], 7), (&[3, 2], 7)]), &[]);
        let marked = |numbers: &[u32]| {
            numbers.iter().map(|number| code.frames[*number as usize].0.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(marked(&code.plumbing), ["malloc", "operator new(unsigned long)"]);
        assert_eq!(marked(&code.jdk), ["java.util.zip.Deflater.init"]);
    }

    #[test]
    fn too_many_sites_are_cut_and_counted() {
        let names: Vec<String> = (0..SITES + 5).map(|i| format!("f{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let stacks: Vec<[u32; 1]> = (0..SITES as u32 + 5).map(|i| [i]).collect();
        let sites: Vec<(&[u32], u64)> = stacks.iter().map(|stack| (&stack[..], 2)).collect();
        let code = Code::of(&profile(&names, &sites), &[]);
        assert_eq!((code.sites.node.len(), code.left_out), (SITES, (5, 10)));
    }
}
