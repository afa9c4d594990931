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
    match outlook.limit_bytes {
        Some(limit) => format!(
            "{who} may come to {ceiling} of {}; {} are left now.",
            bytes(limit),
            bytes(outlook.headroom_bytes.unwrap_or(0))
        ),
        None => format!("{who} may come to {ceiling}. Hold it against a limit: offheap fit … --limit 2G"),
    }
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
