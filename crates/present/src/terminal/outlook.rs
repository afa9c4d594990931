//! Whether a process will fit its limit, as a table.

use super::{Align, Style, Table, Tone, wrap};
use offheap_diagnose::Outlook;
use offheap_model::units::bytes;

/// The outlook of `who` as text.
pub fn render(who: &str, outlook: &Outlook, style: Style) -> String {
    let (tone, word) = match outlook.fits {
        Some(true) => (Tone::Good, "FITS"),
        Some(false) => (Tone::Bad, "DOES NOT FIT"),
        None => (Tone::Warn, "NO LIMIT IS SET"),
    };
    let mut out =
        format!("{}\n{}\n\n", style.paint(tone, word), wrap(&sentence(who, outlook), style.width, 0));
    out.push_str(&table(outlook, style));
    if !outlook.settings.is_empty() {
        out.push_str(&style.paint(Tone::Strong, "\nSet\n"));
        for setting in &outlook.settings {
            out.push_str(&format!("• {}\n", wrap(setting, style.width.saturating_sub(2), 2)));
        }
    }
    out
}

fn sentence(who: &str, outlook: &Outlook) -> String {
    let ceiling = bytes(outlook.ceiling_bytes);
    let unbounded: Vec<&str> =
        outlook.parts.iter().filter(|part| part.unbounded).map(|part| part.domain.as_str()).collect();
    let mut text = match outlook.limit_bytes {
        Some(limit) => format!(
            "{who} may come to {ceiling} of {}; {} are left now.",
            bytes(limit),
            bytes(outlook.headroom_bytes.unwrap_or(0))
        ),
        None => format!("{who} may come to {ceiling}. Hold it against a limit: offheap fit … --limit 2G"),
    };
    if !unbounded.is_empty() {
        let (grow, them, count) =
            if unbounded.len() == 1 { ("grows", "it", "is") } else { ("grow", "them", "are") };
        text.push_str(&format!(
            " But {} {grow} with nothing to bound {them}, and {count} counted as now: offheap diagnose tells whether that ends.",
            unbounded.join(", ")
        ));
    }
    text
}

/// Part by part, the sum last.
fn table(outlook: &Outlook, style: Style) -> String {
    let mut table = Table::new(&[
        ("PART", Align::Left),
        ("NOW", Align::Right),
        ("MAY COME TO", Align::Right),
        ("BOUND", Align::Right),
        ("BECAUSE", Align::Left),
    ]);
    for part in &outlook.parts {
        let grows = part.may_grow_to_bytes > part.now_bytes;
        table.row(
            if grows { Tone::Plain } else { Tone::Dim },
            vec![
                part.domain.to_string(),
                bytes(part.now_bytes),
                bytes(part.may_grow_to_bytes),
                part.bound_bytes.map_or_else(|| "none".to_owned(), bytes),
                part.because.clone(),
            ],
        );
    }
    let now: u64 = outlook.parts.iter().map(|part| part.now_bytes).fold(0, u64::saturating_add);
    table.row(Tone::Strong, vec!["sum".to_owned(), bytes(now), bytes(outlook.ceiling_bytes)]);
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_diagnose::Evidence;
    use offheap_model::{Domain, DomainFigure, MemoryTotals, Snapshot};

    /// A program whose C heap gains so much a second.
    fn program(per_s: u64) -> Vec<Snapshot> {
        (0..61)
            .map(|second: u64| {
                let heap = (30 << 20) + second * per_s;
                Snapshot {
                    time_ms: second as i64 * 1000,
                    memory: MemoryTotals { rss_bytes: heap + (8 << 20), ..MemoryTotals::default() },
                    domains: vec![
                        DomainFigure::resident(Domain::NativeMalloc, heap),
                        DomainFigure::resident(Domain::Unattributed, 8 << 20),
                    ],
                    ..Snapshot::default()
                }
            })
            .collect()
    }

    #[test]
    fn what_grows_without_a_bound_is_named_beside_fits() {
        let said = |per_s| {
            let snapshots = program(per_s);
            let outlook = Outlook::of(&Evidence::of(&snapshots), Some(1 << 30));
            assert_eq!(outlook.fits, Some(true));
            let style = Style { width: 400, ..Style::default() };
            (render("process 1", &outlook, style), outlook.parts.iter().any(|part| part.unbounded))
        };
        let (text, unbounded) = said(1 << 20);
        assert!(unbounded && text.contains("But native-malloc grows with nothing to bound it"), "{text}");
        let (text, unbounded) = said(0);
        assert!(!unbounded && !text.contains("But "), "{text}");
    }
}
