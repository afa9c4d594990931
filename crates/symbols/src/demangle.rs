//! C++ and Rust names as their authors wrote them.

/// Mangled names longer than this are left as they are: demangling can make them exponentially longer.
const LONGEST: usize = 4096;

/// `_ZN3foo3barEi` → `foo::bar(int)`; a name that is not mangled, or wrongly, stays as it is. The hash at the end of Rust
/// names is left out, and so is the version that dynamic symbols may carry (`malloc@@GLIBC_2.2.5`).
pub fn demangle(name: &str) -> String {
    let name = name.split_once('@').map_or(name, |(bare, _)| bare);
    if name.len() > LONGEST {
        return name.to_owned();
    }
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    if name.starts_with("_Z")
        && let Ok(symbol) = cpp_demangle::Symbol::new(name)
        && let Ok(plain) = symbol.demangle()
    {
        return plain;
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::demangle;

    #[test]
    fn names_read_as_their_authors_wrote_them() {
        assert_eq!(demangle("_ZN2os6mallocEm8MEMFLAGS"), "os::malloc(unsigned long, MEMFLAGS)");
        assert_eq!(
            demangle("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"),
            "core::fmt::Write::write_fmt"
        );
        assert_eq!(demangle("malloc@@GLIBC_2.2.5"), "malloc");
        for untouched in ["main", "Java_Leak_keep", "_Z", "_ZNope", ""] {
            assert_eq!(demangle(untouched), untouched);
        }
    }
}
