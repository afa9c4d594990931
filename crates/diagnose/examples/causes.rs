//! Writes docs/causes from the rules' doc comments; see `offheap_diagnose::docs`.

use offheap_diagnose::docs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = crate_dir.join("../../docs/causes");
    std::fs::create_dir_all(&out)?;
    let mut pages = Vec::new();
    for id in docs::ids() {
        let source = std::fs::read_to_string(crate_dir.join("src/rules").join(docs::source_file(id)))?;
        let page = docs::page(id, &source);
        std::fs::write(out.join(format!("{id}.md")), &page)?;
        pages.push((id.to_owned(), page));
    }
    std::fs::write(out.join("README.md"), docs::index(&pages))
}
