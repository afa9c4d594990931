//! `offheap-scenarios`: lists, starts, measures and scores the scenarios.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use offheap_scenarios::{
    Attempt, Error, Jdk, Language, Outcome, Plan, Scenario, StartOptions, Workshop, markdown, measure,
    parse_bytes, parse_duration, run,
};

/// Leaking and healthy programs with their ground truth, and the score of `offheap diagnose` on them.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print every scenario with its truth
    List,
    /// Build everything, and fetch the jars
    Build,
    /// Start one scenario, print its pid and keep it until Ctrl-C
    Start {
        /// Its name
        name: String,
        #[command(flatten)]
        how: How,
        /// The JDK: a release such as 21, or a Java home
        #[arg(long, default_value = "17")]
        jdk: String,
        /// Bytes per second, such as 300KB or 2MB; the table's if not given
        #[arg(long, value_parser = parse_bytes)]
        rate: Option<u64>,
    },
    /// Watch scenarios with /proc and NMT, to see that they do what the table says
    Measure {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: How,
        /// The JDK: a release such as 21, or a Java home
        #[arg(long, default_value = "17")]
        jdk: String,
        /// Bytes per second, such as 300KB or 2MB; the table's if not given
        #[arg(long, value_parser = parse_bytes)]
        rate: Option<u64>,
        /// How long to watch each
        #[arg(long = "for", value_parser = parse_duration, default_value = "30s")]
        window: Duration,
        /// How many at the same time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Run `offheap diagnose` on scenarios and compare its verdicts with the table
    Score {
        /// The offheap binary
        #[arg(long)]
        offheap: PathBuf,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: How,
        /// JDKs: releases such as 11,17, or Java homes
        #[arg(long, value_delimiter = ',', default_value = "17")]
        jdk: Vec<String>,
        /// Rates for the leaking ones, such as 200KB,5MB; the table's if not given
        #[arg(long, value_parser = parse_bytes, value_delimiter = ',')]
        rate: Vec<u64>,
        /// Windows for `diagnose --for`
        #[arg(long, visible_alias = "window", value_parser = parse_duration, value_delimiter = ',', default_value = "60s")]
        windows: Vec<Duration>,
        /// How often to repeat everything
        #[arg(long, default_value_t = 1)]
        runs: u32,
        /// How many at the same time; more than the cores have room for makes every figure noisy
        #[arg(long, default_value_t = 3)]
        jobs: usize,
        /// Let offheap load its agent, and judge the site too
        #[arg(long)]
        agent: bool,
        /// Also record each window into this directory, to look at a verdict again
        #[arg(long)]
        keep: Option<PathBuf>,
        /// Where to write the page; printed as well
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Which {
    /// Only these scenarios, by name
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only those that leak
    #[arg(long, conflicts_with = "healthy")]
    leaking: bool,
    /// Only those that do not leak
    #[arg(long)]
    healthy: bool,
}

#[derive(Args)]
struct How {
    /// Background work as a multiple of the normal amount
    #[arg(long, default_value_t = 1.0)]
    load: f64,
    /// From READY until a paced program starts its work
    #[arg(long, value_parser = parse_duration, default_value = "0s")]
    delay: Duration,
}

fn main() -> Result<()> {
    match Cli::parse().verb {
        Verb::List => list(),
        Verb::Build => build(),
        Verb::Start { name, how, jdk, rate } => start(&name, &how.options(&jdk, rate)?),
        Verb::Measure { which, how, jdk, rate, window, jobs } => {
            measure_all(&which.scenarios()?, &how.options(&jdk, rate)?, window, jobs)
        }
        Verb::Score { offheap, which, how, jdk, rate, windows, runs, jobs, agent, keep, output } => {
            let plan = Plan {
                offheap: offheap.canonicalize().with_context(|| format!("{}", offheap.display()))?,
                scenarios: which.scenarios()?,
                jdks: jdk.iter().map(|wanted| Jdk::find(wanted)).collect::<Result<_, _>>()?,
                windows,
                rates: if rate.is_empty() { vec![None] } else { rate.into_iter().map(Some).collect() },
                load: how.load,
                delay: how.delay,
                runs,
                jobs,
                agent,
                keep,
            };
            score(&plan, output)
        }
    }
}

impl Which {
    fn scenarios(&self) -> Result<Vec<Scenario>, Error> {
        let named: Vec<Scenario> = if self.only.is_empty() {
            Scenario::all()?
        } else {
            self.only.iter().map(|name| Scenario::named(name)).collect::<Result<_, _>>()?
        };
        let wanted = |scenario: &Scenario| match (self.leaking, self.healthy) {
            (true, _) => scenario.leaking,
            (_, true) => !scenario.leaking,
            _ => true,
        };
        Ok(named.into_iter().filter(wanted).collect())
    }
}

impl How {
    fn options(&self, jdk: &str, rate: Option<u64>) -> Result<StartOptions, Error> {
        let (load, delay) = (self.load, self.delay);
        Ok(StartOptions { jdk: Some(Jdk::find(jdk)?), rate, load, delay, flags: Vec::new() })
    }
}

fn list() -> Result<()> {
    for scenario in Scenario::all()? {
        let status: Vec<String> = scenario.status.iter().map(ToString::to_string).collect();
        println!("{:<28} {:<20} {}", scenario.name, status.join(" or "), scenario.about);
        if !scenario.domain.is_empty() {
            println!("{:<28} {:<20} {}", "", "", scenario.domain.join(" or "));
        }
    }
    Ok(())
}

fn build() -> Result<()> {
    let workshop = Workshop::open()?;
    workshop.fetch_jars()?;
    Ok(())
}

fn start(name: &str, options: &StartOptions) -> Result<()> {
    let scenario = Scenario::named(name)?;
    let mut running = scenario.start(&Workshop::open()?, options)?;
    println!("{}", running.pid());
    running.wait()?;
    bail!("{name} ended by itself\n{}", running.stderr())
}

fn measure_all(scenarios: &[Scenario], options: &StartOptions, window: Duration, jobs: usize) -> Result<()> {
    let workshop = Workshop::open()?;
    let queue = Mutex::new(scenarios.iter().collect::<VecDeque<_>>());
    println!(
        "KB/s over the whole window and its last half; MB of RSS at the start; then what NMT says grew (KB)"
    );
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(scenario) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) {
                    println!("{}", measured_line(scenario, &workshop, options, window));
                }
            });
        }
    });
    Ok(())
}

fn measured_line(
    scenario: &Scenario,
    workshop: &Workshop,
    options: &StartOptions,
    window: Duration,
) -> String {
    let measured = match measure(scenario, workshop, options, window) {
        Ok(measured) => measured,
        Err(error) => return format!("{:<28} {error}", scenario.name),
    };
    let kb = |bytes: f64| (bytes / 1024.0).round() as i64;
    let rate = if scenario.leaking {
        format!("rate {}", scenario.rate_for(options.rate) >> 10)
    } else {
        String::new()
    };
    let nmt: Vec<String> = measured
        .nmt
        .iter()
        .take(4)
        .filter(|(_, delta)| delta.abs() > 100 << 10)
        .map(|(name, delta)| format!("{name} {:+}", delta >> 10))
        .collect();
    format!(
        "{:<28} {:<10} {:>6} {:>6}  {:>4} MB  files {:+} threads {}→{}  {}",
        scenario.name,
        rate,
        kb(measured.growth_since(0.0)),
        kb(measured.growth_since(0.5)),
        measured.rss.first().unwrap_or(&0) >> 20,
        measured.file_growth >> 10,
        measured.threads.0,
        measured.threads.1,
        nmt.join(", "),
    )
}

fn score(plan: &Plan, output: Option<PathBuf>) -> Result<()> {
    let workshop = Workshop::open()?;
    let results = run(plan, &workshop, |attempt: &Attempt, outcome: &Outcome| {
        let jdk = match (&attempt.scenario.language, &attempt.jdk) {
            (Language::Java, Some(jdk)) => format!(" on {jdk}"),
            _ => String::new(),
        };
        let said = match outcome {
            Outcome::Answered(answer) => format!(
                "{} {} / {} / {}",
                if answer.status_right { "right:" } else { "WRONG:" },
                answer.verdict.status,
                answer.verdict.domain,
                answer.verdict.cause
            ),
            Outcome::Failed(reason) => format!("no verdict: {reason}"),
            Outcome::Skipped(reason) => format!("not run: {reason}"),
        };
        eprintln!("{}{jdk}: {said}", attempt.scenario.name);
    });
    let page = markdown(plan, &results);
    if let Some(path) = output {
        fs::write(&path, &page).with_context(|| format!("{}", path.display()))?;
    }
    print!("{page}");
    Ok(())
}
