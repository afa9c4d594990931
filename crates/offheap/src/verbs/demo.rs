//! `offheap demo`

use crate::output;
use anyhow::{Context, bail};
use offheap_model::units::parse_duration;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// The program that leaks, for Java's source launcher.
const LEAKY: &str = include_str!("../../assets/Leaky.java");

/// Show the main job on a small JVM that leaks: it is started, looked at, diagnosed and ended.
///
/// Needs a JDK from 11 on (in JAVA_HOME or the PATH) for the program; offheap itself needs none.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long to watch.
    #[arg(long = "for", default_value = "30s", value_parser = parse_duration)]
    length: Duration,
    /// Also write a report: .html, .md or .json.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Ends the program also when something fails.
struct Leaky {
    child: Child,
    source: PathBuf,
}

impl Drop for Leaky {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.source);
    }
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let leaky = start()?;
    let pid = leaky.child.id().to_string();
    output::note(&format!(
        "A JVM runs as pid {pid} (-Xmx64m). It compresses requests and forgets Deflater.end(): its heap stays flat, its \
         RSS does not."
    ));
    let seconds = format!("{}s", arguments.length.as_secs().max(1));
    let mut diagnose = vec!["diagnose", &pid, "--yes", "--for", &seconds];
    let report = arguments.output.as_ref().map(|path| path.to_string_lossy());
    if let Some(report) = &report {
        diagnose.extend(["-o", report]);
    }
    for words in [vec!["ps"], vec!["map", &pid], diagnose] {
        output::note("");
        output::note(&format!("$ offheap {}", words.join(" ")));
        let status = Command::new(std::env::current_exe()?).args(&words).status()?;
        // 1 is the verdict "leak": what the demo is about.
        if !matches!(status.code(), Some(0 | 1 | 3)) {
            bail!("offheap {} failed ({status})", words.join(" "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start() -> anyhow::Result<Leaky> {
    let java = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let java = java.filter(|java| java.exists()).unwrap_or_else(|| PathBuf::from("java"));
    // A folder of our own: a name in /tmp that can be guessed may already be there, as somebody
    // else's link.
    let source = std::env::temp_dir().join(format!("offheap-demo-{}", std::process::id()));
    std::fs::create_dir(&source).with_context(|| format!("cannot make {}", source.display()))?;
    let file = source.join("Leaky.java");
    std::fs::write(&file, LEAKY).with_context(|| format!("cannot write {}", file.display()))?;
    let child =
        Command::new(&java).args(["-Xmx64m", "-XX:+UseSerialGC"]).arg(&file).stdout(Stdio::piped()).spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            let _ = std::fs::remove_dir_all(&source);
            return Err(error).with_context(|| {
                format!(
                    "cannot start {}; the demo needs a JDK (apt-get install openjdk-17-jdk-headless)",
                    java.display()
                )
            });
        }
    };
    let mut leaky = Leaky { child, source };
    let mut line = String::new();
    if let Some(out) = leaky.child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    if line.trim() != "READY" {
        bail!(
            "the demo's program did not start: a JRE without a compiler can't run a source file; use a JDK from 11 on"
        );
    }
    Ok(leaky)
}
