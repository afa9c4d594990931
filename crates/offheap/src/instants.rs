//! Saved snapshots as people name them: `account.json`, `run.offheap`, `run.offheap@10m`.

use crate::files;
use anyhow::{Context, anyhow, bail};
use offheap_model::Snapshot;
use offheap_model::units::parse_duration;
use offheap_present::json;
use offheap_store::{Mark, Recording, Target, is_recording};
use std::io::Read;
use std::path::Path;

/// A saved account is no larger: one of 2,000 threads has 0.2 MB.
const ACCOUNT: u64 = 64 << 20;

/// A file with an optional instant behind `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name<'a> {
    /// The file.
    pub path: &'a str,
    /// The instant.
    pub when: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// Splits `text`; a file that has an `@` in its name is taken as it is.
    pub fn parse(text: &'a str) -> Name<'a> {
        match text.rsplit_once('@') {
            Some((path, when)) if !Path::new(text).exists() => Name { path, when: Some(when) },
            _ => Name { path: text, when: None },
        }
    }
}

/// The target of `recording` that is meant: the one with this pid (its last start), else the one
/// with most snapshots.
///
/// # Errors
/// The recording has no such target.
pub fn target(recording: &Recording, pid: Option<i32>) -> anyhow::Result<Target> {
    let targets = recording.targets()?;
    let found = match pid {
        Some(pid) => targets.into_iter().rfind(|target| target.pid == pid),
        None => targets.into_iter().max_by_key(|target| target.snapshots),
    };
    found.ok_or_else(|| match pid {
        Some(pid) => anyhow!("the recording has no process with pid {pid}"),
        None => anyhow!("the recording is empty"),
    })
}

/// The snapshot that `text` names: of a recording the last one, or `@first`, `@last`, `@10m` after
/// its start, `@-5m` before its end, or `@TEXT` of a mark.
///
/// # Errors
/// No such file or instant.
pub fn snapshot(text: &str, default: &str) -> anyhow::Result<Snapshot> {
    let name = Name::parse(text);
    let path = Path::new(name.path);
    if !is_recording(path) {
        let mut bytes = Vec::new();
        let file = files::open(path)?;
        file.take(ACCOUNT + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {}", name.path))?;
        if bytes.len() as u64 > ACCOUNT {
            bail!("{} is too large for a saved account (offheap map PID --json > FILE)", name.path);
        }
        if name.when.is_some() {
            bail!("{} is one saved account and has no instants", name.path);
        }
        return json::parse_map(&bytes).map_err(|why| anyhow!("{}: {why}", name.path));
    }
    let recording = Recording::open(path)?;
    let target = target(&recording, None)?;
    let time_ms = instant(name.when.unwrap_or(default), &target, &recording.marks()?)?;
    // The last one up to then, or the first there is.
    let mut found = recording.snapshots(target.id, i64::MIN..=time_ms, 1)?;
    if found.is_empty() {
        found = recording.snapshots(target.id, time_ms..=target.first_ms, 1)?;
    }
    found.pop().with_context(|| format!("{} has no snapshot at that instant", name.path))
}

fn instant(when: &str, target: &Target, marks: &[Mark]) -> anyhow::Result<i64> {
    let ms = |text: &str| parse_duration(text).map(|duration| duration.as_millis() as i64);
    match when {
        "first" => return Ok(target.first_ms),
        "last" => return Ok(target.last_ms),
        _ => {}
    }
    if let Some(mark) = marks.iter().find(|mark| mark.text == when) {
        return Ok(mark.time_ms);
    }
    if let Some(before_end) = when.strip_prefix('-')
        && let Ok(before_end) = ms(before_end)
    {
        return Ok(target.last_ms.saturating_sub(before_end));
    }
    if let Ok(after_start) = ms(when.trim_start_matches('+')) {
        return Ok(target.first_ms.saturating_add(after_start));
    }
    let marks: Vec<&str> = marks.iter().map(|mark| mark.text.as_str()).collect();
    bail!(
        "@{when} names no instant: write @first, @last, @10m (after the start), @-5m (before the end) or a mark of {marks:?}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_named_by_time_or_mark() {
        let target = Target {
            id: 1,
            pid: 1,
            start_ticks: 0,
            host: String::new(),
            command: String::new(),
            first_ms: 1_000_000,
            last_ms: 2_000_000,
            snapshots: 2,
            ended: None,
        };
        let marks = [Mark { time_ms: 1_500_000, text: "load".to_owned() }];
        let at = |when| instant(when, &target, &marks).unwrap();
        assert_eq!([at("first"), at("last"), at("load")], [1_000_000, 2_000_000, 1_500_000]);
        assert_eq!([at("1m"), at("+1m"), at("-30s")], [1_060_000, 1_060_000, 1_970_000]);
        assert!(instant("idle", &target, &marks).is_err());
        assert_eq!(Name::parse("run.offheap@-5m"), Name { path: "run.offheap", when: Some("-5m") });
    }
}
