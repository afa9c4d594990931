//! JDK Flight Recorder files, of the JDK and of async-profiler: driven by the metadata that each chunk carries.
//!
//! Layout (the JDK's jdk.jfr.internal.consumer: `ChunkHeader`, `MetadataReader`, `ConstantMap`; jfrMetadata and
//! jfrCheckpointWriter in HotSpot): a file is chunks; a chunk is a header of 68 bytes, then events, each `size type fields`, among
//! them the metadata (type 0: classes with their fields) and constant pools (type 1).
//!
//! Read here are `profiler.Malloc` and `profiler.Free`, as a profile of what was not freed, and the JDK's events of native
//! memory, as series. Everything else is passed over.

mod blocks;
mod calls;
mod chunk;
mod frames;
mod leak;
mod metadata;
mod value;

use crate::{Builder, Cut, Error, Parsed};
use chunk::{Chunk, HEADER};
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
    /// The profile of `profiler.Malloc` events; without sites where there are none. `leak_bytes` leaves out what was allocated
    /// in the last tenth of the recording: it may yet be freed (async-profiler's tail rule).
    pub profile: Parsed,
    /// The JDK's figures over time.
    pub series: Vec<Series>,
    /// Libraries, by address.
    pub libraries: Vec<Library>,
}

/// True where `head` begins like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"FLR\0")
}

/// Reads a recording, finished, being written, or cut off.
///
/// # Errors
/// It does not begin with a chunk, or not one of a version known here (1 and 2).
pub fn read(bytes: &[u8]) -> Result<Jfr, Error> {
    read_from(&mut &bytes[..])
}

/// The same, of a file that is not all in memory: chunk by chunk.
///
/// # Errors
/// As [`read`]; or `input` can't be read.
pub fn read_from(input: &mut dyn Read) -> Result<Jfr, Error> {
    let mut state = State::default();
    let (mut bytes, mut at) = (Vec::new(), 0u64);
    next(input, &mut bytes, at)?;
    loop {
        if bytes.len() as u64 > LARGEST_CHUNK {
            state.cut =
                Some(Cut { at, reading: "a chunk of more than 2 GiB, which no JVM writes".to_owned() });
            break;
        }
        if at == 0 && !is(&bytes) {
            return Err(Error::NotThis { format: FORMAT, reason: "it does not begin with FLR".into() });
        }
        let chunk = match Chunk::open(&bytes) {
            Ok(chunk) => chunk,
            Err(error) if at == 0 => return Err(error),
            Err(error) => {
                state.cut = Some(Cut { at, reading: error.to_string() });
                break;
            }
        };
        let classes = calls::Classes::of(&chunk);
        state.decode(&chunk, &classes, &bytes, at);
        at += bytes.len() as u64;
        let is_cut = state.cut.is_some();
        state.count(&chunk, &classes, || if is_cut { Ok(()) } else { next(input, &mut bytes, at) })?;
        if is_cut || bytes.is_empty() {
            break;
        }
    }
    Ok(state.finish())
}

/// Reads the chunk at `at` instead of what is in `bytes`: nothing at the end.
fn next(input: &mut dyn Read, bytes: &mut Vec<u8>, at: u64) -> Result<(), Error> {
    bytes.clear();
    fill(input, bytes, HEADER as u64, at)?;
    // A chunk without a length is being written: it is all that follows.
    let length = chunk::length(bytes).unwrap_or(u64::MAX).saturating_sub(bytes.len() as u64);
    fill(input, bytes, length.min(LARGEST_CHUNK), at)
}

/// Chunks are read whole. The JDK begins a new one at 12 MiB (-XX:FlightRecorderOptions maxchunksize), async-profiler at
/// 100 MiB (chunksize).
const LARGEST_CHUNK: u64 = 2 << 30;

fn fill(input: &mut dyn Read, chunk: &mut Vec<u8>, length: u64, at: u64) -> Result<(), Error> {
    match input.take(length).read_to_end(chunk) {
        Ok(_) => Ok(()),
        Err(error) if let Some(refused) = crate::unwrap::refusal(FORMAT, &error) => Err(refused),
        // What a damaged wrapping still gave is used; nothing at all is an error.
        Err(_) if at > 0 || !chunk.is_empty() => Ok(()),
        Err(error) => Err(Error::Damaged { format: FORMAT, at, reason: error.to_string() }),
    }
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
    /// Decodes the events that begin in `range`.
    fn decode(&mut self, chunk: &Chunk, classes: &calls::Classes, bytes: &[u8], range: Range<usize>) {
        let Part { calls, series, libraries, .. } = self;
        self.end = chunk.events(bytes, range, |event| {
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
    }
}

impl State {
    /// Decodes the chunk whose `bytes` begin at `at` in the file.
    fn decode(&mut self, chunk: &Chunk, classes: &calls::Classes, bytes: &[u8], at: u64) {
        let [first, second] = &mut self.parts;
        first.calls.clear();
        second.calls.clear();
        if chunk.size() < LARGE {
            first.decode(chunk, classes, bytes, HEADER..chunk.size());
        } else {
            let middle = chunk.middle(bytes);
            std::thread::scope(|scope| {
                scope.spawn(|| second.decode(chunk, classes, bytes, middle..chunk.size()));
                first.decode(chunk, classes, bytes, HEADER..middle);
            });
        }
        if first.end.is_some() {
            *second = Part::default();
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
    for (field, value) in fields.numbers() {
        if !matches!(field, "startTime" | "duration" | "eventThread" | "stackTrace" | "type") {
            let key = (event.name.clone(), of.clone(), field.to_owned());
            series.entry(key).or_default().push((time, value));
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
