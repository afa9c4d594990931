//! Names of functions made short enough to be read.

use offheap_model::Frame;

/// A C++ name without its parameters and template arguments:
/// `rocksdb::NewArenaWrappedDbIterator(…)`. Other names stay as they are: those of C, of Java, and
/// of Rust, whose `<T as Trait>` says whose the function is.
pub fn folded(name: &str) -> String {
    let is_cpp =
        name.contains("::") && !name.starts_with('<') || name.ends_with(')') || name.ends_with(") const");
    if !is_cpp {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find(['<', '(']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(kept) = KEPT.iter().find(|kept| from.starts_with(**kept)) {
            out.push_str(kept);
            rest = from.get(kept.len()..).unwrap_or_default();
            continue;
        }
        if is_operator(&out) {
            // `operator<`, `operator<<=`, `operator()`: its sign is its name.
            let sign = if from.starts_with("()") {
                2
            } else {
                from.len() - from.trim_start_matches(['<', '=', '>']).len()
            };
            if sign > 0 {
                out.push_str(from.get(..sign).unwrap_or_default());
                rest = from.get(sign..).unwrap_or_default();
                continue;
            }
        }
        let end = closing(from).unwrap_or(from.len());
        let inside = from.get(1..end.saturating_sub(1)).unwrap_or_default();
        out.push_str(match (from.starts_with('<'), inside.is_empty()) {
            (true, _) => "<…>",
            (false, true) => "()",
            (false, false) => "(…)",
        });
        rest = from.get(end..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// What stands in brackets and is a name.
const KEPT: [&str; 3] = ["(anonymous namespace)", "<lambda>", "(anonymous class)"];

/// Whether `text` ends with the word `operator`, or with the begin of an arrow after it.
fn is_operator(text: &str) -> bool {
    text.ends_with("operator")
}

/// Where the bracket that `text` begins with is closed, behind it; arrows of operators and of
/// trailing types are no brackets.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' if before == '-' => {}
            '>' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(at + c.len_utf8());
        }
        before = c;
    }
    None
}

/// A frame and where it stands: `add (shop.py:4)`.
pub(crate) fn placed(frame: &Frame) -> String {
    let name = folded(&frame.name);
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{name} ({}:{line})", file.rsplit('/').next().unwrap_or(file)),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::folded;

    #[test]
    fn parameters_and_template_arguments_are_folded() {
        for (name, short) in [
            (
                "rocksdb::NewArenaWrappedDbIterator(rocksdb::Env*, rocksdb::ReadOptions const&)",
                "rocksdb::NewArenaWrappedDbIterator(…)",
            ),
            ("std::map<int, std::vector<char> >::operator[](int&&)", "std::map<…>::operator[](…)"),
            ("Block::Block()", "Block::Block()"),
            (
                "a::(anonymous namespace)::Cache<K>::put(K) const",
                "a::(anonymous namespace)::Cache<…>::put(…) const",
            ),
            ("std::ostream& operator<<(std::ostream&, X)", "std::ostream& operator<<(…)"),
            ("a::F::operator()(int) const", "a::F::operator()(…) const"),
            ("broken::name<int(", "broken::name<…>"),
        ] {
            assert_eq!(folded(name), short);
        }
    }

    #[test]
    fn other_names_stay() {
        for name in
            ["inflateInit2_", "app.Store.find", "<alloc::vec::Vec<T> as Drop>::drop", "", "[new byte[]]"]
        {
            assert_eq!(folded(name), name);
        }
    }
}
