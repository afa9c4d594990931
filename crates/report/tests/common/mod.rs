//! The sample: a recording and profiles of a real leaking JVM, see `data/README.md`.

#![allow(dead_code)] // Each test uses its part.

pub mod browser;

use flate2::read::GzDecoder;
use offheap_diagnose::{Diagnosis, Evidence, diagnose};
use offheap_model::{Profile, Snapshot};
use offheap_report::{Report, render};
use offheap_store::Recording;
use std::io::Read;
use std::path::Path;

pub struct Sample {
    pub snapshots: Vec<Snapshot>,
    pub marks: Vec<(i64, String)>,
    pub profiles: Vec<(i64, Profile)>,
}

fn unpack(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let packed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
    bytes
}

impl Sample {
    pub fn read() -> Sample {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), unpack("jni-codec.recording.gz")).unwrap();
        let recording = Recording::open(file.path()).unwrap();
        let target = recording.targets().unwrap().remove(0);
        Sample {
            snapshots: recording.snapshots(target.id, i64::MIN..=i64::MAX, usize::MAX).unwrap(),
            marks: recording.marks().unwrap().into_iter().map(|mark| (mark.time_ms, mark.text)).collect(),
            profiles: (1..=4)
                .map(|number| {
                    let json = unpack(&format!("jni-codec.profile-{number}.json.gz"));
                    let profile = offheap_formats::json::read(&json).unwrap().profile;
                    (profile.start_ms + (profile.seconds * 1000.0) as i64, profile)
                })
                .collect(),
        }
    }

    pub fn diagnosis(&self) -> Diagnosis {
        let evidence = Evidence::of(&self.snapshots).with_marks(&self.marks);
        match self.profiles.last() {
            Some((_, profile)) => diagnose(&evidence.with_profile(profile)),
            None => diagnose(&evidence),
        }
    }

    pub fn render(&self) -> String {
        let diagnosis = self.diagnosis();
        let environment = [("Host".to_owned(), "web-3".to_owned())];
        render(&Report {
            snapshots: &self.snapshots,
            instants: &self.profiles,
            marks: &self.marks,
            environment: &environment,
            made_ms: self.snapshots.last().map_or(0, |snapshot| snapshot.time_ms),
            ..Report::of(&diagnosis)
        })
    }
}
