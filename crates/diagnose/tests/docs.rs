//! docs/causes is what the rules say of themselves.

use offheap_diagnose::docs;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

#[test]
fn every_rule_has_a_whole_page_and_docs_causes_is_up_to_date() {
    let mut pages = Vec::new();
    for id in docs::ids() {
        let page = docs::page(id, &read(crate_dir().join("src/rules").join(docs::source_file(id))));
        assert!(!docs::title(&page).is_empty(), "{id} has no title");
        let mut at = 0;
        for section in docs::SECTIONS {
            let found = page[at..].find(section);
            at += found.unwrap_or_else(|| panic!("{id}: section {section:?} is missing or out of order"));
        }
        let written = read(crate_dir().join("../../docs/causes").join(format!("{id}.md")));
        assert!(
            written == page,
            "docs/causes/{id}.md is old: cargo run -p offheap-diagnose --example causes"
        );
        pages.push((id.to_owned(), page));
    }
    assert!(read(crate_dir().join("../../docs/causes/README.md")) == docs::index(&pages), "the index is old");
}

#[test]
fn every_file_of_rules_is_in_the_table_and_no_page_is_left_over() {
    let names = |dir: PathBuf, ending: &str| -> BTreeSet<String> {
        std::fs::read_dir(dir)
            .unwrap()
            .filter_map(|entry| {
                entry.unwrap().file_name().into_string().unwrap().strip_suffix(ending).map(str::to_owned)
            })
            .filter(|name| name != "mod" && name != "README")
            .map(|name| name.replace('_', "-"))
            .collect()
    };
    let ids: BTreeSet<String> = docs::ids().map(str::to_owned).collect();
    assert_eq!(names(crate_dir().join("src/rules"), ".rs"), ids);
    assert_eq!(names(crate_dir().join("../../docs/causes"), ".md"), ids);
}

#[test]
fn rules_name_only_rules() {
    let ids: BTreeSet<&str> = docs::ids().collect();
    for rule in offheap_diagnose::rules::RULES {
        let explained = rule.explains().iter().map(|(id, _)| id);
        for id in explained.chain(rule.yields_to()) {
            assert!(ids.contains(id) && *id != rule.id(), "{} names {id}", rule.id());
        }
    }
}
