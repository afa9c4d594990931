//! C++ and Rust names as their authors wrote them.

/// `_ZN3foo3barEi` → `foo::bar(int)`; a name that is not mangled, or wrongly, stays as it is. The
/// hash at the end of Rust names is left out, and so is the version that dynamic symbols may carry
/// (`malloc@@GLIBC_2.2.5`).
pub fn demangle(name: &str) -> String {
    let name = name.split_once('@').map_or(name, |(bare, _)| bare);
    offheap_demangle::demangle(name).unwrap_or_else(|| name.to_owned())
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

    // `f(T<int, int>, T<T<int, int>, T<int, int>>, …)`: each argument is twice the one before it.
    #[test]
    fn a_name_that_stands_for_far_too_much_stays_as_it_is() {
        let doubled = |times: usize| -> String {
            let mut name = String::from("_Z1f1TIiiE");
            for digit in ('0'..='9').chain('A'..='Z').take(times) {
                name.push_str(&format!("S_IS{digit}_S{digit}_E"));
            }
            name
        };
        assert_eq!(demangle(&doubled(1)), "f(T<int, int>, T<T<int, int>, T<int, int> >)");
        // 120 bytes that stand for 50 MiB.
        assert_eq!(demangle(&doubled(20)), doubled(20));
    }
}
