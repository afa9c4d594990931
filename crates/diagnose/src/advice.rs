//! Advice that a single frame gives: functions of the JVM and the JDK whose memory somebody else
//! must give back.

use crate::sites::{is_of_jna, is_plumbing};
use offheap_model::{Frame, FrameKind};

/// What to do about local references that native code gathers.
const LOCAL_REFERENCES: &str = "DeleteLocalRef, or PushLocalFrame and PopLocalFrame, in native code that loops without returning to Java";

/// A part of a frame's name, and what to do where it is in the stack of what stays.
const BY_FRAME: [(&str, &str); 16] = [
    (
        "jni_GetStringUTFChars",
        "ReleaseStringUTFChars for every GetStringUTFChars, also when an exception is pending",
    ),
    ("jni_GetStringChars", "ReleaseStringChars for every GetStringChars, also when an exception is pending"),
    ("ArrayElements", "Release…ArrayElements for every Get…ArrayElements, also when an exception is pending"),
    (
        "jni_NewGlobalRef",
        "DeleteGlobalRef for every NewGlobalRef; what it refers to stays on the Java heap, too",
    ),
    ("jni_NewWeakGlobalRef", "DeleteWeakGlobalRef for every NewWeakGlobalRef"),
    ("StringTable::", "String.intern() of what has no bound: keep a bounded map of one's own instead"),
    (
        "sun.nio.ch.Util.getTemporaryDirectBuffer",
        "-Djdk.nio.maxCachedBufferSize=262144: NIO keeps a direct buffer as large as the largest heap buffer for each thread \
         that read or wrote one; or use direct buffers, or fewer threads",
    ),
    (
        "AttachCurrentThread",
        "DetachCurrentThread before a native thread that was attached ends: the JVM keeps its Thread object otherwise",
    ),
    (
        "attach_current_thread",
        "DetachCurrentThread before a native thread that was attached ends: the JVM keeps its Thread object otherwise",
    ),
    ("JNIHandles::make_local", LOCAL_REFERENCES),
    ("JNIHandleBlock::allocate_block", LOCAL_REFERENCES),
    (
        "sun.nio.ch.EPoll",
        "close() every Selector (try-with-resources): each has an epoll descriptor and native memory",
    ),
    (
        "sun.nio.ch.SelectorImpl",
        "close() every Selector (try-with-resources): each has a descriptor and native memory",
    ),
    (
        "UpcallLinker",
        "make upcall stubs in an Arena that is closed, or once: a stub lives as long as its arena does",
    ),
    ("ObjectMonitor::", "fewer objects that are locked at the same time, or java.util.concurrent's locks"),
    ("JvmtiEnv::", "another agent (-agentlib, -javaagent) allocates it: see what it is for"),
];

/// What to do about memory that this stack allocated and nobody freed, if a frame of it says so.
pub(crate) fn of(frames: &[Frame]) -> Option<&'static str> {
    if returned_through_jna(frames) {
        return Some(
            "what a native function returns through JNA is the caller's to free: Native.free(Pointer.nativeValue(result)), or the \
             library's own function for it",
        );
    }
    // The innermost frame that has something to say knows best; a library's own functions may be
    // called anything.
    frames.iter().filter(|frame| frame.kind != FrameKind::Native).find_map(|frame| {
        BY_FRAME.iter().find(|(part, _)| frame.name.contains(part)).map(|(_, advice)| *advice)
    })
}

/// Whether the advice for this stack is about local references.
pub(crate) fn speaks_of_local_references(frames: &[Frame]) -> bool {
    of(frames) == Some(LOCAL_REFERENCES)
}

/// Whether a function that JNA called has allocated it, and not JNA itself. Between the two is
/// libffi, which mostly is part of JNA's own library, without symbols: where a function of the C
/// library was called, only JNA's `invoke…` tells it from JNA's own blocks. What JNA allocates for
/// the time of a call it frees after it (native/dispatch.c).
fn returned_through_jna(frames: &[Frame]) -> bool {
    let first = frames.iter().find(|frame| !is_plumbing(frame));
    let invokes = || frames.iter().any(|frame| frame.name.starts_with("com.sun.jna.Native.invoke"));
    let by_another =
        first.is_some_and(|frame| frame.kind == FrameKind::Native && (!is_of_jna(frame) || invokes()));
    by_another
        && frames.iter().any(|frame| frame.kind == FrameKind::Java && frame.name.starts_with("com.sun.jna."))
}
