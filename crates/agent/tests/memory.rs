//! Memory that is not the agent's: protected, read-only, recut, unmapped or handled by somebody
//! else, and what the process allows itself.

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use offheap_live::{Counter, Reader, RegionKind, State};

/// What came of a run.
struct Held {
    out: String,
    live: Vec<u8>,
}

impl Held {
    fn counter(&self, counter: Counter) -> u64 {
        Reader::new(&self.live).unwrap().counter(counter)
    }

    fn sizes(&self) -> Vec<u64> {
        Reader::new(&self.live).unwrap().samples().map(|s| s.size).collect()
    }
}

fn library(dir: &Path, kind: &str, flags: &[&str]) -> PathBuf {
    let out = dir.join(format!("lib{kind}.so"));
    let define = format!("-D{kind}");
    let mut all = vec!["-shared", "-fPIC", &define];
    all.extend(flags);
    common::compile("gcc", "c/odd_library.c", &out, &all);
    out
}

/// Runs `c/odd.c`, which must end by itself and say that all is well.
fn odd(dir: &Path, kind: &str, library: Option<&Path>, preload: Option<&Path>) -> Held {
    let program = dir.join("odd");
    // No unwind tables and no frame pointers but where a function asks for them; not optimised, so
    // that calls are calls.
    let flags = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-O1"];
    common::compile("gcc", "c/odd.c", &program, &flags);
    let file = dir.join("odd.live");
    let mut command = Command::new(&program);
    let lease = if kind == "filtered" { 2 } else { 0 };
    let mut options = format!("file={},interval=1,lease={lease}", file.display());
    if kind == "child" {
        options = "interval=1".to_owned();
    }
    command.arg(common::agent()).arg(options).arg(kind).args(library);
    if let Some(preload) = preload {
        command.env("LD_PRELOAD", preload);
    }
    let (out, err, code) = common::run(&mut command, 120);
    if out == "no userfaultfd\n" {
        println!("NOT TESTED: {out}");
        return Held { out, live: Vec::new() };
    }
    assert!(out.ends_with("held\n") && err.is_empty() && code == Some(0), "{kind}: {out}{err}{code:?}");
    Held { out, live: std::fs::read(&file).unwrap_or_default() }
}

fn shape(kind: &str, flags: &[&str], how: &str) -> Held {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), kind, flags);
    odd(dir.path(), how, Some(&library), None)
}

#[test]
fn a_guard_page_in_static_memory_is_not_read() {
    let held = shape("GUARDED", &[], "shape");
    assert!(held.counter(Counter::PointersPatched) >= 2, "its table is writable");
}

#[test]
fn a_read_only_table_is_left_as_it_is() {
    let held = shape("TABLE", &[], "shape");
    assert!(held.out.contains("as it was"), "{}", held.out);
    assert!(held.counter(Counter::SlotsLeft) >= 2);
    // The control: a writable one is redirected.
    let held = shape("PLAIN", &[], "shape");
    assert!(held.out.contains("redirected"), "{}", held.out);
}

#[test]
fn imports_in_read_only_segments_are_redirected_without_a_store() {
    let held = shape("TEXTREL", &["-Wl,-z,notext"], "shape");
    assert!(held.sizes().contains(&43212), "{:?}", held.sizes());
    let held = shape("SEALED", &["-Wl,-z,norelro", "-Wl,-z,lazy"], "shape");
    assert!(held.sizes().contains(&43211), "{:?}", held.sizes());
}

#[test]
fn what_can_not_be_read_is_not_there() {
    shape("CLOSED", &["-Wl,-z,norelro"], "shape");
    // Its headers and tables, where the loader does not look any more.
    shape("PLAIN", &[], "hidden");
}

#[test]
fn a_stack_that_is_cut_again_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let held = odd(dir.path(), "recut", None, None);
    assert!(held.sizes().iter().filter(|s| **s == 50001).count() >= 4000, "{}", held.sizes().len());
}

#[test]
fn mappings_that_others_change_all_the_time_hurt_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), "PLAIN", &[]);
    odd(dir.path(), "m", Some(&library), None);
}

/// Thread ids, clocks, probes, waiting: in a hook all without a system call that malloc would not
/// make.
#[test]
fn a_program_may_allow_itself_no_more_than_malloc_needs() {
    let dir = tempfile::tempdir().unwrap();
    let held = odd(dir.path(), "filtered", None, None);
    assert!(held.counter(Counter::Samples) > 100_000, "{}", held.counter(Counter::Samples));
    assert_eq!(held.counter(Counter::LostFrees), 0);
    let state = Reader::new(&held.live).unwrap().info().state;
    assert_eq!(state, Some(State::Stopped), "its lease has run out, in a hook");
}

/// Root's own: the worker becomes nobody.
#[test]
fn a_forked_worker_shares_nothing_with_its_master() {
    let dir = tempfile::tempdir().unwrap();
    let held = odd(dir.path(), "child", None, None);
    assert!(held.out.contains("tried"), "{}", held.out);
}

#[test]
fn a_child_may_be_made_in_the_middle_of_a_hook() {
    let dir = tempfile::tempdir().unwrap();
    odd(dir.path(), "parting", None, None);
}

/// Whatever is written to the live file: the agent believes none of it.
#[test]
fn nothing_in_the_live_file_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), "PLAIN", &[]);
    let program = dir.path().join("odd");
    common::compile("gcc", "c/odd.c", &program, &["-O1"]);
    let file = dir.path().join("odd.live");
    let mut child = Command::new(&program)
        .arg(common::agent())
        .arg(format!("file={},interval=1,size=4194304", file.display()))
        .arg("go")
        .arg(&library)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(out.next().unwrap().unwrap(), "ready");
    let shared = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    let mut n = 1u64;
    let mut next = || {
        n = n.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        n
    };
    while child.try_wait().unwrap().is_none() {
        // Words that look like counts, offsets, addresses, and anything; most of them where the
        // file begins.
        let bytes: Vec<u8> = (0..512)
            .flat_map(|i| {
                [next() >> 60, next() >> 40, 0x7fff_0000_0000 | next() >> 36, next()][i % 4].to_ne_bytes()
            })
            .collect();
        let at = if next() % 4 == 0 { 0 } else { next() % 1000 * 4096 };
        shared.write_all_at(&bytes, at).unwrap();
    }
    let status = child.wait().unwrap();
    assert_eq!(out.next().and_then(Result::ok).as_deref(), Some("held"), "{status:?}");
}

#[test]
fn handlers_that_never_return_leave_nothing_taken() {
    let dir = tempfile::tempdir().unwrap();
    let bump = dir.path().join("bump.so");
    common::compile("gcc", "c/bump.c", &bump, &["-shared", "-fPIC"]);
    let library = library(dir.path(), "PLAIN", &[]);
    let held = odd(dir.path(), "jump", Some(&library), Some(&bump));
    for size in 70000..70010 {
        assert!(held.sizes().contains(&size), "{size}: the thread is silent");
    }
    let r = Reader::new(&held.live).unwrap();
    let mapped = r.regions().filter(|g| g.size == 77 * 4096 && g.kind == RegionKind::Anonymous).count();
    assert_eq!(mapped, 10, "the table of regions is held");
    let known = r.modules().any(|m| m.path == library.to_str().unwrap().as_bytes());
    assert!(known, "the table of libraries is held");
}

#[test]
fn a_page_with_a_handler_of_its_own_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), "PLAIN", &[]);
    let held = odd(dir.path(), "userfaultfd", Some(&library), None);
    if !held.live.is_empty() {
        assert!(held.counter(Counter::PagesSkipped) >= 1);
    }
}
