//! The domains: each resident byte of a process is in exactly one.

use serde::{Deserialize, Serialize};

/// What a resident byte is used for. The words are a contract (CLI, JSON, files, code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Domain {
    /// The garbage-collected heap.
    JavaHeap,
    /// Class metadata, with the compressed class space.
    Metaspace,
    /// Class data sharing archives.
    Cds,
    /// Compiled code, stubs and the interpreter.
    CodeCache,
    /// Stacks of threads, of whatever kind.
    ThreadStacks,
    /// The collector's own structures: card tables, mark bitmaps, remembered sets.
    Gc,
    /// Other memory of libjvm.
    JvmInternal,
    /// Direct ByteBuffers, `Unsafe` and FFM segments.
    DirectMemory,
    /// malloc by anything but the JVM.
    NativeMalloc,
    /// C heap whose owner neither NMT nor the agent can tell.
    Malloc,
    /// Anonymous maps by anything but the JVM.
    NativeMmap,
    /// CPython's own object arenas.
    PythonHeap,
    /// Free, but held by the allocator.
    AllocatorRetention,
    /// Files mapped as data, memfd and shared memory.
    MappedFiles,
    /// Text and data of executables and shared libraries.
    Libraries,
    /// vdso, vvar and other maps of the kernel's making.
    Kernel,
    /// What could not be told.
    Unattributed,
    /// Beside the process, charged to its container: files in tmpfs and shared memory that it has
    /// not mapped.
    Tmpfs,
    /// Beside the process: slab, sockets, page tables.
    KernelMemory,
    /// Beside the process: the container's other processes.
    OtherProcesses,
}

impl Domain {
    /// What is charged to a container beside the process itself.
    pub const BESIDE: [Domain; 3] = [Domain::Tmpfs, Domain::KernelMemory, Domain::OtherProcesses];

    /// Every domain of a process, in the order of the contract.
    pub const ALL: [Domain; 17] = [
        Domain::JavaHeap,
        Domain::Metaspace,
        Domain::Cds,
        Domain::CodeCache,
        Domain::ThreadStacks,
        Domain::Gc,
        Domain::JvmInternal,
        Domain::DirectMemory,
        Domain::NativeMalloc,
        Domain::Malloc,
        Domain::NativeMmap,
        Domain::PythonHeap,
        Domain::AllocatorRetention,
        Domain::MappedFiles,
        Domain::Libraries,
        Domain::Kernel,
        Domain::Unattributed,
    ];

    /// The word used on the screen, in JSON and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Domain::JavaHeap => "java-heap",
            Domain::Metaspace => "metaspace",
            Domain::Cds => "cds",
            Domain::CodeCache => "code-cache",
            Domain::ThreadStacks => "thread-stacks",
            Domain::Gc => "gc",
            Domain::JvmInternal => "jvm-internal",
            Domain::DirectMemory => "direct-memory",
            Domain::NativeMalloc => "native-malloc",
            Domain::Malloc => "malloc",
            Domain::NativeMmap => "native-mmap",
            Domain::PythonHeap => "python-heap",
            Domain::AllocatorRetention => "allocator-retention",
            Domain::MappedFiles => "mapped-files",
            Domain::Libraries => "libraries",
            Domain::Kernel => "kernel",
            Domain::Unattributed => "unattributed",
            Domain::Tmpfs => "tmpfs",
            Domain::KernelMemory => "kernel-memory",
            Domain::OtherProcesses => "other-processes",
        }
    }
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDomain(pub String);

impl std::fmt::Display for UnknownDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no domain is called {:?}; the domains are:", self.0)?;
        Domain::ALL.iter().try_for_each(|domain| write!(f, " {domain}"))
    }
}

impl std::error::Error for UnknownDomain {}

impl std::str::FromStr for Domain {
    type Err = UnknownDomain;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Domain::ALL
            .into_iter()
            .chain(Domain::BESIDE)
            .find(|domain| domain.as_str() == word)
            .ok_or_else(|| UnknownDomain(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_and_the_json_are_the_same_for_every_domain() {
        for domain in Domain::ALL.into_iter().chain(Domain::BESIDE) {
            assert_eq!(serde_json::to_string(&domain).unwrap(), format!("\"{domain}\""));
            assert_eq!(domain.as_str().parse(), Ok(domain));
        }
        assert!("heap".parse::<Domain>().is_err());
    }
}
