//! Views of real JVMs: what is read is what the program did, and looking changes nothing.

mod support;

use offheap_hotspot::{Error, HotSpot, ThreadKind, View, ViewOptions, What, brief};
use offheap_linux::{Live, Memory, PageKind, Process, Target};
use std::process::Command;
use support::{Java, Jvm, at_least, javas};

/// A JVM taken hold of.
struct Held {
    process: Process,
    memory: Live,
    hotspot: HotSpot,
}

impl Held {
    fn of(jvm: &Jvm) -> Held {
        let process = Process::open(jvm.pid()).unwrap();
        let memory = process.memory(&process.maps().unwrap()).unwrap();
        let hotspot = HotSpot::open(&memory).unwrap();
        Held { process, memory, hotspot }
    }

    fn view(&self) -> View {
        self.memory.forget();
        self.hotspot.view(&self.memory, &self.process.tasks().unwrap(), ViewOptions::default())
    }
}

/// Eight buffers and twelve threads, as `Jvm::idle` asks for.
fn assert_is_the_idle_program(java: &Java, view: &View, options: &[&str]) {
    let context = format!("{} {options:?}: {:?}", java.version, view.problems);
    assert!(view.version.starts_with(&java.version), "{}: {context}", view.version);
    assert_eq!(view.feature, java.feature, "{context}");
    assert_eq!(view.main, "Idle 8 1048576 12", "{context}");
    let direct = view.direct.unwrap_or_else(|| panic!("no Bits: {context}"));
    assert_eq!((direct.count, direct.reserved, direct.capacity), (8, 8 << 20, 8 << 20), "{context}");
    let named = |name: &str| view.threads.iter().filter(|thread| thread.name == name).count();
    for index in 0..12 {
        assert_eq!(named(&format!("a worker with a long name, number-{index}")), 1, "{context}");
    }
    assert_eq!(named("Reference Handler"), 1, "{context}");
    assert!(
        view.heap.used.is_some_and(|used| used > 4_000_000 && used < 64 << 20),
        "{:?} {context}",
        view.heap
    );
    assert!(view.heap.used <= view.heap.committed, "{:?} {context}", view.heap);
    assert!(view.classes.is_some_and(|classes| classes > 300), "{context}");
    assert!(view.class_loaders.is_some_and(|loaders| loaders >= 3), "{context}");
    assert!(view.code_cache.used.is_some_and(|used| used > 500_000), "{:?} {context}", view.code_cache);
    assert!(view.code_cache.used <= view.code_cache.committed, "{context}");
}

#[test]
fn a_view_says_what_the_program_did() {
    for java in javas() {
        let mut conditions: Vec<Vec<&str>> = vec![
            vec![],
            vec!["-XX:-UseCompressedOops"],
            vec!["-Xshare:off"],
            vec!["-XX:+PerfDisableSharedMem"],
            vec!["-XX:-UsePerfData", "-XX:-SegmentedCodeCache"],
        ];
        if java.feature < 25 {
            conditions.push(vec!["-XX:-UseCompressedOops", "-XX:-UseCompressedClassPointers"]);
        } else {
            conditions.push(vec!["-XX:+UseCompactObjectHeaders"]);
        }
        for options in conditions {
            let options = [&["-Xmx256m", "-XX:+UnlockExperimentalVMOptions"], options.as_slice()].concat();
            let jvm = Jvm::idle(&java, &options);
            let held = Held::of(&jvm);
            let view = held.view();
            assert_is_the_idle_program(&java, &view, &options);
            assert!(view.coverage.is_complete(), "{} {options:?} {:?}", java.version, view.problems);
            assert_eq!(view.problems, Vec::<String>::new());
            assert!(view.flags.contains(&("MaxHeapSize".to_owned(), (256 << 20).to_string())));
            let buffers = held.hotspot.direct_buffers(&held.memory, 1 << 30);
            let found = buffers.buffers.iter().filter(|buffer| buffer.capacity == 1 << 20).count();
            assert_eq!((found, buffers.incomplete), (8, None), "{} {options:?}", java.version);
        }
    }
}

#[test]
fn looking_changes_nothing() {
    for java in javas() {
        for options in [["-XX:+UseG1GC", "-Xmx256m"], ["-XX:+UseZGC", "-Xmx256m"]] {
            let options = [&["-XX:+UnlockExperimentalVMOptions"], options.as_slice()].concat();
            let jvm = Jvm::idle(&java, &options);
            let held = Held::of(&jvm);
            let pages = |held: &Held| -> Vec<(u64, u64)> {
                let vmas = held.process.maps().unwrap();
                vmas.iter()
                    .flat_map(|vma| held.memory.runs(vma.start, vma.end))
                    .filter(|run| run.kind == PageKind::Present)
                    .map(|run| (run.start, run.end))
                    .collect()
            };
            let maps = |held: &Held| -> Vec<(u64, u64, String)> {
                let vmas = held.process.maps().unwrap();
                vmas.into_iter().map(|vma| (vma.start, vma.end, vma.path)).collect()
            };
            // An idle JVM still ticks: what changed without us looking is not our doing, so a few
            // quiet tries are allowed.
            let unchanged = (0..20).any(|_| {
                let before = (pages(&held), maps(&held));
                held.view();
                held.hotspot.direct_buffers(&held.memory, 1 << 30);
                before == (pages(&held), maps(&held))
            });
            assert!(unchanged, "{} {options:?}: pages or mappings changed in each of 20 views", java.version);
        }
    }
}

#[test]
fn threads_have_their_kinds_and_their_stacks() {
    for java in javas() {
        let jvm = Jvm::idle(&java, &["-XX:+UseG1GC", "-Xmx256m"]);
        let held = Held::of(&jvm);
        let tasks = held.process.tasks().unwrap();
        let view = held.view();
        let of = |kind| view.threads.iter().filter(|thread| thread.kind == kind).count();
        assert!(of(ThreadKind::Java) >= 15 && of(ThreadKind::Compiler) >= 2, "{:?}", view.threads);
        assert!(of(ThreadKind::Gc) >= 4 && of(ThreadKind::Vm) >= 2, "{:?}", view.threads);
        // Only the launcher's first thread is not the VM's.
        assert_eq!(of(ThreadKind::Native), 1, "{:?}", view.threads);
        // The VM hides some of its own from the count that it publishes.
        let (published, java_threads) = (view.java_threads.unwrap(), of(ThreadKind::Java) as u64);
        assert!((14..=java_threads).contains(&published), "{published} of {java_threads}");
        for thread in &view.threads {
            let task = tasks.iter().find(|task| task.inner_tid == thread.tid);
            let Some(pointer) = task.and_then(|task| task.stack_pointer) else { continue };
            assert!(thread.stack.contains(&pointer), "{} {:x?} {pointer:x}", thread.name, thread.stack);
            let label =
                view.labels.iter().find(|label| label.start <= pointer && pointer < label.end).unwrap();
            assert_eq!((label.what, &label.name), (What::ThreadStack, &thread.name));
        }
        for pair in view.labels.windows(2) {
            assert!(pair[0].start < pair[0].end && pair[0].end <= pair[1].start, "{pair:?}");
        }
    }
}

#[test]
fn references_that_free_native_memory_are_counted_and_others_are_not() {
    for java in javas() {
        for options in [["-XX:+UseSerialGC", "-Xmx256m"], ["-XX:+UseZGC", "-Xmx256m"]] {
            let options = [&["-XX:+UnlockExperimentalVMOptions"], options.as_slice()].concat();
            let count = |made: &str| {
                let jvm = Jvm::start(&java, &options, &["References", made]);
                let held = Held::of(&jvm);
                assert_eq!(held.hotspot.references(&held.memory, 0), None);
                held.hotspot.references(&held.memory, 1 << 30).expect("they are counted")
            };
            // A Cleaner's, a library's own, a weak one and a Finalizer of each; the JDK makes some,
            // not always as many.
            let made = count("5000").saturating_sub(count("0"));
            assert!((19_900..20_300).contains(&made), "{} {options:?}: {made}", java.version);
        }
    }
}

#[test]
fn what_is_kept_is_told_from_what_was_dropped() {
    const KEPT: u64 = 200;
    const DROPPED: u64 = 300;
    for java in javas() {
        let variants: [&[&str]; 8] = [
            &["-XX:+UseSerialGC"],
            &["-XX:+UseParallelGC"],
            &["-XX:+UseG1GC"],
            &["-XX:+UseG1GC", "-Xint"],
            &["-XX:+UseG1GC", "-XX:-UseCompressedOops"],
            &["-XX:+UseZGC"],
            &["-XX:+UseShenandoahGC"],
            &["-XX:+UseCompactObjectHeaders"],
        ];
        for variant in variants {
            let options =
                [&["-XX:+UnlockExperimentalVMOptions", "-Xmn100m", "-Xmx256m", "-Xms256m"], variant].concat();
            if !java.accepts(&options) {
                continue;
            }
            let jvm = Jvm::start(&java, &options, &["Owners", &KEPT.to_string(), &DROPPED.to_string()]);
            let held = Held::of(&jvm);
            let tasks = held.process.tasks().unwrap();
            assert_eq!(
                held.hotspot.reach(&held.memory, &tasks, 0),
                None,
                "a budget of nothing reads nothing"
            );
            // A look that meets a collection gives nothing: a later one does.
            let reach = (0..20).find_map(|time| {
                std::thread::sleep(std::time::Duration::from_millis(100) * time);
                held.memory.forget();
                held.hotspot.reach(&held.memory, &tasks, 1 << 30)
            });
            let reach = reach.unwrap_or_else(|| panic!("{} {variant:?}: nothing was followed", java.version));
            // Kept: five buffers and half an Inflater of each; dropped: two and a half. A stale
            // word on a stack may hold one request more, and the JDK has some owners of its own.
            let places = if java.feature >= 21 { 6 } else { 5 };
            let (all, in_use) = (1000 * (places * KEPT + 2 * DROPPED), 1000 * places * KEPT);
            let what = format!("{} {variant:?} {reach:?}", java.version);
            assert!((all..all + 100_000).contains(&reach.direct_bytes), "{what}");
            assert!((in_use..in_use + 50_000).contains(&reach.direct_in_use_bytes), "{what}");
            assert!(reach.jni_references.is_some_and(|count| (1..1000).contains(&count)), "{what}");
            assert!(reach.complete && reach.bytes > 16 * reach.objects, "{what}");
            let holder = reach.direct_holder.as_ref().map(|holder| (holder.what.as_str(), holder.amount));
            let own = ["static field Owners.LIST (java.util.ArrayList)", "static field Owners.MAP"];
            assert!(
                holder.is_some_and(
                    |(what, bytes)| own.iter().any(|own| what.starts_with(own)) && bytes == 1000 * KEPT
                ),
                "{what}"
            );
            let (used, dropped) = (reach.owners_in_use, reach.owners - reach.owners_in_use);
            assert!((KEPT / 2..KEPT / 2 + 2_000).contains(&used), "{what}");
            assert!((DROPPED / 2 - 2..DROPPED / 2 + 60).contains(&dropped), "{what}");
        }
    }
}

#[test]
fn buffers_that_bits_does_not_count_are_found() {
    for java in javas() {
        let jvm = Jvm::start(&java, &["-Xmx256m"], &["Writers", "6", "3145728"]);
        let held = Held::of(&jvm);
        let view = held.view();
        let buffers = held.hotspot.direct_buffers(&held.memory, 1 << 30);
        let large = buffers.buffers.iter().filter(|buffer| buffer.capacity == 3 << 20).count();
        assert_eq!((large, buffers.incomplete), (6, None), "{}", java.version);
        let reserved = view.direct.map_or(0, |direct| direct.reserved);
        let hidden = view.direct.map_or(java.feature >= 25, |direct| direct.hides_temporary);
        assert_eq!(reserved < 3 << 20, hidden, "{} {reserved}", java.version);
        // A budget of nothing reads nothing and says so.
        let none = held.hotspot.direct_buffers(&held.memory, 0);
        assert!(none.scanned == 0 && none.buffers.is_empty() && none.incomplete.is_some());
    }
}

#[test]
fn the_brief_look_agrees_with_the_view() {
    for java in javas() {
        for (options, source) in [
            (["-Xmx256m", "-XX:+UsePerfData"], "hsperfdata"),
            (["-Xmx256m", "-XX:-UsePerfData"], "vmStructs"),
        ] {
            let jvm = Jvm::idle(&java, &options);
            let held = Held::of(&jvm);
            let (brief, view) = (brief(&held.process).unwrap(), held.view());
            assert_eq!(brief.source, source);
            assert_eq!(
                (brief.version, brief.feature, brief.gc, brief.main),
                (view.version, view.feature, view.gc, view.main)
            );
            let (published, used) = (brief.heap_used.unwrap(), view.heap.used.unwrap());
            assert!(published.abs_diff(used) < 16 << 20, "{published} {used}");
            assert!(brief.heap_committed.unwrap().abs_diff(view.heap.committed.unwrap()) < 1 << 20);
        }
    }
}

/// The figures of `jcmd PID VM.native_memory summary scale=b`: category, reserved, malloc bytes,
/// malloc count.
fn native_memory(jvm: &Jvm) -> Vec<(String, u64, u64, u64)> {
    let jcmd = javas()
        .into_iter()
        .map(|java| java.home.join("bin/jcmd"))
        .find(|path| path.is_file())
        .expect("no jcmd");
    let output = Command::new(jcmd)
        .args([&jvm.pid().to_string(), "VM.native_memory", "summary", "scale=b"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let number = |text: &str, key: &str| -> u64 {
        let tail = text.split_once(key).map_or("", |(_, tail)| tail);
        tail.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
    };
    let mut found: Vec<(String, u64, u64, u64)> = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if let Some((name, rest)) = line.strip_prefix('-').and_then(|line| line.split_once(" (reserved=")) {
            found.push((name.trim().to_owned(), number(rest, ""), 0, 0));
        } else if let Some(rest) = line.strip_prefix("(malloc=")
            && let Some(last) = found.last_mut()
        {
            (last.2, last.3) = (number(rest, ""), number(rest, "#"));
        }
    }
    found
}

#[test]
fn nmt_from_memory_is_what_jcmd_says() {
    for java in javas() {
        for level in ["summary", "detail"] {
            let jvm = Jvm::idle(&java, &["-Xmx256m", &format!("-XX:NativeMemoryTracking={level}")]);
            let held = Held::of(&jvm);
            // The first attach starts a thread and loads classes.
            native_memory(&jvm);
            let said = native_memory(&jvm);
            let view = held.view();
            assert_eq!(view.nmt_level, level);
            let read = view.nmt.unwrap();
            assert!(said.len() > 10, "{said:?}");
            for (name, reserved, malloc, count) in said {
                let category =
                    read.iter().find(|category| category.name == name).unwrap_or_else(|| panic!("{name}"));
                // jcmd's own reply is built in a buffer that it books under Internal.
                let own = if name == "Internal" { 4 << 20 } else { 0 };
                let close = |ours: u64, theirs: u64, slack: u64| {
                    ours <= theirs + slack + theirs / 50 && theirs <= ours + slack + theirs / 50 + own
                };
                // The report has the stacks under Thread, and under NMT its own headers.
                if name != "Thread" && name != "Native Memory Tracking" {
                    let ours = category.reserved_bytes + category.malloc_bytes + category.arena_bytes;
                    assert!(
                        close(ours, reserved, 256 << 10),
                        "{} {name}: {category:?}, jcmd {reserved}",
                        java.version
                    );
                }
                assert!(
                    close(category.malloc_bytes, malloc, 256 << 10),
                    "{name}: {category:?}, jcmd {malloc}"
                );
                assert!(close(category.malloc_count, count, 200), "{name}: {category:?}, jcmd {count}");
            }
            let direct = read.iter().find(|category| category.name == "Other").unwrap();
            assert!(direct.malloc_bytes >= 8 << 20);
        }
        let jvm = Jvm::idle(&java, &["-Xmx256m"]);
        let view = Held::of(&jvm).view();
        assert_eq!((view.nmt_level.as_str(), view.nmt), ("off", None));
    }
}

#[test]
fn labels_cover_what_nmt_knows_and_not_more() {
    for java in javas() {
        for collector in ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC"] {
            let jvm = Jvm::idle(&java, &["-Xmx256m", collector, "-XX:NativeMemoryTracking=summary"]);
            let view = Held::of(&jvm).view();
            let nmt = view.nmt.clone().unwrap();
            let known = |names: &[&str]| -> u64 {
                nmt.iter()
                    .filter(|category| names.contains(&category.name.as_str()))
                    .map(|category| category.reserved_bytes)
                    .sum()
            };
            let labelled = |kinds: &[What]| -> u64 {
                let labels = view.labels.iter().filter(|label| kinds.contains(&label.what));
                labels.map(|label| label.end - label.start).sum()
            };
            let context = format!("{} {collector}", java.version);
            assert_eq!(labelled(&[What::JavaHeap]), known(&["Java Heap"]), "{context}");
            assert_eq!(labelled(&[What::CodeCache]), known(&["Code"]), "{context}");
            // G1 has a few small tables that are malloc blocks or not told.
            let gc = (labelled(&[What::Gc]), known(&["GC"]));
            assert!(gc.0.abs_diff(gc.1) <= 128 << 10, "{context} {gc:?}");
            let classes = labelled(&[What::Metaspace, What::ClassSpace]);
            // Without an archive 17.0.9 books the class space as unknown.
            let ledger = known(&["Class", "Metaspace"]);
            assert!(
                classes == ledger || classes == ledger + known(&["Unknown"]),
                "{context} {classes} {ledger}"
            );
            let stacks: u64 = view
                .threads
                .iter()
                .filter(|thread| thread.kind != ThreadKind::Native)
                .map(|thread| thread.stack.end - thread.stack.start)
                .sum();
            let ledger = known(&["Thread", "Thread Stack"]);
            // The C library's guard pages are the stacks' own, but not NMT's.
            assert!(
                stacks.abs_diff(ledger) <= 8192 * view.threads.len() as u64,
                "{context} {stacks} {ledger}"
            );
        }
    }
}

#[test]
fn what_is_no_jvm_is_refused() {
    let process = Process::open(std::process::id() as i32).unwrap();
    let memory = process.memory(&process.maps().unwrap()).unwrap();
    assert!(matches!(HotSpot::open(&memory), Err(Error::NotJvm { .. })));
    assert_eq!(brief(&process), None);
}

/// A copy of a runtime whose libjvm may be tampered with.
fn copy_of(java: &Java) -> (tempfile::TempDir, Java) {
    let directory = tempfile::tempdir().unwrap();
    let status =
        Command::new("cp").args(["-a", "--"]).arg(&java.home).arg(directory.path().join("java")).status();
    assert!(status.unwrap().success());
    let copy = Java { home: directory.path().join("java"), ..java.clone() };
    (directory, copy)
}

/// Makes the section with the static symbols one that nobody reads, as `strip` would remove it.
fn strip(path: &std::path::Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let read = |at: u64, len: usize| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes[..len], at).unwrap();
        u64::from_le_bytes(bytes)
    };
    let (headers, size, count) = (read(40, 8), read(58, 2), read(60, 2));
    let tables: Vec<u64> =
        (0..count).map(|index| headers + index * size + 4).filter(|at| read(*at, 4) == 2).collect();
    assert_eq!(tables.len(), 1, "one symbol table");
    file.write_all_at(&0u32.to_le_bytes(), tables[0]).unwrap();
}

#[test]
fn a_stripped_libjvm_is_read_by_its_vm_structs_alone() {
    for feature in [11, 17, 21, 25] {
        let Some(java) = javas()
            .into_iter()
            .find(|java| java.feature == feature && java.home.join("lib/server/libjvm.so").exists())
        else {
            continue;
        };
        let (_directory, java) = copy_of(&java);
        strip(&java.home.join("lib/server/libjvm.so"));
        let options = ["-Xmx256m", "-XX:NativeMemoryTracking=summary"];
        let jvm = Jvm::idle(&java, &options);
        let held = Held::of(&jvm);
        let view = held.view();
        assert_is_the_idle_program(&java, &view, &options);
        assert!(view.coverage.is_complete(), "{:?}", view.problems);
        assert_eq!((view.nmt, view.nmt_level.as_str(), view.heap.old_after_gc), (None, "summary", None));
        assert!(view.labels.iter().any(|label| label.what == What::Metaspace && label.source == "classes"));
        // The second view labels what the first one found.
        let labels = held
            .hotspot
            .view(&held.memory, &[], ViewOptions { walk_classes: false, thread_names: false })
            .labels;
        let metaspace = |labels: &[offheap_hotspot::Label]| -> Vec<(u64, u64)> {
            labels
                .iter()
                .filter(|label| label.what == What::Metaspace)
                .map(|label| (label.start, label.end))
                .collect()
        };
        assert_eq!(metaspace(&labels), metaspace(&view.labels));
    }
}

#[test]
fn a_libjvm_replaced_on_disk_is_read_as_it_is_mapped() {
    let (_directory, java) = copy_of(&at_least(11).unwrap());
    let jvm = Jvm::idle(&java, &["-Xmx256m"]);
    std::fs::remove_file(java.home.join("lib/server/libjvm.so")).unwrap();
    let process = Process::open(jvm.pid()).unwrap();
    let memory = process.memory(&process.maps().unwrap()).unwrap();
    let first = memory.vmas().iter().find(|vma| vma.path.ends_with("libjvm.so")).unwrap();
    let readable =
        std::fs::File::open(format!("/proc/{}/map_files/{:x}-{:x}", jvm.pid(), first.start, first.end))
            .is_ok();
    match HotSpot::open(&memory) {
        Ok(hotspot) => {
            assert!(readable);
            let view = hotspot.view(&memory, &process.tasks().unwrap(), ViewOptions::default());
            assert_is_the_idle_program(&java, &view, &[]);
        }
        Err(error) => {
            assert!(!readable, "{error}");
            assert!(matches!(error, Error::LibjvmUnreadable { deleted: true, .. }), "{error}");
        }
    }
}

/// Collectors, where the JDK has them.
const COLLECTORS: [&[&str]; 6] = [
    &["-XX:+UseSerialGC"],
    &["-XX:+UseParallelGC"],
    &["-XX:+UseG1GC"],
    &["-XX:+UseZGC"],
    &["-XX:+UseZGC", "-XX:+ZGenerational"],
    &["-XX:+UseShenandoahGC"],
];

#[test]
fn what_a_collection_moved_is_still_found() {
    const KEPT: u64 = 2000;
    for java in javas() {
        for variant in COLLECTORS {
            let options = [&["-XX:+UnlockExperimentalVMOptions", "-Xmx512m"], variant].concat();
            if !java.accepts(&options) {
                continue;
            }
            let jvm = Jvm::start(&java, &options, &["Moved", &KEPT.to_string()]);
            let held = Held::of(&jvm);
            let tasks = held.process.tasks().unwrap();
            let reach = (0..20).find_map(|time| {
                std::thread::sleep(std::time::Duration::from_millis(100) * time);
                held.memory.forget();
                held.hotspot.reach(&held.memory, &tasks, 1 << 30)
            });
            let what = format!("{} {variant:?} {reach:?}", java.version);
            let reach = reach.unwrap_or_else(|| panic!("{what}"));
            // Of two threads that move an object at once one leaves its copy behind.
            let (all, in_use) = (reach.direct_bytes, reach.direct_in_use_bytes);
            assert!((1000 * KEPT..1000 * KEPT + 50_000).contains(&all), "{what}");
            assert!((1000 * KEPT..1000 * KEPT + 50_000).contains(&in_use), "{what}");
            let buffers = held.hotspot.direct_buffers(&held.memory, 1 << 30);
            let found = buffers.buffers.iter().filter(|buffer| buffer.capacity == 1000).count() as u64;
            assert_eq!(found, KEPT, "{what}");
        }
    }
}

#[test]
fn a_collection_in_the_midst_spoils_no_figure() {
    const KEPT: u64 = 2000;
    let mut looks = 0;
    for java in javas() {
        for variant in COLLECTORS {
            let options = [&["-XX:+UnlockExperimentalVMOptions", "-Xmx512m"], variant].concat();
            if !java.accepts(&options) {
                continue;
            }
            let jvm = Jvm::start(&java, &options, &["Moved", &KEPT.to_string(), "400"]);
            let held = Held::of(&jvm);
            let tasks = held.process.tasks().unwrap();
            let whole = (0..6).filter(|_| {
                let global = held.hotspot.handles(&held.memory, &tasks).global.expect("they are found");
                let of_classes: u64 = global.by_class.iter().map(|(_, count)| count).sum();
                of_classes == global.count - global.cleared
            });
            assert!(whole.count() > 0, "{} {variant:?}: no look knows every class", java.version);
            for _ in 0..6 {
                held.memory.forget();
                let Some(reach) = held.hotspot.reach(&held.memory, &tasks, 1 << 30) else { continue };
                looks += 1;
                // A box that is made anew just now may be missed, and a few that it had been in.
                let (all, in_use) = (reach.direct_bytes, reach.direct_in_use_bytes);
                let what = format!("{} {variant:?} {reach:?}", java.version);
                assert!((1000 * KEPT - 50_000..1000 * KEPT + 200_000).contains(&all), "{what}");
                assert!((1000 * KEPT - 50_000..1000 * KEPT + 200_000).contains(&in_use), "{what}");
            }
        }
    }
    assert!(looks > 0, "a collection ran in each of all looks");
}
