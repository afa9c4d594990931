//! JNI references on a terminal.

use super::{Align, Style, Table, Tone, wrap};
use offheap_model::{Handles, References};

/// Classes, and threads, that are shown unless all are wanted.
const SHOWN: usize = 10;
/// Pushed frames of one thread that stand out at one instant: native code seldom nests that deep.
const MANY_FRAMES: u64 = 16;
/// Local references of one thread that stand out at one instant: HotSpot promises room for 16, and
/// warns at a few thousand.
const MANY_LOCALS: u64 = 4096;

/// The references of one kind.
type KindOf = fn(&Handles) -> Option<&References>;

/// What was found, with what it was `before` and how many seconds ago.
pub fn render(now: &Handles, before: Option<(&Handles, f64)>, style: Style) -> String {
    let mut text = kinds(now, before, style);
    let kinds: [(&str, KindOf); 2] = [("GLOBAL", |of| of.global.as_ref()), ("WEAK", |of| of.weak.as_ref())];
    for (title, kind) in kinds {
        if let Some(of) = kind(now).filter(|of| !of.by_class.is_empty()) {
            text.push('\n');
            text.push_str(&classes(title, of, before.map(|(before, _)| kind(before)), style));
        }
    }
    text.push_str(&threads(now, before.map(|(before, _)| before), style));
    for line in stands_out(now, before) {
        text.push('\n');
        text.push_str(&style.paint(Tone::Warn, &wrap(&line, style.width, 0)));
        text.push('\n');
    }
    text
}

fn kinds(now: &Handles, before: Option<(&Handles, f64)>, style: Style) -> String {
    let mut heads = vec![("REFERENCES", Align::Left), ("NOW", Align::Right)];
    let window = before.map(|(_, seconds)| format!("IN {seconds:.0} s"));
    heads.extend(window.as_deref().map(|window| (window, Align::Right)));
    heads.push(("", Align::Left));
    let mut table = Table::new(&heads);
    let mut row = |name: &str, now: Option<u64>, was: Option<Option<u64>>, note: String| {
        let mut cells = vec![name.to_owned(), now.map_or_else(|| "not found".to_owned(), grouped)];
        cells.extend(was.map(|was| match (now, was) {
            (Some(now), Some(was)) => change(now, was),
            _ => "-".to_owned(),
        }));
        cells.push(note);
        table.row(Tone::Plain, cells);
    };
    let count = |of: &Option<References>| of.as_ref().map(|of| of.count);
    row("global", count(&now.global), before.map(|(before, _)| count(&before.global)), String::new());
    let cleared = now.weak.as_ref().map_or(0, |weak| weak.cleared);
    let note = if cleared > 0 { format!("{} of them cleared", grouped(cleared)) } else { String::new() };
    row("weak global", count(&now.weak), before.map(|(before, _)| count(&before.weak)), note);
    let threads = now.threads.as_ref().map_or(0, Vec::len);
    let note = format!("in {threads} thread{}", if threads == 1 { "" } else { "s" });
    row("local", locals(now), before.map(|(before, _)| locals(before)), note);
    table.render(style)
}

/// The local references of all threads.
fn locals(of: &Handles) -> Option<u64> {
    Some(of.threads.as_ref()?.iter().map(|thread| thread.references.count).sum())
}

fn classes(title: &str, of: &References, was: Option<Option<&References>>, style: Style) -> String {
    let mut heads = vec![(title, Align::Right)];
    heads.extend(was.map(|_| ("CHANGE", Align::Right)));
    heads.push(("CLASS", Align::Left));
    let mut table = Table::new(&heads);
    let mut rows: Vec<_> = of.by_class.iter().collect();
    if let Some(Some(was)) = was {
        // What grew first: that is what was asked for.
        rows.sort_by_key(|row| std::cmp::Reverse((row.count.saturating_sub(was.of(&row.class)), row.count)));
    }
    let shown = if style.all { rows.len() } else { SHOWN };
    for row in rows.iter().take(shown) {
        let mut cells = vec![grouped(row.count)];
        cells.extend(
            was.map(|was| was.map_or_else(|| "-".to_owned(), |was| change(row.count, was.of(&row.class)))),
        );
        cells.push(row.class.clone());
        table.row(Tone::Plain, cells);
    }
    let mut text = table.render(style);
    if let Some(more) = rows.len().checked_sub(shown).filter(|more| *more > 0) {
        text.push_str(&style.paint(Tone::Dim, &format!("{more} more classes: --all\n")));
    }
    text
}

fn threads(now: &Handles, before: Option<&Handles>, style: Style) -> String {
    let Some(threads) = now.threads.as_ref().filter(|threads| !threads.is_empty()) else {
        return String::new();
    };
    let mut heads = vec![("LOCAL", Align::Right), ("PUSHED FRAMES", Align::Right)];
    heads.extend(before.map(|_| ("CHANGE", Align::Right)));
    heads.push(("THREAD", Align::Left));
    let mut table = Table::new(&heads);
    let shown = if style.all { threads.len() } else { SHOWN };
    for thread in threads.iter().take(shown) {
        let mut cells = vec![grouped(thread.references.count), grouped(thread.pushed_frames)];
        cells.extend(before.map(|before| change(thread.pushed_frames, before.pushed_frames(thread.tid))));
        cells.push(thread.thread.clone());
        table.row(Tone::Plain, cells);
    }
    let mut text = format!("\n{}", table.render(style));
    if let Some(more) = threads.len().checked_sub(shown).filter(|more| *more > 0) {
        text.push_str(&style.paint(Tone::Dim, &format!("{more} more threads: --all\n")));
    }
    text
}

/// What a reader should look at, a sentence each.
fn stands_out(now: &Handles, before: Option<(&Handles, f64)>) -> Vec<String> {
    let mut said = Vec::new();
    for thread in now.threads.iter().flatten() {
        if thread.pushed_frames >= MANY_FRAMES {
            let grew = before.and_then(|(before, seconds)| {
                let more = thread.pushed_frames.saturating_sub(before.pushed_frames(thread.tid));
                (more > 0).then(|| format!(", {} more than {seconds:.0} s ago", grouped(more)))
            });
            let grew = grew.unwrap_or_default();
            said.push(format!(
                "Thread {}: {} local frames were pushed and not popped{grew}. Each PushLocalFrame needs its PopLocalFrame.",
                thread.thread,
                grouped(thread.pushed_frames)
            ));
        } else if thread.references.count >= MANY_LOCALS {
            said.push(format!(
                "Thread {}: {} local references within one native method. In a loop, delete each (DeleteLocalRef) or use \
                 PushLocalFrame and PopLocalFrame.",
                thread.thread,
                grouped(thread.references.count)
            ));
        }
    }
    if let Some(first) = now.ended_attached.first() {
        let count = now.ended_attached.len();
        said.push(if count == 1 {
            format!("1 attached thread ended without DetachCurrentThread ({first}): the JVM keeps what it knows of it.")
        } else {
            format!(
                "{} attached threads ended without DetachCurrentThread ({first}, …): the JVM keeps what it knows of them.",
                grouped(count as u64)
            )
        });
    }
    said
}

fn change(now: u64, was: u64) -> String {
    match now.cmp(&was) {
        std::cmp::Ordering::Equal => "0".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", grouped(now - was)),
        std::cmp::Ordering::Less => format!("-{}", grouped(was - now)),
    }
}

/// `"1,234,567"`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_model::{ClassCount, LocalReferences};

    fn references(classes: &[(&str, u64)]) -> References {
        let by_class: Vec<ClassCount> = classes
            .iter()
            .map(|(class, count)| ClassCount { class: (*class).to_owned(), count: *count })
            .collect();
        References { count: by_class.iter().map(|class| class.count).sum(), cleared: 0, by_class }
    }

    fn handles(listeners: u64, frames: u64, ended: &[&str]) -> Handles {
        let thread = LocalReferences {
            tid: 7,
            thread: "jep-1".to_owned(),
            pushed_frames: frames,
            blocks: frames + 1,
            references: references(&[("java.lang.String", frames)]),
        };
        Handles {
            global: Some(references(&[("java.lang.Class", 900), ("app.Listener", listeners)])),
            weak: None,
            threads: Some(vec![thread]),
            ended_attached: ended.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn what_grew_comes_first_and_stands_out() {
        let (before, now) = (handles(100, 1000, &[]), handles(350, 1234, &["Thread-9", "Thread-10"]));
        let text = render(&now, Some((&before, 10.0)), Style { width: 80, ..Style::default() });
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let at = |row: &[&str]| {
            rows.iter().position(|have| have == row).unwrap_or_else(|| panic!("{row:?}: {text}"))
        };
        assert_eq!(at(&["global", "1,250", "+250"]), 1);
        assert!(at(&["350", "+250", "app.Listener"]) < at(&["900", "0", "java.lang.Class"]), "{text}");
        assert!(rows.contains(&vec!["weak", "global", "not", "found", "-"]), "{text}");
        at(&["1,234", "1,234", "+234", "jep-1"]);
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flat.contains("1,234 local frames were pushed and not popped, 234 more than 10 s ago."),
            "{text}"
        );
        assert!(
            flat.contains("2 attached threads ended without DetachCurrentThread (Thread-9, …)"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn an_instant_has_no_changes() {
        let text = render(&handles(100, 0, &["Thread-9"]), None, Style::default());
        assert!(!text.contains("CHANGE") && !text.contains("PushLocalFrame"), "{text}");
        assert!(text.contains("1 attached thread ended without DetachCurrentThread (Thread-9)"), "{text}");
    }
}
