//! The style of docs/design.md, as far as a program can see it: how long comment lines and files
//! are, and words that are not used.

use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Columns of a comment line at most.
const COLUMNS: usize = 100;
/// Lines of a file at most.
const LINES: usize = 600;

/// Words that comments don't use, and what they say in their place.
const WORDS: [(&str, &str); 6] = [
    ("at the most", "at most"),
    ("begin", "start"),
    ("begins", "starts"),
    ("so many", "that many, or the number"),
    ("is said", "an active verb: says, reports"),
    ("is told", "an active verb: tells, shows"),
];

/// How much of each folder is still in the old style; a folder that is not named here has nothing
/// of it. No figure may rise: a check that fails says by how much, and one that finds less asks for
/// the smaller figure.
const DEBT: &[(&str, usize)] = &[
    ("crates/agent", 49),
    ("crates/attach", 2),
    ("crates/cpython", 33),
    ("crates/diagnose", 117),
    ("crates/formats", 16),
    ("crates/live", 6),
    ("crates/model", 3),
    ("crates/nmt", 3),
    ("crates/offheap", 44),
    ("crates/probe", 32),
    ("crates/report", 2),
    ("crates/store", 8),
    ("crates/symbols", 20),
    ("crates/testkit", 9),
    ("scenarios", 30),
];

/// Room that a folder with old style has, so that work side by side is not held up by one comment.
const ROOM: usize = 10;

/// Counts what is not in style below `root`.
pub fn check(root: &Path) -> Result<()> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in folders(root)? {
        let name = folder.strip_prefix(root).unwrap_or(&folder).to_string_lossy().into_owned();
        let mut files = Vec::new();
        sources(&folder, &mut files)?;
        for file in files {
            let text = std::fs::read_to_string(&file)?;
            let place = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
            found.entry(name.clone()).or_default().extend(offences(&place, &text));
        }
    }
    let mut wrong = String::new();
    for (folder, offences) in &found {
        judge(folder, offences, DEBT, &mut wrong)?;
    }
    if wrong.is_empty() { Ok(()) } else { bail!("not in the style of docs/design.md:\n{wrong}") }
}

/// Says in `wrong` what is too much, or what the table could ask for.
fn judge(folder: &str, offences: &[String], debt: &[(&str, usize)], wrong: &mut String) -> Result<()> {
    let allowed = debt.iter().find(|(name, _)| *name == folder).map_or(0, |(_, count)| *count);
    let room = if allowed > 0 { ROOM } else { 0 };
    if offences.len() > allowed + room {
        writeln!(wrong, "  {folder}: {} places, {allowed} are allowed; the last of them:", offences.len())?;
        for offence in offences.iter().rev().take(10) {
            writeln!(wrong, "    {offence}")?;
        }
    } else if offences.len() + 2 * ROOM < allowed {
        writeln!(wrong, "  {folder}: only {} places; lower its figure in DEBT", offences.len())?;
    }
    Ok(())
}

/// The crates, and the folders beside them.
fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![root.join("scenarios")];
    for entry in std::fs::read_dir(root.join("crates"))? {
        folders.push(entry?.path());
    }
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    Ok(folders)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// What is not in style in the text of the file at `place`.
fn offences(place: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(comment) = comment_of(line) else { continue };
        let columns = line.chars().count();
        // A link or a path can't be broken.
        if columns > COLUMNS && line.split_whitespace().all(|word| word.len() < COLUMNS / 2) {
            found.push(format!(
                "{place}:{}: a comment line of {columns} columns, {COLUMNS} at most",
                index + 1
            ));
        }
        let comment = comment.to_lowercase();
        for (word, instead) in WORDS {
            if has_word(&comment, word) {
                found.push(format!("{place}:{}: \u{201c}{word}\u{201d}: {instead}", index + 1));
            }
        }
    }
    let lines = text.lines().count();
    if lines > LINES {
        found.push(format!("{place}: {lines} lines, {LINES} at most"));
    }
    found
}

/// What stands behind the slashes of a line that is a comment.
fn comment_of(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("//")
}

/// Whether `text` has `word` as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    let is_apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '`');
    text.match_indices(word).any(|(at, _)| {
        is_apart(text[..at].chars().next_back()) && is_apart(text[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_comments_and_old_words_are_found() {
        let long = format!("    /// {}", "word ".repeat(30));
        let text = format!(
            "//! It begins here.\nlet begin = 1;\n{long}\n// `begin` is a name; beginning is a word.\n"
        );
        let found = offences("a.rs", &text);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(
            found[0].starts_with("a.rs:1: \u{201c}begins\u{201d}")
                && found[1].starts_with("a.rs:3: a comment line")
        );
        assert_eq!(offences("a.rs", "// At the most two.").len(), 1);
        let path = format!("// {}", "x".repeat(120));
        assert_eq!(offences("a.rs", &path), [""; 0]);
        assert_eq!(offences("a.rs", &"\n".repeat(601)).len(), 1);
    }

    #[test]
    fn a_folder_may_keep_what_it_had_and_no_more() {
        let judged = |count: usize| {
            let mut wrong = String::new();
            judge("crates/a", &vec![String::from("x"); count], &[("crates/a", 50)], &mut wrong).unwrap();
            judge("crates/b", &[], &[], &mut wrong).unwrap();
            wrong
        };
        assert_eq!((judged(50), judged(60), judged(30)), Default::default());
        assert!(judged(61).contains("61 places, 50 are allowed"));
        assert!(judged(29).contains("lower its figure"));
        let mut wrong = String::new();
        judge("crates/new", &[String::from("x")], &[], &mut wrong).unwrap();
        assert!(wrong.contains("1 places, 0 are allowed"));
    }
}
