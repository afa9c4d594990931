//! What an expert would do while the snapshots come in: see what grows, look for its code, ask the
//! collector, say the verdict once it is certain, and go on watching.

use crate::clock::now_ms;
use crate::code::{NO_CODE, Search};
use crate::histogram::{self, Histogram};
use crate::output;
use crate::pauses::{Pauses, Step, heap_in_use, in_words};
use crate::verbs::jcmd;
use offheap_diagnose::{
    ClassGrowth, Diagnosis, Evidence, Next, Suspect, caller, diagnose, needs_code, references_grow, suspect,
};
use offheap_model::units::{duration, rate};
use offheap_model::{Domain, Finding, Profile, Snapshot, Status};
use offheap_present::terminal;
use std::io::{BufRead, IsTerminal, Write};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Seconds between two looks at how the verdict stands.
const LOOK: Duration = Duration::from_secs(2);
/// A look may use one part in so many of the time.
const SHARE: u32 = 20;
/// A leak as sure as this is told before the window ends; less is only suspected anyway.
const CERTAIN: f64 = 0.7;
/// The search begins no later than this part of the window: what comes then is too little to name a
/// site.
const LATEST: f64 = 0.75;
/// A collection needs this long before it, for something to be there that it could free; where it
/// came too early to tell, a second one comes in the middle of the window…
const COLLECT_AFTER: Duration = Duration::from_secs(14);
/// …and as long behind it, for what it frees to be gone: cleaners run after it.
const COLLECT_BEFORE_END: Duration = Duration::from_secs(4);
/// How long the JVM may take for a collection: a large heap on a busy machine.
const COLLECTION: Duration = Duration::from_secs(120);

/// When a full collection may be run in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Gc {
    /// If only that can tell a leak from garbage, and the pause that it is expected to make fits
    /// --max-pause.
    Auto,
    /// Never.
    Never,
    /// If only that can tell, however large the heap is.
    Always,
}

/// What may be done to the target beyond looking from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Load the agent, if the answer needs code.
    pub agent: bool,
    /// From the begin, whatever grows.
    pub agent_at_once: bool,
    /// Run a collection.
    pub gc: Gc,
    /// The longest pause that a collection or a count of the objects may be expected to make.
    pub max_pause: Duration,
    /// Only after asking, where somebody can be asked.
    pub ask: bool,
}

impl Allowed {
    /// Only look.
    pub const NOTHING: Allowed =
        Allowed { agent: false, agent_at_once: false, gc: Gc::Never, max_pause: Duration::ZERO, ask: false };
    /// The agent from the begin, and nothing else; not asked for.
    pub const AGENT: Allowed = Allowed { agent: true, agent_at_once: true, ..Allowed::NOTHING };

    /// Asks on the terminal, once, before the window begins. Where nobody can be asked the command
    /// itself is the consent: `--no-agent` is how to withhold it.
    pub fn ask(self, target: &str) -> Allowed {
        if !self.agent || !self.ask || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return self;
        }
        let question = format!(
            "If the answer needs code, offheap loads its agent into {target} (it stays there, asleep, afterwards; JDK 21 \
             and later print a warning about it){}. Allow that? [Y/n]",
            match self.gc {
                Gc::Never => String::new(),
                Gc::Auto => format!(
                    ", and may have it collect and count its objects where that is expected to stop it for at most {}",
                    in_words(self.max_pause)
                ),
                Gc::Always =>
                    ", and may have it collect and count its objects, however long that stops it".to_owned(),
            }
        );
        let _ = write!(std::io::stderr(), "{} ", terminal::wrap(&question, output::style(false).width, 0));
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        let said = std::io::stdin().lock().read_line(&mut answer).is_ok_and(|read| read > 0);
        let yes = said && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes");
        if yes { self } else { Allowed::NOTHING }
    }
}

/// Profiles are kept of so many instants of the window, for what grew between two of them.
const INSTANTS: u32 = 5;

/// What the search for the code found.
#[derive(Debug, Default)]
pub struct Found {
    /// The allocation sites.
    pub profile: Option<Profile>,
    /// The sites at several instants, milliseconds since the Unix epoch; the last one is `profile`.
    pub instants: Vec<(i64, Profile)>,
    /// Why there are none, though they were looked for.
    pub no_code: Option<String>,
    /// Classes that became more or fewer, over how many seconds.
    pub classes: Option<(Vec<ClassGrowth>, f64)>,
}

/// The procedure on one target.
#[derive(Debug)]
pub struct Procedure {
    allowed: Allowed,
    begun: Instant,
    length: Duration,
    search: Option<Search>,
    searched: bool,
    /// Java objects are sampled too.
    objects: bool,
    /// Blocks are sampled as closely as can be.
    closely: bool,
    collection: Option<JoinHandle<Collection>>,
    /// What the steps that stop the JVM took.
    pauses: Pauses,
    /// A collection at the end would leave of the sampled objects only those that stay, and may be
    /// run.
    objects_wait: bool,
    /// How many collections were run; `u32::MAX` where none may be.
    collected: u32,
    /// When the latest of them was begun.
    collected_after: Duration,
    look_at: Instant,
    told: Option<(Status, String)>,
    standing: String,
    instants: Vec<(i64, Profile)>,
    instant_at: Instant,
    no_code: Option<String>,
    count: Count,
    /// Whether the verdict leans to something that classes would explain, and of which process.
    leaning: Option<(bool, i32)>,
    /// The latest snapshot, by which pauses behind the window are predicted.
    latest: Option<Snapshot>,
}

/// How far the first class histogram is.
#[derive(Debug)]
enum Count {
    /// Not asked for yet.
    Wanted,
    /// Being taken, with so many bytes of heap in use.
    UnderWay(JoinHandle<anyhow::Result<Histogram>>, u64),
    /// There.
    Taken(Histogram),
    /// There will be none.
    Off,
}

/// A collection that was run: what to say of it, and the pause.
#[derive(Debug)]
struct Collection {
    text: String,
    took: Option<Duration>,
    used: u64,
}

impl Procedure {
    /// For a window of this length that begins now.
    pub fn new(allowed: Allowed, length: Duration) -> Procedure {
        let begun = Instant::now();
        Procedure {
            allowed,
            begun,
            length,
            search: None,
            searched: false,
            objects: false,
            closely: false,
            collection: None,
            pauses: Pauses::default(),
            objects_wait: false,
            collected: 0,
            collected_after: Duration::ZERO,
            look_at: if allowed.agent_at_once { begun } else { begun + LOOK },
            told: None,
            standing: "too early to say".to_owned(),
            instants: Vec::new(),
            instant_at: begun,
            no_code: None,
            count: Count::Wanted,
            leaning: None,
            latest: None,
        }
    }

    /// How the verdict stands, in a few words.
    pub fn standing(&self) -> &str {
        &self.standing
    }

    /// After each snapshot: does what is due, and gives the lines to say.
    pub fn step(&mut self, snapshots: &[Snapshot]) -> Vec<String> {
        let mut news = self.search.as_mut().map(Search::news).unwrap_or_default();
        self.remember(&news);
        if self.collection.as_ref().is_some_and(JoinHandle::is_finished) {
            news.extend(self.take_collection());
        }
        if matches!(&self.count, Count::UnderWay(thread, _) if thread.is_finished()) {
            news.extend(self.take_histogram());
        }
        let now = Instant::now();
        if now >= self.look_at {
            self.look(snapshots, &mut news);
            self.keep_instant();
            self.look_at = now + LOOK.max(now.elapsed() * SHARE);
        }
        let at = duration(self.begun.elapsed().as_secs_f64());
        news.into_iter().map(|news| format!("{at}: {news}")).collect()
    }

    /// The window is over: what the search found, and the last lines to say.
    pub fn finish(mut self) -> (Found, Vec<String>) {
        let mut news = Vec::new();
        news.extend(self.take_collection());
        news.extend(self.take_histogram());
        let since = self.begun.elapsed().saturating_sub(self.collected_after);
        let latest = self.latest.take();
        if let Some(snapshot) = latest.as_ref().filter(|_| self.objects_wait && since >= COLLECT_AFTER)
            && let Ok(pause) = self.may_stop_the_jvm(Step::Collect, Some(snapshot))
        {
            // Behind the last snapshot: the series are what the JVM does by itself.
            news.push(format!(
                "to leave of the sampled objects only those that stay: running GC.run{}",
                expected(pause)
            ));
            let collection = collect(snapshot.process.pid, used(Some(snapshot)));
            news.push(collection.text);
        }
        if let Some(search) = self.search.take() {
            self.instants.extend(search.profile().map(|profile| (now_ms(), profile)));
            let last = search.finish();
            self.remember(&last);
            news.extend(last);
        }
        let profile = self.instants.last().map(|(_, profile)| profile.clone());
        let classes = self.classes(latest.as_ref(), &mut news);
        (Found { profile, instants: self.instants, no_code: self.no_code, classes }, news)
    }

    /// What became of the classes since the first histogram, if that matters to how the verdict
    /// leans. The search for the classes is a bonus: where it fails the verdict stands without it.
    fn classes(
        &mut self,
        latest: Option<&Snapshot>,
        news: &mut Vec<String>,
    ) -> Option<(Vec<ClassGrowth>, f64)> {
        let (open, pid) = self.leaning?;
        let Count::Taken(first) = std::mem::replace(&mut self.count, Count::Off) else { return None };
        if !open {
            return None;
        }
        let pause = self.may_stop_the_jvm(Step::Count, latest).ok()?;
        news.push(format!("counting the objects by class again{}", expected(pause)));
        let last = histogram::take(pid).ok()?;
        news.push(counted(&last));
        Some(first.growth(&last))
    }

    /// Takes the first histogram once something seems to grow: the JVM stands still while it
    /// counts.
    fn count_classes(&mut self, evidence: &Evidence<'_>, verdict: &Finding, news: &mut Vec<String>) {
        self.leaning = Some((needs_code(verdict), evidence.pid()));
        let suspicious = self.searched || needs_code(verdict);
        let early = self.begun.elapsed() >= self.length / 6;
        let wanted = matches!(self.count, Count::Wanted);
        if !wanted || !self.allowed.agent || self.allowed.agent_at_once || !suspicious || !early {
            return;
        }
        match self.may_stop_the_jvm(Step::Count, evidence.last()) {
            Ok(pause) => {
                news.push(format!("counting the objects by class{}", expected(pause)));
                let pid = evidence.pid();
                let thread = std::thread::spawn(move || histogram::take(pid));
                self.count = Count::UnderWay(thread, used(evidence.last()));
            }
            Err(refusal) => {
                self.count = Count::Off;
                news.extend(refusal.map(|why| format!("the objects are not counted by class: {why}")));
            }
        }
    }

    /// Waits for a histogram that is being taken; what to say of it.
    fn take_histogram(&mut self) -> Option<String> {
        let (thread, used) = match std::mem::replace(&mut self.count, Count::Off) {
            Count::UnderWay(thread, used) => (thread, used),
            other => {
                self.count = other;
                return None;
            }
        };
        let histogram = thread.join().ok()?.ok()?;
        self.pauses.measured(Step::Count, histogram.took(), used);
        let text = counted(&histogram);
        self.count = Count::Taken(histogram);
        Some(text)
    }

    fn take_collection(&mut self) -> Option<String> {
        let collection = self.collection.take()?.join().ok()?;
        if let Some(took) = collection.took {
            self.pauses.measured(Step::Collect, took, collection.used);
        }
        Some(collection.text)
    }

    /// Whether the JVM may be stopped for `step`, and for how long it is expected to be, where that
    /// is known.
    ///
    /// # Errors
    /// It may not; with the reason where a flag of the user's would allow it.
    fn may_stop_the_jvm(
        &self,
        step: Step,
        snapshot: Option<&Snapshot>,
    ) -> Result<Option<Duration>, Option<String>> {
        let Some(snapshot) = snapshot.filter(|snapshot| snapshot.jvm.is_some()) else { return Err(None) };
        let pause = self.pauses.predict(step, snapshot);
        match (self.allowed.gc, pause) {
            (Gc::Never, _) => Err(None),
            (Gc::Always, pause) => Ok(pause),
            (Gc::Auto, Some(pause)) if pause <= self.allowed.max_pause => Ok(Some(pause)),
            (Gc::Auto, Some(pause)) => Err(Some(format!(
                "that could stop the JVM for {}, longer than --max-pause {}",
                in_words(pause),
                in_words(self.allowed.max_pause)
            ))),
            (Gc::Auto, None) => Err(Some(
                "how long that would stop the JVM can't be told (part of it is swapped out, or its heap can't be read); \
                 --gc always does it all the same"
                    .to_owned(),
            )),
        }
    }

    /// Keeps the sites as they are now, when it is time.
    fn keep_instant(&mut self) {
        if self.search.is_none() || Instant::now() < self.instant_at {
            return;
        }
        self.instant_at = Instant::now() + self.length / INSTANTS;
        self.instants
            .extend(self.search.as_ref().and_then(Search::profile).map(|profile| (now_ms(), profile)));
    }

    fn remember(&mut self, news: &[String]) {
        let why = news.iter().find(|news| news.starts_with(NO_CODE)).cloned();
        self.no_code = why.or(self.no_code.take());
    }

    fn look(&mut self, snapshots: &[Snapshot], news: &mut Vec<String>) {
        let evidence = Evidence::of(snapshots);
        let diagnosis = diagnose(&evidence);
        self.search_if_needed(&evidence, &diagnosis.verdict, news);
        self.sample_more_if_needed(&evidence, &diagnosis);
        self.collect_if_needed(&evidence, &diagnosis, news);
        self.objects_wait = self.objects && heap_is_open(&diagnosis);
        self.latest = evidence.last().cloned();
        let verdict = &diagnosis.verdict;
        self.count_classes(&evidence, verdict, news);
        self.standing = match verdict.status {
            Status::Inconclusive => format!("so far {}", rate(diagnosis.rss.slope_bytes_per_s)),
            status => format!("looks like {status}: {} ({:.0} %)", verdict.cause, verdict.confidence * 100.0),
        };
        if verdict.status == Status::Leak && verdict.confidence >= CERTAIN {
            self.tell(evidence, diagnosis.verdict, news);
        }
    }

    /// Says the verdict with its site, when it is new.
    fn tell(&mut self, evidence: Evidence<'_>, verdict: Finding, news: &mut Vec<String>) {
        let profile = self.search.as_ref().and_then(Search::profile);
        let verdict = match &profile {
            Some(profile) => diagnose(&evidence.with_profile(profile)).verdict,
            None => verdict,
        };
        if verdict.status != Status::Leak {
            // The code tells that it is none.
            return;
        }
        let told = (verdict.status, verdict.cause.clone());
        if self.told.as_ref() != Some(&told) {
            news.push(format!(
                "{} {} ({}, {:.0} % sure){}; watching on to the end of the window",
                verdict.status,
                verdict.cause,
                rate(verdict.slope_bytes_per_s),
                verdict.confidence * 100.0,
                verdict
                    .site
                    .as_ref()
                    .and_then(|site| caller(&site.frames))
                    .map_or_else(String::new, |frame| format!(" in {}", frame.name))
            ));
            self.told = Some(told);
        }
    }

    fn search_if_needed(&mut self, evidence: &Evidence<'_>, verdict: &Finding, news: &mut Vec<String>) {
        let passed = self.begun.elapsed();
        if self.searched || !self.allowed.agent {
            return;
        }
        let length = self.length.as_secs_f64();
        let (why, per_s) = match suspect(evidence, length) {
            // All code is wanted, so as finely as the target can bear.
            _ if self.allowed.agent_at_once => ("code is asked for".to_owned(), 0.0),
            Some(suspect) => {
                (format!("{} seems to grow ({})", suspect.domain, rate(suspect.per_s)), suspect.per_s)
            }
            None if is_open(verdict) => (format!("{} grows", verdict.cause), verdict.slope_bytes_per_s),
            None => return,
        };
        if passed.as_secs_f64() > LATEST * length {
            // Said at the end, if it is still so then: who grows for so short a time is seldom the
            // one.
            self.no_code.get_or_insert_with(|| {
                format!(
                    "{NO_CODE}: {why}, but that showed only after {} of {}, too late to look for it; a longer window would",
                    duration(passed.as_secs_f64()),
                    duration(length)
                )
            });
            return;
        }
        self.searched = true;
        if !evidence.is_jvm() {
            news.push(format!("{why}: looking for the code"));
            self.search = Some(Search::start_without_jvm(evidence.pid()));
            return;
        }
        news.push(format!("{why}: loading the agent, to name the code"));
        let remaining = self.length.saturating_sub(passed);
        self.search = Some(Search::start(evidence.pid(), per_s, remaining));
    }

    /// Has the JVM sample its objects once the Java heap is what seems to grow, and looks closely
    /// for who makes the references of JNI code where those hold it.
    fn sample_more_if_needed(&mut self, evidence: &Evidence<'_>, diagnosis: &Diagnosis) {
        let Some(search) = &self.search else { return };
        if !self.closely && references_grow(evidence) {
            self.closely = true;
            search.sample_closely();
        }
        if self.objects {
            return;
        }
        let of_heap = |suspect: Suspect| suspect.domain == Domain::JavaHeap;
        // Not only the verdict: what a collector keeps of the objects may seem to grow more than
        // they do.
        let found = heap_is_open(diagnosis);
        if found || suspect(evidence, self.length.as_secs_f64()).is_some_and(of_heap) {
            self.objects = true;
            search.sample_objects();
        }
    }

    fn collect_if_needed(&mut self, evidence: &Evidence<'_>, diagnosis: &Diagnosis, news: &mut Vec<String>) {
        let passed = self.begun.elapsed();
        let after = match self.collected {
            0 => COLLECT_AFTER.min(self.length / 2),
            // Where the first came late, a second one right behind it would find nothing to free.
            1 => (self.length / 2).max(self.collected_after + COLLECT_AFTER),
            _ => return,
        };
        let in_time = passed >= after && passed + COLLECT_BEFORE_END <= self.length;
        if !in_time || self.collection.is_some() || diagnosis.next != Some(Next::Collect) {
            return;
        }
        // The count comes first: it tells how long the collection will take.
        if matches!(self.count, Count::UnderWay(..)) {
            return;
        }
        let pause = match self.may_stop_the_jvm(Step::Collect, evidence.last()) {
            Ok(pause) => pause,
            Err(refusal) => {
                if let Some(why) = refusal.filter(|_| self.allowed.agent) {
                    news.push(format!("only a full collection could tell a leak from garbage, and {why}"));
                }
                self.collected = u32::MAX;
                return;
            }
        };
        self.collected += 1;
        self.collected_after = passed;
        news.push(format!(
            "only a collection can tell a leak from garbage: running GC.run{}",
            expected(pause)
        ));
        let (pid, used) = (evidence.pid(), used(evidence.last()));
        self.collection = Some(std::thread::spawn(move || collect(pid, used)));
    }
}

/// What a count of the objects cost.
fn counted(histogram: &Histogram) -> String {
    format!("the count stopped the JVM for at most {}", in_words(histogram.took()))
}

/// Bytes of the Java heap in use in a snapshot.
fn used(snapshot: Option<&Snapshot>) -> u64 {
    snapshot.and_then(|snapshot| snapshot.jvm.as_ref()).map_or(0, heap_in_use)
}

/// A pause that is predicted, in brackets.
fn expected(pause: Option<Duration>) -> String {
    pause.map_or_else(String::new, |pause| {
        format!(" (expected to stop the JVM for at most {})", in_words(pause))
    })
}

/// Whether the answer needs code, or more to go by.
fn is_open(verdict: &Finding) -> bool {
    let of_heap = verdict.domain == Some(Domain::JavaHeap);
    verdict.status == Status::Leak || needs_code(verdict) && of_heap
}

/// Whether one of the findings leaves the Java heap open.
fn heap_is_open(diagnosis: &Diagnosis) -> bool {
    diagnosis.findings.iter().any(|finding| is_open(finding) && finding.domain == Some(Domain::JavaHeap))
}

/// Has the JVM run one full collection.
fn collect(pid: i32, used: u64) -> Collection {
    let text = |text| Collection { text, took: None, used };
    let session = match jcmd::open(pid, COLLECTION) {
        Ok(session) => session,
        Err(error) => return text(format!("no collection: {error:#}")),
    };
    let begun = Instant::now();
    match session.jcmd("GC.run") {
        Ok(reply) if reply.text.contains("disabled") => text(format!("the JVM says: {}", reply.text.trim())),
        Ok(_) => {
            let took = begun.elapsed();
            let text = format!("the collection took {}", in_words(took));
            Collection { text, took: Some(took), used }
        }
        Err(error) => text(format!("no collection: {error:#}")),
    }
}

/// Says lines on standard error.
pub fn say(lines: &[String]) {
    for line in lines {
        output::note(line);
    }
}
