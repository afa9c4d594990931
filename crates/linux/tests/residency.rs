//! What is resident of each mapping, beside what smaps says of the same stopped process.

use offheap_linux::{Process, Source, Vma};
use offheap_testkit::{Program, build_c, jdks};
use std::process::Command;

const KINDS: &str = include_str!("programs/kinds.c");

/// What is compared: address, resident, anonymous, in huge pages, swapped.
type Figures = (u64, u64, u64, u64, u64);

fn figures(vmas: &[Vma]) -> Vec<Figures> {
    vmas.iter().map(|vma| (vma.start, vma.rss, vma.anonymous, vma.anon_huge, vma.swap)).collect()
}

/// A program that is stopped while this lives.
struct Stopped(i32);

impl Stopped {
    fn new(program: &Program) -> Stopped {
        signal(program.pid(), "STOP");
        let process = Process::open(program.pid()).unwrap();
        while process.stat().unwrap().state != 'T' {
            std::thread::yield_now();
        }
        Stopped(program.pid())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

fn signal(pid: i32, name: &str) {
    Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
}

/// Compares mapping by mapping. The kernel merges, moves and reclaims pages of a stopped process
/// too, so it may be asked again.
fn assert_same(program: &Program, source: Source, figures: fn(&[Vma]) -> Vec<Figures>) {
    let _stopped = Stopped::new(program);
    let process = Process::open(program.pid()).unwrap();
    let mut differing = Vec::new();
    for _ in 0..5 {
        let before = process.smaps().unwrap();
        let Some(found) = process.residency_from(source).unwrap() else {
            assert_ne!(source, Source::Entries, "the process is large enough");
            return;
        };
        assert_eq!(found.source, source);
        differing = figures(&before)
            .into_iter()
            .zip(figures(&found.vmas))
            .zip(&before)
            .filter(|((smaps, found), _)| smaps != found)
            .map(|((smaps, found), vma)| format!("{}: smaps {smaps:?}, {source:?} {found:?}", vma.path))
            .collect();
        if differing.is_empty() && before.len() == found.vmas.len() {
            return;
        }
    }
    panic!("{differing:#?}");
}

/// A page of the kernel's counters for each core and kind is not summed up in statm before Linux
/// 6.17.
fn assert_sums_to_statm(program: &Program) {
    let _stopped = Stopped::new(program);
    let process = Process::open(program.pid()).unwrap();
    let sum: u64 = process.residency().unwrap().vmas.iter().map(|vma| vma.rss).sum();
    let status = process.status().unwrap();
    assert!(sum.abs_diff(status.rss_bytes) <= status.threads << 18, "{sum} {status:?}");
}

#[test]
fn every_kind_of_mapping_is_counted_as_smaps_counts_it() {
    let program = Program::start(&mut Command::new(build_c("kinds", KINDS, &["-w"])));
    assert_same(&program, Source::Scan, figures);
    assert_sums_to_statm(&program);
}

/// What is private and what is shared, beside smaps. Programs that start and end beside it change
/// that, so it may be asked again.
fn assert_same_shares(program: &Program) {
    let _stopped = Stopped::new(program);
    let process = Process::open(program.pid()).unwrap();
    let same = || {
        let vmas = process.smaps().unwrap();
        let shares = process.shares(&vmas).unwrap();
        let sum = |figure: fn(&Vma) -> u64| vmas.iter().map(figure).sum::<u64>();
        let status = process.status().unwrap();
        // Who may read /proc/kpagecount may see frames too.
        assert_eq!(shares.pss.is_some(), status.rss_bytes < 64 << 20 || is_root());
        // smaps rounds mapping by mapping.
        let pss = shares.pss.map_or(0, |pss| pss.abs_diff(sum(|vma| vma.pss)));
        shares.private == sum(|vma| vma.private) && pss <= 2048 * vmas.len() as u64
    };
    assert!((0..10).any(|_| same()));
}

fn is_root() -> bool {
    std::fs::File::open("/proc/kpagecount").is_ok()
}

#[test]
fn what_is_shared_is_known_by_either_way() {
    let kinds = build_c("kinds", KINDS, &["-w"]);
    assert_same_shares(&Program::start(&mut Command::new(&kinds)));
    assert_same_shares(&Program::start(Command::new(&kinds).arg((300 << 20).to_string())));
}

#[test]
fn without_a_scan_all_but_huge_pages_is_known() {
    // Zero pages can't be told there from those shared after a fork or merged: together they are as
    // many as the kernel says.
    let without_doubt = |vmas: &[Vma]| {
        let shared = vmas.iter().filter(|vma| vma.shared);
        let mut known: Vec<Figures> =
            shared.map(|vma| (vma.start, vma.rss, vma.anonymous, 0, vma.swap)).collect();
        let (sum, most) = (vmas.iter().map(|vma| vma.rss).sum(), vmas.iter().map(|vma| vma.rss >> 20).max());
        known.push((0, sum, most.unwrap_or(0), 0, 0));
        known
    };
    let large = (300 << 20).to_string();
    let program = Program::start(Command::new(build_c("kinds", KINDS, &["-w"])).arg(large));
    assert_same(&program, Source::Entries, without_doubt);
}

#[test]
fn a_jvm_of_every_collector_is_counted_as_smaps_counts_it() {
    let classes = offheap_testkit::build_java(
        "Ready",
        "public class Ready { public static void main(String[] a) throws Exception {
            java.util.List<byte[]> kept = new java.util.ArrayList<>();
            for (int i = 0; i < 200; i++) kept.add(new byte[100_000]);
            System.out.println(\"READY\"); System.in.read(); } }",
    );
    for jdk in jdks() {
        for collector in jdk.collectors() {
            let program = Program::start(
                Command::new(&jdk.java)
                    .args(["-Xmx128m", "-XX:+UnlockExperimentalVMOptions"])
                    .arg(format!("-XX:+Use{collector}GC"))
                    .arg("-cp")
                    .arg(&classes)
                    .arg("Ready"),
            );
            assert_same(&program, Source::Scan, figures);
            assert_sums_to_statm(&program);
        }
    }
}

#[test]
fn an_interpreter_is_counted_as_smaps_counts_it() {
    let code = "import mmap, json, ssl, sqlite3\nkept = [str(i) for i in range(100000)]\n\
                print('READY', flush=True)\ninput()";
    let program = Program::start(Command::new("python3").args(["-c", code]));
    assert_same(&program, Source::Scan, figures);
    assert_sums_to_statm(&program);
}
