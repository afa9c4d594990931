//! Sizes, numbers and rows as reports for people have them.

/// What `K` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// 1024, whatever the unit is called.
    Binary,
    /// 1000, unless the unit has an `i` (`KiB`).
    Decimal,
}

/// `120.5 MB`, `1.00K`, `256.0MiB`, `8000000K`, `1,016B`, `12` → bytes.
pub(crate) fn size(text: &str, base: Base) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.replace(',', "").parse().ok()?;
    let unit = unit.trim();
    let power = match unit.chars().next().map(|c| c.to_ascii_lowercase()) {
        None | Some('b') => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return None,
    };
    let rest = unit.get(1..).unwrap_or_default().to_ascii_lowercase();
    if unit.len() > 1 && !matches!(rest.as_str(), "b" | "ib" | "i" | "bytes" | "ytes" | "yte" | "byte") {
        return None;
    }
    let step: f64 = if base == Base::Binary || rest.starts_with('i') { 1024.0 } else { 1000.0 };
    let bytes = number * step.powi(power);
    // Beyond 2^53 no float is exact, and no memory so large.
    (bytes.is_finite() && (0.0..9e15).contains(&bytes)).then_some(bytes.round() as u64)
}

/// `1,016` → 1016.
pub(crate) fn number(text: &str) -> Option<u64> {
    let bare = text.trim();
    bare.starts_with(|c: char| c.is_ascii_digit())
        .then(|| bare.replace([',', '_'], "").parse().ok())
        .flatten()
}

/// What is looked at of a file to tell its first lines.
const HEAD: usize = 64 << 10;

/// The first lines of `head`, without blanks around them.
pub(crate) fn lines_of(head: &[u8], most: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(head.get(..HEAD).unwrap_or(head));
    text.lines().take(most).map(|line| line.trim().to_owned()).collect()
}

/// Whether any of the first lines of `head` is such.
pub(crate) fn any_of(head: &[u8], most: usize, is: impl Fn(&str) -> bool) -> bool {
    String::from_utf8_lossy(head.get(..HEAD).unwrap_or(head)).lines().take(most).any(|line| is(line.trim()))
}

/// `name` with each number in it as one `mark`: what differs in nothing else is of one pool.
pub(crate) fn without_numbers(name: &str, mark: char) -> String {
    let (mut out, mut in_number) = (String::with_capacity(name.len()), false);
    for c in name.chars() {
        let is_digit = c.is_ascii_digit();
        match (is_digit, in_number) {
            (true, true) => {}
            (true, false) => out.push(mark),
            (false, _) => out.push(c),
        }
        in_number = is_digit;
    }
    out
}

/// The number behind `key` up to the next word: `total-vm:123kB,` → `123kB`.
pub(crate) fn behind<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(key)?;
    let rest = rest.trim_start();
    Some(rest.split([' ', ',', ';', '\t']).next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_names_are_marks() {
        for (name, expected) in
            [("pool-1-thread-12", "pool-*-thread-*"), ("main", "main"), ("7", "*"), ("", "")]
        {
            assert_eq!(without_numbers(name, '*'), expected);
        }
    }

    #[test]
    fn sizes_of_all_looks() {
        for (text, binary, decimal) in [
            ("120.5 MB", 126_353_408, 120_500_000),
            ("1.00K", 1024, 1000),
            ("256.0MiB", 268_435_456, 268_435_456),
            ("1,016B", 1016, 1016),
            ("12", 12, 12),
            ("3 bytes", 3, 3),
        ] {
            assert_eq!(
                (size(text, Base::Binary), size(text, Base::Decimal)),
                (Some(binary), Some(decimal)),
                "{text}"
            );
        }
        for no in ["", "x", "12x", "1e400", "-1", "99999999999999999999T"] {
            assert_eq!(size(no, Base::Binary), None, "{no}");
        }
    }
}
