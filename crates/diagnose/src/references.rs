//! JNI references that hold Java objects: which code makes them.

use crate::evidence::Evidence;
use crate::series::Key;
use crate::sites::{self, Origin};
use offheap_model::{Evidence as Observation, Finding, FrameKind, units};

/// JNI code must hold this many more references for that to be growth; libraries keep a few dozen.
/// Unit: references.
const LEAST_REFERENCES: f64 = 200.0;
/// The JVM's function that makes one (prims/jni.cpp); its memory is a block of the C heap now and
/// then.
const MAKES: &str = "jni_NewGlobalRef";

/// How many more references JNI code holds than at the first look, if that is growth.
pub(crate) fn more(evidence: &Evidence<'_>) -> Option<f64> {
    let looks = evidence.series(&Key::JniReferences)?;
    Some(looks.last() - looks.first()).filter(|more| *more >= LEAST_REFERENCES)
}

/// Whether JNI code holds ever more references, so that it is worth to look closely for who makes
/// them: a reference takes eight bytes, so its code is rarely met.
pub fn references_grow(evidence: &Evidence<'_>) -> bool {
    more(evidence).is_some()
}

/// Names the code that makes the references, in the place of the code that allocates what they
/// hold: it is what must change. False where it was not met.
pub(crate) fn attach(finding: &mut Finding, evidence: &Evidence<'_>) -> bool {
    let Some((profile, more)) = evidence.profile().zip(more(evidence)) else { return false };
    let at = |origin: &Origin<'_>| {
        let made = |frame: &offheap_model::Frame| frame.kind == FrameKind::Jvm && frame.name.contains(MAKES);
        origin.frames.iter().position(made)
    };
    let makers = sites::owners(profile).into_iter().filter_map(|origin| Some((at(&origin)?, origin)));
    let Some((at, maker)) = makers.max_by_key(|(_, origin)| origin.sum.live_bytes) else { return false };
    let (by, java) = (maker.frames.get(at + 1), maker.java_caller());
    let mut words = by.map_or_else(|| "unknown code".to_owned(), |frame| frame.name.clone());
    if let Some(java) = java.filter(|java| by != Some(*java)) {
        words.push_str(&format!(", called by {}", java.name));
    }
    finding.summary.push_str(&format!(
        " JNI code holds {more:.0} global references more than at the first look; they are made by {words}."
    ));
    finding.evidence.push(Observation {
        text: format!(
            "{} of the C heap for references are live that were made there",
            units::bytes(maker.sum.live_bytes)
        ),
        source: sites::LIVE_TABLE.to_owned(),
    });
    finding.site = Some(sites::site(maker));
    true
}
