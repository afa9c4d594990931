//! C++ and Rust names as their authors wrote them, in files that have them as the linker does.

use offheap_demangle::LONGEST;

/// Without the `_` that macOS puts before all names.
fn bare(name: &str) -> &str {
    name.strip_prefix('_').filter(|rest| rest.starts_with("_Z") || rest.starts_with("_R")).unwrap_or(name)
}

/// Whether `name` looks like one that a linker sees: `_Z…` (C++, old Rust), `_R…` (Rust), with one
/// more `_` on macOS.
pub(crate) fn is_mangled(name: &str) -> bool {
    let name = bare(name);
    name.len() > 3 && name.len() <= LONGEST && (name.starts_with("_Z") || name.starts_with("_R"))
}

/// `_Z3foov` → `foo()`; `None` where it is not mangled, or wrongly. The hash at the end of Rust's
/// names is left out.
pub(crate) fn plain(name: &str) -> Option<String> {
    if !is_mangled(name) {
        return None;
    }
    offheap_demangle::demangle(bare(name))
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_of_both_languages_and_nothing_else() {
        for (mangled, expected) in [
            ("_Z3foov", Some("foo()")),
            ("__Z3foov", Some("foo()")),
            ("_Znwm", Some("operator new(unsigned long)")),
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", Some("core::fmt::Write::write_fmt")),
            ("malloc", None),
            ("_Zonk", None),
            ("foo()", None),
        ] {
            assert_eq!(plain(mangled).as_deref(), expected, "{mangled}");
        }
    }
}
