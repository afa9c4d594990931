//! What an expert would do while the snapshots come in: see what grows, look for its code, ask the
//! collector, say the verdict once it is certain, and go on watching.

use super::actions::{Actions, Hunt};
use super::allowed::{Allowed, Gc};
use super::events::{Collected, Event, NoCode, Purpose, SearchProgress, TooLong, Why};
use super::histogram::Histogram;
use super::pauses::{Pauses, Step, heap_in_use};
use offheap_diagnose::{
    ClassGrowth, Diagnosis, Evidence, Next, Suspect, caller, diagnose, needs_code, references_grow,
    rules::virtual_threads_grow, suspect,
};
use offheap_model::units::rate;
use offheap_model::{Domain, Finding, Profile, Snapshot, Status};
use std::time::Duration;

/// Seconds between two looks at how the verdict stands.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A look may use one part in this many of a core. To wait for the agent, which is loaded
/// meanwhile, costs nobody anything.
/// Unit: parts.
const LOOK_SHARE: u32 = 20;
/// A leak as sure as this is told before the window ends; less is only suspected anyway.
const CERTAIN_ENOUGH: f64 = 0.7;
/// The search starts no later than this part of the window: what comes then is too little to name a
/// site.
const LATEST_SEARCH: f64 = 0.75;
/// A collection needs this long before it, for something to be there that it could free; where it
/// came too early to tell, a second one comes in the middle of the window.
/// Chosen: nominal 15 s, less the slack of a first snapshot.
const COLLECT_AFTER: Duration = Duration::from_secs(14);
/// A collection needs this long behind it, for what it frees to be gone: cleaners run after it.
const COLLECT_BEFORE_END: Duration = Duration::from_secs(4);
/// Profiles are kept of this many instants of the window, for what grew between two of them.
const INSTANTS: u32 = 5;

/// What the search for the code found.
#[derive(Debug, Default)]
pub struct SearchResult {
    /// The allocation sites.
    pub profile: Option<Profile>,
    /// The sites at several instants, milliseconds since the Unix epoch; the last one is `profile`.
    pub instants: Vec<(i64, Profile)>,
    /// Why there are none, though they were looked for.
    pub no_code: Option<NoCode>,
    /// Classes that became more or fewer, over how many seconds.
    pub classes: Option<(Vec<ClassGrowth>, f64)>,
}

/// The procedure on one target.
#[derive(Debug)]
pub struct Procedure {
    allowed: Allowed,
    length: Duration,
    searched: bool,
    /// Java objects are sampled too.
    objects: bool,
    /// Blocks are sampled as closely as can be.
    closely: bool,
    /// A collection is under way, with so many bytes of heap in use.
    collecting: Option<u64>,
    /// What the steps that stop the JVM took.
    pauses: Pauses,
    /// A collection at the end would leave of the sampled objects only those that stay, and may be
    /// run.
    objects_wait: bool,
    /// How many collections were run; `u32::MAX` where none may be.
    collected: u32,
    /// When the latest of them was begun.
    collected_after: Duration,
    look_at: Duration,
    announced: Option<(Status, String)>,
    interim_verdict: String,
    instants: Vec<(i64, Profile)>,
    instant_at: Duration,
    no_code: Option<NoCode>,
    count: Count,
    /// Whether classes would explain the verdict as it stands, and of which process.
    classes_matter: Option<(bool, i32)>,
    /// The latest snapshot, by which pauses behind the window are predicted.
    latest: Option<Snapshot>,
}

/// How far the first class histogram is.
#[derive(Debug)]
enum Count {
    /// Not asked for yet.
    Wanted,
    /// Being taken, with so many bytes of heap in use.
    UnderWay(u64),
    /// There.
    Taken(Histogram),
    /// There will be none.
    Off,
}

impl Procedure {
    /// For a window of this length that starts now.
    pub fn new(allowed: Allowed, length: Duration) -> Procedure {
        Procedure {
            allowed,
            length,
            searched: false,
            objects: false,
            closely: false,
            collecting: None,
            pauses: Pauses::default(),
            objects_wait: false,
            collected: 0,
            collected_after: Duration::ZERO,
            look_at: if allowed.agent_at_once { Duration::ZERO } else { LOOK_EVERY },
            announced: None,
            interim_verdict: "too early to say".to_owned(),
            instants: Vec::new(),
            instant_at: Duration::ZERO,
            no_code: None,
            count: Count::Wanted,
            classes_matter: None,
            latest: None,
        }
    }

    /// How the verdict stands, in a few words.
    pub fn interim_verdict(&self) -> &str {
        &self.interim_verdict
    }

    /// After each snapshot: does what is due, and tells it.
    pub fn step(&mut self, snapshots: &[Snapshot], actions: &mut dyn Actions) -> Vec<Event> {
        let mut events = Vec::new();
        self.take_progress(actions.search_progress(), &mut events);
        self.take_collection(actions, false, &mut events);
        self.take_histogram(actions, false, &mut events);
        let now = actions.now();
        if now >= self.look_at {
            let spent = actions.spent();
            self.look(snapshots, actions, &mut events);
            self.keep_instant(actions);
            self.look_at = now + LOOK_EVERY.max(actions.spent().saturating_sub(spent) * LOOK_SHARE);
        }
        events
    }

    /// The window is over: what the search found, and what was still done.
    pub fn finish(mut self, actions: &mut dyn Actions) -> (SearchResult, Vec<Event>) {
        let mut events = Vec::new();
        self.take_collection(actions, true, &mut events);
        self.take_histogram(actions, true, &mut events);
        let since = actions.now().saturating_sub(self.collected_after);
        let latest = self.latest.take();
        if let Some(snapshot) = latest.as_ref().filter(|_| self.objects_wait && since >= COLLECT_AFTER)
            && let Ok(pause) = self.may_stop_the_jvm(Step::Collect, Some(snapshot))
        {
            // Behind the last snapshot: the series are what the JVM does by itself.
            events.push(Event::Collecting { purpose: Purpose::Objects, pause });
            actions.collect(snapshot.process.pid);
            events.extend(actions.collected(true).map(Event::Collected));
        }
        if self.searched {
            self.instants.extend(actions.profile().map(|profile| (actions.now_ms(), profile)));
            self.take_progress(actions.end_search(), &mut events);
        }
        let profile = self.instants.last().map(|(_, profile)| profile.clone());
        let classes = self.classes(latest.as_ref(), actions, &mut events);
        (SearchResult { profile, instants: self.instants, no_code: self.no_code, classes }, events)
    }

    /// What became of the classes since the first histogram, if classes matter to the
    /// verdict. The search for the classes is a bonus: where it fails the verdict stands without it.
    fn classes(
        &mut self,
        latest: Option<&Snapshot>,
        actions: &mut dyn Actions,
        events: &mut Vec<Event>,
    ) -> Option<(Vec<ClassGrowth>, f64)> {
        let (open, pid) = self.classes_matter?;
        let Count::Taken(first) = std::mem::replace(&mut self.count, Count::Off) else { return None };
        if !open {
            return None;
        }
        let pause = self.may_stop_the_jvm(Step::Count, latest).ok()?;
        events.push(Event::Counting { again: true, pause });
        actions.count(pid);
        let last = actions.counted(true)??;
        events.push(Event::Counted(last.took()));
        Some(first.growth(&last))
    }

    /// Takes the first histogram once something seems to grow: the JVM stands still while it
    /// counts.
    fn count_classes(
        &mut self,
        evidence: &Evidence<'_>,
        verdict: &Finding,
        actions: &mut dyn Actions,
        events: &mut Vec<Event>,
    ) {
        self.classes_matter = Some((needs_code(verdict), evidence.pid()));
        let suspicious = self.searched || needs_code(verdict);
        let early = actions.now() >= self.length / 6;
        let wanted = matches!(self.count, Count::Wanted);
        if !wanted || !self.allowed.agent || self.allowed.agent_at_once || !suspicious || !early {
            return;
        }
        match self.may_stop_the_jvm(Step::Count, evidence.last()) {
            Ok(pause) => {
                events.push(Event::Counting { again: false, pause });
                actions.count(evidence.pid());
                self.count = Count::UnderWay(used(evidence.last()));
            }
            Err(refusal) => {
                self.count = Count::Off;
                events.extend(refusal.map(Event::NotCounted));
            }
        }
    }

    /// Takes a histogram that is being taken, once it is there; where `wait`, waits for it.
    fn take_histogram(&mut self, actions: &mut dyn Actions, wait: bool, events: &mut Vec<Event>) {
        let Count::UnderWay(used) = self.count else { return };
        let Some(histogram) = actions.counted(wait) else { return };
        self.count = match histogram {
            Some(histogram) => {
                self.pauses.measured(Step::Count, histogram.took(), used);
                events.push(Event::Counted(histogram.took()));
                Count::Taken(histogram)
            }
            None => Count::Off,
        };
    }

    fn take_collection(&mut self, actions: &mut dyn Actions, wait: bool, events: &mut Vec<Event>) {
        let Some(used) = self.collecting else { return };
        let Some(collected) = actions.collected(wait) else { return };
        self.collecting = None;
        if let Collected::Took(took) = collected {
            self.pauses.measured(Step::Collect, took, used);
        }
        events.push(Event::Collected(collected));
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
    ) -> Result<Option<Duration>, Option<TooLong>> {
        let Some(snapshot) = snapshot.filter(|snapshot| snapshot.jvm.is_some()) else { return Err(None) };
        let pause = self.pauses.predict(step, snapshot);
        match (self.allowed.gc, pause) {
            (Gc::Never, _) => Err(None),
            (Gc::Always, pause) => Ok(pause),
            (Gc::Auto, Some(pause)) if pause <= self.allowed.max_pause => Ok(Some(pause)),
            (Gc::Auto, Some(pause)) => Err(Some(TooLong::Longer { pause, most: self.allowed.max_pause })),
            (Gc::Auto, None) => Err(Some(TooLong::Unknown)),
        }
    }

    /// Keeps the sites as they are now, when it is time.
    fn keep_instant(&mut self, actions: &mut dyn Actions) {
        if !self.searched || actions.now() < self.instant_at {
            return;
        }
        self.instant_at = actions.now() + self.length / INSTANTS;
        self.instants.extend(actions.profile().map(|profile| (actions.now_ms(), profile)));
    }

    fn take_progress(&mut self, progress: Vec<SearchProgress>, events: &mut Vec<Event>) {
        let mut reasons = progress.iter().filter_map(|progress| match progress {
            SearchProgress::NoCode(why) => Some(why.clone()),
            _ => None,
        });
        self.no_code = reasons.next().or(self.no_code.take());
        events.extend(progress.into_iter().map(Event::Search));
    }

    fn look(&mut self, snapshots: &[Snapshot], actions: &mut dyn Actions, events: &mut Vec<Event>) {
        let evidence = Evidence::of(snapshots);
        let diagnosis = diagnose(&evidence);
        self.search_if_needed(&evidence, &diagnosis.verdict, actions, events);
        self.sample_more_if_needed(&evidence, &diagnosis, actions);
        self.collect_if_needed(&evidence, &diagnosis, actions, events);
        self.objects_wait = self.objects && heap_is_open(&diagnosis);
        self.latest = evidence.last().cloned();
        let verdict = &diagnosis.verdict;
        self.count_classes(&evidence, verdict, actions, events);
        self.interim_verdict = match verdict.status {
            Status::Inconclusive => format!("so far {}", rate(diagnosis.rss.slope_bytes_per_s)),
            status => format!("looks like {status}: {} ({:.0} %)", verdict.cause, verdict.confidence * 100.0),
        };
        if verdict.status == Status::Leak && verdict.confidence >= CERTAIN_ENOUGH {
            self.announce(evidence, diagnosis.verdict, actions, events);
        }
    }

    /// Says the verdict with its site, when it is new.
    fn announce(
        &mut self,
        evidence: Evidence<'_>,
        verdict: Finding,
        actions: &mut dyn Actions,
        events: &mut Vec<Event>,
    ) {
        let profile = self.searched.then(|| actions.profile()).flatten();
        let verdict = match &profile {
            Some(profile) => diagnose(&evidence.with_profile(profile)).verdict,
            None => verdict,
        };
        if verdict.status != Status::Leak {
            // The code tells that it is none.
            return;
        }
        let new = (verdict.status, verdict.cause.clone());
        if self.announced.as_ref() != Some(&new) {
            let place = verdict.site.as_ref().and_then(|site| caller(&site.frames));
            events.push(Event::Certain {
                status: verdict.status,
                cause: verdict.cause.clone(),
                per_s: verdict.slope_bytes_per_s,
                confidence: verdict.confidence,
                place: place.map(|frame| frame.name.clone()),
            });
            self.announced = Some(new);
        }
    }

    fn search_if_needed(
        &mut self,
        evidence: &Evidence<'_>,
        verdict: &Finding,
        actions: &mut dyn Actions,
        events: &mut Vec<Event>,
    ) {
        if self.searched || !self.allowed.agent {
            return;
        }
        let (passed, length) = (actions.now(), self.length.as_secs_f64());
        let (why, per_s) = match suspect(evidence, length) {
            // All code is wanted, so as finely as the target can bear.
            _ if self.allowed.agent_at_once => (Why::Asked, 0.0),
            Some(suspect) => (Why::Seems(suspect.domain, suspect.per_s), suspect.per_s),
            None if is_open(verdict) => (Why::Grows(verdict.cause.clone()), verdict.slope_bytes_per_s),
            None => return,
        };
        if passed.as_secs_f64() > LATEST_SEARCH * length {
            // Said at the end, if it is still so then: who grows for so short a time is seldom the
            // one.
            let too_late = NoCode::TooLate { why, after: passed, length: self.length };
            self.no_code.get_or_insert(too_late);
            return;
        }
        self.searched = true;
        let agent = evidence.is_jvm();
        events.push(Event::Searching { why, agent });
        let hunt = if agent {
            Hunt::Agent { per_s, remaining: self.length.saturating_sub(passed) }
        } else {
            Hunt::WithoutJvm
        };
        actions.search(evidence.pid(), hunt);
    }

    /// Has the JVM sample its objects once the Java heap is what seems to grow, and looks closely
    /// for who makes the references of JNI code where those hold it.
    fn sample_more_if_needed(
        &mut self,
        evidence: &Evidence<'_>,
        diagnosis: &Diagnosis,
        actions: &mut dyn Actions,
    ) {
        if !self.searched {
            return;
        }
        if !self.closely && references_grow(evidence) {
            self.closely = true;
            actions.sample_closely();
        }
        if self.objects {
            return;
        }
        let of_heap = |suspect: Suspect| suspect.domain == Domain::JavaHeap;
        // Not only the verdict: what a collector keeps of the objects may seem to grow more than
        // they do.
        let found = heap_is_open(diagnosis) || virtual_threads_grow(evidence);
        if found || suspect(evidence, self.length.as_secs_f64()).is_some_and(of_heap) {
            self.objects = true;
            actions.sample_objects();
        }
    }

    fn collect_if_needed(
        &mut self,
        evidence: &Evidence<'_>,
        diagnosis: &Diagnosis,
        actions: &mut dyn Actions,
        events: &mut Vec<Event>,
    ) {
        let passed = actions.now();
        let after = match self.collected {
            0 => COLLECT_AFTER.min(self.length / 2),
            // Where the first came late, a second one right behind it would find nothing to free.
            1 => (self.length / 2).max(self.collected_after + COLLECT_AFTER),
            _ => return,
        };
        let in_time = passed >= after && passed + COLLECT_BEFORE_END <= self.length;
        if !in_time || self.collecting.is_some() || diagnosis.next != Some(Next::Collect) {
            return;
        }
        // The count comes first: it tells how long the collection will take.
        if matches!(self.count, Count::UnderWay(..)) {
            return;
        }
        let pause = match self.may_stop_the_jvm(Step::Collect, evidence.last()) {
            Ok(pause) => pause,
            Err(refusal) => {
                events.extend(refusal.filter(|_| self.allowed.agent).map(Event::NotCollected));
                self.collected = u32::MAX;
                return;
            }
        };
        self.collected += 1;
        self.collected_after = passed;
        events.push(Event::Collecting { purpose: Purpose::Garbage, pause });
        actions.collect(evidence.pid());
        self.collecting = Some(used(evidence.last()));
    }
}

/// Bytes of the Java heap in use in a snapshot.
fn used(snapshot: Option<&Snapshot>) -> u64 {
    snapshot.and_then(|snapshot| snapshot.jvm.as_ref()).map_or(0, heap_in_use)
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
