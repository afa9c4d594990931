//! What JNI code holds of a Java heap.

use serde::{Deserialize, Serialize};

/// The JNI references of a JVM at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Handles {
    /// Global references (`NewGlobalRef`), the JVM's own included; `None` where they were not
    /// found.
    pub global: Option<References>,
    /// Weak global references (`NewWeakGlobalRef`); `None` where they were not found.
    pub weak: Option<References>,
    /// Threads that have local references or pushed frames, the most frames first; `None` where the
    /// threads can't be listed.
    pub threads: Option<Vec<LocalReferences>>,
    /// Threads that were attached (`AttachCurrentThread`) and have ended without
    /// `DetachCurrentThread`, by name.
    pub ended_attached: Vec<String>,
}

/// References of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct References {
    /// How many there are.
    pub count: u64,
    /// Of these, weak ones whose object is gone: nobody has deleted them.
    pub cleared: u64,
    /// How many refer to objects of each class, the most first.
    pub by_class: Vec<ClassCount>,
}

/// References to objects of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct ClassCount {
    /// The class as a program writes it.
    pub class: String,
    /// How many.
    pub count: u64,
}

/// The local references of one thread.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct LocalReferences {
    /// Its id in its own pid namespace.
    pub tid: i32,
    /// Its name.
    pub thread: String,
    /// Frames pushed (`PushLocalFrame`) and not popped.
    pub pushed_frames: u64,
    /// Blocks of 32 references that they take.
    pub blocks: u64,
    /// The references.
    pub references: References,
}

impl Handles {
    /// How many frames the thread `tid` has pushed and not popped; 0 where it is not listed, which
    /// it is not without any.
    pub fn pushed_frames(&self, tid: i32) -> u64 {
        self.threads
            .iter()
            .flatten()
            .find(|thread| thread.tid == tid)
            .map_or(0, |thread| thread.pushed_frames)
    }
}

impl References {
    /// How many refer to objects of `class`.
    pub fn of(&self, class: &str) -> u64 {
        self.by_class.iter().find(|entry| entry.class == class).map_or(0, |entry| entry.count)
    }
}
