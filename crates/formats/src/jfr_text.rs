//! Text that the JDK makes of a recording: `jfr print`, and the tables of `jfr view` and `jcmd PID
//! JFR.view`. Source: the JDK, jdk.jfr.internal.tool.PrettyWriter,
//! jdk.jfr.internal.query.TableRenderer.

use crate::Error;
use crate::figures::{BY_CATEGORY, Figures, Named};
use crate::jfr::{Jfr, Series};
use crate::words::{Base, any_of, size};
use offheap_model::units::bytes as in_words;
use std::collections::BTreeMap;

/// `jdk.NativeMemoryUsage {` → its name.
fn event(line: &str) -> Option<&str> {
    let name = line.strip_suffix(" {")?;
    (name.starts_with("jdk.") || name.starts_with("profiler.")).then_some(name)
}

/// True where what `jfr print` prints starts with `line`.
pub(crate) fn begins_print(line: &str) -> bool {
    event(line).is_some()
}

/// True where the first lines of `head` are of `jfr print`.
pub(crate) fn is_print(head: &[u8]) -> bool {
    any_of(head, 5, begins_print)
}

/// Days since 1970 of a date (Howard Hinnant's days_from_civil).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `10:11:12.000 (2024-05-01)` → milliseconds. There is no zone in it: as if it were UTC.
fn time(text: &str) -> Option<i64> {
    let (clock, date) = text.split_once(" (")?;
    let numbers = |text: &str, by: char| -> Option<Vec<i64>> {
        text.split(by).take(4).map(|part| part.parse().ok()).collect()
    };
    let (clock, fraction) = clock.trim().split_once('.').unwrap_or((clock.trim(), "0"));
    let (clock, date) = (numbers(clock, ':')?, numbers(date.trim_end_matches(')'), '-')?);
    let ([hour, minute, second], [year, month, day]) = (clock.as_slice(), date.as_slice()) else {
        return None;
    };
    let is_date = (1970..=9999).contains(year) && (1..=12).contains(month) && (1..=31).contains(day);
    let is_clock = (0..24).contains(hour) && (0..60).contains(minute) && (0..61).contains(second);
    let fraction: i64 = fraction.get(..3.min(fraction.len()))?.parse().ok()?;
    (is_date && is_clock)
        .then(|| ((days(*year, *month, *day) * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + fraction)
}

/// An event while its lines are read: its name, when, what of, its fields.
type Event<'a> = (&'a str, i64, String, Vec<(&'static str, u64)>);

/// Series of one recording that are kept.
const MAX_SERIES: usize = 10_000;

/// Reads what `jfr print` printed: the events of native memory, as series.
///
/// # Errors
/// It has no event of native memory.
pub fn read_print(bytes: &[u8]) -> Result<Jfr, Error> {
    const FIELDS: [&str; 7] =
        ["reserved", "committed", "size", "peak", "count", "memoryUsed", "totalCapacity"];
    let text = String::from_utf8_lossy(bytes);
    let mut series: BTreeMap<(String, String, String), Vec<(i64, i64)>> = BTreeMap::new();
    let mut open: Option<Event<'_>> = None;
    let (mut others, mut order) = (0u64, 0i64);
    for line in text.lines().map(str::trim) {
        if let Some(name) = event(line) {
            order += 1;
            let wanted = ["NativeMemoryUsage", "ResidentSetSize", "DirectBufferStatistics"]
                .iter()
                .any(|known| name.contains(known));
            others += u64::from(!wanted);
            open = wanted.then(|| (name, order, String::new(), Vec::new()));
        } else if line == "}" {
            if let Some((name, at, of, values)) = open.take() {
                for (field, value) in values {
                    let key = (name.to_owned(), of.clone(), field.to_owned());
                    if series.len() < MAX_SERIES || series.contains_key(&key) {
                        series.entry(key).or_default().push((at, i64::try_from(value).unwrap_or(i64::MAX)));
                    }
                }
            }
        } else if let Some((_, at, of, values)) = &mut open
            && let Some((key, value)) = line.split_once(" = ")
        {
            match key.trim() {
                "startTime" => *at = time(value).unwrap_or(*at),
                "type" => *of = value.trim().trim_matches('"').to_owned(),
                key => {
                    if values.len() < FIELDS.len()
                        && let Some(field) = FIELDS.iter().find(|field| **field == key)
                        && let Some(value) = size(value, Base::Binary)
                    {
                        values.push((*field, value));
                    }
                }
            }
        }
    }
    if series.is_empty() {
        return Err(Error::NotThis {
            format: "jfr print output",
            reason: format!(
                "none of its {others} events is of native memory; take the recording itself (.jfr), or print jdk.NativeMemoryUsage"
            ),
        });
    }
    let series = series.into_iter().map(|((event, of, field), mut points)| {
        points.sort_unstable();
        Series { event, of, field, points }
    });
    Ok(Jfr { series: series.collect(), ..Jfr::default() })
}

/// The titles of `jfr view`'s tables whose rows are of memory.
const VIEWS: [&str; 8] = [
    "Native Memory Committed",
    "Native Memory Reserved",
    "Native Memory",
    "Memory Leaks by",
    "Class Loaders",
    "Heap",
    "Object Statistics",
    "Direct",
];

/// True where a table of `jfr view` starts with `line`: titles stand alone.
pub(crate) fn begins_view(line: &str) -> bool {
    matches!(line, "Native Memory Committed" | "Native Memory Reserved")
        || line.starts_with("Memory Type ") && line.contains("Last Observed")
}

/// True where `head` is of `jfr view`: a title, the columns' names, a line of dashes.
pub(crate) fn is_view(head: &[u8]) -> bool {
    let lines = crate::words::lines_of(head, 8);
    let dashes = lines.iter().position(|line| is_dashes(line));
    let title = lines.iter().find(|line| !line.is_empty());
    dashes.is_some_and(|at| at > 0)
        && title.is_some_and(|title| begins_view(title) || VIEWS.iter().any(|view| title.starts_with(view)))
}

fn is_dashes(line: &str) -> bool {
    line.len() > 8 && line.bytes().all(|byte| byte == b'-' || byte == b' ') && line.contains("-- --")
}

/// Reads a table of `jfr view`: the last observed size of each row, or the first column that is a
/// size.
///
/// # Errors
/// It has no row with a size.
pub fn read_view(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let no = || Error::NotThis {
        format: "jfr view output",
        reason: "it has no row with a size; take the recording itself (.jfr)".into(),
    };
    let at = lines.iter().position(|line| is_dashes(line.trim_end())).filter(|at| *at > 0).ok_or_else(no)?;
    // Columns are as wide as their dashes.
    let dashes = lines.get(at).copied().unwrap_or_default();
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for (place, byte) in dashes.bytes().enumerate() {
        let count = spans.len();
        match spans.last_mut() {
            Some(span) if byte == b'-' && span.1 == place => span.1 = place + 1,
            _ if byte == b'-' && count < 64 => spans.push((place, place + 1)),
            _ => {}
        }
    }
    let cell = |line: &str, (from, to): (usize, usize)| {
        line.chars().skip(from).take(to - from).collect::<String>().trim().to_owned()
    };
    let titles = lines.get(at - 1).copied().unwrap_or_default();
    let column = |title: &str| spans.iter().copied().find(|span| cell(titles, *span) == title);
    let (first, last) = (column("First Observed"), column("Last Observed"));
    let rows = lines
        .get(at + 1..)
        .unwrap_or_default()
        .iter()
        .map_while(|line| (!line.trim().is_empty()).then_some(*line));
    let (mut named, mut sums) = (Vec::new(), (0u64, 0u64));
    for line in rows {
        let name = spans.first().map(|span| cell(line, *span)).unwrap_or_default();
        let of = |span: Option<(usize, usize)>| span.and_then(|span| size(&cell(line, span), Base::Binary));
        let any = || spans.iter().skip(1).find_map(|span| size(&cell(line, *span), Base::Binary));
        if let Some(bytes) = of(last).or_else(|| if last.is_none() { any() } else { None }) {
            sums = (sums.0.saturating_add(of(first).unwrap_or(bytes)), sums.1.saturating_add(bytes));
            named.push(Named { name, bytes, count: None });
        }
    }
    if named.is_empty() {
        return Err(no());
    }
    let title =
        lines.iter().take(at).map(|line| line.trim()).find(|line| !line.is_empty()).unwrap_or_default();
    let committed = title == "Native Memory Committed" || title.starts_with("Memory Type");
    let of = if committed { BY_CATEGORY.to_owned() } else { title.to_lowercase() };
    let mut figures = Figures::new(&of, named);
    if first.is_some() {
        figures = figures.saying(format!(
            "Over the recording its sum went from {} to {}.",
            in_words(sums.0),
            in_words(sums.1)
        ));
    }
    Ok(figures.advising("The recording itself has the course of each row: offheap convert FILE.jfr, offheap diagnose FILE.jfr."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_events_are_series() {
        let of = |time: &str, size: &str| {
            format!(
                "jdk.NativeMemoryUsage {{\n  startTime = {time}\n  type = \"Metaspace\"\n  reserved = 64.0 MB\n  committed = {size}\n}}\n\n"
            )
        };
        let text = of("10:11:13.500 (2024-05-01)", "9.0 MB")
            + &of("10:11:12.000 (2024-05-01)", "7.5 MB")
            + "jdk.CPULoad {\n  jvmUser = 1%\n}\n";
        assert!(is_print(text.as_bytes()));
        let jfr = read_print(text.as_bytes()).unwrap();
        let committed = jfr.series.iter().find(|series| series.field == "committed").unwrap();
        assert_eq!((committed.of.as_str(), committed.event.as_str()), ("Metaspace", "jdk.NativeMemoryUsage"));
        // date -ud '2024-05-01 10:11:12' +%s
        assert_eq!(committed.points, [(1_714_558_272_000, 7_864_320), (1_714_558_273_500, 9_437_184)]);
        let error = read_print(b"jdk.CPULoad {\n  jvmUser = 1%\n}\n").unwrap_err().to_string();
        assert!(error.contains("none of its 1 events"), "{error}");
        let twice = of("10:11:12.000 (2024-05-01)", &"7.5 MB\n  committed = ".repeat(1000));
        let points: usize =
            read_print(twice.as_bytes()).unwrap().series.iter().map(|series| series.points.len()).sum();
        assert_eq!(points, 7, "an event has each field once");
    }

    #[test]
    fn a_view_has_what_was_seen_last() {
        let text = "                             Native Memory Committed\n\n\
            Memory Type                  First Observed    Average  Last Observed    Maximum\n\
            ---------------------------- -------------- ---------- -------------- ----------\n\
            Java Heap                          256.0 MB   256.0 MB       256.0 MB   256.0 MB\n\
            GC                                  40.0 MB    46.3 MB        50.0 MB    50.0 MB\n";
        assert!(is_view(text.as_bytes()));
        let figures = read_view(text.as_bytes()).unwrap();
        let of: Vec<(&str, u64)> =
            figures.list.iter().map(|named| (named.name.as_str(), named.bytes)).collect();
        assert_eq!(
            (figures.of.as_str(), of),
            (BY_CATEGORY, vec![("Java Heap", 256 << 20), ("GC", 50 << 20)])
        );
        assert_eq!(figures.says, ["Over the recording its sum went from 296 MiB to 306 MiB."]);
    }
}
