//! Text to [`Report`], line by line. A line that can't be read becomes a [`Problem`] and the rest
//! is still read.

mod cursor;
mod detail;
mod reply;
mod summary;

use crate::report::{Frame, Kind, Problem, Report, Scale};
use cursor::{Bad, NOT_UNDERSTOOD};

/// Reads NMT text, whatever its JDK, mode, scale and locale, with or without the status line of the
/// attach protocol and the `PID:` line of `jcmd`, also when it is cut off or damaged.
///
/// It never fails as a whole: what can't be read is in [`Report::problems`], and a text that holds
/// no NMT reply at all has [`Kind::Unrecognized`]. It takes time and memory in proportion to the
/// size of `text`.
pub fn parse(text: &[u8]) -> Report {
    let mut parser = Parser::default();
    let mut rest = text;
    while !rest.is_empty() && !parser.done {
        let (line, after, terminated) = match rest.iter().position(|&byte| byte == b'\n') {
            Some(end) => (&rest[..end], &rest[end + 1..], true),
            None => (rest, &rest[rest.len()..], false),
        };
        rest = after;
        parser.line_number += 1;
        let line = String::from_utf8_lossy(line);
        // Tabs and hard blanks are what a browser or a terminal made of blanks.
        let line =
            if line.contains(['\t', '\u{a0}']) { line.replace(['\t', '\u{a0}'], " ").into() } else { line };
        let line = line.trim_end();
        if let Err(why) = parser.line(line, terminated) {
            parser.problem(why, line);
        }
    }
    parser.finish()
}

/// Which part of a text the parser is in.
#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Section {
    /// Before anything that is NMT's.
    #[default]
    Preamble,
    /// Totals and categories.
    Summary,
    /// The virtual memory map.
    Map,
    /// The files that back a heap.
    MemoryFiles,
    /// The sites.
    Sites,
    /// Mode `statistics`.
    Statistics,
}

/// What the lines that follow belong to.
#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Open {
    /// Nothing.
    #[default]
    Nothing,
    /// Something whose own line was bad: what belongs to it is skipped, one problem is enough.
    Damaged,
    /// The totals.
    Total,
    /// The last category.
    Category,
    /// The last category's metaspace outside the class space.
    Metadata,
    /// The last category's class space.
    ClassSpace,
    /// The last region.
    Region,
    /// The last committed part of the last region.
    Committed,
}

#[derive(Default)]
struct Parser {
    report: Report,
    line_number: u64,
    section: Section,
    open: Open,
    /// Frames of a site, whose figures come after them.
    frames: Vec<Frame>,
    /// The number of the first of them.
    frames_from: u64,
    /// Whether the previous line was the total's.
    after_total: bool,
    /// A diff leaves a blank line after the total; a report goes on at once. It tells a diff
    /// without any change.
    blank_after_total: bool,
    /// The heading in mode `statistics`.
    heading: String,
    done: bool,
}

impl Parser {
    fn problem(&mut self, why: Bad, line: &str) {
        self.problem_at(self.line_number, why, line);
    }

    fn problem_at(&mut self, number: u64, why: Bad, line: &str) {
        const EXCERPT: usize = 120;
        if self.report.problems.len() >= Report::MAX_PROBLEMS {
            self.report.problems_omitted += 1;
            return;
        }
        let line = line.trim_start();
        let mut text = format!("{why}: ");
        text.extend(line.chars().take(EXCERPT));
        if line.chars().nth(EXCERPT).is_some() {
            text.push('…');
        }
        self.report.problems.push(Problem { line: number, text });
    }

    /// One line, without spaces at its end. `terminated`: it has a newline, so it can't have been
    /// cut off.
    fn line(&mut self, line: &str, terminated: bool) -> Result<(), Bad> {
        let text = line.trim_start();
        if text.is_empty() {
            self.blank_after_total |= self.after_total && terminated;
            self.after_total = false;
            return Ok(());
        }
        self.after_total = false;
        if self.section == Section::Preamble && (self.preamble(text, terminated)? || self.reply(text)) {
            return Ok(());
        }
        // Figures end in a parenthesis. Any other line's end can't be told from a cut.
        let in_parentheses =
            text.ends_with(')') && !text.starts_with('[') && self.section != Section::Statistics;
        if !terminated && !in_parentheses {
            self.open = Open::Damaged;
            return Err("cut off");
        }
        if self.section == Section::Statistics {
            self.statistic(text);
            return Ok(());
        }
        if text.starts_with('[') {
            return self.bracket(text);
        }
        if text.starts_with("Native Memory Tracking:") {
            if self.section != Section::Preamble {
                self.done = true;
                return Err("a second report starts here; it was not read");
            }
            self.section = Section::Summary;
            return Ok(());
        }
        match text {
            "Virtual memory map:" => self.enter(Section::Map),
            "Details:" => self.enter(Section::Sites),
            "Memory file details" => self.enter(Section::MemoryFiles),
            _ if text.starts_with("Memory map of ") => self.memory_file(text),
            _ if text.starts_with("(Omitting categories") => self.omitting(text),
            _ if text.ends_with("each omitted.)") => self.omitted_sites(text),
            _ if reply::is_tail(text) => {
                self.open = Open::Nothing;
                self.heading.clear();
                self.statistic(text);
                Ok(())
            }
            _ if self.section == Section::Sites || !self.frames.is_empty() => self.site(text),
            _ => self.summary(text),
        }
    }

    fn enter(&mut self, section: Section) -> Result<(), Bad> {
        self.section = section;
        self.open = Open::Nothing;
        Ok(())
    }

    /// What may stand before the report: `PID:` of jcmd, the status of the attach protocol. Whether
    /// it was that.
    fn preamble(&mut self, text: &str, terminated: bool) -> Result<bool, Bad> {
        if text.starts_with("Native Memory Tracking Statistics:") {
            self.section = Section::Statistics;
            return Ok(true);
        }
        if let Some(pid) = text.strip_suffix(':')
            && self.report.pid.is_none()
            && pid.bytes().all(|byte| byte.is_ascii_digit())
        {
            self.report.pid = Some(pid.parse().map_err(|_| NOT_UNDERSTOOD)?);
            return Ok(true);
        }
        if self.report.status.is_none()
            && terminated
            && let Ok(status) = text.parse()
        {
            self.report.status = Some(status);
            return Ok(true);
        }
        Ok(false)
    }

    /// The first amount tells the scale.
    fn scale(&mut self, unit: Scale) {
        self.report.scale.get_or_insert(unit);
    }

    fn finish(mut self) -> Report {
        if !self.frames.is_empty() {
            self.problem_at(self.frames_from, "cut off", "a site without its figures");
        }
        let report = &mut self.report;
        let beyond_summary = matches!(self.section, Section::Map | Section::MemoryFiles | Section::Sites);
        let detailed = beyond_summary || !report.sites.is_empty();
        let mut diff = self.blank_after_total;
        report.for_each_delta(|delta| diff |= delta.is_some());
        report.kind = match self.section {
            Section::Statistics => Kind::Statistics,
            Section::Preamble if report.reply.is_some() => Kind::Reply,
            Section::Preamble => Kind::Unrecognized,
            _ => match (detailed, diff) {
                (true, true) => Kind::DetailDiff,
                (true, false) => Kind::Detail,
                (false, true) => Kind::SummaryDiff,
                (false, false) => Kind::Summary,
            },
        };
        if report.kind.is_diff() {
            // What the JVM prints no delta of has not changed.
            report.for_each_delta(|delta| *delta = delta.or(Some(0)));
        }
        self.report
    }
}
