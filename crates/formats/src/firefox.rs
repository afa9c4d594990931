//! Firefox Profiler's processed format, for profiler.firefox.com ("Load a profile from file":
//! nothing is uploaded). Source: firefox-devtools/profiler, src/types/profile.js and
//! docs-developer/CHANGELOG-formats.md, at version 48, from which newer releases convert.
//!
//! A site is a sample whose weight is its bytes; the time of a sample says nothing here and counts
//! up.

use crate::builder::{kind_by_name, named};
use crate::{Builder, Error, Figure, Parsed};
use offheap_model::{FrameKind, Profile, ProfileSite};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Categories, in the order of [`category`]; the last is the default one, which must be there and
/// is told by being grey.
const CATEGORIES: [(&str, &str); 5] =
    [("Java", "green"), ("Native", "orange"), ("JVM", "purple"), ("Python", "blue"), ("Other", "grey")];

fn category(kind: FrameKind) -> usize {
    match kind {
        FrameKind::Java => 0,
        FrameKind::Native => 1,
        FrameKind::Jvm => 2,
        FrameKind::Python => 3,
    }
}

/// Strings by their numbers.
#[derive(Default)]
struct Strings {
    numbers: HashMap<String, usize>,
    list: Vec<String>,
}

impl Strings {
    fn number(&mut self, text: &str) -> usize {
        let next = self.list.len();
        *self.numbers.entry(text.to_owned()).or_insert_with(|| {
            self.list.push(text.to_owned());
            next
        })
    }
}

/// Writes one figure; the format has one weight a sample.
pub fn write(profile: &Profile, figure: Figure, name: &str) -> String {
    let mut strings = Strings::default();
    let frames = profile.frames.len();
    let column = |value: fn(&offheap_model::Frame) -> Value| -> Vec<Value> {
        profile.frames.iter().map(value).collect()
    };
    let nulls = || vec![Value::Null; frames];
    let functions: Vec<usize> = profile.frames.iter().map(|frame| strings.number(&frame.name)).collect();
    let files: Vec<Value> = profile
        .frames
        .iter()
        .map(|frame| {
            frame
                .file
                .as_ref()
                .or(frame.module.as_ref())
                .map_or(Value::Null, |file| json!(strings.number(file)))
        })
        .collect();

    // Stacks hang in a tree by their prefix, the outermost frame first.
    let mut nodes: HashMap<(Option<usize>, u32), usize> = HashMap::new();
    let (mut prefixes, mut stack_frames, mut stack_categories) = (Vec::new(), Vec::new(), Vec::new());
    let (mut sample_stacks, mut weights) = (Vec::new(), Vec::new());
    for site in profile.sites.iter().filter(|site| figure.of(site) > 0) {
        let mut prefix = None;
        for index in site.stack.iter().rev() {
            let Some(frame) = profile.frames.get(*index as usize) else { continue };
            let next = stack_frames.len();
            let node = *nodes.entry((prefix, *index)).or_insert(next);
            if node == next {
                prefixes.push(prefix);
                stack_frames.push(*index);
                stack_categories.push(category(frame.kind));
            }
            prefix = Some(node);
        }
        sample_stacks.push(prefix);
        weights.push(figure.of(site));
    }
    let samples = weights.len();
    let zeros = |count: usize| vec![0; count];
    let thread = json!({
        "processType": "default",
        "processStartupTime": 0,
        "processShutdownTime": null,
        "registerTime": 0,
        "unregisterTime": null,
        "pausedRanges": [],
        "name": figure.title(),
        "isMainThread": true,
        "pid": "0",
        "tid": 0,
        "samples": {
            "length": samples,
            "stack": sample_stacks,
            "time": (0..samples).collect::<Vec<_>>(),
            "weight": weights,
            "weightType": if figure.is_bytes() { "bytes" } else { "samples" },
        },
        "markers": { "length": 0, "category": [], "data": [], "endTime": [], "name": [], "phase": [], "startTime": [] },
        "stackTable": {
            "length": stack_frames.len(),
            "prefix": prefixes,
            "frame": stack_frames,
            "category": stack_categories,
            "subcategory": zeros(prefixes.len()),
        },
        "frameTable": {
            "length": frames,
            "address": vec![-1; frames],
            "inlineDepth": zeros(frames),
            "category": column(|frame| json!(category(frame.kind))),
            "subcategory": zeros(frames),
            "func": (0..frames).collect::<Vec<_>>(),
            "nativeSymbol": nulls(),
            "innerWindowID": nulls(),
            "implementation": nulls(),
            "line": column(|frame| json!(frame.line)),
            "column": nulls(),
        },
        "funcTable": {
            "length": frames,
            "name": functions,
            "isJS": vec![false; frames],
            "relevantForJS": vec![false; frames],
            "resource": vec![-1; frames],
            "fileName": files,
            "lineNumber": nulls(),
            "columnNumber": nulls(),
        },
        "resourceTable": { "length": 0, "lib": [], "name": [], "host": [], "type": [] },
        "nativeSymbols": { "length": 0, "libIndex": [], "address": [], "name": [], "functionSize": [] },
        "stringArray": strings.list,
    });
    let categories: Vec<Value> = CATEGORIES
        .iter()
        .map(|(name, color)| json!({ "name": name, "color": color, "subcategories": ["Other"] }))
        .collect();
    json!({
        "meta": {
            "interval": 1,
            "startTime": profile.start_ms,
            "processType": 0,
            "product": name,
            "stackwalk": 1,
            "version": 29,
            "preprocessedProfileVersion": 48,
            "symbolicated": true,
            "importedFrom": "offheap",
            "categories": categories,
            "markerSchema": [],
        },
        "libs": [],
        "pages": [],
        "threads": [thread],
    })
    .to_string()
}

const FORMAT: &str = "Firefox Profiler file";

/// True where `head` or the text is one of ours: others are of time.
pub(crate) fn is(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.trim_start().starts_with('{') && text.contains("\"importedFrom\":\"offheap\"")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    threads: Vec<Thread>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thread {
    name: String,
    samples: Samples,
    stack_table: Stacks,
    frame_table: Frames,
    func_table: Functions,
    string_array: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    stack: Vec<Option<u32>>,
    weight: Vec<u64>,
}

#[derive(Deserialize)]
struct Stacks {
    prefix: Vec<Option<u32>>,
    frame: Vec<u32>,
}

#[derive(Deserialize)]
struct Frames {
    func: Vec<u32>,
    line: Vec<Option<u32>>,
    category: Vec<Option<u32>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Functions {
    name: Vec<u32>,
    file_name: Vec<Option<u32>>,
}

/// Reads what [`write`] wrote: one figure.
///
/// # Errors
/// It is damaged, or of another writer.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let not = |reason: String| Error::NotThis { format: FORMAT, reason };
    let file: File = serde_json::from_slice(bytes).map_err(|error| not(error.to_string()))?;
    let mut builder = Builder::new();
    let mut read = 0;
    for thread in &file.threads {
        let Some(figure) = Figure::ALL.into_iter().find(|figure| figure.title() == thread.name) else {
            continue;
        };
        read += 1;
        let text = |number: u32| thread.string_array.get(number as usize);
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        for (stack, weight) in thread.samples.stack.iter().zip(&thread.samples.weight) {
            let (mut frames, mut at) = (Vec::new(), *stack);
            while let Some(index) = at.filter(|_| frames.len() < crate::builder::MAX_DEPTH) {
                let Some(frame) = thread.stack_table.frame.get(index as usize).copied() else { break };
                let number = *numbers.entry(frame).or_insert_with(|| {
                    let function =
                        thread.frame_table.func.get(frame as usize).copied().unwrap_or(u32::MAX) as usize;
                    let name = thread
                        .func_table
                        .name
                        .get(function)
                        .and_then(|name| text(*name))
                        .map_or("", String::as_str);
                    let kind = match thread.frame_table.category.get(frame as usize).copied().flatten() {
                        Some(0) => FrameKind::Java,
                        Some(1) => FrameKind::Native,
                        Some(2) => FrameKind::Jvm,
                        Some(3) => FrameKind::Python,
                        _ => kind_by_name(name),
                    };
                    let mut known = named(name, kind);
                    known.file =
                        thread.func_table.file_name.get(function).copied().flatten().and_then(text).cloned();
                    known.line = thread.frame_table.line.get(frame as usize).copied().flatten();
                    builder.frame(known)
                });
                frames.push(number);
                // Prefixes come first in what we write; anything else could go round for ever.
                at = thread
                    .stack_table
                    .prefix
                    .get(index as usize)
                    .copied()
                    .flatten()
                    .filter(|prefix| *prefix < index);
            }
            let mut site = ProfileSite::default();
            *figure.of_mut(&mut site) = *weight;
            builder.add(&frames, &site);
        }
    }
    if read == 0 {
        return Err(not("no thread of it is a figure of memory: only offheap's own files are read".into()));
    }
    Ok(builder.finish(Vec::new(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "main;a;malloc 30\nmain;b 12\n";
        let profile = crate::collapsed::read(text.as_bytes()).unwrap().profile;
        let json = write(&profile, Figure::LiveBytes, "app");
        assert!(is(json.as_bytes()));
        let again = read(json.as_bytes()).unwrap().profile;
        assert_eq!(crate::collapsed::write(&again, Figure::LiveBytes, false), text);
    }

    #[test]
    fn tables_are_as_long_as_they_say_and_a_stack_can_be_followed() {
        let profile = crate::collapsed::read(b"main;a;malloc 30\nmain;b 12\n").unwrap().profile;
        let json: Value = serde_json::from_str(&write(&profile, Figure::LiveBytes, "app")).unwrap();
        let thread = &json["threads"][0];
        for table in ["samples", "stackTable", "frameTable", "funcTable"] {
            let table = thread[table].as_object().unwrap();
            let length = table["length"].as_u64().unwrap() as usize;
            for (name, column) in table.iter().filter(|(_, column)| column.is_array()) {
                assert_eq!(column.as_array().unwrap().len(), length, "{name}");
            }
        }
        let mut names = Vec::new();
        let mut stack = thread["samples"]["stack"][0].as_u64();
        while let Some(index) = stack {
            let frame = thread["stackTable"]["frame"][index as usize].as_u64().unwrap() as usize;
            let function = thread["frameTable"]["func"][frame].as_u64().unwrap() as usize;
            let name = thread["funcTable"]["name"][function].as_u64().unwrap() as usize;
            names.push(thread["stringArray"][name].as_str().unwrap().to_owned());
            stack = thread["stackTable"]["prefix"][index as usize].as_u64();
        }
        assert_eq!(names, ["malloc", "a", "main"]);
        assert_eq!(thread["samples"]["weight"], json!([30, 12]));
        assert_eq!(thread["stackTable"]["length"], 4);
        let categories = json["meta"]["categories"].as_array().unwrap();
        assert!(categories.iter().any(|category| category["color"] == "grey"), "no default category");
    }
}
