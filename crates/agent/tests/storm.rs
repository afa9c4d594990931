//! JVMs in bad weather (class unloading, stack overflow, out of memory, child processes, threads,
//! libraries that come and go, forks, signals) while the agent is attached, started, stopped and
//! re-set, with Java objects and without: on every JVM, nothing breaks and nothing is left over.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use offheap_attach::LoadOutcome;
use offheap_live::{Counter, Reader};

#[test]
fn jvms_survive_fifty_cycles() {
    storm(6000, 50, &["-XX:+UseG1GC", "-XX:+UseZGC"]);
}

/// `OFFHEAP_STORM_ROUNDS=3000 cargo test -p offheap-agent --test storm -- --ignored`: a round is a
/// tenth of a second. `OFFHEAP_STORM_CYCLES=1000` ends it after so many cycles of start and stop.
/// `OFFHEAP_STORM_BESIDE=-agentpath:…` puts another profiler beside the agent; `OFFHEAP_JDK=17`
/// takes one release only.
#[test]
#[ignore = "takes as long as asked"]
fn jvms_survive_for_long() {
    let variable = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    storm(
        variable("OFFHEAP_STORM_ROUNDS").unwrap_or(600),
        variable("OFFHEAP_STORM_CYCLES").unwrap_or(u32::MAX),
        &["G1", "Z", "Serial", "Parallel", "Shenandoah"].map(|name| format!("-XX:+Use{name}GC")),
    );
}

/// For so many rounds, or until the agent was started or stopped so many times.
fn storm(rounds: u32, cycles: u32, collectors: &[impl AsRef<str>]) {
    // Built before the first JVM runs, which does not wait for it.
    common::agent();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let jdk = common::jdk();
    let status = Command::new(jdk.join("bin/javac"))
        .args(["--release", "11", "-nowarn", "-d"])
        .arg(dir)
        .arg(common::source("java/Storm.java"))
        .status();
    assert!(status.unwrap().success());
    let include = jdk.join("include").display().to_string();
    let flags = ["-shared", "-fPIC", &format!("-I{include}"), &format!("-I{include}/linux")];
    common::compile("gcc", "java/storm.c", &dir.join("libstorm.so"), &flags);
    common::compile("gcc", "c/plugin.c", &dir.join("plugin.so"), &["-shared", "-fPIC"]);
    let mut wrongs = Vec::new();
    let release = std::env::var("OFFHEAP_JDK").ok().and_then(|n| n.parse::<u32>().ok());
    for jvm in common::jvms().into_iter().filter(|jvm| release.is_none_or(|n| n == jvm.version)) {
        for collector in collectors.iter().map(AsRef::as_ref) {
            if let Err(wrong) = one(&jvm, collector, [rounds, cycles], dir) {
                wrongs.push(format!("JDK {} {collector}: {wrong}", jvm.version));
            }
        }
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
}

fn one(jvm: &common::Jvm, collector: &str, [rounds, wanted]: [u32; 2], dir: &Path) -> Result<(), String> {
    let file = dir.join(format!("{}{}.live", jvm.version, collector.replace(':', "")));
    let _ = std::fs::remove_file(&file);
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", &(rounds / 10 + 300).to_string()])
        .arg(&jvm.java)
        .args(["-XX:+UnlockExperimentalVMOptions", collector, "-Xmx128m", "-XX:-UsePerfData"])
        .args(["-XX:MaxDirectMemorySize=64m", "-Xss512k"]);
    if jvm.version >= 21 {
        command.arg("-XX:+EnableDynamicAgentLoading");
    }
    command.args(std::env::var_os("OFFHEAP_STORM_BESIDE"));
    if jvm.version >= 22 {
        command.arg("--enable-native-access=ALL-UNNAMED");
    }
    command
        .arg(format!("-Djava.library.path={}", dir.display()))
        .arg("-cp")
        .arg(dir)
        .args(["Storm", &rounds.to_string()])
        .arg(dir.join("plugin.so"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    // Another profiler may have its say first.
    let first = out.find_map(|line| line.ok().filter(|l| !l.starts_with("Profiling")));
    if first.as_deref() != Some("READY") {
        let _ = child.wait();
        let absent = first.is_none() && (collector.contains('Z') || collector.contains("Shenandoah"));
        return if absent { Ok(()) } else { Err(format!("{first:?}")) };
    }
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let pid: u32 = children.split_whitespace().next().unwrap().parse().unwrap();
    let agent = common::agent().to_str().unwrap();
    let options = format!("file={}", file.display());
    // As long as the program runs: start with this and that interval, stop, start again.
    let mut cycles = 0;
    // Mappings of ours: the same after a thousand cycles as after ten.
    let mut held = [0; 2];
    let running = || Path::new(&format!("/proc/{pid}/exe")).exists();
    while running() && cycles < wanted {
        let how = match cycles % 4 {
            0 => format!("{options},interval=1,objects=4096"),
            1 => format!("{options},interval=4096,objects=65536"),
            2 => "cmd=stop".to_owned(),
            _ => format!("{options},interval=524288"),
        };
        match offheap_attach::load_agent(pid, agent, &how) {
            Ok(LoadOutcome::Loaded) => {
                cycles += 1;
                let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
                let ours =
                    maps.lines().filter(|l| l.contains("offheap_agent") || l.contains(".live")).count();
                held[usize::from(cycles > 10)] = ours.max(held[usize::from(cycles > 10)]);
            }
            _ if cycles > 0 => break,
            other => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{other:?}"));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Where the weather left no time for a collection, one is asked for: the freed are told after it.
    for _ in 0..100 {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let freed = Reader::new(&bytes).is_ok_and(|r| r.counter(Counter::ObjectFrees) > 0);
        if freed || !running() {
            break;
        }
        let _ = offheap_attach::jcmd(pid, "GC.run");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let _ = child.stdin.take().map(|mut input| input.write_all(b"\n"));
    // The JVM warns on stdout when memory is short.
    let last = out.find_map(|line| line.ok().filter(|l| !l.starts_with('[')));
    let mut err = String::new();
    let _ = child.stderr.take().unwrap().read_to_string(&mut err);
    let status = child.wait().unwrap();
    if last.as_deref() != Some("SURVIVED") || !err.is_empty() || !status.success() {
        return Err(format!("after {cycles} cycles: {last:?}, {status}, {err}"));
    }
    let bytes =
        std::fs::read(&file).map_err(|e| format!("after {cycles} cycles: {}: {e}", file.display()))?;
    let r = Reader::new(&bytes).unwrap();
    let stale = r.samples().filter(|s| s.size == 777).count();
    let broken = r.counter(Counter::JavaBroken) * 100 > r.counter(Counter::Samples);
    let bad = [Counter::AgentHeap, Counter::LostFrees, Counter::MissedFrees].map(|c| r.counter(c));
    println!(
        "JDK {} {collector}: {cycles} cycles, {} samples, {} objects of which {} freed, {} dropped, {} java broken, {} \
         truncated, {} names lost",
        jvm.version,
        r.counter(Counter::Samples),
        r.counter(Counter::Objects),
        r.counter(Counter::ObjectFrees),
        r.dropped(),
        r.counter(Counter::JavaBroken),
        r.counter(Counter::Truncated),
        r.counter(Counter::NamesLost)
    );
    let grown = held[1] > held[0];
    if r.info().objects.refused() || r.counter(Counter::Objects) == 0 || r.counter(Counter::ObjectFrees) == 0
    {
        return Err(format!("objects: {:?}, {} seen", r.info().objects, r.counter(Counter::Objects)));
    }
    if cycles < wanted.min(50) {
        return Err(format!("only {cycles} cycles"));
    }
    if stale > 0 || broken || grown || bad != [0; 3] {
        return Err(format!(
            "{stale} freed blocks in the table, broken {broken}, {bad:?}, mappings {held:?}"
        ));
    }
    Ok(())
}
