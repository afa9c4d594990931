//! Several files side by side: a row a site or name, with its figure in each file.

use crate::jfr::Jfr;
use crate::{Figure, Figures};
use offheap_model::{Frame, Profile};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Figures of several instants.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// What the figures are: `live bytes by stack`.
    pub of: String,
    /// True where they are bytes, not numbers.
    pub is_bytes: bool,
    /// The rows, the largest change first.
    pub rows: Vec<Row>,
}

/// A site, or a named figure, over time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Its name; of a site empty: it has its frames.
    pub name: String,
    /// The stack, innermost first, without lines: those differ from build to build.
    pub frames: Vec<Frame>,
    /// Instant (whatever the caller counts in) and figure, oldest first. What a file does not have
    /// is 0 there.
    pub points: Vec<(i64, u64)>,
    /// How many at the same instants, where that is known.
    pub counts: Vec<Option<u64>>,
}

impl Row {
    /// The first figure.
    pub fn before(&self) -> u64 {
        self.points.first().map_or(0, |(_, value)| *value)
    }

    /// The last figure.
    pub fn after(&self) -> u64 {
        self.points.last().map_or(0, |(_, value)| *value)
    }

    /// The last less the first: positive is growth.
    pub fn change(&self) -> i64 {
        i64::try_from(i128::from(self.after()) - i128::from(self.before())).unwrap_or(i64::MAX)
    }
}

impl Table {
    /// Of profiles with their instants: sites are the same where their frames have the same names.
    pub fn of_profiles(profiles: &[(i64, &Profile)], figure: Figure) -> Table {
        let mut rows = Rows::new(profiles.iter().map(|(time, _)| *time).collect());
        for (place, (_, profile)) in profiles.iter().enumerate() {
            for site in &profile.sites {
                let frames = site.stack.iter().filter_map(|index| profile.frames.get(*index as usize));
                let frames: Vec<Frame> =
                    frames.map(|frame| Frame { file: None, line: None, ..frame.clone() }).collect();
                let count = if figure.is_bytes() { Some(count(figure, site)) } else { None };
                rows.add(place, String::new(), frames, figure.of(site), count.flatten());
            }
        }
        rows.finish(format!("{} by stack", figure.title()), figure.is_bytes())
    }

    /// Of figures with their instants. Where none has bytes (threads), the numbers are the figures.
    pub fn of_figures(figures: &[(i64, &Figures)]) -> Table {
        let mut rows = Rows::new(figures.iter().map(|(time, _)| *time).collect());
        let is_bytes = figures.iter().any(|(_, figures)| figures.list.iter().any(|named| named.bytes > 0));
        for (place, (_, figures)) in figures.iter().enumerate() {
            for named in &figures.list {
                let (value, count) =
                    if is_bytes { (named.bytes, named.count) } else { (named.count.unwrap_or(0), None) };
                rows.add(place, named.name.clone(), Vec::new(), value, count);
            }
        }
        rows.finish(figures.first().map_or(String::new(), |(_, figures)| figures.of.clone()), is_bytes)
    }

    /// Of one recording of the JDK: its figures of native memory over time; instants are
    /// milliseconds since the Unix epoch.
    pub fn of_recording(jfr: &Jfr) -> Table {
        let wanted = |field: &str| matches!(field, "committed" | "size" | "memoryUsed");
        let row = |series: &crate::jfr::Series| Row {
            name: [series.event.trim_start_matches("jdk."), &series.of, &series.field]
                .iter()
                .filter(|part| !part.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(" "),
            points: series.points.iter().map(|(time, value)| (*time, (*value).max(0) as u64)).collect(),
            counts: vec![None; series.points.len()],
            ..Row::default()
        };
        let mut rows: Vec<Row> = jfr.series.iter().filter(|series| wanted(&series.field)).map(row).collect();
        sort(&mut rows);
        Table { of: "native memory in the recording".to_owned(), is_bytes: true, rows }
    }

    /// The sum of all rows at each instant; of rows of unequal instants, and of figures that
    /// overlap, it means nothing.
    pub fn total(&self) -> Row {
        let mut total = Row { name: "total".to_owned(), ..Row::default() };
        for row in &self.rows {
            total.points.resize(total.points.len().max(row.points.len()), (0, 0));
            for (sum, (time, value)) in total.points.iter_mut().zip(&row.points) {
                *sum = (*time, sum.1.saturating_add(*value));
            }
        }
        total.counts = vec![None; total.points.len()];
        total
    }
}

/// The number of blocks that belongs to a figure of bytes.
fn count(figure: Figure, site: &offheap_model::ProfileSite) -> Option<u64> {
    match figure {
        Figure::LiveBytes => Some(site.live_count),
        Figure::AllocatedBytes => Some(site.allocated_count),
        _ => None,
    }
}

/// Rows under construction.
struct Rows {
    times: Vec<i64>,
    numbers: HashMap<(String, Vec<Frame>), usize>,
    rows: Vec<Row>,
}

impl Rows {
    fn new(times: Vec<i64>) -> Rows {
        Rows { times, numbers: HashMap::new(), rows: Vec::new() }
    }

    fn add(&mut self, place: usize, name: String, frames: Vec<Frame>, value: u64, count: Option<u64>) {
        let index = match self.numbers.entry((name, frames)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let (name, frames) = new.key().clone();
                let points = self.times.iter().map(|time| (*time, 0)).collect();
                self.rows.push(Row { name, frames, points, counts: vec![None; self.times.len()] });
                *new.insert(self.rows.len() - 1)
            }
        };
        let Some(row) = self.rows.get_mut(index) else { return };
        if let (Some(point), Some(known)) = (row.points.get_mut(place), row.counts.get_mut(place)) {
            point.1 = point.1.saturating_add(value);
            *known = match (*known, count) {
                (Some(a), Some(b)) => Some(a.saturating_add(b)),
                (a, b) => a.or(b),
            };
        }
    }

    fn finish(mut self, of: String, is_bytes: bool) -> Table {
        // A row that counts in one file counts 0 where it is missing.
        for row in &mut self.rows {
            if row.counts.iter().any(Option::is_some) {
                row.counts.iter_mut().for_each(|count| *count = count.or(Some(0)));
            }
        }
        sort(&mut self.rows);
        Table { of, is_bytes, rows: self.rows }
    }
}

fn sort(rows: &mut [Row]) {
    rows.sort_by(|a, b| {
        let size = |row: &Row| (row.change().unsigned_abs(), row.after());
        size(b).cmp(&size(a)).then_with(|| a.name.cmp(&b.name)).then_with(|| a.frames.cmp(&b.frames))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collapsed;

    #[test]
    fn sites_are_joined_by_their_names_and_what_is_missing_is_nothing() {
        let read = |text: &str| collapsed::read(text.as_bytes()).unwrap().profile;
        let (a, b) = (read("main;leak 10\nmain;gone 5\n"), read("main;new 1\nmain;leak 110\n"));
        let table = Table::of_profiles(&[(0, &a), (60, &b)], Figure::LiveBytes);
        let rows: Vec<_> =
            table.rows.iter().map(|row| (row.frames[0].name.as_str(), row.before(), row.after())).collect();
        assert_eq!(rows, [("leak", 10, 110), ("gone", 5, 0), ("new", 0, 1)]);
        assert_eq!(table.rows[1].change(), -5);
        assert_eq!(table.total().points, [(0, 15), (60, 111)]);
    }
}
