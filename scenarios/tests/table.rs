//! The table against the sources: a frame that the table names must be in the program that it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use offheap_scenarios::{Language, Need, Scenario};

/// The domains of docs/design.md.
const DOMAINS: [&str; 17] = [
    "java-heap",
    "metaspace",
    "cds",
    "code-cache",
    "thread-stacks",
    "gc",
    "jvm-internal",
    "direct-memory",
    "native-malloc",
    "malloc",
    "native-mmap",
    "python-heap",
    "allocator-retention",
    "mapped-files",
    "libraries",
    "kernel",
    "unattributed",
];

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source(scenario: &Scenario) -> PathBuf {
    let class = || format!("{}.java", scenario.program.replace('.', "/"));
    match scenario.language {
        Language::Java if scenario.needs(Need::Jars) => folder().join("java/jars").join(class()),
        Language::Java => folder().join("java/jdk").join(class()),
        Language::C => folder().join(format!("native/{}.c", scenario.program)),
        Language::Cpp => folder().join(format!("native/{}.cpp", scenario.program)),
        Language::Python => folder().join("python").join(&scenario.program),
    }
}

fn text(scenario: &Scenario) -> String {
    let path = source(scenario);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {}: {error}", scenario.name, path.display()))
}

#[test]
fn every_program_is_there_and_knows_its_mode() {
    for scenario in Scenario::all().unwrap() {
        let text = text(&scenario);
        if !scenario.mode.is_empty() && scenario.program != "app.BufferServer" {
            let mode = format!("\"{}\"", scenario.mode);
            assert!(
                text.contains(&mode),
                "{}: no mode {mode} in {}",
                scenario.name,
                source(&scenario).display()
            );
        }
    }
}

#[test]
fn every_site_of_our_own_is_in_the_source() {
    let mut native = String::new();
    for entry in fs::read_dir(folder().join("native")).unwrap() {
        native += &fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    for scenario in Scenario::all().unwrap() {
        if let Some(site) = &scenario.java_site {
            let (class, method) = site.rsplit_once('.').unwrap();
            assert_eq!(class, scenario.program, "{}", scenario.name);
            assert!(text(&scenario).contains(&format!(" {method}(")), "{}: no {site}", scenario.name);
        }
        if let (Some(site), true) = (&scenario.native_site, scenario.needs(Need::Native)) {
            let function = site.rsplit("::").next().unwrap();
            assert!(native.contains(&format!("{function}(")), "{}: no {site}", scenario.name);
        }
    }
}

#[test]
fn the_words_are_those_of_the_design() {
    for scenario in Scenario::all().unwrap() {
        for domain in &scenario.domain {
            assert!(DOMAINS.contains(&domain.as_str()), "{}: {domain}", scenario.name);
        }
    }
}

#[test]
fn healthy_programs_are_at_least_as_many_as_leaking_ones() {
    let (leaking, healthy): (Vec<_>, Vec<_>) = Scenario::all().unwrap().into_iter().partition(|s| s.leaking);
    assert!(healthy.len() >= leaking.len(), "{} healthy, {} leaking", healthy.len(), leaking.len());
}

#[test]
fn no_program_tells_the_truth_by_its_name() {
    let names: BTreeSet<String> = Scenario::all()
        .unwrap()
        .into_iter()
        .flat_map(|s| [s.program, s.mode])
        .map(|n| n.to_lowercase())
        .collect();
    for name in names {
        assert!(!name.contains("leak") && !name.contains("healthy"), "{name}");
    }
}
