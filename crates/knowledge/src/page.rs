//! The users' page of all that is known, `docs/who-gives-it-back.md`.

use crate::file::{Library, Memory};
use std::fmt::Write;

/// How the page starts.
const HEAD: &str = "\
# Who owns this memory, and what gives it back?

What `offheap` knows of functions and libraries: whose the memory is that they allocate, what gives it back, what bounds it.
`diagnose`, `serve` and the reports say it of the code that they name. The page is made from the files in `knowledge/`; a library
of your own is added [in a file of the same form](how-do-i-add.md#what-is-known-of-a-library): `offheap diagnose PID --knowledge
FILE`, as often as you have files; `check` and `serve` take it too.

";

/// The page of these libraries, in the order of their names.
pub fn page(libraries: &[Library]) -> String {
    let mut sorted: Vec<&Library> = libraries.iter().collect();
    sorted.sort_by_key(|library| library.name.to_lowercase());
    let entries: usize = sorted.iter().map(|library| library.memory.len()).sum();
    let mut out = String::from(HEAD);
    // Writing to a string can't fail.
    _ = writeln!(out, "{} libraries and families, {entries} kinds of memory.", sorted.len());
    for library in sorted {
        _ = writeln!(out, "\n## {}\n\n{}", escaped(&library.name), escaped(&library.about));
        if library.passes_through {
            _ = writeln!(out, "It passes calls through: whom it calls answers for the rest.");
        }
        out.push('\n');
        for memory in &library.memory {
            entry(&mut out, memory);
        }
        if !library.links.is_empty() {
            _ = writeln!(out, "\nSee {}", links(&library.links));
        }
    }
    out
}

fn entry(out: &mut String, memory: &Memory) {
    _ = write!(out, "- **{}**", escaped(&memory.what));
    let named: Vec<String> = [&memory.java, &memory.functions, &memory.python]
        .into_iter()
        .flatten()
        .map(|pattern| format!("`{pattern}`"))
        .collect();
    if !named.is_empty() {
        _ = write!(out, " ({})", named.join(", "));
    }
    _ = write!(out, ": owned by {}: {}.", memory.owner.words(), escaped(&memory.gives_back));
    if !memory.write.is_empty() {
        _ = write!(out, " Write `{}`.", memory.write);
    }
    if !memory.bound.is_empty() {
        _ = write!(out, " Bounded by {}.", escaped(&memory.bound));
    }
    if !memory.links.is_empty() {
        _ = write!(out, " See {}", links(&memory.links));
    }
    out.push('\n');
}

fn links(links: &[String]) -> String {
    links.iter().map(|link| format!("<{link}>")).collect::<Vec<_>>().join(", ")
}

/// A sentence as Markdown: what would be taken for marks is escaped.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| ['<', '>', '*', '_', '`', '[', ']'].contains(&c).then_some('\\').into_iter().chain([c]))
        .collect()
}
