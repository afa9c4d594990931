//! The account of a core file, as text and as JSON. It has no RSS: what is shown is what the core
//! holds.

use crate::terminal::map::{bar, notes};
use crate::terminal::{Align, Style, Table, Tone, fit, wrap};
use offheap_model::units::bytes;
use offheap_model::{CoreFile, Domain, Snapshot};
use serde_json::{Value, json};

/// Figures of a live process that a core can't have; absent, not zero.
const UNKNOWN: [&str; 6] =
    ["swap_bytes", "huge_bytes", "dirty_bytes", "start_ticks", "uptime_s", "trimmable_bytes"];

/// What `offheap map CORE --json` writes. What `offheap map PID` calls resident is `held` here, and
/// what a core can't tell is left out.
pub fn json(snapshot: &Snapshot, core: &CoreFile) -> Value {
    let mut document = json!({
        "schema": "offheap/core/v1",
        "pid": snapshot.process.pid,
        "process": snapshot.process,
        "signal": core.signal,
        "held_bytes": core.held_bytes,
        "zero_bytes": core.zero_bytes,
        "missing_bytes": core.missing_bytes,
        "virtual_bytes": snapshot.memory.virtual_bytes,
        "vma_count": snapshot.memory.vma_count,
        "domains": snapshot.domains,
        "jvm": snapshot.jvm,
        "malloc": snapshot.malloc,
        "threads": snapshot.threads,
        "files": snapshot.files,
        "python": snapshot.python,
        "notes": snapshot.notes,
    });
    rename(&mut document);
    document
}

/// Calls held what is called resident, and leaves out what a core can't tell.
fn rename(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let old = std::mem::take(members);
            for (name, mut value) in old {
                if UNKNOWN.contains(&name.as_str()) {
                    continue;
                }
                rename(&mut value);
                members.insert(name.replace("rss_bytes", "held_bytes").replace("resident", "held"), value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(rename),
        _ => {}
    }
}

/// The account as text.
pub fn render(snapshot: &Snapshot, core: &CoreFile, style: Style) -> String {
    let mut out = headline(snapshot, core, style);
    out.push('\n');
    out.push_str(&top_lines(snapshot, core, style));
    out.push('\n');
    out.push_str(&domains(snapshot, core, style));
    if let Some(malloc) = snapshot.malloc.as_ref().filter(|malloc| malloc.walked) {
        let sentence = format!(
            "{} in use in {} chunks · {} in {} mapped chunks · {} free",
            bytes(malloc.in_use_bytes),
            malloc.in_use_count,
            bytes(malloc.mmapped_bytes),
            malloc.mmapped_count,
            bytes(malloc.free_bytes + malloc.top_bytes + malloc.tcache_bytes),
        );
        let head = style.paint(Tone::Strong, "malloc");
        out.push_str(&format!("\n{head}  {}\n", wrap(&sentence, style.width.saturating_sub(8), 8)));
    }
    let notes = notes(snapshot, style);
    if !notes.is_empty() {
        out.push('\n');
        out.push_str(&notes);
    }
    out
}

fn headline(snapshot: &Snapshot, core: &CoreFile, style: Style) -> String {
    let process = &snapshot.process;
    let name = snapshot.jvm.as_ref().map(|jvm| jvm.main.as_str()).filter(|main| !main.is_empty());
    let name = name.unwrap_or(if process.command.is_empty() { &process.name } else { &process.command });
    let mut facts = vec![format!("core file of pid {}", process.pid), format!("user {}", process.user)];
    facts.push(match core.signal {
        Some(signal) => format!("ended by signal {signal}"),
        None => "copied while it ran".to_owned(),
    });
    facts.push(format!("{} threads", process.threads));
    if let Some(jvm) = &snapshot.jvm {
        facts.push(format!("JVM {} {}", jvm.version, jvm.vendor).trim_end().to_owned());
        if !jvm.gc.is_empty() {
            facts.push(format!("{} GC", jvm.gc));
        }
    }
    if let Some(python) = &snapshot.python {
        facts.push(format!("CPython {}", python.version));
    }
    format!(
        "{}\n{}\n",
        style.paint(Tone::Strong, &fit(name, style.width)),
        style.paint(Tone::Dim, &fit(&facts.join(" · "), style.width))
    )
}

fn top_lines(snapshot: &Snapshot, core: &CoreFile, style: Style) -> String {
    let about =
        format!("not zero · {} of zeros beside, untouched or in use · no RSS", bytes(core.zero_bytes));
    let mut lines = vec![("In the core", core.held_bytes, about)];
    if let Some(jvm) = &snapshot.jvm {
        let mut about = Vec::new();
        about.extend(jvm.heap.used_bytes.map(|used| format!("used {}", bytes(used))));
        about.extend(jvm.heap.committed_bytes.map(|committed| format!("committed {}", bytes(committed))));
        about.push(format!("max {}", bytes(jvm.heap.max_bytes)));
        let heap = snapshot.rss_of(Domain::JavaHeap);
        lines.push(("Java heap", heap, about.join(" · ")));
        lines.push(("Everything else", core.held_bytes.saturating_sub(heap), String::new()));
    }
    let line = |(name, value, about): &(&str, u64, String)| {
        let head = format!("{name:<16}{:>9}", bytes(*value));
        let room = style.width.saturating_sub(27);
        let line =
            format!("{}  {}", style.paint(Tone::Strong, &head), style.paint(Tone::Dim, &fit(about, room)));
        format!("{}\n", line.trim_end())
    };
    lines.iter().map(line).collect()
}

fn domains(snapshot: &Snapshot, core: &CoreFile, style: Style) -> String {
    const BAR: usize = 16;
    let total = core.held_bytes.max(1) as f64;
    let mut table = Table::new(&[
        ("DOMAIN", Align::Left),
        ("IN THE CORE", Align::Right),
        ("%", Align::Right),
        ("", Align::Left),
        ("RESERVED", Align::Right),
        ("SOURCE", Align::Left),
    ]);
    for figure in &snapshot.domains {
        let share = figure.rss_bytes as f64 / total;
        table.row(
            Tone::Plain,
            vec![
                figure.domain.to_string(),
                bytes(figure.rss_bytes),
                format!("{:.1}", share * 100.0),
                bar(share, BAR),
                bytes(figure.virtual_bytes),
                figure.source.clone(),
            ],
        );
        for detail in figure.detail.iter().filter(|_| style.all) {
            table.row(
                Tone::Dim,
                vec![
                    format!("  {}", detail.name),
                    bytes(detail.rss_bytes),
                    format!("{:.1}", detail.rss_bytes as f64 * 100.0 / total),
                    String::new(),
                    bytes(detail.virtual_bytes),
                    detail.source.clone(),
                ],
            );
        }
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_model::{Detail, DomainFigure, Jvm};

    fn account() -> (Snapshot, CoreFile) {
        let mut snapshot = Snapshot { jvm: Some(Jvm::default()), ..Snapshot::default() };
        snapshot.process.pid = 7;
        snapshot.process.command = "app".to_owned();
        snapshot.domains.push(DomainFigure {
            virtual_bytes: 8 << 20,
            source: "walk".to_owned(),
            detail: vec![Detail {
                name: "chunks".to_owned(),
                rss_bytes: 3 << 20,
                virtual_bytes: 8 << 20,
                source: "walk".to_owned(),
            }],
            ..DomainFigure::resident(Domain::Malloc, 3 << 20)
        });
        (snapshot, CoreFile { signal: Some(6), held_bytes: 3 << 20, zero_bytes: 1 << 20, missing_bytes: 0 })
    }

    #[test]
    fn a_core_has_no_resident_bytes() {
        let (snapshot, core) = account();
        let document = json(&snapshot, &core);
        let text = document.to_string();
        for word in ["rss", "resident", "swap", "uptime"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        assert_eq!(document["domains"][0]["held_bytes"], 3 << 20);
        assert_eq!(document["domains"][0]["detail"][0]["held_bytes"], 3 << 20);
        assert_eq!(document["jvm"]["heap"]["held_bytes"], 0);
    }

    #[test]
    fn the_text_says_what_a_core_cannot_tell() {
        let (snapshot, core) = account();
        let text = render(&snapshot, &core, Style::default());
        assert!(text.contains("core file of pid 7") && text.contains("ended by signal 6"), "{text}");
        assert!(text.contains("IN THE CORE") && !text.contains("RESIDENT"), "{text}");
        assert!(text.contains("1.00 MiB of zeros"), "{text}");
    }
}
