//! What the agent as it ships asks of the target: libc alone, and no symbol newer than glibc 2.17.

mod common;

use std::process::Command;

fn tool(name: &str, flag: &str) -> String {
    let out = Command::new(name).arg(flag).arg(common::agent()).output();
    let out = out.unwrap_or_else(|e| panic!("{name}: {e}; install binutils"));
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn needs_no_more_than_glibc_2_17() {
    let symbols = tool("objdump", "-T");
    let mut versions = 0;
    for word in symbols.split_whitespace() {
        let Some((_, version)) = word.trim_matches(['(', ')']).split_once("GLIBC_") else { continue };
        let numbers: Vec<u32> = version.split('.').map(|n| n.parse().unwrap()).collect();
        assert!(numbers <= vec![2, 17], "{word}");
        versions += 1;
    }
    assert!(versions > 3, "{symbols}");
}

#[test]
fn needs_libc_alone_and_stays() {
    let dynamic = tool("readelf", "-dW");
    let needed: Vec<&str> = dynamic.lines().filter(|l| l.contains("(NEEDED)")).collect();
    assert!(needed.len() == 1 && needed[0].contains("libc.so.6"), "{needed:?}");
    for flag in ["NODELETE", "SYMBOLIC", "BIND_NOW"] {
        assert!(dynamic.contains(flag), "{flag} is missing:\n{dynamic}");
    }
}

/// What is exported interposes under LD_PRELOAD: the allocator's names and the ways in, nothing
/// else.
#[test]
fn exports_nothing_else() {
    let symbols = tool("nm", "-D");
    let mut exported: Vec<&str> = symbols
        .lines()
        .filter_map(|l| l.split_once(" T ").or_else(|| l.split_once(" D ")))
        .map(|(_, name)| name)
        .collect();
    exported.sort_unstable();
    let wanted = [
        "Agent_OnAttach",
        "Agent_OnLoad",
        "aligned_alloc",
        "calloc",
        "free",
        "malloc",
        "memalign",
        "offheap_agent_command",
        "posix_memalign",
        "pvalloc",
        "realloc",
        "reallocarray",
        "valloc",
    ];
    assert_eq!(exported, wanted);
}
