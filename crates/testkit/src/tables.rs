//! Libraries whose tables are damaged at random after they were loaded: the agent reads them all,
//! and nobody may die of it.

use crate::{Jdk, Program, build_harm, build_harm_java, offheap, run_within, storm};
use std::process::Command;
use std::time::Duration;

/// A command of offheap that takes longer has hung.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// A C program that starts with the agent and damages the libraries that it then loads; what was
/// wrong.
pub fn preloaded(seed: u32) -> Result<(), String> {
    let host = build_harm("host", &["targets/host.c"], &["-ldl"]);
    let tables = build_harm("tables", &["targets/tables.c"], &["-shared"]);
    // Loaded afterwards: the agent looks at all libraries again.
    let flags = ["-shared", "-Wl,-z,notext", "-Wl,-z,norelro", "-Wl,-z,now"];
    let last = build_harm("readonly_slots", &["targets/readonly_slots.c"], &flags);
    let words = [tables.as_os_str(), seed.to_string().as_ref(), last.as_os_str(), "0".as_ref()]
        .map(ToOwned::to_owned);
    let mut command = Command::new(&host);
    let alone = run_within(command.args(&words).env("HARM_LIBRARIES", storm::libraries()), HANGS_AFTER);
    if alone.code() != Some(0) {
        return Err(format!("seed {seed}: without offheap: {:?} {}{}", alone.status, alone.out, alone.err));
    }
    let mut command = Command::new(offheap());
    command.args(["run", "--interval", "1", "--json", "--"]).arg(&host).args(&words);
    let ended = run_within(command.env("HARM_LIBRARIES", storm::libraries()), HANGS_AFTER);
    match ended.code() {
        Some(0) if ended.out.contains("lives") => Ok(()),
        code => Err(format!("seed {seed}: {code:?} {:?} {:.500}{}", ended.status, ended.out, ended.err)),
    }
}

/// A JVM that has damaged libraries before the agent comes; what was wrong.
pub fn attached(jdk: &Jdk, seed: u32) -> Result<(), String> {
    let tables = build_harm("jni_tables", &["targets/tables.c"], &["-shared", "-DJNI"]);
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut command = Command::new(&jdk.java);
    command
        .arg(format!("-XX:ErrorFile={}/hs_err.log", folder.path().display()))
        .arg("-XX:-CreateCoredumpOnCrash");
    command.args(["-Xmx32m", "-XX:+UseSerialGC", "-cp"]).arg(build_harm_java("Host")).arg("Host").arg(tables);
    let mut jvm = Program::start(command.arg(seed.to_string()).env("HARM_LIBRARIES", storm::libraries()));
    let pid = jvm.pid().to_string();
    let mut command = Command::new(offheap());
    command.args(["profile", &pid, "--for", "200ms", "--interval", "1", "--json"]);
    let ended = run_within(&mut command, HANGS_AFTER);
    let answer = jvm.try_ask("alive");
    if answer.as_deref() != Some("alive") {
        return Err(format!(
            "seed {seed}: the JVM: {:?}: {answer:?}{}",
            jvm.ends_within(Duration::from_secs(5)),
            storm::crash(folder.path())
        ));
    }
    match ended.code() {
        Some(0) => Ok(()),
        code => Err(format!("seed {seed}: offheap: {code:?} {:?}: {}", ended.status, ended.err)),
    }
}
