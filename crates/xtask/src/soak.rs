//! `cargo xtask soak`: what the gate does for seconds, for as long as asked, with the same code;
//! and the figures of `harm/README.md`.

use crate::{run, setup};
use anyhow::{Context, Result, bail};
use offheap_testkit::{Jdk, beside, clock, damaged, exits, frozen, jdk, killed, near, storm, tables, unwind};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const LIST: &str = "\
storms  all weather, six kinds at a time, in JVMs in which the agent is started and stopped again and again; or one kind:
        fork spawn identity limits dlopen maps mprotect madvise userfault threads cancel signals altstack longjmp
        blocks coroutines classes objects overflow jthreads oom
exits   JVMs that end while the agent is being loaded
pause   how long a thread that looks at the clock is kept from it while the agent is loaded and stopped
near    JVMs 4, 8, 16 and 32 MiB below the limit of their memory group (root)
frozen  a frozen disk under every file that offheap could use (root)
killed  an offheap that is killed: its agent stops when the lease ends, a minute later
unwind  the agent's reading of unwind tables against gimli's, over every library of this machine
beside  other profilers, allocators and an older agent in the same JVM, loaded before ours and after it; paths of what is
        not Debian's: ASYNC_PROFILER=…/libasyncProfiler.so, OLD_AGENT=…/liboffheap_agent.so
tables  libraries whose headers, symbols and relocations are damaged at random before the agent reads them
damaged processes whose heaps, arenas and JVM structures are damaged at random: every look ends
";

/// What was asked for.
struct Options {
    only: Vec<String>,
    jdks: Vec<&'static Jdk>,
    cycles: u32,
    until: Instant,
    seed: u64,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }
}

/// Runs the parts that `arguments` name, or all; fails if anything was harmed.
pub fn soak(arguments: &[&str]) -> Result<()> {
    if arguments == ["--list"] {
        print!("{LIST}");
        return Ok(());
    }
    if std::env::var_os("OFFHEAP_JRES").is_none() {
        setup::setup()?;
        // SAFETY: this process has no other thread yet.
        unsafe { std::env::set_var("OFFHEAP_JRES", setup::jres()) };
    }
    if std::env::var_os("OFFHEAP_BIN").is_none() {
        let offheap = run::build_release()?;
        // SAFETY: as above.
        unsafe { std::env::set_var("OFFHEAP_BIN", offheap) };
    }
    let options = parse(arguments)?;
    // SAFETY: as above; the storms take it from their environment.
    unsafe { std::env::set_var("HARM_SEED", options.seed.to_string()) };
    let mut harm = Vec::new();
    storms(&options, &mut harm);
    if options.wants("exits") {
        exits_while_loading(&options, &mut harm);
    }
    if options.wants("pause") {
        pause(&options);
    }
    if options.wants("near") {
        near_the_limit(&options, &mut harm);
    }
    if options.wants("frozen") {
        frozen_disk(&options, &mut harm);
    }
    if options.wants("killed") {
        for jdk in &options.jdks {
            match killed::one(jdk, "KILL", Duration::from_secs(80)) {
                Ok(took) => {
                    println!("JDK {}: offheap killed, its agent stopped {took:.0?} later", jdk.feature)
                }
                Err(error) => harm.push(format!("JDK {}: {error}", jdk.feature)),
            }
        }
    }
    if options.wants("unwind") {
        unwind_tables(&mut harm);
    }
    if options.wants("beside") {
        beside_others(&options, &mut harm);
    }
    if options.wants("tables") {
        damaged_tables(&options, &mut harm);
    }
    if options.wants("damaged") {
        damaged_memory(&options, &mut harm);
    }
    if harm.is_empty() {
        println!("nothing was harmed (seed {})", options.seed);
        return Ok(());
    }
    bail!("{} harmed (seed {}):\n{}", harm.len(), options.seed, harm.join("\n"))
}

fn parse(arguments: &[&str]) -> Result<Options> {
    let begin = Instant::now();
    let mut options = Options {
        only: Vec::new(),
        jdks: vec![jdk(17), jdk(25)],
        cycles: 1000,
        until: begin + Duration::from_secs(86400),
        seed: 1,
    };
    for pair in arguments.chunks(2) {
        let &[name, value] = pair else { bail!("{} needs a value", pair.join(" ")) };
        let number = || value.parse::<u64>().with_context(|| format!("{name} {value} is no number"));
        match name {
            "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            "--jdk" => options.jdks = vec![jdk(number()? as u32)],
            "--cycles" => options.cycles = number()? as u32,
            "--minutes" => options.until = begin + Duration::from_secs(60 * number()?),
            "--seed" => options.seed = number()?,
            _ => bail!("soak knows no {name}; see cargo xtask soak --list"),
        }
    }
    let parts =
        ["storms", "exits", "pause", "near", "frozen", "killed", "unwind", "beside", "tables", "damaged"];
    if let Some(unknown) =
        options.only.iter().find(|name| !parts.contains(&&name[..]) && !storm::KINDS.contains(&&name[..]))
    {
        bail!("soak has no part called {unknown}; see cargo xtask soak --list");
    }
    Ok(options)
}

fn storms(options: &Options, harm: &mut Vec<String>) {
    let named: Vec<&str> =
        storm::KINDS.iter().copied().filter(|kind| options.only.iter().any(|name| name == kind)).collect();
    let all = options.wants("storms");
    let kinds = if all { storm::KINDS } else { &named[..] };
    if kinds.is_empty() {
        return;
    }
    for jdk in &options.jdks {
        let (mut cycles, mut jvms, mut refused) = (0, 0u32, BTreeMap::new());
        let collectors: Vec<String> =
            jdk.collectors().iter().map(|name| format!("-XX:+Use{name}GC")).collect();
        while cycles < options.cycles && Instant::now() < options.until {
            // A new JVM now and then: the agent's first loading is part of it, and each collector
            // has its turn.
            let collector = &collectors[jvms as usize % collectors.len()];
            let flags = ["-XX:+UnlockExperimentalVMOptions", collector];
            // Some of the weather at a time, other some the next: all of it at once leaves each
            // kind too little of the processor.
            let some: Vec<&str> = if all {
                let step = options.seed as usize * 5 + jvms as usize * 6;
                (0..6).map(|n| kinds[(step + n) % kinds.len()]).collect()
            } else {
                kinds.to_vec()
            };
            let cycles_now = (options.cycles - cycles).min(25);
            let report = storm::run(&storm::Storm {
                jdk,
                flags: &flags,
                kinds: &some,
                variables: &[],
                cycles: cycles_now,
                until: options.until,
            });
            cycles += report.cycles;
            jvms += 1;
            for (reason, times) in report.refused {
                *refused.entry(reason).or_insert(0) += times;
            }
            println!("JDK {} {collector}: {} cycles; {}", jdk.feature, report.cycles, report.did);
            harm.extend(
                report.harm.iter().map(|what| format!("JDK {} {collector} {some:?}: {what}", jdk.feature)),
            );
            if harm.len() > 4 || report.cycles == 0 && jvms > 20 {
                break;
            }
        }
        println!("JDK {}: {cycles} cycles in {jvms} JVMs; refused {refused:?}", jdk.feature);
    }
}

fn exits_while_loading(options: &Options, harm: &mut Vec<String>) {
    for jdk in &options.jdks {
        let mut seed = options.seed;
        let count = (options.cycles / 4).max(10) as usize;
        let mut done = 0;
        for n in 0..count {
            if Instant::now() > options.until {
                break;
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            harm.extend(exits::one(jdk, n, Duration::from_millis(seed >> 33 & 0x1ff)).err());
            done += 1;
        }
        println!("JDK {}: {done} JVMs ended while the agent was being loaded", jdk.feature);
    }
}

fn pause(options: &Options) {
    for jdk in &options.jdks {
        for thread in [clock::Thread::Native, clock::Thread::Java] {
            let gaps = clock::attaches(jdk, thread, (options.cycles / 10).max(5));
            for (name, gaps) in [("with an attach", gaps.attached), ("alone", gaps.alone)] {
                let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| clock::quantile(&gaps, part));
                println!(
                    "JDK {}: longest gap of a {thread:?} thread {name}: median {p50:.1?}, p99 {p99:.1?}, max {max:.1?} of {}",
                    jdk.feature,
                    gaps.len()
                );
            }
        }
    }
}

fn near_the_limit(options: &Options, harm: &mut Vec<String>) {
    let times = (options.cycles / 40).max(1);
    for jdk in &options.jdks {
        for inside in [false, true] {
            for left in [4, 8, 16, 32u64] {
                let (mut said, mut kills, mut kept) = (BTreeMap::new(), 0, 0);
                for n in 0..times {
                    let verb = if n % 2 == 0 { "diagnose" } else { "profile" };
                    match near::look(jdk, left << 20, &[verb, "--for", "2s"], inside) {
                        Ok(look) => {
                            let died = look.kills.max(u64::from(!look.lives));
                            kills += died;
                            kept = kept.max(look.left[1]);
                            *said.entry(format!("{verb}: {:.120}", look.said)).or_insert(0) += 1;
                        }
                        Err(error) => {
                            println!("NOT TRIED: near the limit: {error}");
                            return;
                        }
                    }
                }
                let place = if inside { "inside the group" } else { "outside of it" };
                println!(
                    "JDK {}: {left} MiB left, offheap {place}: {kills} kills in {times}; at most {kept} bytes more afterwards; {said:#?}",
                    jdk.feature
                );
                if kills > 0 {
                    harm.push(format!(
                        "JDK {}: {left} MiB left, offheap {place}: {kills} kills in {times}",
                        jdk.feature
                    ));
                }
            }
        }
    }
}

fn frozen_disk(options: &Options, harm: &mut Vec<String>) {
    let mut judge = |what: String, result: Result<frozen::Slowest, String>| match result {
        Ok(slowest) => {
            println!("{what}: slowest malloc {:.1?}, without offheap {:.1?}", slowest.with, slowest.without);
            if slowest.with > slowest.without + Duration::from_millis(500) {
                harm.push(format!("{what}: malloc waits for the disk: {slowest:?}"));
            }
        }
        Err(error) => println!("NOT TRIED: {what}: {error}"),
    };
    judge("frozen disk, offheap run".to_owned(), frozen::of_run());
    for jdk in &options.jdks {
        for after_stop in [false, true] {
            let when = if after_stop { "after the stop" } else { "while the agent runs" };
            judge(format!("frozen disk, JDK {} {when}", jdk.feature), frozen::of_jvm(jdk, after_stop));
        }
    }
}

fn unwind_tables(harm: &mut Vec<String>) {
    let mut tally = unwind::Tally::default();
    for path in unwind::libraries(&[
        "/usr/lib",
        "/usr/bin",
        "/usr/local/lib",
        "/opt",
        &setup::jres().to_string_lossy(),
    ]) {
        unwind::compare(&path, &mut tally);
    }
    println!(
        "unwind tables: {} libraries and programs, {} FDEs, {} rows; {} rows not followed, {} wrong",
        tally.libraries,
        tally.fdes,
        tally.rows,
        tally.declined,
        tally.wrong.len()
    );
    println!("not followed, one of each thousand:\n  {}", tally.declined_at.join("\n  "));
    harm.extend(tally.wrong);
}

fn beside_others(options: &Options, harm: &mut Vec<String>) {
    println!("| neighbour | order | JDK | profiles | what was seen |\n|---|---|---|---|---|");
    for jdk in &options.jdks {
        for neighbour in beside::neighbours() {
            let tried = beside::run(jdk, &neighbour, (options.cycles / 100).max(3));
            let seen = if tried.harm.is_empty() {
                tried.seen.clone()
            } else {
                format!("HARM: {}", tried.harm.join("; "))
            };
            println!(
                "| {} | {} | {} | {} | {seen} |",
                neighbour.name,
                neighbour.order(),
                jdk.feature,
                tried.profiles
            );
            harm.extend(tried.harm);
        }
    }
}

fn damaged_tables(options: &Options, harm: &mut Vec<String>) {
    let mut done = 0;
    let first = options.seed as u32;
    for seed in (first..first + options.cycles).take_while(|_| Instant::now() < options.until) {
        harm.extend(tables::preloaded(seed).err());
        harm.extend(options.jdks.iter().filter_map(|jdk| tables::attached(jdk, seed).err()));
        done += 1;
    }
    println!("damaged tables: {done} C programs, and {done} JVMs of each JDK");
}

fn damaged_memory(options: &Options, harm: &mut Vec<String>) {
    for target in damaged::TARGETS {
        let looks = options.cycles;
        let report = damaged::run(target, looks, options.seed, options.until);
        println!(
            "damaged {target}: {} looks, {} words; slowest {:.1?}, most memory {} MiB",
            report.looks,
            report.words,
            report.slowest,
            report.peak_bytes >> 20
        );
        harm.extend(report.harm);
    }
}
