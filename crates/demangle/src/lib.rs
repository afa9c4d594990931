//! C++ and Rust names as their authors wrote them. Mangled names come from files and processes of
//! others, and a few bytes of one can stand for exponentially much text, so what comes out is
//! bounded.

use std::fmt::{Error, Write};

/// Bytes of a mangled name at most: no compiler's are longer.
pub const LONGEST: usize = 4096;

/// Bytes of a name at most.
pub const MOST: usize = 32 << 10;

/// Text that ends where a name is longer than any that is kept.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> Result<(), Error> {
        if self.0.len() + text.len() > MOST {
            return Err(Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// `_ZN3foo3barEi` → `foo::bar(int)`; `None` where the name is not mangled, or wrongly, is longer
/// than [`LONGEST`] or stands for more than [`MOST`] bytes. The hash at the end of Rust's names is
/// left out.
pub fn demangle(name: &str) -> Option<String> {
    if name.len() > LONGEST {
        return None;
    }
    let mut out = Bounded(String::new());
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        write!(out, "{rust:#}").ok()?;
    } else if name.starts_with("_Z") {
        let symbol = cpp_demangle::Symbol::new(name).ok()?;
        symbol.structured_demangle(&mut out, &cpp_demangle::DemangleOptions::default()).ok()?;
    } else {
        return None;
    }
    Some(out.0)
}

#[cfg(test)]
mod tests {
    use super::demangle;

    #[test]
    fn names_of_both_languages_and_nothing_else() {
        for (mangled, expected) in [
            ("_ZN2os6mallocEm8MEMFLAGS", Some("os::malloc(unsigned long, MEMFLAGS)")),
            ("_ZTV6Widget", Some("{vtable(Widget)}")),
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", Some("core::fmt::Write::write_fmt")),
            ("main", None),
            ("_ZNope", None),
            ("_Z", None),
            ("", None),
        ] {
            assert_eq!(demangle(mangled).as_deref(), expected, "{mangled}");
        }
    }

    // `f(T<int, int>, T<T<int, int>, T<int, int>>, …)`: each argument is twice the one before it.
    #[test]
    fn a_name_that_stands_for_far_too_much_is_left_alone() {
        let doubled = |times: usize| -> String {
            let mut name = String::from("_Z1f1TIiiE");
            for digit in ('0'..='9').chain('A'..='Z').take(times) {
                name.push_str(&format!("S_IS{digit}_S{digit}_E"));
            }
            name
        };
        let once = demangle(&doubled(1));
        assert_eq!(once.as_deref(), Some("f(T<int, int>, T<T<int, int>, T<int, int> >)"));
        // 120 bytes that stand for 50 MiB.
        assert_eq!(demangle(&doubled(20)), None);
    }
}
