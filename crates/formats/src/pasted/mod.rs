//! Text as people paste it: reports of other tools between a ticket's words, quoted, numbered,
//! stamped by a log, coloured.
//!
//! A file that starts like a report, and has nothing in it that only a paste has, is left as it is,
//! byte for byte. Everything else is looked through line by line: where a line starts a report,
//! behind whatever prefixes it has, the report is what follows, without those prefixes, up to where
//! another starts or the paste ends. Takes time in proportion to the text.

mod encoding;
mod prefix;
mod strangers;

use crate::registry::{self, Format, Reader};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Texts longer than this many bytes are no pastes: they are read as they are.
pub const MAX_PASTE: usize = 16 << 20;
/// Reports of one paste that are read.
const MAX_REPORTS: usize = 1000;
/// Lines before a report's first one that may belong to it: a pid, a date, blank lines.
const LEAD: usize = 4;

/// What was found in a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pasted<'a> {
    /// The reports, in the order of the text.
    pub reports: Vec<Report<'a>>,
    /// What was left out, in one line; `None` where nothing was.
    pub skipped: Option<String>,
}

/// A report in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a> {
    /// Its format.
    pub format: Format,
    /// Its text alone.
    pub bytes: Cow<'a, [u8]>,
    /// The number of its first line in the text, from 1.
    pub line: usize,
}

/// True where `head` is the start of a text, in whatever encoding.
pub fn is_text(head: &[u8]) -> bool {
    !head.is_empty() && encoding::is_text(head)
}

/// The reports in `bytes`, already unwrapped.
pub fn reports(bytes: &[u8]) -> Pasted<'_> {
    let whole = |format| Pasted {
        reports: vec![Report { format, bytes: Cow::Borrowed(bytes), line: 1 }],
        skipped: None,
    };
    let known = registry::find(bytes);
    match known {
        Some(reader) if reader.text.is_none() || bytes.len() > MAX_PASTE => return whole(reader.format),
        None if bytes.len() > MAX_PASTE || !encoding::is_text(bytes) => return Pasted::default(),
        _ => {}
    }
    let mut done = BTreeSet::new();
    let (text, undone) = encoding::plain(bytes, &mut done);
    // Of what was a stranger's encoding more may be recognised now.
    let known = if undone { registry::find(text.as_bytes()) } else { known };
    match known {
        Some(reader) if reader.text.is_none() || !is_paste(&text, reader) => {
            let bytes =
                if undone { Cow::Owned(text.into_owned().into_bytes()) } else { Cow::Borrowed(bytes) };
            let reports = vec![Report { format: reader.format, bytes, line: 1 }];
            Pasted { reports, skipped: said(&done, 0, 0) }
        }
        _ => search(&text, known, done),
    }
}

/// Whether a text that starts like a report has anything that only a paste has: a fence, a prompt,
/// an arrow, a second report.
fn is_paste(text: &str, reader: &Reader) -> bool {
    let Some(kind) = &reader.text else { return false };
    let mut begins = 0;
    text.lines().any(|line| {
        let line = line.trim();
        begins += usize::from(!kind.joins && (kind.begins)(line));
        let another = || {
            kind.ends.is_none()
                && registry::READERS.iter().any(|other| {
                    other.format != reader.format
                        && other.text.as_ref().is_some_and(|text| (text.begins)(line))
                })
        };
        begins > 1
            || another()
            || prefix::is_fence(line)
            || prefix::is_prompt(line)
            || prefix::annotation(line).is_some()
    })
}

/// What a line is, once the prefixes are off.
struct Begin {
    reader: &'static Reader,
    /// The prefixes, outermost first.
    kinds: Vec<usize>,
    /// Blanks before the text, behind the prefixes.
    indent: usize,
}

/// Whether a report starts with `line`: plainly, or behind prefixes. `open` is the format of the
/// report that it is in.
fn begin(line: &str, open: Option<&'static Reader>) -> Option<Begin> {
    let (mut rest, mut kinds) = (line, Vec::new());
    loop {
        let bare = rest.trim();
        let found = registry::READERS.iter().find(|reader| {
            reader.text.as_ref().is_some_and(|text| {
                (text.begins)(bare) || open.is_none() && text.perhaps.is_some_and(|perhaps| perhaps(bare))
            })
        });
        if let Some(reader) = found {
            return Some(Begin { reader, kinds, indent: rest.len() - rest.trim_start().len() });
        }
        if kinds.len() >= prefix::MOST {
            return None;
        }
        let (kind, after) = prefix::peel_any(rest)?;
        kinds.push(kind);
        rest = after;
    }
}

/// A report while its lines are gathered.
struct Open {
    begin: Begin,
    line: usize,
    lines: Vec<String>,
}

impl Open {
    /// Whether `next` starts another of the same format, behind the same prefixes.
    fn is_of(&self, next: &Begin) -> bool {
        self.begin.reader.format == next.reader.format && self.begin.kinds == next.kinds
    }

    /// Whether there is nothing but first lines so far.
    fn has_just_begun(&self) -> bool {
        let begins = self.begin.reader.text.as_ref().map(|text| text.begins);
        self.lines.len() < 20
            && self
                .lines
                .iter()
                .map(|line| line.trim())
                .all(|line| line.is_empty() || is_lead(line) || begins.is_some_and(|begins| begins(line)))
    }
}

/// Looks through all lines. `first` is what the text as a whole starts like.
fn search(text: &str, first: Option<&'static Reader>, mut done: BTreeSet<&'static str>) -> Pasted<'static> {
    let (mut found, mut outside, mut inside): (Vec<Report<'static>>, usize, usize) = (Vec::new(), 0, 0);
    let mut open: Option<Open> = None;
    // Lines before a start that may be its own.
    let mut lead: Vec<&str> = Vec::new();
    let mut close = |open: &mut Option<Open>,
                     done: &mut BTreeSet<&'static str>,
                     inside: &mut usize,
                     outside: &mut usize| {
        let Some(open) = open.take() else { return };
        let count = open.lines.len();
        let report = if found.len() < MAX_REPORTS { finish(open, done, inside) } else { None };
        match report {
            Some(report) => found.push(report),
            None => *outside += count,
        }
    };
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim();
        if prefix::is_fence(bare) {
            close(&mut open, &mut done, &mut inside, &mut outside);
            done.insert("fences");
            lead.clear();
            continue;
        }
        // What swallows others (a fatal error log has an NMT report and a heap in it) ends by its
        // own last line only.
        let swallows = open
            .as_ref()
            .and_then(|open| open.begin.reader.text.as_ref())
            .is_some_and(|text| text.ends.is_some());
        let next = begin(line, open.as_ref().map(|open| open.begin.reader)).filter(|next| match &open {
            // What stands before the first line proper may look like one, too.
            Some(open) if open.is_of(next) => {
                !open.has_just_begun() && !next.reader.text.as_ref().is_some_and(|text| text.joins)
            }
            Some(_) => !swallows,
            None => true,
        });
        if let Some(next) = next {
            let mut own: Vec<String> = Vec::new();
            // The pid or the date before it, which the report before may have taken for its own.
            if let Some(open) = &mut open {
                while open.lines.last().is_some_and(|line| line.trim().is_empty() || is_lead(line.trim()))
                    && own.len() < LEAD
                {
                    own.extend(open.lines.pop());
                }
                own.reverse();
            } else {
                own.extend(lead.iter().map(|line| strip(line, &next)));
                outside = outside.saturating_sub(lead.iter().filter(|line| !line.trim().is_empty()).count());
            }
            close(&mut open, &mut done, &mut inside, &mut outside);
            for kind in &next.kinds {
                done.insert(prefix::name(*kind));
            }
            let line_number = number + 1 - own.len().min(number);
            own.push(strip(line, &next));
            open = Some(Open { begin: next, line: line_number, lines: own });
            lead.clear();
            continue;
        }
        if prefix::is_prompt(bare) {
            close(&mut open, &mut done, &mut inside, &mut outside);
            done.insert("prompts");
            lead.clear();
            continue;
        }
        match &mut open {
            Some(now) => {
                if prefix::ends(line, &now.begin.kinds) {
                    close(&mut open, &mut done, &mut inside, &mut outside);
                    outside += 1;
                    continue;
                }
                let is_last =
                    now.begin.reader.text.as_ref().and_then(|text| text.ends).is_some_and(|ends| ends(bare));
                let text = strip(line, &now.begin);
                now.lines.push(text);
                if is_last {
                    close(&mut open, &mut done, &mut inside, &mut outside);
                }
            }
            None => {
                // Prefixes of the line that follows are not known yet.
                let mut peeled = line;
                for _ in 0..prefix::MOST {
                    let Some((_, rest)) = prefix::peel_any(peeled) else { break };
                    if is_lead(peeled.trim()) {
                        break;
                    }
                    peeled = rest;
                }
                if is_lead(peeled.trim()) || peeled.trim().is_empty() && !lead.is_empty() {
                    lead.push(line);
                    if lead.len() > LEAD {
                        lead.remove(0);
                    }
                } else {
                    lead.clear();
                }
                outside += usize::from(!bare.is_empty());
            }
        }
    }
    close(&mut open, &mut done, &mut inside, &mut outside);
    if found.is_empty()
        && let Some(reader) = first
    {
        // It began like one and nothing in it does by itself: as it is.
        found.push(Report { format: reader.format, bytes: Cow::Owned(text.as_bytes().to_vec()), line: 1 });
        outside = 0;
    }
    Pasted { skipped: if found.is_empty() { None } else { said(&done, outside, inside) }, reports: found }
}

/// The pid and the colon that jcmd prints before a report, the status of the attach protocol, the
/// date of a thread dump.
fn is_lead(line: &str) -> bool {
    let digits = line.trim_end_matches(':');
    let is_number =
        !digits.is_empty() && digits.len() < 12 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_date =
        line.len() == 19 && line.as_bytes().get(4) == Some(&b'-') && line.as_bytes().get(13) == Some(&b':');
    is_number || is_date || line == "#"
}

/// `line` without the prefixes and the indent that the report's first line has.
fn strip(line: &str, begin: &Begin) -> String {
    let mut rest = line;
    for kind in &begin.kinds {
        rest = prefix::peel(*kind, rest).unwrap_or(rest);
    }
    let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    rest.get(blanks.min(begin.indent)..).unwrap_or(rest).to_owned()
}

/// The report of the lines that were gathered, if it is one.
fn finish(mut open: Open, done: &mut BTreeSet<&'static str>, inside: &mut usize) -> Option<Report<'static>> {
    for line in &mut open.lines {
        if let Some(at) = prefix::annotation(line) {
            line.truncate(at);
            done.insert("remarks behind lines");
        }
    }
    if let Some(has) = open.begin.reader.text.as_ref().and_then(|text| text.has) {
        let before = open.lines.len();
        open.lines.retain(|line| line.trim().is_empty() || is_lead(line.trim()) || has(line));
        *inside += before - open.lines.len();
    }
    let blank = open.lines.iter().take_while(|line| line.trim().is_empty()).count();
    open.lines.drain(..blank);
    open.line += blank;
    while open.lines.last().is_some_and(|line| line.trim().is_empty()) {
        open.lines.pop();
    }
    let mut text = open.lines.join("\n");
    text.push('\n');
    let is = |text: &str| (open.begin.reader.is)(text.as_bytes()).then_some(open.begin.reader);
    let reader = is(&text).or_else(|| registry::find(text.as_bytes())).or_else(|| {
        // A browser's tabs.
        text = text.replace('\t', " ");
        is(&text).or_else(|| registry::find(text.as_bytes()))
    })?;
    reader.text.as_ref()?;
    Some(Report { format: reader.format, bytes: Cow::Owned(text.into_bytes()), line: open.line })
}

/// What was left out, in one line.
fn said(done: &BTreeSet<&'static str>, outside: usize, inside: usize) -> Option<String> {
    let mut parts: Vec<String> = done.iter().map(|what| (*what).to_owned()).collect();
    let lines = |count: usize| if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
    if outside > 0 {
        parts.push(format!("{} of other text", lines(outside)));
    }
    if inside > 0 {
        let are = if inside == 1 { "is" } else { "are" };
        parts.push(format!("{} inside a report that {are} not part of it", lines(inside)));
    }
    (!parts.is_empty()).then(|| format!("left out of the pasted text: {}", parts.join(", ")))
}

/// What a text is that is known and has nothing to read, and what to bring instead.
pub fn stranger(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let has_words = !could_be(bytes).is_empty();
    strangers::name(&String::from_utf8_lossy(bytes.get(..1 << 20).unwrap_or(bytes)), has_words)
}

/// The formats that a text which is of none could be meant as, by the words in it.
pub fn could_be(bytes: &[u8]) -> Vec<&'static str> {
    let text = String::from_utf8_lossy(bytes.get(..1 << 20).unwrap_or(bytes));
    let has = |reader: &&Reader| {
        reader
            .text
            .as_ref()
            .is_some_and(|kind| !kind.words.is_empty() && kind.words.iter().all(|word| text.contains(word)))
    };
    registry::READERS.iter().filter(has).map(|reader| reader.name).take(5).collect()
}

#[cfg(test)]
mod tests;
