//! The VM's flags (runtime/flags/jvmFlag.hpp): a table of names, types and addresses, read once;
//! values are read anew.

use crate::target::{MOST_TEXT, Peek, Target};
use crate::vm::Vm;
use std::collections::HashMap;

/// More flags than any build has: 1,500.
const MAX_FLAGS: u64 = 10_000;

/// The flags that matter to a verdict, in the order they are shown. Those a build doesn't have are
/// left out.
const SHOWN: [&str; 38] = [
    "MaxHeapSize",
    "InitialHeapSize",
    "MinHeapSize",
    "SoftMaxHeapSize",
    "MinHeapFreeRatio",
    "MaxHeapFreeRatio",
    "MaxDirectMemorySize",
    "MaxMetaspaceSize",
    "CompressedClassSpaceSize",
    "ReservedCodeCacheSize",
    "ThreadStackSize",
    "CompilerThreadStackSize",
    "VMThreadStackSize",
    "UseSerialGC",
    "UseParallelGC",
    "UseConcMarkSweepGC",
    "UseG1GC",
    "UseZGC",
    "ZGenerational",
    "UseShenandoahGC",
    "UseEpsilonGC",
    "ParallelGCThreads",
    "ConcGCThreads",
    "CICompilerCount",
    "UseCompressedOops",
    "UseCompactObjectHeaders",
    "NativeMemoryTracking",
    "AlwaysPreTouch",
    "UseTransparentHugePages",
    "UseLargePages",
    "ZUncommit",
    "ShenandoahUncommit",
    "G1PeriodicGCInterval",
    "TrimNativeHeapInterval",
    "DisableAttachMechanism",
    "EnableDynamicAgentLoading",
    "PerfDisableSharedMem",
    "ShenandoahGCMode",
];

/// Flags that are only read to understand the rest.
const INTERNAL: [&str; 8] = [
    "MarkStackSize",
    "MarkStackSizeMax",
    "UseCompressedClassPointers",
    "UseSharedSpaces",
    "SharedArchiveFile",
    "SharedDynamicArchivePath",
    "AOTCache",
    "UsePerfData",
];

/// The collectors and the flags that choose them.
const COLLECTORS: [(&str, &str); 7] = [
    ("UseG1GC", "G1"),
    ("UseParallelGC", "Parallel"),
    ("UseSerialGC", "Serial"),
    ("UseZGC", "Z"),
    ("UseShenandoahGC", "Shenandoah"),
    ("UseConcMarkSweepGC", "ConcMarkSweep"),
    ("UseEpsilonGC", "Epsilon"),
];

/// How a flag's value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Uint,
    Intx,
    Uintx,
    Double,
    Text,
}

impl Kind {
    /// Up to JDK 15 the type is a name.
    fn of_name(name: &str) -> Option<Kind> {
        Some(match name {
            "bool" => Kind::Bool,
            "int" => Kind::Int,
            "uint" => Kind::Uint,
            "intx" => Kind::Intx,
            "uintx" | "uint64_t" | "size_t" => Kind::Uintx,
            "double" => Kind::Double,
            "ccstr" | "ccstrlist" => Kind::Text,
            _ => return None,
        })
    }

    /// From JDK 16 it is a number: `JVM_FLAG_NON_STRING_TYPES_DO` and the two of text, in order.
    fn of_number(number: u32) -> Option<Kind> {
        Some(match number {
            0 => Kind::Bool,
            1 => Kind::Int,
            2 => Kind::Uint,
            3 => Kind::Intx,
            4..=6 => Kind::Uintx,
            7 => Kind::Double,
            8 | 9 => Kind::Text,
            _ => return None,
        })
    }
}

/// Where the flags this crate knows are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    places: HashMap<&'static str, (u64, Kind)>,
}

impl Flags {
    /// Finds the flags in the VM's table; none where there is no table.
    pub(crate) fn find(vm: &Vm<'_>) -> Flags {
        Self::find_all(vm).unwrap_or_default()
    }

    fn find_all(vm: &Vm<'_>) -> Option<Flags> {
        // JDK 8 calls the class Flag.
        let class =
            ["JVMFlag", "Flag"].into_iter().find(|class| vm.tables.address(class, "flags").is_some())?;
        let table = vm.static_pointer(class, "flags")?;
        let count = vm.static_u64(class, "numFlags")?.min(MAX_FLAGS);
        let size = vm.tables.size_of(class)?;
        let type_is_number = vm.tables.type_of(class, "_type") == Some("int");
        let known: HashMap<&str, &'static str> =
            SHOWN.into_iter().chain(INTERNAL).map(|name| (name, name)).collect();
        let mut flags = Flags::default();
        for index in 0..count {
            let flag = table.checked_add(index.checked_mul(size)?)?;
            let Some(name) = vm.pointer(flag, class, "_name").and_then(|at| vm.target.c_string(at, 80))
            else {
                continue;
            };
            let Some(name) = known.get(name.as_str()) else { continue };
            let kind = if type_is_number {
                vm.u32(flag, class, "_type").and_then(Kind::of_number)
            } else {
                let name = vm.pointer(flag, class, "_type").and_then(|at| vm.target.c_string(at, 16));
                name.and_then(|name| Kind::of_name(&name))
            };
            if let Some((address, kind)) = vm.pointer(flag, class, "_addr").zip(kind) {
                flags.places.insert(name, (address, kind));
            }
        }
        Some(flags)
    }

    /// The value of a flag as a command line would give it.
    pub(crate) fn text(&self, target: &dyn Target, name: &str) -> Option<String> {
        let (address, kind) = *self.places.get(name)?;
        Some(match kind {
            Kind::Bool => (target.u8(address)? != 0).to_string(),
            Kind::Int => target.i32(address)?.to_string(),
            Kind::Uint => target.u32(address)?.to_string(),
            Kind::Intx => (target.u64(address)? as i64).to_string(),
            Kind::Uintx => target.u64(address)?.to_string(),
            Kind::Double => f64::from_bits(target.u64(address)?).to_string(),
            // Shown with its value as it is; unset text is a null pointer.
            Kind::Text => target.c_string(target.pointer(address)?, MOST_TEXT)?,
        })
    }

    /// The value of a flag that counts something.
    pub(crate) fn number(&self, target: &dyn Target, name: &str) -> Option<u64> {
        let (address, kind) = *self.places.get(name)?;
        match kind {
            Kind::Int => u64::try_from(target.i32(address)?).ok(),
            Kind::Uint => target.u32(address).map(u64::from),
            Kind::Intx => i64::from_le_bytes(target.array(address)?).try_into().ok(),
            Kind::Uintx => target.u64(address),
            Kind::Bool | Kind::Double | Kind::Text => None,
        }
    }

    /// True where the flag exists and is set.
    pub(crate) fn is_set(&self, target: &dyn Target, name: &str) -> bool {
        matches!(self.places.get(name), Some((address, Kind::Bool)) if target.u8(*address).is_some_and(|set| set != 0))
    }

    /// True where this build has the flag.
    pub(crate) fn exists(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The collector's name, empty where no flag tells.
    pub(crate) fn collector(&self, target: &dyn Target) -> &'static str {
        COLLECTORS.into_iter().find(|(flag, _)| self.is_set(target, flag)).map_or("", |(_, name)| name)
    }

    /// The flags that matter, with their values; of the collectors only the one in use.
    pub(crate) fn shown(&self, target: &dyn Target) -> Vec<(String, String)> {
        SHOWN
            .into_iter()
            .filter(|name| !COLLECTORS.iter().any(|(flag, _)| flag == name) || self.is_set(target, name))
            .filter_map(|name| Some((name.to_owned(), self.text(target, name)?)))
            .collect()
    }
}
