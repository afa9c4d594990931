//! The rules: one file for each cause. The doc comment of a rule's file is the user's page about
//! it; docs/causes is generated from them (see `crate::docs`).

use crate::evidence::Evidence;
use offheap_model::{Finding, Status};

mod cgroup_page_cache;
mod class_loader_leak;
mod code_cache_growth;
mod compiler_arenas;
mod direct_buffers_referenced;
mod direct_memory_uncounted;
mod does_not_fit;
mod finalizers_stuck;
mod gc_structures;
mod glibc_retention;
mod heap_committed_empty;
mod heap_filling;
mod heap_full;
mod heap_leak;
mod jni_library_leak;
mod jvm_internal_growth;
mod mapped_files;
mod native_malloc_growth;
mod native_mmap_growth;
mod netty_pool_arenas;
mod nio_thread_cache;
mod python_arenas_kept;
mod python_container;
mod python_cycles;
mod python_growth;
mod python_interpreters;
mod python_lost_references;
pub(crate) mod slow_leak;
mod string_symbol_tables;
mod thread_leak;
mod thread_stacks_thp;
mod tmpfs_growth;
mod unclosed_native_peer;
mod unexplained_growth;
mod virtual_threads;
mod zgc_triple_count;

pub use heap_leak::IN_USE_DECIDES_S;
pub(crate) use heap_leak::suspect_bytes;
pub use virtual_threads::virtual_threads_grow;

/// A known cause of memory that grows or stays.
pub trait Rule: Sync {
    /// Its name for programs and for its page: `"thread-leak"`.
    fn id(&self) -> &'static str;

    /// What it finds; `None` where its signature is not there. A rule speaks for its own domain
    /// only, from figures and never from a program's name.
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding>;

    /// The ids of rules that tell the same mistake more exactly: where one of them finds something,
    /// what this one finds is left out.
    fn yields_to(&self) -> &'static [&'static str] {
        &[]
    }

    /// What else its cause makes grow: the ids of the rules that see it, each with the most bytes
    /// of it that a byte of this one's growth brings along (`f64::INFINITY`: any number).
    fn explains(&self) -> &'static [(&'static str, f64)] {
        &[]
    }

    /// Whether it speaks of what Python keeps.
    fn is_of_python(&self) -> bool {
        false
    }

    /// The statuses with which it matters, besides an open verdict, which Java objects are in use:
    /// objects may own what it finds.
    fn asks_what_is_in_use(&self) -> &'static [Status] {
        &[]
    }
}

/// Every rule. The order decides between findings that explain the same: the more specific ones
/// come first.
pub const RULES: &[&dyn Rule] = &[
    &thread_leak::ThreadLeak,
    &class_loader_leak::ClassLoaderLeak,
    &netty_pool_arenas::NettyPoolArenas,
    &direct_buffers_referenced::DirectBuffersReferenced,
    &direct_memory_uncounted::DirectMemoryUncounted,
    &nio_thread_cache::NioThreadCache,
    &mapped_files::MappedFiles,
    &tmpfs_growth::TmpfsGrowth,
    &virtual_threads::VirtualThreads,
    &heap_leak::HeapLeak,
    &heap_full::HeapFull,
    &python_interpreters::PythonInterpreters,
    &python_lost_references::PythonLostReferences,
    &python_container::PythonContainer,
    &python_cycles::PythonCycles,
    &python_growth::PythonGrowth,
    &string_symbol_tables::StringSymbolTables,
    &jvm_internal_growth::JvmInternalGrowth,
    &gc_structures::GcStructures,
    &compiler_arenas::CompilerArenas,
    &code_cache_growth::CodeCacheGrowth,
    &finalizers_stuck::FinalizersStuck,
    &unclosed_native_peer::UnclosedNativePeer,
    &jni_library_leak::JniLibraryLeak,
    &native_malloc_growth::NativeMallocGrowth,
    &slow_leak::SlowLeak,
    &native_mmap_growth::NativeMmapGrowth,
    &unexplained_growth::UnexplainedGrowth,
    &does_not_fit::DoesNotFit,
    &glibc_retention::GlibcRetention,
    &python_arenas_kept::PythonArenasKept,
    &heap_committed_empty::HeapCommittedEmpty,
    &thread_stacks_thp::ThreadStacksThp,
    &heap_filling::HeapFilling,
    &zgc_triple_count::ZgcTripleCount,
    &cgroup_page_cache::CgroupPageCache,
];

/// The rule with this id.
pub(crate) fn rule_of(cause: &str) -> Option<&'static dyn Rule> {
    RULES.iter().copied().find(|rule| rule.id() == cause)
}

/// Whether a rule on Python has this id.
pub(crate) fn is_of_python(cause: &str) -> bool {
    rule_of(cause).is_some_and(|rule| rule.is_of_python())
}

/// Whether it matters to `verdict` which Java objects are in use: nothing is decided yet, or
/// objects may be behind it.
pub fn asks_what_is_in_use(verdict: &Finding) -> bool {
    let asks = |rule: &dyn Rule| rule.asks_what_is_in_use().contains(&verdict.status);
    verdict.status == Status::Inconclusive || rule_of(&verdict.cause).is_some_and(asks)
}

/// What the rules find, each cause once.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Vec<Finding> {
    let found: Vec<(&dyn Rule, Finding)> =
        RULES.iter().filter_map(|rule| Some((*rule, rule.judge(evidence)?))).collect();
    let ids: Vec<&str> = found.iter().map(|(rule, _)| rule.id()).collect();
    let stays = |rule: &dyn Rule| !rule.yields_to().iter().any(|id| ids.contains(id));
    found.into_iter().filter(|(rule, _)| stays(*rule)).map(|(_, finding)| finding).collect()
}
