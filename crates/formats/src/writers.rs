//! The formats that profiles are written in, one line each: the ending that names it, and what
//! writes it.

use crate::{Figure, collapsed, csv, firefox, flamegraph, json, pprof, speedscope};
use offheap_model::Profile;
use std::io::Write;

/// A format that profiles are written in.
#[derive(Debug)]
pub struct Writer {
    /// What a file's name ends with.
    pub ending: &'static str,
    write: fn(&Profile, &str, serde_json::Value) -> Vec<u8>,
}

/// All of them, longer endings before those that they end with. (OTLP is in development: its
/// version must be named.)
#[rustfmt::skip]
pub static WRITERS: [Writer; 9] = [
    Writer { ending: ".pb.gz", write: |profile, _, _| packed(&pprof::write(profile)) },
    Writer { ending: ".pb", write: |profile, _, _| pprof::write(profile) },
    Writer { ending: ".html", write: |profile, title, _| flamegraph::write(profile, Figure::best(profile), title).into_bytes() },
    Writer { ending: ".speedscope.json", write: |profile, title, _| speedscope::write(profile, title).into_bytes() },
    Writer { ending: ".firefox.json", write: |profile, title, _| firefox::write(profile, Figure::best(profile), title).into_bytes() },
    Writer { ending: ".json", write: |profile, _, target| json::write(profile, target).into_bytes() },
    Writer { ending: ".collapsed", write: |profile, _, _| collapsed::write(profile, Figure::best(profile), false).into_bytes() },
    Writer { ending: ".txt", write: |profile, _, _| collapsed::write(profile, Figure::best(profile), false).into_bytes() },
    Writer { ending: ".csv", write: |profile, _, _| csv::write(profile).into_bytes() },
];

impl Writer {
    /// The one that the ending of `name` asks for.
    pub fn of(name: &str) -> Option<&'static Writer> {
        WRITERS.iter().find(|writer| name.ends_with(writer.ending))
    }

    /// `profile` in this format; `title` is for those that show one, `target` is what our JSON says
    /// of the process.
    pub fn write(&self, profile: &Profile, title: &str, target: serde_json::Value) -> Vec<u8> {
        (self.write)(profile, title, target)
    }
}

/// In gzip. Writing to memory does not fail.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).and_then(|()| packed.finish()).unwrap_or_default()
}
