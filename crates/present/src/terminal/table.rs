//! A table of cells that fits a width: the last column that may shrink gives way.

use super::text::{columns, fit};
use super::{Style, Tone};

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// Rows of cells under a headline.
#[derive(Debug, Clone)]
pub struct Table {
    heads: Vec<(String, Align)>,
    rows: Vec<(Tone, Vec<String>)>,
}

impl Table {
    /// A table with these columns. The last column is cut to what is left of the width.
    pub fn new(heads: &[(&str, Align)]) -> Self {
        Table {
            heads: heads.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; cells that are missing are empty.
    pub fn row(&mut self, tone: Tone, cells: Vec<String>) {
        self.rows.push((tone, cells));
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines, each ended by a line feed.
    pub fn render(&self, style: Style) -> String {
        let mut widths: Vec<usize> = self.heads.iter().map(|(name, _)| columns(name)).collect();
        for (_, cells) in &self.rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(columns(&super::clean(cell)));
            }
        }
        // The first column may hold names of any length: it gives way before the last one has
        // nothing left.
        let gaps = 2 * widths.len().saturating_sub(1);
        let fixed: usize = widths.iter().skip(1).rev().skip(1).sum();
        if let [first, .., last] = widths.as_mut_slice() {
            let room = style.width.saturating_sub(gaps + fixed);
            let least = (*last).min(12);
            *first = (*first).min(room.saturating_sub(least).max(8));
            *last = (*last).min(room.saturating_sub(*first));
        }
        let line = |cells: &[String]| -> String {
            let mut text = String::new();
            for (column, (width, (_, align))) in widths.iter().zip(&self.heads).enumerate() {
                let cell = fit(cells.get(column).map_or("", String::as_str), *width);
                let blank = " ".repeat(width.saturating_sub(columns(&cell)));
                if column > 0 {
                    text.push_str("  ");
                }
                match align {
                    Align::Left => text.extend([cell.as_str(), blank.as_str()]),
                    Align::Right => text.extend([blank.as_str(), cell.as_str()]),
                }
            }
            text.trim_end().to_owned()
        };
        let heads: Vec<String> = self.heads.iter().map(|(name, _)| name.clone()).collect();
        let mut out = style.paint(Tone::Dim, &line(&heads));
        out.push('\n');
        for (tone, cells) in &self.rows {
            out.push_str(&style.paint(*tone, &line(cells)));
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_asked_for() {
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right), ("SOURCE", Align::Left)]);
        table.row(Tone::Plain, vec!["n".repeat(80), "12 MiB".into(), "s".repeat(90)]);
        table.row(Tone::Plain, vec!["short".into(), "1 B".into()]);
        let text = table.render(Style { width: 60, ..Style::default() });
        assert!(text.lines().all(|line| columns(line) <= 60), "{text}");
        assert!(text.contains("12 MiB") && text.contains("…"));
    }
}
