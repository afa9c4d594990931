//! Texts as people paste them (`crates/formats/tests/corpus`): all are read, or refused with a
//! reason.

use super::{Content, PerfMaps, Reading, read_all};
use offheap_formats::{Figure, Table, collapsed};
use std::fmt::Write;

/// All that is read of `reading`, in words.
fn said(reading: &Reading) -> String {
    let mut out = String::new();
    match &reading.content {
        Content::Profile(parsed) => {
            out += &collapsed::write(&parsed.profile, Figure::best(&parsed.profile), false);
        }
        Content::Log(log, nmt) => {
            let _ = writeln!(out, "{:?}", log.crash());
            log.facts(nmt).into_iter().for_each(|(label, value)| out += &format!("{label} {value}\n"));
            log.advice(nmt).into_iter().for_each(|text| out += &format!("{text}\n"));
        }
        Content::Recording(recording) => {
            Table::of_recording(recording)
                .rows
                .iter()
                .for_each(|row| out += &format!("{} {}\n", row.name, row.after()));
        }
        Content::Figures(_) | Content::Dump(_) => {}
    }
    if let Some(figures) = reading.figures() {
        for named in &figures.list {
            let count = named.count.map(|count| format!(" {count}")).unwrap_or_default();
            let _ = writeln!(out, "{} {}{count}", named.name, named.bytes);
        }
        figures.says.iter().chain(&figures.advice).for_each(|text| out += &format!("{text}\n"));
    }
    out
}

#[test]
fn each_text_is_read_as_it_says() {
    let folder = offheap_testkit::workspace().join("crates/formats/tests/corpus");
    let work = tempfile::tempdir().unwrap();
    let (mut count, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for case in format!("\n{text}").split("\n=== ").skip(1) {
            count += 1;
            let mut lines = case.lines();
            let title = lines.next().unwrap();
            let (expected, body): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("! "));
            let file = work.path().join("pasted.txt");
            std::fs::write(&file, body.join("\n") + "\n").unwrap();
            let result = read_all(&file, &PerfMaps::default());
            let wanted = |what: &str| -> Vec<&str> {
                expected
                    .iter()
                    .filter_map(|line| line.strip_prefix("! ")?.strip_prefix(what))
                    .map(str::trim)
                    .collect()
            };
            let mut no = |text: String| wrong.push(format!("{title}: {text}"));
            match result {
                Ok(readings) => {
                    let formats: Vec<&str> = readings.iter().map(|reading| reading.format.name()).collect();
                    if formats != wanted("format") {
                        no(format!("read as {formats:?}"));
                    }
                    let said: String = readings.iter().map(said).collect();
                    let notes: Vec<&str> =
                        readings.iter().flat_map(|reading| &reading.notes).map(String::as_str).collect();
                    wanted("has")
                        .iter()
                        .filter(|text| !said.contains(**text))
                        .for_each(|text| no(format!("no {text:?} in\n{said}")));
                    wanted("not")
                        .iter()
                        .filter(|text| said.contains(**text))
                        .for_each(|text| no(format!("{text:?} in\n{said}")));
                    wanted("note")
                        .iter()
                        .filter(|text| !notes.iter().any(|note| note.contains(**text)))
                        .for_each(|text| no(format!("no note {text:?} in {notes:?}")));
                }
                Err(error) => {
                    let (error, refused) = (format!("{error:#}"), wanted("refused"));
                    if refused.is_empty() || !refused.iter().all(|text| error.contains(text)) {
                        no(format!("refused: {error}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 140, "{count}");
}
