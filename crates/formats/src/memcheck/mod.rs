//! Leak records of valgrind's memcheck, as text and as XML (`--xml=yes`).
//!
//! Text: `==PID== 330 bytes in 10 blocks are definitely lost in loss record 1 of 4` and then the
//! frames; source: valgrind, memcheck/mc_leakcheck.c (`pp_LossRecord`). XML:
//! docs/internals/xml-output-protocol4.txt.
//!
//! Definitely, indirectly and possibly lost blocks are leaked; still reachable ones are only live.
//! A definite loss is shown with what is lost through it (`400,024 (24 direct, 400,000 indirect)
//! bytes`); where that has records of its own only the direct part is counted, so that no byte
//! counts twice.

mod text;
mod xml;

pub use text::read as read_text;
pub(crate) use text::{begins as begins_text, is as is_text, perhaps as perhaps_text};
pub(crate) use xml::is as is_xml;
pub use xml::read as read_xml;

use crate::words::number;
use crate::{Builder, Error, Parsed};
use offheap_model::{Frame, FrameKind, ProfileSite};

const FORMAT: &str = "memcheck report";

/// A loss record before it is known whether others have its indirect part.
struct Loss {
    kind: Kind,
    bytes: u64,
    direct: u64,
    blocks: u64,
    stack: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Definite,
    Indirect,
    Possible,
    Reachable,
}

/// `400,024 (24 direct, 400,000 indirect) bytes in 1 blocks are definitely lost in loss record 4 of
/// 4`
fn loss(text: &str) -> Option<Loss> {
    let (size, rest) = text.split_once(" bytes in ")?;
    let (blocks, rest) = rest.split_once(" blocks are ")?;
    let kind = [
        ("definitely lost", Kind::Definite),
        ("indirectly lost", Kind::Indirect),
        ("possibly lost", Kind::Possible),
        ("still reachable", Kind::Reachable),
    ]
    .into_iter()
    .find_map(|(words, kind)| rest.starts_with(words).then_some(kind))?;
    let (bytes, direct) = match size.split_once(" (") {
        Some((bytes, parts)) => (number(bytes)?, number(parts.split_once(" direct")?.0)?),
        None => (number(size)?, number(size)?),
    };
    Some(Loss { kind, bytes, direct, blocks: number(blocks)?, stack: Vec::new() })
}

fn finish(mut builder: Builder, losses: &[Loss], complete: bool) -> Result<Parsed, Error> {
    if losses.is_empty() {
        return Err(Error::NotThis {
            format: FORMAT,
            reason: "it has no loss record; run valgrind with --leak-check=full".into(),
        });
    }
    let indirect_apart = losses.iter().any(|loss| loss.kind == Kind::Indirect);
    for loss in losses {
        let bytes = if indirect_apart { loss.direct } else { loss.bytes };
        let leaked = if loss.kind == Kind::Reachable { 0 } else { bytes };
        builder.add(
            &loss.stack,
            &ProfileSite {
                live_bytes: bytes,
                live_count: loss.blocks,
                leak_bytes: leaked,
                ..ProfileSite::default()
            },
        );
    }
    builder.profile().sampling.interval_bytes = 1;
    if !complete {
        builder.profile().notes.push("the report ends before its summary: it is cut off".to_owned());
    }
    Ok(builder.finish(Vec::new(), None))
}

/// `app::run() (leak.cpp:14)`, `malloc (in /usr/lib/libc.so)`, `???`
pub(crate) fn frame(text: &str) -> Frame {
    let mut frame = crate::builder::named(text, FrameKind::Native);
    if let Some((name, place)) = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) {
        if let Some(module) = place.strip_prefix("in ") {
            frame.module = Some(module.to_owned());
            frame.name = name.to_owned();
        } else if let Some((file, line)) = place.rsplit_once(':')
            && let Ok(line) = line.parse()
        {
            frame.file = Some(file.to_owned());
            frame.line = Some(line);
            frame.name = name.to_owned();
        }
    }
    frame
}
