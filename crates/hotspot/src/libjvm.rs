//! libjvm in a process: where it is mapped and where its symbols are.

use crate::Error;
use offheap_target::{Elf, Reads, Target, Vma, image_of};
use std::collections::HashMap;

/// The statics that vmStructs doesn't name but `.symtab` does, as they are mangled. A build without
/// `.symtab` lacks them; then what they would have told is found by shape or not told.
mod symbol {
    pub(crate) const ALL: [&str; 21] = [
        NMT_LEVEL,
        NMT_MALLOC,
        NMT_VIRTUAL,
        NMT_NAMES,
        NMT_STRINGS,
        MEMORY_POOLS,
        INSTANCE_CLASSES,
        ARRAY_CLASSES,
        METASPACE_CLASS,
        METASPACE_NONCLASS,
        METASPACE_CLASS_11,
        METASPACE_NONCLASS_11,
        METASPACE_USED_11,
        METASPACE_USED_CLASS,
        METASPACE_USED_NONCLASS,
        PARALLEL_MARK_BITMAP,
        PARALLEL_SUMMARY,
        CMS_COLLECTOR,
        POLLING_PAGE,
        GLOBAL_HANDLES,
        WEAK_GLOBAL_HANDLES,
    ];
    pub(crate) const NMT_LEVEL: &str = "_ZN10MemTracker15_tracking_levelE";
    pub(crate) const NMT_MALLOC: &str = "_ZN19MallocMemorySummary9_snapshotE";
    pub(crate) const NMT_VIRTUAL: &str = "_ZN20VirtualMemorySummary9_snapshotE";
    pub(crate) const NMT_NAMES: &str = "_ZN7NMTUtil18_memory_type_namesE";
    pub(crate) const NMT_STRINGS: &str = "_ZN7NMTUtil8_stringsE";
    pub(crate) const MEMORY_POOLS: &str = "_ZN13MemoryService11_pools_listE";
    pub(crate) const INSTANCE_CLASSES: &str = "_ZN20ClassLoaderDataGraph21_num_instance_classesE";
    pub(crate) const ARRAY_CLASSES: &str = "_ZN20ClassLoaderDataGraph18_num_array_classesE";
    pub(crate) const METASPACE_CLASS: &str = "_ZN9metaspace16MetaspaceContext20_class_space_contextE";
    pub(crate) const METASPACE_NONCLASS: &str = "_ZN9metaspace16MetaspaceContext23_nonclass_space_contextE";
    pub(crate) const METASPACE_CLASS_11: &str = "_ZN9Metaspace17_class_space_listE";
    pub(crate) const METASPACE_NONCLASS_11: &str = "_ZN9Metaspace11_space_listE";
    pub(crate) const METASPACE_USED_11: &str = "_ZN14MetaspaceUtils11_used_wordsE";
    pub(crate) const METASPACE_USED_CLASS: &str = "_ZN9metaspace15RunningCounters19_used_class_counterE";
    pub(crate) const METASPACE_USED_NONCLASS: &str =
        "_ZN9metaspace15RunningCounters22_used_nonclass_counterE";
    pub(crate) const PARALLEL_MARK_BITMAP: &str = "_ZN17PSParallelCompact12_mark_bitmapE";
    pub(crate) const PARALLEL_SUMMARY: &str = "_ZN17PSParallelCompact13_summary_dataE";
    pub(crate) const CMS_COLLECTOR: &str = "_ZN29ConcurrentMarkSweepGeneration10_collectorE";
    pub(crate) const POLLING_PAGE: &str = "_ZN18SafepointMechanism13_polling_pageE";
    pub(crate) const GLOBAL_HANDLES: &str = "_ZN10JNIHandles15_global_handlesE";
    pub(crate) const WEAK_GLOBAL_HANDLES: &str = "_ZN10JNIHandles20_weak_global_handlesE";
}
pub(crate) use symbol::*;

/// What every exported variable's name starts with.
const EXPORT: &str = "gHotSpotVM";

/// A variable of libjvm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Where it is in the process.
    pub(crate) address: u64,
    /// Its bytes.
    pub(crate) size: u64,
}

/// libjvm as the process has it mapped.
#[derive(Debug, Clone)]
pub(crate) struct Libjvm {
    /// Its path as the kernel shows it.
    pub(crate) path: String,
    /// Its mappings of the file, from the first to the last.
    pub(crate) range: std::ops::Range<u64>,
    variables: HashMap<String, Variable>,
}

impl Libjvm {
    pub(crate) fn find(target: &dyn Target) -> Result<Libjvm, Error> {
        let pid = target.pid();
        let vmas = target.vmas();
        let named = |name: &str| image_of(vmas, |vma| vma.path.rsplit('/').next() == Some(name));
        // OpenJ9 has a libjvm.so too, which only passes calls on.
        if vmas.iter().any(|vma| is_openj9(&vma.path)) {
            return Err(Error::OpenJ9 { pid });
        }
        if let Some(vma) = named("libjvm.so") {
            return match target.elf_at_wanted(vma.start, is_wanted) {
                Some(elf) => Ok(Self::new(vma, target, &elf)),
                None => Err(Error::LibjvmUnreadable { pid, path: vma.path.clone(), deleted: vma.deleted }),
            };
        }
        let exe = target.exe().unwrap_or_default();
        let Some(vma) = image_of(vmas, |vma| vma.path == exe) else { return Err(Error::NotJvm { pid }) };
        let native_image = |name: &str| name.starts_with("__svm_") || name == "graal_create_isolate";
        match target.elf_at_wanted(vma.start, |name| is_wanted(name) || native_image(name)) {
            // A launcher that libjvm is linked into.
            Some(elf) if elf.symbol("gHotSpotVMStructs").is_some() => Ok(Self::new(vma, target, &elf)),
            Some(elf)
                if elf.section(".svm_heap").is_some()
                    || elf.symbols().any(|(name, _)| native_image(name)) =>
            {
                Err(Error::NativeImage { pid })
            }
            _ => Err(Error::NotJvm { pid }),
        }
    }

    fn new(first: &Vma, target: &dyn Target, elf: &Elf) -> Libjvm {
        let bias = elf.load_bias(first.start);
        let image = target.image_range(first);
        let end = target
            .vmas()
            .iter()
            .filter(|vma| {
                vma.inode == first.inode && vma.device == first.device && image.contains(&vma.start)
            })
            .map(|vma| vma.end)
            .max()
            .unwrap_or(first.end);
        let variables = elf
            .symbols()
            .filter(|(name, _)| is_wanted(name))
            .map(|(name, symbol)| {
                (name.to_owned(), Variable { address: symbol.address.wrapping_add(bias), size: symbol.size })
            })
            .collect();
        Libjvm { path: first.path.clone(), range: first.start..end, variables }
    }

    /// One of the variables of [`symbol`], where this build has it.
    pub(crate) fn variable(&self, name: &str) -> Option<Variable> {
        self.variables.get(name).copied()
    }

    /// Address of `gHotSpotVM<name>`.
    pub(crate) fn export(&self, name: &str) -> Option<u64> {
        self.variable(&format!("{EXPORT}{name}")).map(|variable| variable.address)
    }
}

fn is_wanted(name: &str) -> bool {
    name.starts_with(EXPORT) || ALL.contains(&name)
}

fn is_openj9(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("libj9vm"))
}
