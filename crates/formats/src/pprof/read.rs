//! Reads profile.proto.

use super::{JAVA, PYTHON};
use crate::builder::{MAX_NAME, kind_by_name};
use crate::bytes::Bytes;
use crate::protobuf::{Value, field, fields};
use crate::{Builder, Cut, Error, Figure, Mapping, Parsed};
use offheap_model::units::bytes as bytes_in_words;
use offheap_model::{Frame, FrameKind, ProfileSite};
use std::collections::HashMap;

const FORMAT: &str = "pprof profile";

/// Bytes of all mappings' paths and build ids that are kept.
const MAX_TEXT: usize = 64 << 20;

/// Adds a repeated number, packed or not.
fn numbers(into: &mut Vec<u64>, value: &Value<'_>) {
    match value {
        Value::Number(number) => into.push(*number),
        Value::Bytes(packed) => {
            let mut packed = Bytes::new(packed);
            into.extend(std::iter::from_fn(|| packed.varint()));
        }
        Value::Other => {}
    }
}

#[derive(Default)]
struct Location {
    mapping: u64,
    address: u64,
    /// (function, line), innermost first.
    lines: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Tables<'a> {
    types: Vec<&'a [u8]>,
    samples: Vec<&'a [u8]>,
    mappings: HashMap<u64, [u64; 5]>,
    locations: HashMap<u64, Location>,
    /// Name, file.
    functions: HashMap<u64, (u64, u64)>,
    strings: Vec<&'a [u8]>,
    time_ns: u64,
    duration_ns: u64,
    period: u64,
    comments: Vec<u64>,
}

impl Tables<'_> {
    /// Bytes of a string.
    fn length(&self, number: u64) -> usize {
        usize::try_from(number).ok().and_then(|number| self.strings.get(number)).map_or(0, |text| text.len())
    }

    fn text(&self, number: u64) -> String {
        let bytes = usize::try_from(number).ok().and_then(|number| self.strings.get(number));
        let bytes = bytes.copied().unwrap_or_default();
        // Of one that no frame keeps whole no more is copied, however often it is named.
        String::from_utf8_lossy(bytes.get(..2 * MAX_NAME).unwrap_or(bytes)).into_owned()
    }
}

/// Fields that are looked at to tell a profile: Go's runtime has written period and sample types by
/// then.
const HEAD_FIELDS: usize = 64;

/// True where `bytes` start like a profile. Writers put its fields in any order: Go's runtime
/// starts with the period's type, others with a sample type or the strings. All of the first fields
/// must be such as a profile has, and one of them of its own shape: no text and no other file is
/// read so by chance.
pub fn is(bytes: &[u8]) -> bool {
    let mut reader = Bytes::new(bytes);
    let mut own = false;
    for place in 0..HEAD_FIELDS {
        if reader.is_empty() {
            break;
        }
        match field(&mut reader) {
            Some((1 | 11, Value::Bytes(message))) if is_type(message) => own = true,
            Some((2..=5, Value::Bytes(message))) if is_message(message) => {}
            Some((6, Value::Bytes(text))) if std::str::from_utf8(text).is_ok() => {}
            Some((13, Value::Bytes(_))) => {}
            Some((7..=10 | 12..=15, Value::Number(_))) => {}
            // The end of what was looked at may lie in a field.
            None if place > 1 => break,
            _ => return false,
        }
    }
    own
}

/// A ValueType: at most two numbers, a type and a unit.
fn is_type(message: &[u8]) -> bool {
    let mut reader = Bytes::new(message);
    while !reader.is_empty() {
        if !matches!(field(&mut reader), Some((1..=2, Value::Number(_)))) {
            return false;
        }
    }
    message.len() <= 24
}

/// A message of the fields that samples, mappings, locations and functions have.
fn is_message(message: &[u8]) -> bool {
    let mut reader = Bytes::new(message);
    while !reader.is_empty() {
        if !matches!(field(&mut reader), Some((1..=10, Value::Number(_) | Value::Bytes(_)))) {
            return false;
        }
    }
    !message.is_empty()
}

/// Reads a profile with heap-like sample types (`inuse_space`, `alloc_space`, `space`, `objects`…),
/// not compressed.
///
/// # Errors
/// It is no profile, or none of its sample types is of memory.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let mut tables = Tables::default();
    let mut reader = Bytes::new(bytes);
    let mut cut = None;
    while !reader.is_empty() {
        let at = reader.at();
        let Some((number, value)) = field(&mut reader) else {
            cut = Some(Cut { at: at as u64, reading: "a field of the profile".to_owned() });
            break;
        };
        top_field(&mut tables, number, value);
    }
    let types: Vec<(String, String)> = tables
        .types
        .iter()
        .map(|message| {
            let mut type_and_unit = [0; 2];
            for (number, value) in fields(message) {
                if let (1..=2, Value::Number(value)) = (number, value) {
                    type_and_unit[number as usize - 1] = value;
                }
            }
            (tables.text(type_and_unit[0]), tables.text(type_and_unit[1]))
        })
        .collect();
    let figures: Vec<Option<Figure>> = types.iter().map(|(kind, unit)| figure(kind, unit)).collect();
    if figures.iter().all(Option::is_none) {
        if let Some(cut) = &cut {
            return Err(Error::Damaged {
                format: FORMAT,
                at: cut.at,
                reason: "it is cut off before its strings".into(),
            });
        }
        let found = types.iter().map(|(kind, unit)| format!("{kind}/{unit}")).collect::<Vec<_>>().join(", ");
        return Err(Error::NotThis {
            format: FORMAT,
            reason: format!("none of its sample types is of memory (it has: {found})"),
        });
    }
    let mut builder = Builder::new();
    let mut frames: HashMap<u64, Vec<u32>> = HashMap::new();
    let (mut ids, mut values) = (Vec::new(), Vec::new());
    let (mut negative, mut negative_bytes) = (0u64, 0u64);
    for sample in &tables.samples {
        ids.clear();
        values.clear();
        for (number, value) in fields(sample) {
            match number {
                1 => numbers(&mut ids, &value),
                2 => numbers(&mut values, &value),
                _ => {}
            }
        }
        let mut stack = Vec::new();
        for id in &ids {
            // Each stack is bounded by what is kept of it, however often a location is named.
            if stack.len() >= crate::builder::MAX_DEPTH || builder.is_tired() && !stack.is_empty() {
                break;
            }
            let of_location =
                frames.entry(*id).or_insert_with(|| location_frames(&tables, *id, &mut builder));
            stack.extend_from_slice(of_location);
        }
        let mut site = ProfileSite::default();
        let mut is_less = false;
        for (figure, value) in figures.iter().zip(&values) {
            // They are signed; a negative one is of a difference of two profiles.
            let signed = value.cast_signed();
            is_less |= signed < 0 && figure.is_some();
            if signed < 0 && *figure == Some(Figure::LiveBytes) {
                negative_bytes = negative_bytes.saturating_add(signed.unsigned_abs());
            }
            let value = u64::try_from(signed).unwrap_or(0);
            if let Some(figure) = figure {
                *figure.of_mut(&mut site) = value;
            }
        }
        negative += u64::from(is_less);
        builder.add(&stack, &site);
    }
    let profile = builder.profile();
    if negative > 0 {
        profile.notes.push(format!(
            "this is a difference of two profiles: {negative} samples are negative, by {} of live memory together, \
             and count as nothing here; give the two profiles to offheap diff to see what shrank",
            bytes_in_words(negative_bytes)
        ));
    }
    profile.start_ms = i64::try_from(tables.time_ns / 1_000_000).unwrap_or(0);
    profile.seconds = tables.duration_ns as f64 / 1e9;
    profile.sampling.interval_bytes = tables.period;
    profile.notes.extend(tables.comments.iter().map(|comment| tables.text(*comment)));
    // One long path may be that of any number of mappings.
    let mut text = 0;
    let mut mappings: Vec<Mapping> = tables
        .mappings
        .values()
        .filter(|[start, end, ..]| start < end)
        .take_while(|[_, _, _, path, build_id]| {
            text += tables.length(*path) + tables.length(*build_id);
            text <= MAX_TEXT
        })
        .map(|[start, end, offset, path, build_id]| Mapping {
            start: *start,
            end: *end,
            offset: *offset,
            path: tables.text(*path),
            build_id: Some(tables.text(*build_id)).filter(|id| !id.is_empty()),
        })
        .collect();
    mappings.sort_by_key(|mapping| mapping.start);
    Ok(builder.finish(mappings, cut))
}

fn top_field<'a>(tables: &mut Tables<'a>, number: u64, value: Value<'a>) {
    match (number, value) {
        (1, Value::Bytes(message)) => tables.types.push(message),
        (2, Value::Bytes(message)) => tables.samples.push(message),
        (3, Value::Bytes(message)) => {
            let (mut id, mut mapping) = (0, [0; 5]);
            for (number, value) in fields(message) {
                match (number, value) {
                    (1, Value::Number(value)) => id = value,
                    (2..=6, Value::Number(value)) => {
                        if let Some(slot) = mapping.get_mut(number as usize - 2) {
                            *slot = value;
                        }
                    }
                    _ => {}
                }
            }
            tables.mappings.insert(id, mapping);
        }
        (4, Value::Bytes(message)) => {
            let (mut id, mut location) = (0, Location::default());
            for (number, value) in fields(message) {
                match (number, value) {
                    (1, Value::Number(value)) => id = value,
                    (2, Value::Number(value)) => location.mapping = value,
                    (3, Value::Number(value)) => location.address = value,
                    (4, Value::Bytes(line)) => {
                        let (mut function, mut at) = (0, 0);
                        for (number, value) in fields(line) {
                            match (number, value) {
                                (1, Value::Number(value)) => function = value,
                                (2, Value::Number(value)) => at = value,
                                _ => {}
                            }
                        }
                        location.lines.push((function, at));
                    }
                    _ => {}
                }
            }
            tables.locations.insert(id, location);
        }
        (5, Value::Bytes(message)) => {
            let (mut id, mut name, mut file) = (0, 0, 0);
            for (number, value) in fields(message) {
                match (number, value) {
                    (1, Value::Number(value)) => id = value,
                    (2, Value::Number(value)) => name = value,
                    (4, Value::Number(value)) => file = value,
                    _ => {}
                }
            }
            tables.functions.insert(id, (name, file));
        }
        (6, Value::Bytes(text)) => tables.strings.push(text),
        (9, Value::Number(value)) => tables.time_ns = value,
        (10, Value::Number(value)) => tables.duration_ns = value,
        (12, Value::Number(value)) => tables.period = value,
        (13, value) => numbers(&mut tables.comments, &value),
        _ => {}
    }
}

/// Which of our figures a sample type is. Go has `inuse_*` and `alloc_*`, gperftools and jemalloc
/// `objects` and `space`.
fn figure(kind: &str, unit: &str) -> Option<Figure> {
    match kind {
        "leak_space" => Some(Figure::LeakBytes),
        "inuse_space" | "space" | "inuse-space" | "live_space" | "live-space" => Some(Figure::LiveBytes),
        "inuse_objects" | "objects" | "inuse-objects" | "live_objects" | "live-objects" => {
            Some(Figure::LiveCount)
        }
        "alloc_space" | "alloc-space" => Some(Figure::AllocatedBytes),
        "alloc_objects" | "alloc_samples" | "alloc-samples" | "allocations" if unit != "bytes" => {
            Some(Figure::AllocatedCount)
        }
        _ => None,
    }
}

fn location_frames(tables: &Tables<'_>, id: u64, builder: &mut Builder) -> Vec<u32> {
    let Some(location) = tables.locations.get(&id) else {
        return vec![builder.frame(crate::builder::named("[unknown]", FrameKind::Native))];
    };
    let module = tables.mappings.get(&location.mapping).map(|[_, _, _, path, _]| tables.text(*path));
    if location.lines.is_empty() {
        return vec![builder.address(location.address, module.as_deref())];
    }
    let lines = location.lines.iter().take(crate::builder::MAX_DEPTH);
    lines
        .map(|(function, line)| {
            let (name, file) = tables.functions.get(function).copied().unwrap_or_default();
            let name = tables.text(name);
            let (kind, module) = match module.as_deref() {
                Some(JAVA) => (FrameKind::Java, None),
                Some(PYTHON) => (FrameKind::Python, None),
                Some(module) if module.ends_with("libjvm.so") => (FrameKind::Jvm, Some(module.to_owned())),
                Some("") | None => (kind_by_name(&name), None),
                Some(module) => (FrameKind::Native, Some(module.to_owned())),
            };
            builder.frame(Frame {
                name,
                kind,
                file: Some(tables.text(file)).filter(|file| !file.is_empty()),
                line: u32::try_from(*line).ok().filter(|line| *line > 0),
                module,
            })
        })
        .collect()
}
