//! A profile on a terminal: the sites in a table, then the stacks of the first ones.

use super::{Align, Style, Table, Tone, fit};
use offheap_diagnose::{function, is_object};
use offheap_model::units::{bytes, duration, rate};
use offheap_model::{Frame, FrameKind, Profile, ProfileSite};

/// Rows of the table, and stacks below it, without `--all`.
const ROWS: usize = 15;
const STACKS: usize = 3;
/// Frames of a stack, innermost first, without `--all`.
const FRAMES: usize = 24;

/// `profile` as text.
pub fn render(profile: &Profile, style: Style) -> String {
    let sum = |of: fn(&ProfileSite) -> u64| profile.sites.iter().map(of).fold(0, u64::saturating_add);
    let sampling = &profile.sampling;
    let mut out = style.paint(
        Tone::Strong,
        &format!(
            "{} leaked, {} live of {} allocated in {}",
            bytes(sum(|site| site.leak_bytes)),
            bytes(sum(|site| site.live_bytes)),
            bytes(sum(|site| site.allocated_bytes)),
            duration(profile.seconds),
        ),
    );
    let each = match sampling.interval_bytes {
        0 => String::new(),
        interval => format!(", one each {} on average", bytes(interval)),
    };
    let samples = format!("{} samples{each}, {} dropped", sampling.samples, sampling.dropped);
    out.push_str(&format!("\n{}\n\n", style.paint(Tone::Dim, &samples)));
    let shown: Vec<&ProfileSite> = profile
        .sites
        .iter()
        .filter(|site| style.all || site.live_bytes > 0)
        .take(if style.all { usize::MAX } else { ROWS })
        .collect();
    if shown.is_empty() {
        out.push_str("Nothing that was sampled is still live: no allocation site grew in this window.\n");
        return out;
    }
    let heads = [
        ("#", Align::Right),
        ("LEAK", Align::Right),
        ("LIVE", Align::Right),
        ("COUNT", Align::Right),
        ("GROWTH", Align::Right),
        ("ALLOCATED", Align::Right),
        ("SITE", Align::Left),
    ];
    let mut table = Table::new(&heads);
    for (index, site) in shown.iter().enumerate() {
        // An interval that holds 0 is no growth that one could be sure of.
        let sure = site.slope_ci95.is_some_and(|[low, _]| low > 0.0);
        table.row(
            if sure && site.leak_bytes > 0 { Tone::Warn } else { Tone::Plain },
            vec![
                (index + 1).to_string(),
                bytes(site.leak_bytes),
                bytes(site.live_bytes),
                site.live_count.to_string(),
                site.slope_bytes_per_s.map_or_else(|| "-".to_owned(), rate) + if sure { "" } else { " ?" },
                bytes(site.allocated_bytes),
                title(&frames(profile, site)),
            ],
        );
    }
    out.push_str(&table.render(style));
    if shown.iter().any(|site| site.slope_ci95.is_none_or(|[low, _]| low <= 0.0)) {
        out.push_str(&style.paint(Tone::Dim, "?: the growth may be none\n"));
    }
    let left = profile.sites.iter().filter(|site| site.live_bytes > 0).count().saturating_sub(shown.len());
    if left > 0 {
        out.push_str(&style.paint(Tone::Dim, &format!("and {left} more with live bytes (--all)\n")));
    }
    for (index, site) in shown.iter().enumerate().take(if style.all { usize::MAX } else { STACKS }) {
        out.push('\n');
        out.push_str(&stack(profile, index + 1, site, style));
    }
    out
}

fn frames<'a>(profile: &'a Profile, site: &'a ProfileSite) -> Vec<&'a Frame> {
    site.stack.iter().filter_map(|index| profile.frames.get(*index as usize)).collect()
}

/// What is made or the function that allocates it, and the innermost Java method, if that is
/// another.
fn title(frames: &[&Frame]) -> String {
    let object = frames.first().copied().filter(|frame| is_object(frame));
    let Some(inner) = object.or_else(|| function(frames.iter().copied())).or(frames.first().copied()) else {
        return String::new();
    };
    let java = frames.iter().find(|frame| frame.kind == FrameKind::Java);
    match java.filter(|java| java.name != inner.name) {
        Some(java) => format!("{} < {}", short(&inner.name), java.name),
        None => short(&inner.name).to_owned(),
    }
}

/// A C++ name without its parameters.
fn short(name: &str) -> &str {
    name.split_once('(').map_or(name, |(bare, _)| if bare.is_empty() { name } else { bare })
}

fn stack(profile: &Profile, number: usize, site: &ProfileSite, style: Style) -> String {
    let age = site.age_seconds.map_or_else(String::new, |age| {
        format!(", half of it older than {}, a tenth older than {}", duration(age.p50), duration(age.p90))
    });
    let head = format!(
        "#{number}  {} live in {} block{}{age}",
        bytes(site.live_bytes),
        site.live_count,
        if site.live_count == 1 { "" } else { "s" }
    );
    let mut out = style.paint(Tone::Strong, &fit(&head, style.width));
    out.push('\n');
    let frames = frames(profile, site);
    let shown = if style.all { frames.len() } else { FRAMES };
    for frame in frames.iter().take(shown) {
        let kind = match frame.kind {
            FrameKind::Java => "java",
            FrameKind::Native => "native",
            FrameKind::Jvm => "jvm",
            FrameKind::Python => "python",
        };
        let place = match (&frame.file, frame.line, &frame.module) {
            (Some(file), Some(line), _) => format!("  {file}:{line}"),
            (Some(file), None, _) => format!("  {file}"),
            (None, _, Some(module)) => format!("  {}", module.rsplit('/').next().unwrap_or(module)),
            (None, _, None) => String::new(),
        };
        out.push_str(&fit(&format!("    {kind:<7} {}{place}", frame.name), style.width));
        out.push('\n');
    }
    if frames.len() > shown {
        out.push_str(&style.paint(Tone::Dim, &format!("    … {} more (--all)\n", frames.len() - shown)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_model::Sampling;

    fn frame(name: &str, kind: FrameKind) -> Frame {
        Frame { name: name.to_owned(), kind, file: None, line: None, module: None }
    }

    #[test]
    fn a_site_is_named_by_who_asked_for_the_memory() {
        let profile = Profile {
            seconds: 60.0,
            sampling: Sampling { interval_bytes: 524_288, samples: 12, dropped: 0 },
            frames: vec![
                frame("malloc", FrameKind::Native),
                frame("codec::open(int, char const*)", FrameKind::Native),
                frame("com.example.Codec.open", FrameKind::Java),
                frame(&"deep.".repeat(60), FrameKind::Java),
            ],
            sites: vec![ProfileSite {
                stack: vec![0, 1, 2, 3],
                live_bytes: 4 << 20,
                live_count: 4000,
                leak_bytes: 3 << 20,
                allocated_bytes: 5 << 20,
                slope_bytes_per_s: Some(70_000.0),
                slope_ci95: Some([60_000.0, 80_000.0]),
                ..ProfileSite::default()
            }],
            ..Profile::default()
        };
        let text = render(&profile, Style::default());
        assert!(text.contains("codec::open < com.example.Codec.open"), "{text}");
        assert!(text.contains("3.00 MiB leaked, 4.00 MiB live of 5.00 MiB allocated in 1 min"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(render(&Profile::default(), Style::default()).contains("Nothing that was sampled"));
    }
}
