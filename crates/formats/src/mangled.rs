//! C++ and Rust names as their authors wrote them, in files that have them as the linker does.

use crate::builder::MAX_NAME;
use std::fmt::{Error, Write};

/// A mangled name longer than this is left as it is: no compiler's are, and a few bytes can stand
/// for very much text.
const LONGEST: usize = 4096;

/// Text that ends where a name is longer than any that is kept.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> Result<(), Error> {
        if self.0.len() + text.len() > MAX_NAME {
            return Err(Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

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
    let name = bare(name);
    let mut out = Bounded(String::new());
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        write!(out, "{rust:#}").ok()?;
        return Some(out.0);
    }
    let symbol = cpp_demangle::Symbol::new(name).ok()?;
    symbol.structured_demangle(&mut out, &cpp_demangle::DemangleOptions::default()).ok()?;
    Some(out.0)
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
