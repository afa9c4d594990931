//! What `jeprof --text` and `pprof -top` or `-text` print: functions with what they allocated
//! themselves (flat) and with what they call (cum). There are no stacks in it: a function is a site
//! by itself.

use crate::builder::{kind_by_name, named};
use crate::words::{Base, size};
use crate::{Builder, Error, Parsed};
use offheap_model::ProfileSite;

const FORMAT: &str = "table of jeprof --text or pprof -top";

/// True where a line has the titles of pprof's table.
fn is_titles(line: &str) -> bool {
    line.split_ascii_whitespace().eq(["flat", "flat%", "sum%", "cum", "cum%"])
}

/// `Total: 120.5 MB`, of jeprof; the unit is that of all figures.
fn total(line: &str) -> Option<&str> {
    let (number, unit) = line.strip_prefix("Total: ")?.split_once(' ')?;
    number.parse::<f64>().ok()?;
    (unit.len() <= 2 && unit.ends_with('B')).then_some(unit)
}

/// True where such a table starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    total(line).is_some() || line.starts_with("Showing nodes accounting for ")
}

/// True where one may start with it.
pub(crate) fn perhaps(line: &str) -> bool {
    is_titles(line)
        || matches!(
            line,
            "Type: inuse_space" | "Type: alloc_space" | "Type: inuse_objects" | "Type: alloc_objects"
        )
}

/// True where the first lines of `head` hold one.
pub(crate) fn is(head: &[u8]) -> bool {
    let lines = crate::words::lines_of(head, 40);
    let from = lines.iter().position(|line| begins(line) || is_titles(line));
    from.is_some_and(|from| lines.iter().skip(from).any(|line| row(line, "").is_some() || is_titles(line)))
}

/// `80.0  66.4%  66.4%     80.0  66.4% os::malloc` → flat, cum, name.
fn row<'a>(line: &'a str, unit: &str) -> Option<(u64, u64, &'a str)> {
    let mut rest = line.trim_start();
    let mut word = || {
        let (word, after) = rest.split_once([' ', '\t'])?;
        rest = after.trim_start();
        Some(word)
    };
    let (flat, flat_part, sum, cum, cum_part) = (word()?, word()?, word()?, word()?, word()?);
    if ![flat_part, sum, cum_part].iter().all(|part| part.ends_with('%')) {
        return None;
    }
    let size = |text: &str| size(&format!("{text}{unit}"), Base::Binary);
    let name = rest.trim().trim_end_matches(" (inline)");
    (!name.is_empty()).then_some((size(flat)?, size(cum)?, name))
}

/// Reads the table.
///
/// # Errors
/// No line of it is a function with its figures.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = String::from_utf8_lossy(bytes);
    let (mut builder, mut unit, mut kind, mut rows) = (Builder::new(), "", "inuse_space", 0u64);
    for line in text.lines().map(str::trim) {
        if let Some(found) = total(line) {
            unit = found;
        } else if let Some(found) = line.strip_prefix("Type: ") {
            kind = found;
        } else if let Some((flat, _, name)) = row(line, unit) {
            rows += 1;
            let mut site = ProfileSite::default();
            match kind {
                "alloc_space" => site.allocated_bytes = flat,
                "alloc_objects" => site.allocated_count = flat,
                "inuse_objects" => site.live_count = flat,
                _ => site.live_bytes = flat,
            }
            // A function that only calls others has nothing by itself.
            if flat > 0 {
                let frame = builder.frame(named(name, kind_by_name(name)));
                builder.add(&[frame], &site);
            }
        }
    }
    if rows == 0 {
        return Err(Error::NotThis {
            format: FORMAT,
            reason: "no line of it is a function with its figures".into(),
        });
    }
    builder.profile().notes.push(
        "this is a table of functions: who calls them is not in it; take the profile itself (jeprof.*.heap, .pb.gz) for stacks".to_owned(),
    );
    Ok(builder.finish(Vec::new(), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, collapsed};

    #[test]
    fn both_programs_tables() {
        let of = |text: &str| {
            assert!(is(text.as_bytes()), "{text}");
            collapsed::write(&read(text.as_bytes()).unwrap().profile, Figure::LiveBytes, false)
        };
        let jeprof = "Using local file /usr/bin/java.\nTotal: 120.5 MB\n    80.0  66.4%  66.4%     80.0  66.4% os::malloc\n    \
            40.5  33.6% 100.0%     40.5  33.6% inflateInit2_\n     0.0   0.0% 100.0%    120.5 100.0% main\n";
        assert_eq!(of(jeprof), "os::malloc 83886080\ninflateInit2_ 42467328\n");
        let pprof = "File: server\nType: inuse_space\nShowing nodes accounting for 512.19MB, 98.10% of 522.10MB total\n      \
            flat  flat%   sum%        cum   cum%\n  300.10MB 57.48% 57.48%   300.10MB 57.48%  main.leak\n  \
            512kB 40.62% 98.10%   212.09MB 40.62%  bytes.makeSlice (inline)\n         0     0% 98.10%   522.10MB   100%  runtime.main\n";
        assert_eq!(of(pprof), "main.leak 314677658\nbytes.makeSlice 524288\n");
        assert!(read(b"Total: 1.0 MB\n").is_err());
    }
}
