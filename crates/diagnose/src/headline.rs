//! The first sentence of a verdict: alone it says what, where, how fast and until when.

use crate::evidence::Evidence;
use crate::names::placed;
use crate::outlook::Outlook;
use crate::python_types;
use crate::series::Key;
use crate::sites::{caller, does, function, is_object, is_of_jdk, is_plumbing};
use offheap_model::units::{bytes, hour, rate};
use offheap_model::{Domain, Finding, Frame, FrameKind, Site, Status};

/// A site's bytes are an estimate: they may be this many times what its domain has resident.
/// Unit: times.
const ABOUT: f64 = 1.1;

/// Puts it before the rest of a leak's summary.
pub(crate) fn put(verdict: &mut Finding, evidence: &Evidence<'_>, outlook: &Outlook) {
    if verdict.status != Status::Leak || verdict.slope_bytes_per_s <= 0.0 {
        return;
    }
    let what = words(verdict.domain);
    // Of objects on the Java heap, code that makes handles to them.
    let of_handles =
        |site: &Site| verdict.domain == Some(Domain::JavaHeap) && !site.frames.first().is_some_and(is_object);
    // Of Python the type and the holder matter, not the interpreter's function that was at work.
    let place = python_types::headline(&verdict.cause, evidence).unwrap_or_else(|| {
        verdict.site.as_ref().map_or_else(String::new, |site| place(site, of_handles(site)))
    });
    // What is reserved, of stacks and maps, would be more than what counts; handles are not what they
    // hold.
    let resident = |site: &Site| {
        let domain = verdict.domain.and_then(|domain| evidence.series(&Key::Domain(domain)));
        domain.is_none_or(|series| site.bytes as f64 <= ABOUT * series.last())
    };
    let held = verdict.site.as_ref().filter(|site| site.bytes > 0 && resident(site) && !of_handles(site));
    let amount = held.map_or_else(String::new, |site| format!("{} so far, ", bytes(site.bytes)));
    let speed = rate(verdict.slope_bytes_per_s);
    let until = until(outlook, evidence);
    let sentence = format!("{what}{place} grows and is not given back: {amount}{speed}{until}.");
    verdict.summary = format!("{sentence} {}", verdict.summary);
}

/// A domain at the begin of a sentence.
fn words(domain: Option<Domain>) -> &'static str {
    match domain {
        Some(Domain::JavaHeap) => "The live part of the Java heap",
        Some(Domain::Metaspace) => "Memory of classes (metaspace)",
        Some(Domain::CodeCache) => "Compiled code (code-cache)",
        Some(Domain::ThreadStacks) => "Memory of threads (thread-stacks)",
        Some(Domain::Gc) => "Memory of the collector (gc)",
        Some(Domain::JvmInternal) => "Memory of the JVM itself (jvm-internal)",
        Some(Domain::DirectMemory) => "Direct memory",
        Some(Domain::NativeMalloc) => "Native memory (native-malloc)",
        Some(Domain::Malloc) => "The C heap (malloc)",
        Some(Domain::NativeMmap) => "Memory that native code maps (native-mmap)",
        Some(Domain::PythonHeap) => "Memory of Python objects (python-heap)",
        Some(Domain::MappedFiles) => "Memory of mapped files",
        Some(Domain::Tmpfs) => "Memory of files in tmpfs",
        _ => "Memory",
    }
}

/// `" allocated by frame_new, called by app.Codec.encode (Codec.java:41),"`.
fn place(site: &Site, holds_objects: bool) -> String {
    let function = function(site.frames.iter());
    let java = caller(&site.frames).filter(|java| Some(*java) != function);
    // What the JVM or the JDK does for others is no news to whoever called it.
    let of_jvm = |frame: &Frame| frame.kind == FrameKind::Jvm || is_of_jdk(frame);
    let called_jvm =
        |frame: &&Frame| !of_jvm(frame) && frame.kind == FrameKind::Native && !is_plumbing(frame);
    let by_java = java.is_some_and(|java| !is_of_jdk(java));
    let function = match function {
        Some(function) if of_jvm(function) && by_java => None,
        Some(function) if of_jvm(function) && java.is_none() => {
            site.frames.iter().find(called_jvm).or(Some(function))
        }
        other => other,
    };
    let does = if holds_objects { "held through JNI references made" } else { does(&site.frames) };
    match (function, java) {
        (Some(function), Some(java)) => {
            format!(" {does} by {}, called by {},", placed(function), placed(java))
        }
        (Some(only), None) | (None, Some(only)) => format!(" {does} by {},", placed(only)),
        (None, None) => String::new(),
    }
}

/// When the limit is reached, if there is one that this growth can reach.
fn until(outlook: &Outlook, evidence: &Evidence<'_>) -> String {
    let now = evidence.last().map_or(0, |last| last.time_ms);
    match (outlook.limit_bytes, outlook.kill_at) {
        (Some(limit), Some(at)) => {
            format!("; the limit of {} is reached at about {}", bytes(limit), hour(at, now))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(frames: &[(FrameKind, &str)]) -> Site {
        let frame = |(kind, name): &(FrameKind, &str)| Frame {
            name: (*name).to_owned(),
            kind: *kind,
            file: None,
            line: None,
            module: None,
        };
        Site { bytes: 0, slope_bytes_per_s: 0.0, frames: frames.iter().map(frame).collect() }
    }

    #[test]
    fn who_called_the_jvm_comes_before_the_jvm() {
        let frames = [
            (FrameKind::Jvm, "OopStorage::try_add_block()"),
            (FrameKind::Jvm, "jni_NewGlobalRef"),
            (FrameKind::Native, "PyJPArray_create"),
        ];
        assert_eq!(place(&site(&frames), true), " held through JNI references made by PyJPArray_create,");
        let frames = [
            (FrameKind::Jvm, "Dictionary::Dictionary(int)"),
            (FrameKind::Java, "java.lang.ClassLoader.defineClass1"),
            (FrameKind::Java, "app.Plugins.reload"),
        ];
        assert_eq!(place(&site(&frames), false), " allocated by app.Plugins.reload,");
        // Nobody but the JVM.
        let frames = [(FrameKind::Jvm, "CodeCache::allocate(int)")];
        assert_eq!(place(&site(&frames), false), " allocated by CodeCache::allocate(…),");
    }
}
