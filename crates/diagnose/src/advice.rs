//! Advice that a single frame gives: functions of the JVM and the JDK whose memory somebody else must give back.

use offheap_model::{Frame, FrameKind};

/// A part of a frame's name, and what to do where it is in the stack of what stays.
const BY_FRAME: [(&str, &str); 9] = [
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
    ("ObjectMonitor::", "fewer objects that are locked at the same time, or java.util.concurrent's locks"),
    ("JvmtiEnv::", "another agent (-agentlib, -javaagent) allocates it: see what it is for"),
];

/// What to do about memory that this stack allocated and nobody freed, if a frame of it says so.
pub(crate) fn of(frames: &[Frame]) -> Option<&'static str> {
    // The innermost frame that has something to say knows best; a library's own functions may be called anything.
    frames.iter().filter(|frame| frame.kind != FrameKind::Native).find_map(|frame| {
        BY_FRAME.iter().find(|(part, _)| frame.name.contains(part)).map(|(_, advice)| *advice)
    })
}
