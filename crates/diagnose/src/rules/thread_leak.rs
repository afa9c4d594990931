//! # Threads are started and never end
//!
//! ## Signature
//! The number of threads grows steadily to the end of the window, one pool (names that differ only
//! in their number) grows with it, and at least sixteen threads came. A pool that fills and stays,
//! or comes and goes, is none.
//!
//! ## Why
//! An executor is made for each request and never shut down; a cached pool is fed tasks that never
//! return; a client library starts a thread for each client that is never closed. Each thread keeps
//! its touched stack (commonly 60–150 KiB, up to `-Xss`), JVM structures, and often an arena of the
//! C heap.
//!
//! ## Confirm
//! - `offheap diff` of two recordings, or `offheap watch PID`: threads by pool.
//! - `jcmd PID Thread.print`: the stack of the growing pool says what it waits for, and often who made it.
//! - `jcmd PID Thread.dump_to_file` on JDK 21 and later groups threads by their executor.
//!
//! ## Fix
//! | Pool names | Whose | What bounds it |
//! |---|---|---|
//! | `pool-N-thread-M`, N grows | `Executors.new…` made again and again | one shared executor; `shutdown()` or try-with-resources (JDK 19+) |
//! | `pool-1-thread-M`, M grows | `newCachedThreadPool` | `ThreadPoolExecutor` with a maximum and a queue; timeouts in tasks |
//! | `…default-dispatcher-N` (Pekko, Akka) | actor system | `pekko.actor.default-dispatcher.fork-join-executor.parallelism-max`, `…thread-pool-executor.fixed-pool-size`; `system.terminate()` |
//! | `…blocking-io-dispatcher-N` (Pekko, Akka) | blocking work | `pekko.actor.default-blocking-io-dispatcher.thread-pool-executor.fixed-pool-size` |
//! | `nioEventLoopGroup-N-M`, `epollEventLoopGroup-N-M` (Netty) | a group made for each client | one shared group; `shutdownGracefully()`; `-Dio.netty.eventLoopThreads` |
//! | `http-nio-PORT-exec-N` (Tomcat) | request threads | `server.tomcat.threads.max` (Spring Boot), `maxThreads` of the Connector |
//! | `ForkJoinPool-N-worker-M`, N grows | pools made again and again | one pool; `close()` (JDK 19+) |
//! | `ForkJoinPool.commonPool-worker-N` | the common pool, compensating for blocking | `-Djava.util.concurrent.ForkJoinPool.common.parallelism`, `…maximumSpares` |
//! | `Timer-N` | `java.util.Timer` | `cancel()`, or one `ScheduledExecutorService` |
//! | `OkHttp…`, `HttpClient-N-…` | an HTTP client made for each call | one client; `close()` (`java.net.http` from JDK 21) |
//! | `Thread-N` | `new Thread(…)` | an executor with a bound |
//!
//! ## Example
//! *In process 4711 the pool `pool-*-thread-*` leaks threads: 41 → 402 over 1 min (61 snapshots),
//! 6.0 more each second; a thread costs 98 KiB of stack here, so thread stacks grow by 588 KiB/s…*

use super::Rule;
use crate::draft::{Draft, to_be_sure};
use crate::evidence::Evidence;
use crate::growth::{Freed, Growth, Kind};
use crate::series::Key;
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct ThreadLeak;

/// Fewer new threads than this are a pool that warms up.
/// Unit: threads.
const LEAST_THREADS: f64 = 16.0;
/// A pool explains the process's growth if its own is at least this share of it.
const POOL_SHARE: f64 = 0.5;

impl Rule for ThreadLeak {
    fn id(&self) -> &'static str {
        "thread-leak"
    }

    fn explains(&self) -> &'static [(&'static str, f64)] {
        // A thread's arenas, handles and thread-local objects beside its stack.
        &[
            ("native-malloc-growth", 4.0),
            ("native-mmap-growth", 4.0),
            ("jvm-internal-growth", 4.0),
            ("nio-thread-cache", f64::INFINITY),
            ("heap-leak", f64::INFINITY),
            ("heap-full", f64::INFINITY),
        ]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let all = thread_growth(evidence)?;
        let status = all.status()?;
        let pool = largest_pool(evidence, &all);
        let stacks =
            evidence.trend(&Key::Domain(Domain::ThreadStacks)).map_or(0.0, |t| t.slope.per_s).max(0.0);
        let per_thread = stacks / all.per_s.max(1e-9);
        let (name, from, to, per_s) = pool.as_ref().map_or_else(
            || ("threads of several pools".to_owned(), all.from, all.to, all.per_s),
            |(pool, growth)| (format!("the pool `{pool}`"), growth.from, growth.to, growth.per_s),
        );
        let figures = format!("{from:.0} → {to:.0} threads, {} more each minute", number(per_s * 60.0));
        let since = evidence.trend(&Key::Threads).map_or(0.0, |t| t.tail_start);
        let when = if since > 0.0 {
            format!(", since {} into the window", units::duration(since))
        } else {
            ", since before the window".to_owned()
        };
        let cost = format!(
            "A thread costs {} of resident stack here, so thread stacks grow by {}",
            units::bytes(per_thread as u64),
            units::rate(stacks)
        );
        let verdict = match status {
            Status::Leak => how_they_end(evidence),
            _ => format!("Whether it is a leak can't be told yet: {}. {}", all.why, to_be_sure(all.next))
                .trim_end()
                .to_owned(),
        };
        let (source, beside) = if evidence.is_jvm() {
            ("/proc/PID/task and the VM's thread list", ", beside JVM structures and C heap")
        } else {
            ("/proc/PID/task", "")
        };
        let mut draft = Draft::new(self.id(), status, Domain::ThreadStacks, all.certainty)
            .slope(stacks)
            .summary(format!(
                "In {}, {name} grew over {}: {figures}{when}. {cost}{beside}. {verdict} {}. \
                 Source: {source}.",
                evidence.who(),
                evidence.window(),
                evidence.rss_words()
            ))
            .saw(format!("{name}: {figures}"), source)
            .saw(format!("all threads: {:.0} → {:.0}", all.from, all.to), source)
            .saw(cost, &evidence.source(Domain::ThreadStacks));
        if let Some((began, stayed)) = started(evidence) {
            draft = draft.saw(
                format!("of {began} Java threads started in the window {stayed} are still there"),
                "java.threads.started",
            );
        }
        if all.to - all.from < 2.0 * LEAST_THREADS {
            draft = draft.weigh(0.85);
        }
        draft = draft
            .fix(match evidence.last().is_some_and(|last| last.python.is_some() && last.jvm.is_none()) {
                true => of_python(),
                false => advice(pool.as_ref().map_or("", |(pool, _)| pool)),
            })
            // The JDK sets the size of its own threads' stacks itself.
            .fix((evidence.is_jvm() && !pool.as_ref().is_some_and(|(pool, _)| is_reaper(pool))).then(|| {
                format!(
                    "meanwhile -Xss512k: the touched part of a stack is {} here",
                    units::bytes(per_thread as u64)
                )
            }))
            .confirm([
                threads_wait_for(evidence, &name),
                format!("offheap watch {}: threads by pool", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

/// The growth of the number of threads, unless it is none.
pub(super) fn thread_growth(evidence: &Evidence<'_>) -> Option<Growth> {
    let growth = evidence.growth(&Key::Threads, Freed::ByProgram, LEAST_THREADS)?;
    matches!(growth.kind, Kind::Lasting | Kind::Slowing | Kind::Unclear | Kind::EndedWithLoad)
        .then_some(growth)
}

/// The pool that grew most, where it makes up most of the growth.
fn largest_pool(evidence: &Evidence<'_>, all: &Growth) -> Option<(String, Growth)> {
    let wanted = POOL_SHARE * (all.to - all.from);
    evidence
        .all_series()
        .filter_map(|(key, series)| match key {
            Key::Pool(pool) => Some((pool.clone(), evidence.growth_of(series, Freed::ByProgram, 1.0))),
            _ => None,
        })
        .filter(|(_, growth)| growth.grew() && growth.to - growth.from >= wanted)
        .max_by(|a, b| (a.1.to - a.1.from).total_cmp(&(b.1.to - b.1.from)))
}

/// How to see what threads wait for.
fn threads_wait_for(evidence: &Evidence<'_>, name: &str) -> String {
    let pid = evidence.pid();
    if evidence.is_jvm() {
        format!("jcmd {pid} Thread.print: what the threads of {name} wait for")
    } else if evidence.last().is_some_and(|last| last.python.is_some()) {
        format!("offheap python {pid}: the Python stacks of {name}")
    } else {
        format!("gdb -p {pid} -batch -ex 'thread apply all backtrace': what the threads of {name} wait for")
    }
}

/// What became of the threads that were started in the window, as a sentence.
fn how_they_end(evidence: &Evidence<'_>) -> String {
    match started(evidence) {
        Some((began, stayed)) if stayed >= began => {
            "None of those that were started in the window has ended.".to_owned()
        }
        _ => "They come faster than they end.".to_owned(),
    }
}

/// Whether a pool is the JDK's threads that wait for child processes, one each
/// (java.lang.ProcessHandleImpl).
fn is_reaper(pool: &str) -> bool {
    pool.starts_with("process reaper")
}

/// Java threads that were started in the window, and how many more there are at its end.
fn started(evidence: &Evidence<'_>) -> Option<(u64, u64)> {
    let count = |s: &offheap_model::Snapshot| s.jvm.as_ref().and_then(|jvm| jvm.java_threads_started);
    let live = |s: &offheap_model::Snapshot| s.jvm.as_ref().and_then(|jvm| jvm.java_threads);
    let (first, last) = (evidence.first()?, evidence.last()?);
    let began = count(last)?.saturating_sub(count(first)?);
    let stayed = live(last)?.saturating_sub(live(first)?);
    Some((began, stayed))
}

fn number(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// What bounds the threads of a Python.
fn of_python() -> Vec<String> {
    vec![
        "one concurrent.futures.ThreadPoolExecutor with max_workers for all, or `with` around each: without shutdown() its \
         threads stay"
            .to_owned(),
        "join() what threading.Thread starts, and give every task a timeout".to_owned(),
    ]
}

/// What bounds a pool with such a name: the naming schemes of the JDK's and well-known libraries'
/// thread factories.
fn advice(pool: &str) -> Vec<String> {
    let has = |part: &str| pool.contains(part);
    let toolkit = if has("akka") { "akka" } else { "pekko" };
    if is_reaper(pool) {
        // Each waits for one child.
        return vec![
            "child processes are started and do not end: Process.destroy(), or waitFor with a timeout, on every path"
                .to_owned(),
            "close the child's streams (try-with-resources): each child has three pipes".to_owned(),
        ];
    }
    let first = if has("blocking-io-dispatcher") {
        format!(
            "{toolkit}.actor.default-blocking-io-dispatcher.thread-pool-executor.fixed-pool-size bounds it"
        )
    } else if has("dispatcher") {
        format!(
            "{toolkit}.actor.default-dispatcher.fork-join-executor.parallelism-max (or \
             thread-pool-executor.fixed-pool-size) bounds it; one ActorSystem, ended with terminate()"
        )
    } else if has("EventLoopGroup") || has("eventLoop") {
        "share one Netty EventLoopGroup between clients, end it with shutdownGracefully(); \
         -Dio.netty.eventLoopThreads sets its size"
            .to_owned()
    } else if has("-exec-") || has("http-nio") {
        "server.tomcat.threads.max (Spring Boot) or maxThreads of Tomcat's Connector bounds it".to_owned()
    } else if has("commonPool") {
        "-Djava.util.concurrent.ForkJoinPool.common.parallelism and .maximumSpares bound it; keep blocking calls out \
         of it"
            .to_owned()
    } else if has("ForkJoinPool") {
        "make one ForkJoinPool and keep it, or close() it (JDK 19+) after use".to_owned()
    } else if has("pool-*-thread-*") {
        "an executor is made again and again, or a cached one never stops growing: share one ThreadPoolExecutor with a \
         maximum and a bounded queue; shutdown() what is temporary (try-with-resources from JDK 19)"
            .to_owned()
    } else if has("Timer-") {
        "cancel() each java.util.Timer, or share one ScheduledThreadPoolExecutor".to_owned()
    } else if has("HttpClient") || has("OkHttp") {
        "share one HTTP client; java.net.http.HttpClient has close() from JDK 21".to_owned()
    } else if has("Thread-") {
        "threads are made with new Thread(): use an executor with a bound".to_owned()
    } else {
        "find the executor or client that names its threads so: share one, bound it, shut it down".to_owned()
    };
    vec![first, "give every task a timeout, so that its thread comes back".to_owned()]
}
