//! JDK Flight Recorder files, of the JDK and of async-profiler: driven by the metadata that each
//! chunk carries.
//!
//! Layout (the JDK's jdk.jfr.internal.consumer: `ChunkHeader`, `MetadataReader`, `ConstantMap`;
//! jfrMetadata and jfrCheckpointWriter in HotSpot): a file is chunks; a chunk is a header of 68
//! bytes, then events, each `size type fields`, among them the metadata (type 0: classes with their
//! fields) and constant pools (type 1).
//!
//! Read here are `profiler.Malloc` and `profiler.Free`, as a profile of what was not freed, and the
//! JDK's events of native memory, as series. Everything else is passed over.

mod blocks;
mod calls;
mod chunk;
mod frames;
mod leak;
mod metadata;
mod source;
mod value;

pub use source::Source;

use crate::{Builder, Cut, Error, Parsed};
use chunk::{Chunk, HEADER};
use source::{Chunks, Input};
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

pub(crate) const FORMAT: &str = "JFR recording";

/// A figure over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The event: `"jdk.NativeMemoryUsage"`.
    pub event: String,
    /// What of: an NMT category (`"Class"`); empty where the event is of the whole.
    pub of: String,
    /// The event's field: `"committed"`.
    pub field: String,
    /// Time (milliseconds since the Unix epoch) and value, oldest first.
    pub points: Vec<(i64, i64)>,
}

/// A library the JVM had loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Library {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Its path.
    pub path: String,
}

/// What a recording says of native memory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Jfr {
    /// The profile of `profiler.Malloc` events; without sites where there are none. `leak_bytes`
    /// leaves out what was allocated in the last tenth of the recording: it may yet be freed
    /// (async-profiler's tail rule).
    pub profile: Parsed,
    /// The JDK's figures over time.
    pub series: Vec<Series>,
    /// Libraries, by address.
    pub libraries: Vec<Library>,
}

/// True where `head` starts like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"FLR\0")
}

/// Reads a recording, finished, being written, or cut off.
///
/// # Errors
/// It does not start with a chunk, or not one of a version known here (1 and 2).
pub fn read(bytes: &[u8]) -> Result<Jfr, Error> {
    read_at(&bytes)
}

/// The same, of a file that is not in memory. It is read piece by piece by two threads: nothing
/// that is larger than a processor's cache passes through memory.
///
/// # Errors
/// As [`read`]; or `source` can't be read.
pub fn read_at(source: &dyn Source) -> Result<Jfr, Error> {
    read_chunks(&mut Chunks::new(Input::Anywhere(source)))
}

/// The same, of what can be read only from its start to its end, chunk by chunk.
///
/// # Errors
/// As [`read`]; or `input` can't be read.
pub fn read_from(input: &mut dyn Read) -> Result<Jfr, Error> {
    read_chunks(&mut Chunks::new(Input::Stream(input)))
}

fn read_chunks(chunks: &mut Chunks<'_>) -> Result<Jfr, Error> {
    let (mut state, mut at) = (State::default(), 0u64);
    let mut next = chunks.next(0);
    loop {
        let chunk = match next {
            Ok(Some(chunk)) => chunk,
            Ok(None) if at == 0 => {
                return Err(Error::NotThis { format: FORMAT, reason: "it is empty".into() });
            }
            Ok(None) => break,
            Err(error) if at == 0 => return Err(error),
            // A bomb is refused wherever it goes off.
            Err(error @ Error::TooLarge { .. }) => return Err(error),
            Err(error) => {
                state.cut = Some(Cut { at, reading: error.to_string() });
                break;
            }
        };
        let classes = calls::Classes::of(&chunk);
        chunks.with(|source| state.decode(&chunk, &classes, source, at));
        at += chunk.size() as u64;
        let is_cut = state.cut.is_some();
        next = state.count(&chunk, &classes, || if is_cut { Ok(None) } else { chunks.next(at) });
    }
    Ok(state.finish())
}

/// Chunks from this size on are read by two threads.
const LARGE: usize = 1 << 20;

#[derive(Default)]
struct State {
    builder: Builder,
    leaks: leak::Leaks,
    parts: [Part; 2],
    series: Points,
    libraries: Vec<Library>,
    cut: Option<Cut>,
}

/// What is in a part of a chunk.
#[derive(Default)]
struct Part {
    calls: calls::Calls,
    series: Points,
    libraries: Vec<Library>,
    end: Option<(usize, String)>,
}

impl Part {
    /// Decodes the events that start in `range`: where the next one starts.
    fn decode(
        &mut self,
        chunk: &Chunk,
        classes: &calls::Classes,
        source: &dyn Source,
        range: Range<usize>,
    ) -> usize {
        let Part { calls, series, libraries, .. } = self;
        let end = chunk.events(source, range, |event| {
            if classes.take(&event, calls) {
                return;
            }
            let Some(class) = chunk.classes.get(&event.kind) else { return };
            match class.name.as_str() {
                "jdk.NativeLibrary" => libraries.extend(library(chunk, class, event.body)),
                // An event whose fields are damaged gives no point.
                name if SERIES.contains(&name) => _ = point(chunk, class, event.body, series),
                _ => {}
            }
        });
        calls.sort();
        match end {
            Ok(at) => at,
            Err((at, reading)) => {
                self.end = Some((at, reading));
                at
            }
        }
    }

    fn clear(&mut self) {
        self.calls.clear();
        self.series.clear();
        self.libraries.clear();
        self.end = None;
    }
}

impl State {
    /// Decodes the `chunk` in `source`, which starts at `at` in the recording.
    fn decode(&mut self, chunk: &Chunk, classes: &calls::Classes, source: &dyn Source, at: u64) {
        let [first, second] = &mut self.parts;
        first.clear();
        second.clear();
        let middle = if chunk.size() < LARGE { None } else { chunk.middle(source) };
        if let Some(middle) = middle {
            let begun = std::thread::scope(|scope| {
                scope.spawn(|| second.decode(chunk, classes, source, middle..chunk.size()));
                first.decode(chunk, classes, source, HEADER..middle)
            });
            if first.end.is_some() {
                second.clear();
            } else if begun != middle {
                // No event starts in the middle after all.
                second.clear();
                second.decode(chunk, classes, source, begun..chunk.size());
            }
        } else {
            first.decode(chunk, classes, source, HEADER..chunk.size());
        }
        let end = first.end.take().or(second.end.take());
        self.cut = end.map(|(place, reading)| Cut { at: at + place as u64, reading });
    }

    /// Adds what was decoded last to what is known, while `meanwhile` is done.
    fn count<T>(&mut self, chunk: &Chunk, classes: &calls::Classes, meanwhile: impl FnOnce() -> T) -> T {
        for part in &mut self.parts {
            self.libraries.append(&mut part.libraries);
            for (key, mut points) in std::mem::take(&mut part.series) {
                self.series.entry(key).or_default().append(&mut points);
            }
        }
        let calls = self.parts.each_ref().map(|part| &part.calls);
        let parts = self.leaks.parts(chunk, classes, calls, &mut self.builder);
        self.leaks.take(&parts, chunk.size() >= LARGE, meanwhile)
    }

    fn finish(mut self) -> Jfr {
        self.leaks.finish(&mut self.builder);
        self.libraries.sort();
        self.libraries.dedup();
        let series = self
            .series
            .into_iter()
            .map(|((event, of, field), mut points)| {
                points.sort_unstable();
                Series { event, of, field, points }
            })
            .collect();
        let profile = self.builder.finish(Vec::new(), self.cut);
        Jfr { profile, series, libraries: self.libraries }
    }
}

/// Points by event, what of, and field.
type Points = BTreeMap<(String, String, String), Vec<(i64, i64)>>;

/// Series that are kept: NMT has 30 categories of two figures each.
const MAX_SERIES: usize = 4096;
/// Bytes of the name of what a series is of.
const MAX_NAME: usize = 256;

/// The events that become series.
const SERIES: [&str; 4] = [
    "jdk.NativeMemoryUsage",
    "jdk.NativeMemoryUsageTotal",
    "jdk.ResidentSetSize",
    "jdk.DirectBufferStatistics",
];

fn point(chunk: &Chunk, event: &metadata::Class, body: &[u8], series: &mut Points) -> Option<()> {
    let fields = chunk.fields(event, body)?;
    let time = chunk.time_ms(fields.number("startTime")?);
    // The NMT category of jdk.NativeMemoryUsage is a constant with a name.
    let of = fields.constant("type").and_then(|kind| kind.field_text("name")).unwrap_or_default();
    if of.len() > MAX_NAME {
        return None;
    }
    for (field, value) in fields.numbers() {
        if !matches!(field, "startTime" | "duration" | "eventThread" | "stackTrace" | "type") {
            let key = (event.name.clone(), of.clone(), field.to_owned());
            if series.len() < MAX_SERIES || series.contains_key(&key) {
                series.entry(key).or_default().push((time, value));
            }
        }
    }
    Some(())
}

fn library(chunk: &Chunk, event: &metadata::Class, body: &[u8]) -> Option<Library> {
    let fields = chunk.fields(event, body)?;
    Some(Library {
        start: fields.number("baseAddress")? as u64,
        end: fields.number("topAddress")? as u64,
        path: fields.text("name")?,
    })
}
