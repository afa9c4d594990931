//! offheap's own JSON: the contract `offheap/profile/v1`, what `offheap profile --json` prints.

use crate::{Builder, Error, Parsed};
use offheap_model::{Age, Frame, FrameKind, Profile, ProfileSite, Sampling};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

const FORMAT: &str = "offheap profile in JSON";

/// The schema's name.
pub const SCHEMA: &str = "offheap/profile/v1";

/// What `offheap profile --json` and `offheap convert -o FILE.json` write.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
struct Document<'a> {
    /// `offheap/profile/v1`
    schema: Cow<'a, str>,
    /// The process (`pid`, `command`, `jvm`, `python`); null where the profile comes of a file.
    target: serde_json::Value,
    /// What was watched.
    window: Window,
    /// How the samples were taken.
    sampling: Sampling,
    /// Most `leak_bytes` first, then most `live_bytes`.
    sites: Vec<Site<'a>>,
    /// What must be said about it: what it can't see, what was cut off.
    #[serde(default)]
    notes: Cow<'a, [String]>,
}

#[derive(Serialize, Deserialize, Default)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
struct Window {
    /// Milliseconds since the Unix epoch; 0 where unknown.
    start: i64,
    /// Its length; 0 where unknown.
    seconds: f64,
}

/// A stack with what it allocated; figures are scaled up from the samples.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
struct Site<'a> {
    /// Allocated and not freed.
    live_bytes: u64,
    /// How many blocks that is.
    live_count: u64,
    /// Of the live bytes, those allocated before the window's tail.
    leak_bytes: u64,
    /// Allocated since the start, freed or not.
    allocated_bytes: u64,
    /// How many blocks that is.
    #[serde(default)]
    allocated_count: u64,
    /// Growth of the live bytes over the window.
    slope_bytes_per_s: Option<f64>,
    /// Its 95 % confidence interval.
    slope_ci95: Option<[f64; 2]>,
    /// How old the live samples are.
    age_seconds: Option<Age>,
    /// Innermost first.
    frames: Vec<Cow<'a, Frame>>,
}

/// The JSON schema of what [`write()`] writes.
#[cfg(feature = "schemars")]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Document<'static>)
}

/// True where `head` is JSON that names the schema.
pub(crate) fn is(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.trim_start().starts_with('{') && text.contains("\"offheap/profile/")
}

/// Writes `profile`; `target` is what the contract's `target` holds (`pid`, `command`, `jvm`,
/// `python`), or null.
pub fn write(profile: &Profile, target: serde_json::Value) -> String {
    let sites = profile
        .sites
        .iter()
        .map(|site| Site {
            live_bytes: site.live_bytes,
            live_count: site.live_count,
            leak_bytes: site.leak_bytes,
            allocated_bytes: site.allocated_bytes,
            allocated_count: site.allocated_count,
            slope_bytes_per_s: site.slope_bytes_per_s,
            slope_ci95: site.slope_ci95,
            age_seconds: site.age_seconds,
            frames: site
                .stack
                .iter()
                .filter_map(|index| profile.frames.get(*index as usize))
                .map(Cow::Borrowed)
                .collect(),
        })
        .collect();
    let document = Document {
        schema: Cow::Borrowed(SCHEMA),
        target,
        window: Window { start: profile.start_ms, seconds: profile.seconds },
        sampling: profile.sampling.clone(),
        sites,
        notes: Cow::Borrowed(&profile.notes),
    };
    // Plain data with string keys: there is nothing that could fail.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// It is not JSON, of another schema, or damaged.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let document: Document<'_> = serde_json::from_slice(bytes)
        .map_err(|error| Error::NotThis { format: FORMAT, reason: error.to_string() })?;
    if document.schema != SCHEMA {
        return Err(Error::Unsupported {
            format: FORMAT,
            reason: format!("its schema is {:?}, not {SCHEMA:?}", document.schema),
        });
    }
    let mut builder = Builder::new();
    let mut details = Vec::new();
    for site in document.sites {
        let stack: Vec<u32> =
            site.frames.into_iter().map(|frame| builder.frame(frame.into_owned())).collect();
        let figures = ProfileSite {
            live_bytes: site.live_bytes,
            live_count: site.live_count,
            leak_bytes: site.leak_bytes,
            allocated_bytes: site.allocated_bytes,
            allocated_count: site.allocated_count,
            ..ProfileSite::default()
        };
        builder.add(&stack, &figures);
        details.push((stack, site.slope_bytes_per_s, site.slope_ci95, site.age_seconds));
    }
    *builder.profile() = Profile {
        start_ms: document.window.start,
        seconds: document.window.seconds,
        sampling: document.sampling,
        notes: document.notes.into_owned(),
        ..std::mem::take(builder.profile())
    };
    let mut parsed = builder.finish(Vec::new(), None);
    let details: std::collections::HashMap<_, _> =
        details.into_iter().map(|(stack, slope, ci95, age)| (stack, (slope, ci95, age))).collect();
    for site in &mut parsed.profile.sites {
        if let Some((slope, ci95, age)) = details.get(&site.stack) {
            (site.slope_bytes_per_s, site.slope_ci95, site.age_seconds) = (*slope, *ci95, *age);
        }
    }
    Ok(parsed)
}

/// The contract's word for a kind of frame.
pub(crate) fn kind(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Java => "java",
        FrameKind::Native => "native",
        FrameKind::Jvm => "jvm",
        FrameKind::Python => "python",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_and_back() {
        let mut profile = crate::collapsed::read(b"java.lang.Thread.run;leak 7\nmain 3\n").unwrap().profile;
        profile.sampling = Sampling { interval_bytes: 524_288, samples: 9, dropped: 1 };
        (profile.start_ms, profile.seconds) = (1_700_000_000_000, 60.0);
        profile.sites[0].slope_bytes_per_s = Some(2.0);
        profile.sites[0].slope_ci95 = Some([1.0, 3.0]);
        profile.sites[0].age_seconds = Some(Age { p50: 5.0, p90: 9.5 });
        let text = write(&profile, serde_json::json!({"pid": 7}));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["schema"], "offheap/profile/v1");
        assert_eq!(json["target"]["pid"], 7);
        assert_eq!(json["sampling"]["interval_bytes"], 524_288);
        assert_eq!(json["sites"][0]["frames"][1]["kind"], "java");
        assert_eq!(json["sites"][0]["age_seconds"]["p90"], 9.5);
        // Frames are numbered anew; everything else is as it was.
        let again = read(text.as_bytes()).unwrap().profile;
        assert_eq!(write(&again, serde_json::json!({"pid": 7})), text);
        assert!(read(b"{}").is_err());
        let other = text.replace("profile/v1", "profile/v9");
        assert!(matches!(read(other.as_bytes()), Err(Error::Unsupported { .. })));
    }
}
