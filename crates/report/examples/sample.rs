//! Writes the report of the sample under `tests/data`: `cargo run -p offheap-report --example
//! sample -- report.html`.

#[path = "../tests/common/mod.rs"]
mod common;

fn main() {
    let path = std::env::args().nth(1).unwrap_or_else(|| "report.html".to_owned());
    let page = common::Sample::read().render();
    match std::fs::write(&path, &page) {
        Ok(()) => println!("{path}: {} bytes", page.len()),
        Err(error) => eprintln!("cannot write {path}: {error}"),
    }
}
