//! What must hold of the files of `knowledge/`.

use offheap_knowledge::{Library, knowledge, page};
use offheap_model::{Frame, FrameKind};
use std::collections::{BTreeMap, BTreeSet};

fn libraries() -> Vec<(String, Library)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../knowledge");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let library = Library::parse(&name, &text).unwrap_or_else(|problem| panic!("{problem}"));
        (name, library)
    };
    paths.into_iter().map(read).collect()
}

fn frame(name: &str, kind: FrameKind, module: Option<&str>) -> Frame {
    Frame { name: name.to_owned(), kind, file: None, line: None, module: module.map(str::to_owned) }
}

#[test]
fn every_file_can_be_read_and_there_are_enough() {
    let libraries = libraries();
    let entries: usize = libraries.iter().map(|(_, library)| library.memory.len()).sum();
    assert!(libraries.len() >= 80, "{} files", libraries.len());
    let bundled = libraries.iter().map(|(_, library)| library).eq(knowledge().libraries());
    assert!(bundled, "what is built in is not what the files say");
    assert!(entries >= 150, "{entries} entries");
    assert!(libraries.iter().all(|(_, library)| !library.links.is_empty()), "a file without links");
}

#[test]
fn no_two_libraries_have_a_name_or_a_pattern_in_common() {
    let mut of: BTreeMap<(&str, String), String> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (file, library) in libraries() {
        assert!(names.insert(library.name.clone()), "{file}: {} is there twice", library.name);
        let recognised = &library.recognised;
        let own = [
            ("java", &recognised.java),
            ("files", &recognised.files),
            ("python", &recognised.python),
            ("functions", &recognised.functions),
            ("allocators", &recognised.allocators),
        ];
        let entries = library.memory.iter();
        let entries =
            entries.flat_map(|m| [("java", &m.java), ("functions", &m.functions), ("python", &m.python)]);
        for (list, patterns) in own.into_iter().chain(entries) {
            for pattern in patterns {
                let other = of.insert((list, pattern.clone()), file.clone()).filter(|other| *other != file);
                assert_eq!(other, None, "{file}: {pattern} of {list}");
            }
        }
    }
}

#[test]
fn every_entry_is_found_by_each_of_its_patterns() {
    for (file, library) in libraries() {
        let inside = library.recognised.only_in.first();
        for memory in &library.memory {
            let java = memory.java.iter().map(|p| frame(&format!("{p}x"), FrameKind::Java, None));
            let functions = memory.functions.iter().map(|p| {
                let name = p.strip_suffix('*').map_or_else(
                    || if p.ends_with([':', '_']) { format!("{p}x(int)") } else { format!("{p}(int)") },
                    |start| format!("{start}x(int)"),
                );
                frame(&name, FrameKind::Native, inside.map(String::as_str))
            });
            let python = memory.python.iter().map(|p| {
                let (module, function) = p.rsplit_once('.').unwrap_or((p, "f"));
                let file = format!("/usr/lib/python3/dist-packages/{}.py", module.replace('.', "/"));
                Frame { file: Some(file), ..frame(function, FrameKind::Python, None) }
            });
            let mut frames: Vec<Frame> = java.chain(functions).chain(python).collect();
            if !memory.has_patterns() {
                // What holds for the rest is found by a pattern of the library itself.
                let recognised = &library.recognised;
                let java = recognised.java.iter().map(|p| frame(&format!("{p}X.y"), FrameKind::Java, None));
                let files = recognised.files.iter().map(|p| {
                    frame("f", FrameKind::Native, Some(&format!("/tmp/{}", p.replace('*', "1234"))))
                });
                let python = recognised.python.iter().map(|p| Frame {
                    file: Some(format!("/x/site-packages/{}/y.py", p.replace('.', "/"))),
                    ..frame("f", FrameKind::Python, None)
                });
                frames = java.chain(files).chain(python).collect();
                let found = frames.iter().filter(|frame| {
                    knowledge()
                        .answer(std::slice::from_ref(frame))
                        .is_some_and(|found| found.memory == memory)
                });
                assert!(found.count() > 0, "{file}: what holds for the rest is never found");
                continue;
            }
            for frame in frames {
                let found = knowledge().answer(std::slice::from_ref(&frame));
                let found = found.unwrap_or_else(|| panic!("{file}: nothing is found by {frame:?}"));
                assert_eq!(found.memory, memory, "{file}: {frame:?}");
            }
        }
    }
}

#[test]
fn sentences_and_links_are_in_style() {
    for (file, library) in libraries() {
        assert!(library.about.ends_with('.'), "{file}: {}", library.about);
        for memory in &library.memory {
            for text in [&memory.what, &memory.gives_back, &memory.bound, &memory.write] {
                assert!(!text.ends_with('.'), "{file}: ends with a full stop: {text}");
                assert!(!text.contains("  ") && text.trim() == text, "{file}: blanks in {text:?}");
            }
        }
        let links = library.links.iter().chain(library.memory.iter().flat_map(|m| &m.links));
        for link in links {
            let registries =
                ["npmjs.", "pypi.", "crates.io", "mvnrepository.", "repo1.maven", "central.sonatype"];
            assert!(!registries.iter().any(|host| link.contains(host)), "{file}: {link} is of a registry");
        }
    }
}

#[test]
fn the_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/who-gives-it-back.md");
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == page(knowledge().libraries()),
        "docs/who-gives-it-back.md is old: cargo run -p offheap-knowledge --example page"
    );
}
