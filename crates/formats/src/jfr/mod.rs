//! JDK Flight Recorder files, of the JDK and of async-profiler: driven by the metadata that each chunk carries.
//!
//! Layout (the JDK's jdk.jfr.internal.consumer: `ChunkHeader`, `MetadataReader`, `ConstantMap`; jfrMetadata and
//! jfrCheckpointWriter in HotSpot): a file is chunks; a chunk is a header of 68 bytes, then events, each `size type fields`, among
//! them the metadata (type 0: classes with their fields) and constant pools (type 1).
//!
//! Read here are `profiler.Malloc` and `profiler.Free`, as a profile of what was not freed, and the JDK's events of native
//! memory, as series. Everything else is passed over.

mod chunk;
mod frames;
mod leak;
mod metadata;
mod value;

use crate::{Builder, Cut, Error, Parsed};
use chunk::{Chunk, HEADER};
use std::collections::BTreeMap;
use std::io::Read;

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
    let mut chunk = Vec::new();
    let mut at = 0u64;
    loop {
        chunk.clear();
        fill(input, &mut chunk, HEADER as u64, at)?;
        if chunk.is_empty() && at > 0 {
            break;
        }
        // A chunk without a length is being written: it is all that follows.
        let length = chunk::length(&chunk).unwrap_or(u64::MAX).saturating_sub(chunk.len() as u64);
        fill(input, &mut chunk, length.min(LARGEST_CHUNK), at)?;
        if chunk.len() as u64 > LARGEST_CHUNK {
            state.cut =
                Some(Cut { at, reading: "a chunk of more than 2 GiB, which no JVM writes".to_owned() });
            break;
        }
        if at == 0 && !is(&chunk) {
            return Err(Error::NotThis { format: FORMAT, reason: "it does not begin with FLR".into() });
        }
        match Chunk::open(&chunk) {
            Ok(open) => state.chunk(&open, at),
            Err(error) if at == 0 => return Err(error),
            Err(error) => state.cut = Some(Cut { at, reading: error.to_string() }),
        }
        if state.cut.is_some() {
            break;
        }
        at += chunk.len() as u64;
    }
    Ok(state.finish())
}

/// Chunks are read whole. The JDK begins a new one at 12 MiB (-XX:FlightRecorderOptions maxchunksize), async-profiler at
/// 100 MiB (chunksize).
const LARGEST_CHUNK: u64 = 2 << 30;

fn fill(input: &mut dyn Read, chunk: &mut Vec<u8>, length: u64, at: u64) -> Result<(), Error> {
    match input.take(length).read_to_end(chunk) {
        Ok(_) => Ok(()),
        // What a damaged wrapping still gave is used; nothing at all is an error.
        Err(_) if at > 0 || !chunk.is_empty() => Ok(()),
        Err(error) => Err(Error::Damaged { format: FORMAT, at, reason: error.to_string() }),
    }
}

#[derive(Default)]
struct State {
    builder: Builder,
    leaks: leak::Leaks,
    events: leak::Events,
    series: Points,
    libraries: Vec<Library>,
    cut: Option<Cut>,
}

impl State {
    /// Takes a chunk that begins at `at` in the file.
    fn chunk(&mut self, chunk: &Chunk<'_>, at: u64) {
        let State { events, series, libraries, .. } = self;
        events.clear();
        let classes = leak::Classes::of(chunk);
        let end = chunk.events(|kind, body, more| {
            if classes.take(kind, body.len(), more, events) {
                return;
            }
            let Some(event) = chunk.classes.get(&kind) else { return };
            match event.name.as_str() {
                "jdk.NativeLibrary" => libraries.extend(library(chunk, event, body)),
                // An event whose fields are damaged gives no point.
                name if SERIES.contains(&name) => _ = point(chunk, event, body, series),
                _ => {}
            }
        });
        self.leaks.chunk(chunk, &classes, &mut self.events, &mut self.builder);
        self.cut = end.map(|(place, reading)| Cut { at: at + place as u64, reading });
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

fn point(chunk: &Chunk<'_>, event: &metadata::Class, body: &[u8], series: &mut Points) -> Option<()> {
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

fn library(chunk: &Chunk<'_>, event: &metadata::Class, body: &[u8]) -> Option<Library> {
    let fields = chunk.fields(event, body)?;
    Some(Library {
        start: fields.number("baseAddress")? as u64,
        end: fields.number("topAddress")? as u64,
        path: fields.text("name")?,
    })
}
