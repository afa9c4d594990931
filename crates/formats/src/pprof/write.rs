//! Writes profile.proto. Field numbers are the message's own.

use super::{JAVA, JVM, PYTHON, TYPES};
use crate::protobuf::{Message, Strings};
use offheap_model::{Frame, FrameKind, Profile};
use std::collections::HashMap;

/// Writes `profile`, not compressed; viewers take it so, and in gzip.
pub fn write(profile: &Profile) -> Vec<u8> {
    let mut strings = Strings::default();
    let mut out = Message::default();
    for (kind, unit) in TYPES {
        out.message(1, &value_type(&mut strings, kind, unit));
    }
    for site in &profile.sites {
        let mut sample = Message::default();
        sample.packed(
            1,
            site.stack
                .iter()
                .filter(|index| (**index as usize) < profile.frames.len())
                .map(|index| u64::from(*index) + 1),
        );
        sample.packed(
            2,
            [site.allocated_count, site.allocated_bytes, site.live_count, site.live_bytes, site.leak_bytes]
                .into_iter(),
        );
        out.message(2, &sample);
    }
    let mut mappings: HashMap<&str, u64> = HashMap::new();
    for frame in &profile.frames {
        let next = mappings.len() as u64 + 1;
        let id = *mappings.entry(mapping(frame)).or_insert(next);
        if id == next {
            let mut message = Message::default();
            message.number(1, id);
            message.number(5, strings.number(mapping(frame)));
            // Names, files and lines are as good as they get: nobody need symbolise.
            (7..=9).for_each(|field| message.number(field, 1));
            out.message(3, &message);
        }
    }
    for (index, frame) in profile.frames.iter().enumerate() {
        let id = index as u64 + 1;
        let mut line = Message::default();
        line.number(1, id);
        line.number(2, frame.line.map_or(0, u64::from));
        let mut location = Message::default();
        location.number(1, id);
        location.number(2, mappings.get(mapping(frame)).copied().unwrap_or(0));
        location.message(4, &line);
        out.message(4, &location);
        let mut function = Message::default();
        function.number(1, id);
        function.number(2, strings.number(&frame.name));
        function.number(3, strings.number(&frame.name));
        function.number(4, strings.number(frame.file.as_deref().unwrap_or("")));
        out.message(5, &function);
    }
    out.number(9, profile.start_ms.max(0).unsigned_abs().saturating_mul(1_000_000));
    out.number(10, (profile.seconds * 1e9) as u64);
    let period = value_type(&mut strings, "space", "bytes");
    out.message(11, &period);
    out.number(12, profile.sampling.interval_bytes);
    let comments: Vec<u64> = profile.notes.iter().map(|note| strings.number(note)).collect();
    out.packed(13, comments.into_iter());
    out.number(14, strings.number(TYPES[3].0));
    for text in strings.list {
        out.bytes(6, text.as_bytes());
    }
    out.into_bytes()
}

/// The file a frame lies in, or what stands for it.
fn mapping(frame: &Frame) -> &str {
    match (frame.kind, &frame.module) {
        (FrameKind::Java, _) => JAVA,
        (FrameKind::Python, _) => PYTHON,
        (FrameKind::Jvm, None) => JVM,
        (_, Some(module)) => module,
        (FrameKind::Native, None) => "",
    }
}

fn value_type(strings: &mut Strings, kind: &str, unit: &str) -> Message {
    let mut message = Message::default();
    message.number(1, strings.number(kind));
    message.number(2, strings.number(unit));
    message
}
