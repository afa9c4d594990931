//! speedscope's own JSON (its `file-format-spec.ts`): frames shared, a profile of type `sampled`
//! for every figure there is.

use crate::builder::{kind_by_name, named};
use crate::{Builder, Error, Figure, Parsed};
use offheap_model::{Profile, ProfileSite};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;

const FORMAT: &str = "speedscope file";

/// Writes every figure of `profile` that is not zero everywhere, the one that says most first.
pub fn write(profile: &Profile, name: &str) -> String {
    let frames: Vec<Value> = profile
        .frames
        .iter()
        .map(|frame| {
            let mut value = json!({ "name": frame.name });
            if let Some(file) = frame.file.as_ref().or(frame.module.as_ref()) {
                value["file"] = json!(file);
            }
            if let Some(line) = frame.line {
                value["line"] = json!(line);
            }
            value
        })
        .collect();
    let best = Figure::best(profile);
    let has = |figure: Figure| profile.sites.iter().any(|site| figure.of(site) > 0);
    let rest = Figure::ALL.into_iter().filter(|figure| *figure != best && has(*figure));
    let profiles: Vec<Value> = std::iter::once(best)
        .chain(rest)
        .map(|figure| {
            let sites = || profile.sites.iter().filter(|site| figure.of(site) > 0);
            // speedscope's stacks run from the outermost inwards.
            let samples: Vec<Vec<u32>> =
                sites().map(|site| site.stack.iter().rev().copied().collect()).collect();
            let weights: Vec<u64> = sites().map(|site| figure.of(site)).collect();
            json!({
                "type": "sampled",
                "name": figure.title(),
                "unit": if figure.is_bytes() { "bytes" } else { "none" },
                "startValue": 0,
                "endValue": weights.iter().fold(0u64, |sum, weight| sum.saturating_add(*weight)),
                "samples": samples,
                "weights": weights,
            })
        })
        .collect();
    json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "exporter": concat!("offheap ", env!("CARGO_PKG_VERSION")),
        "activeProfileIndex": 0,
        "shared": { "frames": frames },
        "profiles": profiles,
    })
    .to_string()
}

/// True where `head` is one.
pub(crate) fn is(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.trim_start().starts_with('{') && text.contains("speedscope.app/file-format-schema.json")
}

#[derive(Deserialize)]
struct File {
    shared: Shared,
    profiles: Vec<Samples>,
}

#[derive(Deserialize)]
struct Shared {
    frames: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    line: Option<u32>,
}

#[derive(Deserialize)]
struct Samples {
    #[serde(default)]
    name: String,
    unit: String,
    #[serde(default)]
    samples: Vec<Vec<u32>>,
    #[serde(default)]
    weights: Vec<f64>,
}

/// Reads the profiles of bytes, and our own ones of blocks. Which library a frame is of is not in
/// the format.
///
/// # Errors
/// It is damaged, or a profile of time.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let not = |reason: String| Error::NotThis { format: FORMAT, reason };
    let file: File = serde_json::from_slice(bytes).map_err(|error| not(error.to_string()))?;
    let mut builder = Builder::new();
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut read = 0;
    for profile in &file.profiles {
        let own = Figure::ALL.into_iter().find(|figure| figure.title() == profile.name);
        let figure = match (own, profile.unit.as_str()) {
            (Some(figure), "bytes" | "none") => figure,
            (None, "bytes") if read == 0 => Figure::LiveBytes,
            _ => continue,
        };
        read += 1;
        for (sample, weight) in profile.samples.iter().zip(&profile.weights) {
            let stack: Vec<u32> = sample
                .iter()
                .rev()
                .filter_map(|index| Some((*index, file.shared.frames.get(*index as usize)?)))
                .take(crate::builder::MAX_DEPTH)
                .map(|(index, frame)| {
                    *numbers.entry(index).or_insert_with(|| {
                        let mut known = named(&frame.name, kind_by_name(&frame.name));
                        (known.file, known.line) = (frame.file.clone(), frame.line);
                        builder.frame(known)
                    })
                })
                .collect();
            let mut site = ProfileSite::default();
            // Exact below 2^53; a float that is none is nothing.
            let weight = if weight.is_finite() && *weight > 0.0 { weight.round() as u64 } else { 0 };
            *figure.of_mut(&mut site) = weight;
            builder.add(&stack, &site);
        }
    }
    if read == 0 {
        let units: Vec<&str> = file.profiles.iter().map(|profile| profile.unit.as_str()).take(5).collect();
        return Err(not(format!("none of its profiles is of bytes (units: {})", units.join(", "))));
    }
    Ok(builder.finish(Vec::new(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut profile = crate::collapsed::read(b"main;a;malloc 30\nmain;b 12\n").unwrap().profile;
        profile.sites[0].live_count = 3;
        profile.sites[1].leak_bytes = 5;
        let text = write(&profile, "app");
        assert!(is(text.as_bytes()));
        let again = read(text.as_bytes()).unwrap().profile;
        for figure in Figure::ALL {
            let of = |profile: &Profile| {
                let mut lines: Vec<String> =
                    crate::collapsed::write(profile, figure, false).lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert_eq!(of(&again), of(&profile), "{figure:?}");
        }
        let time = text.replace("\"bytes\"", "\"milliseconds\"").replace("\"none\"", "\"seconds\"");
        assert!(read(time.as_bytes()).unwrap_err().to_string().contains("milliseconds"));
    }

    #[test]
    fn stacks_run_outermost_first_and_weights_add_up() {
        let profile = crate::collapsed::read(b"main;a;malloc 30\nmain;b 12\n").unwrap().profile;
        let json: Value = serde_json::from_str(&write(&profile, "app")).unwrap();
        let names: Vec<&str> = json["profiles"][0]["samples"][0]
            .as_array()
            .unwrap()
            .iter()
            .map(|index| json["shared"]["frames"][index.as_u64().unwrap() as usize]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["main", "a", "malloc"]);
        assert_eq!(
            (&json["profiles"][0]["endValue"], &json["profiles"][0]["weights"][0]),
            (&json!(42), &json!(30))
        );
        assert_eq!(json["profiles"].as_array().unwrap().len(), 1);
    }
}
