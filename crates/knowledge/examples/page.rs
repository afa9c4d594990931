//! Writes docs/who-gives-it-back.md from `knowledge/`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/who-gives-it-back.md");
    std::fs::write(out, offheap_knowledge::page(offheap_knowledge::knowledge().libraries()))
}
