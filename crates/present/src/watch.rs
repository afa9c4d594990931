//! The live view: what grows, second by second. State and drawing only; the terminal and the clock
//! belong to the caller.

use crate::terminal::{clean, fit};
use offheap_model::units::{bytes, delta, duration, rate};
use offheap_model::{Domain, FigureKind, Snapshot, SnapshotFigure};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use std::collections::{BTreeMap, VecDeque};

/// Points kept of a series: twenty minutes at one a second; then every other one is dropped, so
/// that days fit.
const POINTS: usize = 1200;

/// A growth rate with its 95 % confidence interval, bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// The slope.
    pub slope: f64,
    /// Its interval.
    pub ci95: [f64; 2],
}

/// Computes a trend of (seconds, bytes); `None` where there are too few points.
pub type TrendOf = fn(&[(f64, f64)]) -> Option<Trend>;

/// What the caller does after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go on.
    Continue,
    /// End.
    Quit,
}

/// The lists, each on a page of its own.
const PAGES: [(FigureKind, &str); 6] = [
    (FigureKind::Domain, "domains"),
    (FigureKind::Threads, "threads"),
    (FigureKind::Arena, "arenas"),
    (FigureKind::SizeClass, "chunk sizes"),
    (FigureKind::Nmt, "NMT"),
    (FigureKind::File, "files"),
];
/// More sizes of chunks than these are not followed.
const SIZES: usize = 64;

/// The figures that a page shows.
fn figures(kind: FigureKind, snapshot: &Snapshot) -> Vec<SnapshotFigure> {
    let mut figures = kind.of(snapshot);
    if kind == FigureKind::SizeClass {
        figures.truncate(SIZES);
    }
    figures
}

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Size,
    Growth,
    Name,
}

/// The live view's state.
#[derive(Debug)]
pub struct Watch {
    title: String,
    trend_of: TrendOf,
    latest: Option<Snapshot>,
    begun_ms: i64,
    rss: Series,
    series: BTreeMap<(usize, String), Series>,
    baseline: Option<Baseline>,
    page: usize,
    sort: Sort,
    paused: bool,
    scroll: usize,
    message: String,
}

/// The figures that growth is counted from.
#[derive(Debug)]
struct Baseline {
    rows: BTreeMap<(usize, String), u64>,
    rss: u64,
}

/// One row of a page.
struct Figure {
    name: String,
    value: u64,
    count: Option<u64>,
    trend: Option<Trend>,
    spark: String,
    since_baseline: Option<i64>,
}

#[derive(Debug, Default)]
struct Series {
    points: VecDeque<(f64, f64)>,
    count: Option<u64>,
    seen: i64,
}

impl Series {
    fn push(&mut self, seconds: f64, value: u64, count: Option<u64>, now: i64) {
        if self.points.len() >= POINTS {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.points.push_back((seconds, value as f64));
        self.count = count;
        self.seen = now;
    }

    fn last(&self) -> u64 {
        self.points.back().map_or(0, |(_, value)| *value as u64)
    }

    fn trend(&mut self, of: TrendOf) -> Option<Trend> {
        of(self.points.make_contiguous())
    }
}

impl Watch {
    /// A view without data yet; `title` names the target.
    pub fn new(title: &str, trend_of: TrendOf) -> Self {
        Watch {
            title: clean(title),
            trend_of,
            latest: None,
            begun_ms: 0,
            rss: Series::default(),
            series: BTreeMap::new(),
            baseline: None,
            page: 0,
            sort: Sort::Size,
            paused: false,
            scroll: 0,
            message: String::new(),
        }
    }

    /// Takes the next snapshot. While paused it is counted, but the screen stays.
    pub fn push(&mut self, snapshot: Snapshot) {
        if self.begun_ms == 0 {
            self.begun_ms = snapshot.time_ms;
        }
        let now = snapshot.time_ms;
        let seconds = (now - self.begun_ms) as f64 / 1000.0;
        self.rss.push(seconds, snapshot.memory.rss_bytes, None, now);
        for (page, (kind, _)) in PAGES.iter().enumerate() {
            for SnapshotFigure { name, bytes: value, count } in figures(*kind, &snapshot) {
                self.series.entry((page, name)).or_default().push(seconds, value, count, now);
            }
        }
        // A pool that came and went, a size that is gone: a series that was not seen for long is
        // forgotten.
        self.series.retain(|_, series| now - series.seen < 600_000);
        if !self.paused || self.latest.is_none() {
            self.latest = Some(snapshot);
        }
    }

    /// A line for the bottom: the target ended, say.
    pub fn say(&mut self, message: &str) {
        self.message = clean(message);
    }

    /// Acts on a key as the user pressed it.
    pub fn key(&mut self, key: char) -> Action {
        match key {
            'q' | '\u{3}' | '\u{1b}' => return Action::Quit,
            'p' | ' ' => self.paused = !self.paused,
            's' => {
                self.sort = match self.sort {
                    Sort::Size => Sort::Growth,
                    Sort::Growth => Sort::Name,
                    Sort::Name => Sort::Size,
                };
            }
            'b' => {
                self.baseline = match self.baseline {
                    Some(_) => None,
                    None => Some(Baseline {
                        rows: self.series.iter().map(|(key, series)| (key.clone(), series.last())).collect(),
                        rss: self.rss.last(),
                    }),
                };
            }
            '\t' | 'l' => self.turn(1),
            'h' => self.turn(PAGES.len() - 1),
            'j' => self.scroll += 1,
            'k' => self.scroll = self.scroll.saturating_sub(1),
            '1'..='6' => self.turn_to(key as usize - '1' as usize),
            _ => {}
        }
        Action::Continue
    }

    fn turn(&mut self, by: usize) {
        self.turn_to((self.page + by) % PAGES.len());
    }

    fn turn_to(&mut self, page: usize) {
        self.page = page;
        self.scroll = 0;
    }

    /// Draws the view.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(4), Constraint::Min(3), Constraint::Length(1)])
                .areas(frame.area());
        self.draw_head(frame, head);
        self.draw_rows(frame, body);
        let keys = "q quit · p pause · b baseline · s sort · tab page · j/k scroll";
        let text =
            if self.message.is_empty() { keys.to_owned() } else { format!("{} · q quit", self.message) };
        frame.render_widget(Paragraph::new(text).style(Style::new().add_modifier(Modifier::DIM)), foot);
    }

    fn draw_head(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let Some(snapshot) = &self.latest else {
            frame.render_widget(
                Paragraph::new(vec![Line::styled(self.title.clone(), bold), Line::raw("waiting…")]),
                area,
            );
            return;
        };
        let width = usize::from(area.width);
        let elapsed = (snapshot.time_ms - self.begun_ms) as f64 / 1000.0;
        let mut facts = format!("pid {} · watched for {}", snapshot.process.pid, duration(elapsed));
        if let Some(limit) = snapshot.cgroup.as_ref().and_then(|cgroup| cgroup.headroom_bytes) {
            facts.push_str(&format!(" · headroom {}", bytes(limit)));
        }
        if self.paused {
            facts.push_str(" · PAUSED");
        }
        let heap = snapshot.rss_of(Domain::JavaHeap);
        let rss = snapshot.memory.rss_bytes;
        let trend = self.rss.trend(self.trend_of);
        let mut summary = vec![Span::styled(format!("RSS {}", bytes(rss)), bold)];
        if heap > 0 {
            summary.push(Span::raw(format!(
                " · heap {} · rest {}",
                bytes(heap),
                bytes(rss.saturating_sub(heap))
            )));
        }
        summary.push(Span::raw(format!(" · {}", say_trend(trend))));
        if let Some(Baseline { rss: base, .. }) = &self.baseline {
            summary.push(Span::raw(format!(" · since baseline {}", delta(rss as i64 - *base as i64))));
        }
        let tabs: Vec<Span<'_>> = PAGES
            .iter()
            .enumerate()
            .map(|(index, (_, name))| {
                let style = if index == self.page { bold.fg(Color::Cyan) } else { Style::new() };
                Span::styled(format!("{} {name}  ", index + 1), style)
            })
            .collect();
        let lines = vec![
            Line::styled(fit(&self.title, width), bold),
            Line::raw(fit(&facts, width)),
            Line::from(summary),
            Line::from(tabs),
        ];
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn draw_rows(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let Some(snapshot) = &self.latest else { return };
        let mut rows: Vec<Figure> = Vec::new();
        let spark_width = usize::from(area.width).saturating_sub(72).clamp(6, 40);
        for SnapshotFigure { name, bytes: value, count } in figures(PAGES[self.page].0, snapshot) {
            let key = (self.page, name);
            let series = self.series.get_mut(&key);
            let (trend, spark) = series.map_or((None, String::new()), |series| {
                (series.trend(self.trend_of), sparkline(series.points.make_contiguous(), spark_width))
            });
            let since_baseline = self
                .baseline
                .as_ref()
                .map(|baseline| value as i64 - baseline.rows.get(&key).copied().unwrap_or(0) as i64);
            rows.push(Figure { name: key.1, value, count, trend, spark, since_baseline });
        }
        let slope = |row: &Figure| row.trend.map_or(0.0, |trend| trend.slope);
        match self.sort {
            Sort::Size => rows.sort_by_key(|row| std::cmp::Reverse(row.value)),
            Sort::Growth => rows.sort_by(|a, b| slope(b).total_cmp(&slope(a))),
            Sort::Name => rows.sort_by(|a, b| a.name.cmp(&b.name)),
        }
        let visible = usize::from(area.height).saturating_sub(1);
        self.scroll = self.scroll.min(rows.len().saturating_sub(visible));
        let mark = |sort| if self.sort == sort { "▾" } else { "" };
        let last = if self.baseline.is_some() { "SINCE BASE" } else { "95 % INTERVAL" };
        let head = Row::new(vec![
            format!("{}{}", PAGES[self.page].1.to_uppercase(), mark(Sort::Name)),
            format!("{:>10}", format!("SIZE{}", mark(Sort::Size))),
            format!("{:>7}", "COUNT"),
            format!("{:>12}", format!("SLOPE{}", mark(Sort::Growth))),
            "TREND".to_owned(),
            last.to_owned(),
        ])
        .style(Style::new().add_modifier(Modifier::DIM));
        let name_width = usize::from(area.width).saturating_sub(spark_width + 52).clamp(20, 48);
        let body = rows.iter().skip(self.scroll).take(visible).map(|row| {
            let Figure { name, value, count, trend, spark, since_baseline } = row;
            let certain = trend.is_some_and(|trend| trend.ci95[0] > 0.0);
            let colour = if certain { Style::new().fg(Color::Red) } else { Style::new() };
            let tail = match (since_baseline, trend) {
                (Some(since), _) => delta(*since),
                (None, Some(trend)) => format!("{} … {}", rate(trend.ci95[0]), rate(trend.ci95[1])),
                (None, None) => String::new(),
            };
            Row::new(vec![
                Cell::new(fit(name, name_width)),
                Cell::new(format!("{:>10}", bytes(*value))),
                Cell::new(format!("{:>7}", count.map_or_else(String::new, |count| count.to_string()))),
                Cell::new(format!("{:>12}", trend.map_or_else(String::new, |trend| rate(trend.slope))))
                    .style(colour),
                Cell::new(spark.clone()).style(Style::new().fg(Color::Cyan)),
                Cell::new(tail),
            ])
        });
        let widths = [
            Constraint::Length(name_width as u16),
            Constraint::Length(10),
            Constraint::Length(7),
            Constraint::Length(12),
            Constraint::Length(spark_width as u16),
            Constraint::Min(10),
        ];
        frame.render_widget(Table::new(body, widths).header(head).column_spacing(1), area);
    }
}

fn say_trend(trend: Option<Trend>) -> String {
    match trend {
        None => "too early for a slope".to_owned(),
        Some(trend) if trend.ci95[0] > 0.0 => format!("grows {}", rate(trend.slope)),
        Some(trend) if trend.ci95[1] < 0.0 => format!("shrinks {}", rate(trend.slope)),
        Some(trend) => format!("no certain growth ({})", rate(trend.slope)),
    }
}

/// The course of a series in `width` columns. The lowest point is the floor, so that growth of a
/// percent is seen; a flat series is drawn flat.
fn sparkline(points: &[(f64, f64)], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    let columns = points.len().min(width).max(1);
    let span = (last.0 - first.0).max(f64::EPSILON);
    let mut tops = vec![f64::NAN; columns];
    for (seconds, value) in points {
        let column = (((seconds - first.0) / span * columns as f64) as usize).min(columns - 1);
        if let Some(top) = tops.get_mut(column) {
            *top = top.max(*value);
        }
    }
    let low = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    // Less than half a percent of the value is noise and stays on the floor.
    let range = (high - low).max(high * 0.005).max(1.0);
    let mut known = low;
    tops.into_iter()
        .map(|top| {
            known = if top.is_nan() { known } else { top };
            let step = ((known - low) / range * 7.0).round().clamp(0.0, 7.0);
            BARS.get(step as usize).copied().unwrap_or('▁')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_model::{DomainFigure, ThreadKind, ThreadPool};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn snapshot(seconds: i64, malloc: u64) -> Snapshot {
        let mut snapshot = Snapshot { time_ms: 1_000_000 + seconds * 1000, ..Snapshot::default() };
        snapshot.memory.rss_bytes = malloc + (50 << 20);
        snapshot.domains = vec![
            DomainFigure::resident(Domain::Malloc, malloc),
            DomainFigure::resident(Domain::JavaHeap, 50 << 20),
        ];
        snapshot.threads = vec![ThreadPool {
            pool: "evil\x1b[2J-*".to_owned(),
            kind: ThreadKind::Java,
            count: 3,
            reserved_bytes: 0,
            resident_bytes: 1 << 20,
            huge_bytes: 0,
        }];
        snapshot
    }

    fn screen(watch: &mut Watch, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| watch.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        (0..height)
            .map(|y| {
                (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n"
            })
            .collect()
    }

    fn ends(points: &[(f64, f64)]) -> Option<Trend> {
        let (first, last) = (points.first()?, points.last()?);
        let slope = (last.1 - first.1) / (last.0 - first.0);
        slope.is_finite().then_some(Trend { slope, ci95: [slope * 0.9, slope * 1.1] })
    }

    fn growing() -> Watch {
        let mut watch = Watch::new("java App", ends);
        for second in 0..30 {
            watch.push(snapshot(second, (100 << 20) + ((second as u64) << 20)));
        }
        watch
    }

    #[test]
    fn growth_is_seen_in_eighty_by_twenty_four() {
        let text = screen(&mut growing(), 80, 24);
        assert!(text.contains("RSS 179 MiB") && text.contains("grows +1.00 MiB/s"), "{text}");
        let malloc = text.lines().find(|line| line.starts_with("malloc")).unwrap();
        assert!(malloc.contains("129 MiB") && malloc.contains('▂') && malloc.contains('█'), "{malloc}");
    }

    #[test]
    fn keys_change_the_page_the_baseline_and_end_it() {
        let mut watch = growing();
        assert_eq!(watch.key('b'), Action::Continue);
        watch.push(snapshot(30, 140 << 20));
        assert!(screen(&mut watch, 100, 30).contains("since baseline +11.0 MiB"));
        watch.key('2');
        let threads = screen(&mut watch, 100, 30);
        assert!(threads.contains("evil·[2J-*") && !threads.contains('\x1b'), "{threads}");
        watch.key('p');
        watch.push(snapshot(31, 900 << 20));
        assert!(screen(&mut watch, 100, 30).contains("PAUSED"));
        assert!(!screen(&mut watch, 100, 30).contains("950 MiB"));
        assert_eq!(watch.key('q'), Action::Quit);
    }

    #[test]
    fn days_of_points_stay_bounded() {
        let mut watch = Watch::new("x", ends);
        for second in 0..5000 {
            watch.push(snapshot(second, 100 << 20));
        }
        assert!(watch.rss.points.len() <= POINTS);
        assert_eq!(watch.rss.points.back().unwrap().0, 4999.0);
        screen(&mut watch, 20, 5);
    }
}
