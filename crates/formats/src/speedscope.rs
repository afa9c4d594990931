//! speedscope's own JSON (its `file-format-spec.ts`): frames shared, a profile of type `sampled` for every figure there is.

use crate::Figure;
use offheap_model::Profile;
use serde_json::{Value, json};

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

#[cfg(test)]
mod tests {
    use super::*;

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
