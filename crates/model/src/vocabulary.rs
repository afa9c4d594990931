//! The vocabulary of stacks, for everybody who reads one: which functions only hand an allocation
//! on, which classes are the JDK's, which file is the C library.

/// The allocator's functions, without what C libraries put before their names.
const ALLOCATORS: [&str; 12] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "valloc",
    "strdup",
    "strndup",
    "mmap",
    "mmap64",
];
/// What C libraries put before those names for their own use; the longest first.
const OF_THE_LIBRARY: [&str; 3] = ["__libc_", "_int_", "__"];
/// How the names of C++'s allocators start.
const OF_CPP: [&str; 3] = ["operator new", "std::__new_allocator", "std::allocator"];
/// HotSpot's allocators (src/hotspot/share/runtime/os.hpp, memory/allocation.hpp).
const OF_HOTSPOT: [&str; 4] = ["os::malloc", "os::realloc", "AllocateHeap", "ReallocateHeap"];
/// How the names of CPython's allocators start (Objects/obmalloc.c).
const OF_CPYTHON: [&str; 8] = [
    "pymalloc_",
    "_PyObject_Malloc",
    "_PyObject_Calloc",
    "_PyObject_Realloc",
    "PyObject_Malloc",
    "PyObject_Calloc",
    "PyObject_Realloc",
    "new_arena",
];
/// The packages of the JDK's own classes.
const OF_JDK: [&str; 5] = ["java.", "javax.", "jdk.", "sun.", "com.sun."];

/// Whether a function is the allocator's own: every stack ends in one, and it answers for nothing.
pub fn is_plumbing(name: &str) -> bool {
    let bare = OF_THE_LIBRARY.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let is_hotspots = || {
        OF_HOTSPOT
            .iter()
            .filter_map(|own| name.strip_prefix(own))
            .any(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    };
    ALLOCATORS.contains(&bare)
        || OF_CPP.iter().chain(&OF_CPYTHON).any(|own| name.starts_with(own))
        || is_hotspots()
}

/// Whether a function looks like an allocator's in the report of another tool, which may name it as
/// its own build does: `__GI___libc_malloc`, `je_malloc_default`, `prof_backtrace_impl`.
pub fn looks_like_plumbing(name: &str) -> bool {
    let maps = |word: &str| word.starts_with("mmap");
    is_plumbing(name)
        || ALLOCATORS.iter().filter(|word| !maps(word)).chain(&OF_HOTSPOT).any(|own| name.contains(own))
        || name.contains("operator new")
        || name.contains("prof_backtrace")
        || name.starts_with("je_")
}

/// Whether a class or method, `package.Class.method`, is the JDK's.
pub fn is_of_jdk(name: &str) -> bool {
    OF_JDK.iter().any(|package| name.starts_with(package))
}

/// Whether a file is a C library: glibc's or musl's.
pub fn is_c_library(file_name: &str) -> bool {
    file_name.starts_with("libc.so") || file_name.starts_with("libc-2.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocators_hand_on_and_what_is_named_like_them_does_not() {
        for name in [
            "malloc",
            "__libc_malloc",
            "_int_malloc",
            "__strdup",
            "__mmap64",
            "operator new(unsigned long)",
            "operator new[](unsigned long)",
            "std::allocator<char>::allocate(unsigned long)",
            "os::malloc(unsigned long, MEMFLAGS)",
            "AllocateHeap",
            "pymalloc_alloc",
        ] {
            assert!(is_plumbing(name) && looks_like_plumbing(name), "{name}");
        }
        for name in ["my_malloc", "malloc_trim", "mmap_index", "os::malloc_hook", "new_widget", "calloc2"] {
            assert!(!is_plumbing(name), "{name}");
        }
        for name in ["__GI___libc_malloc", "je_malloc_default", "prof_backtrace_impl", "xmalloc"] {
            assert!(!is_plumbing(name) && looks_like_plumbing(name), "{name}");
        }
        assert!(!looks_like_plumbing("mmap_index") && !looks_like_plumbing("inflateInit2_"));
    }

    #[test]
    fn packages_are_the_jdks_and_files_the_c_librarys() {
        assert!(is_of_jdk("java.nio.Bits.reserve") && is_of_jdk("com.sun.jna.Memory"));
        assert!(!is_of_jdk("javafx.App.start") && !is_of_jdk("org.sun.App"));
        assert!(is_c_library("libc.so.6") && is_c_library("libc-2.31.so"));
        assert!(!is_c_library("libcrypto.so.3") && !is_c_library("libc++.so.1"));
    }
}
