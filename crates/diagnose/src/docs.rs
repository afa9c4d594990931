//! The users' pages about causes, made from the rules' own doc comments.
//!
//! The convention: the `//!` lines at the head of `src/rules/<id with underscores>.rs` are the page
//! `docs/causes/<id>.md`. It begins with a title and has the sections [`SECTIONS`]. `cargo run -p
//! offheap-diagnose --example causes` writes the pages, a test of this crate fails when they
//! differ; other tools use [`page`] and [`index`].

use crate::rules::RULES;

/// The sections of every page, in this order.
pub const SECTIONS: [&str; 5] = ["## Signature", "## Why", "## Confirm", "## Fix", "## Example"];

/// The ids of the rules that have a page.
pub fn ids() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.id())
}

/// The name of the source file of a rule: `"thread-leak"` → `"thread_leak.rs"`.
pub fn source_file(id: &str) -> String {
    format!("{}.rs", id.replace('-', "_"))
}

/// The page in the source text of a rule.
pub fn page(id: &str, source: &str) -> String {
    let mut page: String = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    page.push_str(&format!(
        "\n---\nRule `{id}` · generated from crates/diagnose/src/rules/{}\n",
        source_file(id)
    ));
    page
}

/// The title of a page.
pub fn title(page: &str) -> &str {
    page.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default()
}

/// The list of all pages, from `(id, page)` pairs.
pub fn index(pages: &[(String, String)]) -> String {
    let mut text = String::from(
        "# Causes\n\nWhat `offheap diagnose` can find. Each page says how the cause shows, why, how to make sure, and what \
         to do.\n\n",
    );
    for (id, page) in pages {
        text.push_str(&format!("- [{id}]({id}.md): {}\n", title(page)));
    }
    text.push_str(
        "\nTwo verdicts are no cause: `no-growth` (nothing grew steadily to the end of the window) and `window-too-short`.\n",
    );
    text
}
