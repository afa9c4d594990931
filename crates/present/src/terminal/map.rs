//! The account on a terminal: three lines that matter, one table, what can't be split.

use super::{Align, Style, Table, Tone, fit, wrap};
use offheap_model::units::{bytes, duration};
use offheap_model::{Domain, FileKind, Malloc, Snapshot, ThreadKind};

/// Lines shown of a list when not all are wanted.
const FEW: usize = 6;

/// The account of `snapshot` as text.
pub fn render(snapshot: &Snapshot, style: Style) -> String {
    let mut out = headline(snapshot, style);
    out.push('\n');
    out.push_str(&top_lines(snapshot, style));
    out.push('\n');
    out.push_str(&domains(snapshot, style));
    for section in [
        malloc(snapshot, style),
        threads(snapshot, style),
        files(snapshot, style),
        nmt(snapshot, style),
        cgroup(snapshot, style),
    ] {
        if !section.is_empty() {
            out.push('\n');
            out.push_str(&section);
        }
    }
    let notes = notes(snapshot, style);
    if !notes.is_empty() {
        out.push('\n');
        out.push_str(&notes);
    }
    out
}

/// Whose memory it is, in two lines.
pub(crate) fn headline(snapshot: &Snapshot, style: Style) -> String {
    let process = &snapshot.process;
    let name = snapshot.jvm.as_ref().map(|jvm| jvm.main.as_str()).filter(|main| !main.is_empty());
    let name = name.unwrap_or(if process.command.is_empty() { &process.name } else { &process.command });
    let mut facts = vec![format!("pid {}", process.pid)];
    if process.inner_pid != process.pid {
        facts.push(format!("pid {} inside its container", process.inner_pid));
    }
    facts.push(format!("user {}", process.user));
    if let Some(jvm) = &snapshot.jvm {
        facts.push(format!("JVM {} {}", jvm.version, jvm.vendor).trim_end().to_owned());
        if !jvm.gc.is_empty() {
            facts.push(format!("{} GC", jvm.gc));
        }
    }
    if let Some(python) = &snapshot.python {
        facts.push(format!("CPython {}", python.version));
    }
    facts.push(format!("up {}", duration(process.uptime_s)));
    format!(
        "{}\n{}\n",
        style.paint(Tone::Strong, &fit(name, style.width)),
        style.paint(Tone::Dim, &fit(&facts.join(" · "), style.width))
    )
}

fn top_lines(snapshot: &Snapshot, style: Style) -> String {
    let memory = &snapshot.memory;
    let heap = snapshot.rss_of(Domain::JavaHeap);
    let mut about_rss = Vec::new();
    about_rss.extend(memory.pss_bytes.map(|pss| format!("PSS {}", bytes(pss))));
    about_rss.extend(memory.uss_bytes.map(|uss| format!("private {}", bytes(uss))));
    if memory.swap_bytes > 0 {
        about_rss.push(format!("swapped {}", bytes(memory.swap_bytes)));
    }
    if let Some(cgroup) = &snapshot.cgroup
        && let (Some(limit), Some(headroom)) = (cgroup.limit_bytes, cgroup.headroom_bytes)
    {
        about_rss.push(format!("cgroup limit {}, headroom {}", bytes(limit), bytes(headroom)));
    }
    let mut lines = vec![("RSS", memory.rss_bytes, about_rss.join(" · "))];
    if let Some(jvm) = &snapshot.jvm {
        let mut about = Vec::new();
        about.extend(jvm.heap.used_bytes.map(|used| format!("used {}", bytes(used))));
        about.extend(jvm.heap.committed_bytes.map(|committed| format!("committed {}", bytes(committed))));
        about.push(format!("max {}", bytes(jvm.heap.max_bytes)));
        if jvm.heap.mapped_times > 1 {
            about.push(format!("each page counted {} times in the RSS", jvm.heap.mapped_times));
        }
        lines.push(("Java heap", heap, about.join(" · ")));
        lines.push(("Everything else", memory.rss_bytes.saturating_sub(heap), largest_outside(snapshot)));
    }
    lines
        .iter()
        .map(|(name, value, about)| {
            let head = format!("{name:<16}{:>9}", bytes(*value));
            let room = style.width.saturating_sub(27);
            format!("{}  {}\n", style.paint(Tone::Strong, &head), style.paint(Tone::Dim, &fit(about, room)))
        })
        .collect()
}

fn largest_outside(snapshot: &Snapshot) -> String {
    let outside =
        snapshot.domains.iter().filter(|figure| figure.domain != Domain::JavaHeap && figure.rss_bytes > 0);
    let names: Vec<String> =
        outside.take(3).map(|figure| format!("{} {}", figure.domain, bytes(figure.rss_bytes))).collect();
    if names.is_empty() { String::new() } else { format!("mostly {}", names.join(", ")) }
}

fn domains(snapshot: &Snapshot, style: Style) -> String {
    const BAR: usize = 16;
    let total = snapshot.memory.rss_bytes.max(1);
    let mut table = Table::new(&[
        ("DOMAIN", Align::Left),
        ("RESIDENT", Align::Right),
        ("%", Align::Right),
        ("", Align::Left),
        ("RESERVED", Align::Right),
        ("SOURCE", Align::Left),
    ]);
    for figure in &snapshot.domains {
        let share = figure.rss_bytes as f64 / total as f64;
        let tone =
            if figure.domain == Domain::Unattributed && share > 0.01 { Tone::Warn } else { Tone::Plain };
        let mut source = figure.source.clone();
        if figure.huge_bytes > 0 {
            source.push_str(&format!("; {} in huge pages", bytes(figure.huge_bytes)));
        }
        if figure.swap_bytes > 0 {
            source.push_str(&format!("; {} swapped", bytes(figure.swap_bytes)));
        }
        table.row(
            tone,
            vec![
                figure.domain.to_string(),
                bytes(figure.rss_bytes),
                format!("{:.1}", share * 100.0),
                bar(share, BAR),
                bytes(figure.virtual_bytes),
                source,
            ],
        );
        if style.all {
            for detail in &figure.detail {
                table.row(
                    Tone::Dim,
                    vec![
                        format!("  {}", detail.name),
                        bytes(detail.rss_bytes),
                        format!("{:.1}", detail.rss_bytes as f64 * 100.0 / total as f64),
                        String::new(),
                        bytes(detail.virtual_bytes),
                        detail.source.clone(),
                    ],
                );
            }
        }
    }
    table.render(style)
}

/// A bar in eighths of a column.
pub(crate) fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

fn malloc(snapshot: &Snapshot, style: Style) -> String {
    let Some(malloc) = &snapshot.malloc else { return String::new() };
    let mut out = style.paint(Tone::Strong, "malloc");
    if !malloc.walked {
        let name = format!("{} {}", malloc.allocator, malloc.allocator_version);
        out.push_str(&format!("  {}: named, not walked\n", name.trim_end()));
        return out;
    }
    let sentence = format!(
        "  {} in use in {} chunks · {} in {} mapped chunks · {} free, of which {} resident · {} trimmable",
        bytes(malloc.in_use_bytes),
        malloc.in_use_count,
        bytes(malloc.mmapped_bytes),
        malloc.mmapped_count,
        bytes(malloc.free_bytes + malloc.top_bytes + malloc.tcache_bytes),
        bytes(malloc.free_resident_bytes),
        bytes(malloc.trimmable_bytes),
    );
    out.push_str(&format!("  {}\n", wrap(&sentence, style.width.saturating_sub(8), 8)));
    if !malloc.exact {
        out.push_str(&style.paint(
            Tone::Warn,
            &format!(
                "  approximate: {}\n",
                wrap(&malloc.doubts.join("; "), style.width.saturating_sub(15), 8)
            ),
        ));
    }
    out.push_str(&arenas(malloc, style));
    out
}

fn arenas(malloc: &Malloc, style: Style) -> String {
    let mut table = Table::new(&[
        ("ARENA", Align::Left),
        ("RESIDENT", Align::Right),
        ("IN USE", Align::Right),
        ("CHUNKS", Align::Right),
        ("TCACHE", Align::Right),
        ("FREE", Align::Right),
        ("TOP", Align::Right),
        ("TRIMMABLE", Align::Right),
        ("THREADS", Align::Left),
    ]);
    let shown = if style.all { malloc.arenas.len() } else { malloc.arenas.len().min(3) };
    for arena in malloc.arenas.iter().take(shown) {
        table.row(
            Tone::Plain,
            vec![
                if arena.main { "main".to_owned() } else { format!("{:#x}", arena.address) },
                bytes(arena.resident_bytes),
                bytes(arena.in_use_bytes),
                arena.in_use_count.to_string(),
                bytes(arena.tcache_bytes),
                bytes(arena.free_bytes),
                bytes(arena.top_bytes),
                bytes(arena.trimmable_bytes),
                arena.threads.map_or(String::new(), |threads| threads.to_string()),
            ],
        );
    }
    if table.is_empty() {
        return String::new();
    }
    let mut out = table.render(style);
    let more = malloc.arenas.len() - shown;
    if more > 0 {
        out.push_str(&style.paint(Tone::Dim, &format!("and {more} more arenas (--all)\n")));
    }
    out
}

fn threads(snapshot: &Snapshot, style: Style) -> String {
    let mut table = Table::new(&[
        ("THREADS BY POOL", Align::Left),
        ("COUNT", Align::Right),
        ("RESIDENT", Align::Right),
        ("RESERVED", Align::Right),
        ("KIND", Align::Left),
    ]);
    let shown = if style.all { snapshot.threads.len() } else { snapshot.threads.len().min(FEW) };
    for pool in snapshot.threads.iter().take(shown) {
        let kind = match pool.kind {
            ThreadKind::Java => "Java",
            ThreadKind::Compiler => "compiler",
            ThreadKind::Gc => "GC",
            ThreadKind::Vm => "VM",
            ThreadKind::Native => "native",
        };
        table.row(
            Tone::Plain,
            vec![
                pool.pool.clone(),
                pool.count.to_string(),
                bytes(pool.resident_bytes),
                bytes(pool.reserved_bytes),
                kind.to_owned(),
            ],
        );
    }
    if table.is_empty() {
        return String::new();
    }
    let mut out = table.render(style);
    let more = snapshot.threads.len() - shown;
    if more > 0 {
        out.push_str(&style.paint(Tone::Dim, &format!("and {more} more pools (--all)\n")));
    }
    out
}

fn files(snapshot: &Snapshot, style: Style) -> String {
    let mut table = Table::new(&[
        ("FILE", Align::Left),
        ("RESIDENT", Align::Right),
        ("TEXT", Align::Right),
        ("PRIVATE", Align::Right),
        ("RESERVED", Align::Right),
        ("MAPS", Align::Right),
        ("KIND", Align::Left),
    ]);
    let shown = if style.all { snapshot.files.len() } else { snapshot.files.len().min(FEW) };
    for file in snapshot.files.iter().take(shown) {
        let kind = match file.kind {
            FileKind::Library => "library",
            FileKind::CdsArchive => "CDS",
            FileKind::Data => "data",
            FileKind::Memfd => "memfd",
            FileKind::Shm => "shared memory",
            FileKind::Device => "device",
        };
        let tone = if file.deleted && file.kind == FileKind::Data { Tone::Warn } else { Tone::Plain };
        table.row(
            tone,
            vec![
                shorten_path(&file.path, 44),
                bytes(file.rss_bytes),
                bytes(file.text_bytes),
                bytes(file.dirty_bytes),
                bytes(file.virtual_bytes),
                file.mappings.to_string(),
                format!("{kind}{}", if file.deleted { ", deleted" } else { "" }),
            ],
        );
    }
    if table.is_empty() {
        return String::new();
    }
    let mut out = table.render(style);
    let more = snapshot.files.len() - shown;
    if more > 0 {
        out.push_str(&style.paint(Tone::Dim, &format!("and {more} more files (--all)\n")));
    }
    out
}

/// The end of a path says more than its beginning.
pub(crate) fn shorten_path(path: &str, width: usize) -> String {
    let length = path.chars().count();
    if length <= width {
        path.to_owned()
    } else {
        format!("…{}", path.chars().skip(length - width + 1).collect::<String>())
    }
}

fn nmt(snapshot: &Snapshot, style: Style) -> String {
    let Some(nmt) = snapshot.jvm.as_ref().and_then(|jvm| jvm.nmt.as_ref()) else { return String::new() };
    if !style.all {
        return String::new();
    }
    let mut table = Table::new(&[
        ("NMT CATEGORY", Align::Left),
        ("MALLOC", Align::Right),
        ("BLOCKS", Align::Right),
        ("ARENAS", Align::Right),
        ("COMMITTED", Align::Right),
        ("RESERVED", Align::Right),
    ]);
    for category in &nmt.categories {
        table.row(
            Tone::Plain,
            vec![
                category.name.clone(),
                bytes(category.malloc_bytes),
                category.malloc_count.to_string(),
                bytes(category.arena_bytes),
                bytes(category.committed_bytes),
                bytes(category.reserved_bytes),
            ],
        );
    }
    table.render(style)
}

fn cgroup(snapshot: &Snapshot, style: Style) -> String {
    let Some(cgroup) = &snapshot.cgroup else { return String::new() };
    let sentence = format!(
        "v{} {}: charged {} = anon {} + page cache {} (of which {} can be dropped) + kernel {} and other",
        cgroup.version,
        fit(&cgroup.path, 40),
        bytes(cgroup.current_bytes),
        bytes(cgroup.anon_bytes),
        bytes(cgroup.file_bytes),
        bytes(cgroup.inactive_file_bytes),
        bytes(cgroup.kernel_bytes),
    );
    let head = style.paint(Tone::Strong, "cgroup");
    let mut out = format!("{head}  {}\n", wrap(&sentence, style.width.saturating_sub(8), 8));
    if style.all {
        let others = cgroup.processes.saturating_sub(1);
        out.push_str(&wrap(
            &format!(
                "It differs from the RSS because the group is charged for page cache and kernel memory too{}, and not \
                 for pages of files and libraries that another group read first.",
                match others {
                    0 => String::new(),
                    1 => " and for 1 other process".to_owned(),
                    _ => format!(" and for {others} other processes"),
                }
            ),
            style.width,
            0,
        ));
        out.push('\n');
    }
    if cgroup.oom_kills > 0 {
        let text = format!("The kernel killed {} processes of this group for memory.\n", cgroup.oom_kills);
        out.push_str(&style.paint(Tone::Bad, &text));
    }
    out
}

pub(crate) fn notes(snapshot: &Snapshot, style: Style) -> String {
    let mut out = String::new();
    for note in &snapshot.notes {
        out.push_str("• ");
        out.push_str(&wrap(&note.text, style.width.saturating_sub(2), 2));
        out.push('\n');
        if !note.remedy.is_empty() {
            out.push_str("  → ");
            out.push_str(&style.paint(Tone::Dim, &wrap(&note.remedy, style.width.saturating_sub(4), 4)));
            out.push('\n');
        }
    }
    out
}
