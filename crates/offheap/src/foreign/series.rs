//! Files as a series: in the order of time, a row a site or category, its slope over time.

use super::{Content, PerfMaps, Reading, expand, read_all};
use anyhow::bail;
use offheap_diagnose::stats::{Point, Slope, theil_sen, thin};
use offheap_formats::{Figure, Figures, Row, Table};
use offheap_model::Profile;
use std::path::{Path, PathBuf};

/// Fewer points than this have no slope that says anything.
const MIN_POINTS: usize = 3;

/// What the order of the files comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The times in the files.
    Content,
    /// When the files were last written.
    Modified,
    /// Their names, numbers in them as numbers: there is no time, and slopes are per file.
    Name,
}

impl Order {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Order::Content => "by the times in them",
            Order::Modified => "by when they were written",
            Order::Name => "by their names, as they tell no time",
        }
    }
}

/// Files in the order of time.
#[derive(Debug)]
pub struct Series {
    /// The files, oldest first.
    pub paths: Vec<PathBuf>,
    /// What the order comes from.
    pub order: Order,
    /// Seconds from the first to the last; `None` where there is no time.
    pub seconds: Option<f64>,
    /// The rows; their instants in milliseconds since the Unix epoch, or numbers of files where
    /// there is no time.
    pub table: Table,
    /// For each row its slope, per second, or per file where there is no time; `None` where there
    /// are too few points.
    pub slopes: Vec<Option<Slope>>,
    /// What must be said.
    pub notes: Vec<String>,
}

impl Series {
    /// The series that one file holds by itself.
    pub fn of_table(path: &Path, table: Table) -> Series {
        finish(vec![path.to_owned()], Order::Content, table, Vec::new())
    }
}

impl Series {
    /// The slope of one of its rows.
    pub fn slopes_of(&self, row: &Row) -> Option<Slope> {
        let index = self.table.rows.iter().position(|other| std::ptr::eq(other, row))?;
        self.slopes.get(index).copied().flatten()
    }
}

/// Reads all that is in `paths`; a directory stands for its files, and a text may hold several
/// reports.
///
/// # Errors
/// One can't be read.
pub fn read_paths(paths: &[PathBuf], perf_map: Option<&Path>) -> anyhow::Result<Vec<Reading>> {
    let maps = PerfMaps::new(perf_map)?;
    let mut readings = Vec::new();
    for path in expand(paths)? {
        readings.extend(read_all(&path, &maps)?);
    }
    Ok(readings)
}

/// The same, but for those that can't be read: why each of them can't.
///
/// # Errors
/// None can be read.
pub(super) fn read_some(paths: &[PathBuf]) -> anyhow::Result<(Vec<Reading>, Vec<String>)> {
    let maps = PerfMaps::new(None)?;
    let (mut readings, mut problems) = (Vec::new(), Vec::new());
    for path in expand(paths)? {
        match read_all(&path, &maps) {
            Ok(read) => readings.extend(read),
            Err(error) => problems.push(error),
        }
    }
    if readings.is_empty()
        && let Some(first) = problems.drain(..).next()
    {
        return Err(first);
    }
    Ok((readings, problems.iter().map(|problem| format!("{problem:#}")).collect()))
}

/// The figure that both know most by: leaked bytes only where the first knows them too.
pub fn common_figure(first: &Profile, last: &Profile) -> Figure {
    match (Figure::best(first), Figure::best(last)) {
        (a, b) if a == b => b,
        (_, Figure::LeakBytes) => Figure::LiveBytes,
        (_, b) => b,
    }
}

/// `readings` as one series. `keep_order` compares them as they are given.
///
/// # Errors
/// They are not all of one kind.
pub fn of(mut readings: Vec<Reading>, keep_order: bool) -> anyhow::Result<Series> {
    if let [reading] = readings.as_slice()
        && let Content::Recording(recording) = &reading.content
    {
        let table = Table::of_recording(recording);
        return Ok(Series { notes: reading.notes.clone(), ..Series::of_table(&reading.path, table) });
    }
    let order = if keep_order { given(&readings) } else { sort(&mut readings) };
    let times: Vec<i64> = readings
        .iter()
        .enumerate()
        .map(|(index, reading)| match order {
            Order::Content => reading.time_ms.unwrap_or(0),
            Order::Modified => reading.modified_ms,
            Order::Name => index as i64,
        })
        .collect();
    let table = joined(&readings, &times)?;
    let (paths, notes) = (
        readings.iter().map(|reading| reading.path.clone()).collect(),
        readings
            .iter()
            .flat_map(|reading| {
                reading.notes.iter().map(|note| format!("{}: {note}", reading.path.display()))
            })
            .collect(),
    );
    Ok(finish(paths, order, table, notes))
}

fn joined(readings: &[Reading], times: &[i64]) -> anyhow::Result<Table> {
    let profiles: Vec<_> =
        readings.iter().filter_map(Reading::profile).map(|parsed| &parsed.profile).collect();
    if profiles.len() == readings.len() {
        let figure = match (profiles.first(), profiles.last()) {
            (Some(first), Some(last)) => common_figure(first, last),
            _ => Figure::LiveBytes,
        };
        let profiles: Vec<_> = times.iter().copied().zip(profiles).collect();
        return Ok(Table::of_profiles(&profiles, figure));
    }
    let figures: Vec<Figures> = readings.iter().filter_map(Reading::figures).collect();
    if figures.len() != readings.len() || !profiles.is_empty() {
        let kinds: Vec<String> = readings
            .iter()
            .map(|reading| format!("{} ({})", reading.path.display(), reading.format.name()))
            .collect();
        bail!("these files say different things and can't be compared: {}", kinds.join(", "));
    }
    let of = figures.first().map(|figures| figures.of.clone()).unwrap_or_default();
    if let Some(other) = figures.iter().find(|figures| figures.of != of) {
        bail!("these files can't be compared: one says {of:?}, another {:?}", other.of);
    }
    let figures: Vec<_> = times.iter().copied().zip(&figures).collect();
    Ok(Table::of_figures(&figures))
}

/// Sorts by time, and says by which.
pub(super) fn sort(readings: &mut [Reading]) -> Order {
    let order = given(readings);
    match order {
        Order::Content => readings.sort_by_key(|reading| reading.time_ms),
        Order::Modified => readings.sort_by_key(|reading| reading.modified_ms),
        Order::Name => readings.sort_by_cached_key(|reading| {
            let name = reading.path.to_string_lossy();
            (stage(&name), natural(&name))
        }),
    }
    order
}

/// Times in all files, all different; else what their names say of before and after; else when
/// they were written, at least a second apart: a copy makes all of one moment.
fn given(readings: &[Reading]) -> Order {
    let apart = |mut times: Vec<i64>, least: i64| {
        times.sort_unstable();
        times.windows(2).all(|pair| matches!(pair, [a, b] if b - a >= least))
    };
    let said: Option<Vec<i64>> = readings.iter().map(|reading| reading.time_ms).collect();
    let mut stages: Vec<Stage> =
        readings.iter().map(|reading| stage(&reading.path.to_string_lossy())).collect();
    stages.dedup();
    if said.is_some_and(|times| apart(times, 1)) {
        Order::Content
    } else if stages.len() > 1 {
        Order::Name
    } else if apart(readings.iter().map(|reading| reading.modified_ms).collect(), 1000) {
        Order::Modified
    } else {
        Order::Name
    }
}

/// What a file's name says of when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Before,
    Unsaid,
    After,
}

/// The stage that a word in the name of the file at `path` tells.
fn stage(path: &str) -> Stage {
    const BEFORE: [&str; 10] =
        ["before", "baseline", "base", "old", "pre", "start", "begin", "first", "initial", "early"];
    const AFTER: [&str; 10] =
        ["after", "new", "post", "end", "last", "final", "later", "late", "now", "current"];
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphabetic());
    words
        .find_map(|word| match word {
            _ if BEFORE.contains(&word) => Some(Stage::Before),
            _ if AFTER.contains(&word) => Some(Stage::After),
            _ => None,
        })
        .unwrap_or(Stage::Unsaid)
}

/// A key that puts `heap.9` before `heap.10`.
fn natural(name: &str) -> Vec<(u64, String)> {
    let mut key: Vec<(u64, String)> = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(text);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(digits);
        // Text first: a number counts only among names that agree before it.
        key.push((0, word.to_owned()));
        key.push((number.parse().unwrap_or(u64::MAX), number.to_owned()));
        rest = after;
    }
    key
}

fn finish(paths: Vec<PathBuf>, order: Order, table: Table, notes: Vec<String>) -> Series {
    let ms = |row: &Row| Some((row.points.first()?.0, row.points.last()?.0));
    let seconds = (order != Order::Name)
        .then(|| {
            let spans = table.rows.iter().filter_map(ms).map(|(first, last)| (last - first) as f64 / 1000.0);
            spans.fold(None, |longest: Option<f64>, span| Some(longest.map_or(span, |known| known.max(span))))
        })
        .flatten();
    let unit = if order == Order::Name { 1.0 } else { 1000.0 };
    let slopes = table.rows.iter().map(|row| slope(row, unit)).collect();
    Series { paths, order, seconds, table, slopes, notes }
}

/// The slope of a row; its instants are divided by `unit`.
pub fn slope(row: &Row, unit: f64) -> Option<Slope> {
    let first = row.points.first()?.0;
    let points: Vec<Point> = row
        .points
        .iter()
        .map(|(time, value)| Point { t: (time - first) as f64 / unit, v: *value as f64 })
        .collect();
    (points.len() >= MIN_POINTS).then(|| theil_sen(&thin(&points), 1.0))
}

#[cfg(test)]
mod tests {
    use super::{Stage, natural, stage};

    #[test]
    fn names_say_before_and_after() {
        for (name, told) in [
            ("case/nmt-before.txt", Stage::Before),
            ("old_smaps", Stage::Before),
            ("after/nmt.txt", Stage::Unsaid),
            ("nmt.After.txt:12", Stage::After),
            ("threads-newest.txt", Stage::Unsaid),
        ] {
            assert_eq!(stage(name), told, "{name}");
        }
    }

    #[test]
    fn numbers_in_names_are_numbers() {
        let mut names = ["heap.10.prof", "heap.9.prof", "heap.9.a", "heap.prof"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["heap.9.a", "heap.9.prof", "heap.10.prof", "heap.prof"]);
    }
}
