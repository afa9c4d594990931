//! Ten minutes in milliseconds: the session on processes that never were.

use super::actions::Hunt;
use super::events::{Collected, NoCode, Purpose, SearchProgress, TooLong};
use super::histogram::Histogram;
use super::*;
use offheap_diagnose::{Diagnosis, diagnose};
use offheap_formats::Figures;
use offheap_model::{Frame, FrameKind, Profile, ProfileSite, PythonHeld, Reach, Status};
use std::collections::VecDeque;

#[path = "../../../diagnose/tests/common/mod.rs"]
mod common;

use common::Random;
use common::world::{MB, World, jvm, native};

/// A process that was made up, and what was done to it.
#[derive(Default)]
struct Fake {
    now: Duration,
    every: Duration,
    snapshots: VecDeque<Snapshot>,
    /// What was done, and when.
    done: Vec<(u64, &'static str)>,
    /// The user has enough then.
    stopped: Option<Duration>,
    /// The process ends when there are no more snapshots.
    ends: bool,
    hunt: Option<Hunt>,
    progress: Vec<SearchProgress>,
    profile: Option<Profile>,
    /// How long a profile has to be waited for.
    slow: Duration,
    /// What a collection answers, and that one is under way.
    collection: Option<Collected>,
    collecting: bool,
    counting: bool,
    reach: Option<Reach>,
}

impl Fake {
    fn of(world: &World) -> Fake {
        let every = Duration::from_secs_f64(world.every_s);
        Fake { snapshots: world.snapshots().into(), every, ..Fake::default() }
    }

    fn did(&mut self, what: &'static str) {
        self.done.push((self.now.as_secs(), what));
    }

    /// The seconds at which something was done.
    fn when(&self, what: &str) -> Vec<u64> {
        self.done.iter().filter(|(_, done)| *done == what).map(|(at, _)| *at).collect()
    }
}

impl Actions for Fake {
    fn now(&self) -> Duration {
        self.now
    }

    fn spent(&self) -> Duration {
        Duration::ZERO
    }

    fn now_ms(&self) -> i64 {
        self.now.as_millis() as i64
    }

    fn snapshot(&mut self) -> anyhow::Result<Seen> {
        match self.snapshots.pop_front() {
            Some(snapshot) => Ok(Seen::Snapshot(Box::new(snapshot))),
            None if self.ends => Ok(Seen::Ended("it was killed".to_owned())),
            None => anyhow::bail!("there are no more snapshots"),
        }
    }

    fn wait(&mut self, end: Duration) -> bool {
        self.now += self.every;
        self.now <= end && self.stopped.is_none_or(|stopped| self.now < stopped)
    }

    fn reach(&mut self) -> Option<Reach> {
        self.did("reach");
        self.reach.clone()
    }

    fn python_holders(&mut self, _: &str) -> Option<PythonHeld> {
        self.did("python holders");
        None
    }

    fn search(&mut self, _: i32, hunt: Hunt) {
        self.did("search");
        self.hunt = Some(hunt);
    }

    fn search_progress(&mut self) -> Vec<SearchProgress> {
        if self.hunt.is_some() { std::mem::take(&mut self.progress) } else { Vec::new() }
    }

    fn profile(&mut self) -> Option<Profile> {
        self.now += self.slow;
        self.hunt.and_then(|_| self.profile.clone())
    }

    fn sample_objects(&mut self) {
        self.did("sample objects");
    }

    fn sample_closely(&mut self) {
        self.did("sample closely");
    }

    fn end_search(&mut self) -> Vec<SearchProgress> {
        self.did("end search");
        Vec::new()
    }

    fn collect(&mut self, _: i32) {
        self.did("collect");
        self.collecting = true;
    }

    fn collected(&mut self, _: bool) -> Option<Collected> {
        std::mem::take(&mut self.collecting).then(|| self.collection.clone()).flatten()
    }

    fn count(&mut self, _: i32) {
        self.did("count");
        self.counting = true;
    }

    fn counted(&mut self, _: bool) -> Option<Option<Histogram>> {
        let histogram = || Histogram::of(Figures::default(), self.now, Duration::from_millis(80));
        std::mem::take(&mut self.counting).then(|| Some(histogram()))
    }
}

/// Who listens, and keeps all of it.
#[derive(Default)]
struct Kept {
    events: Vec<(Option<u64>, Event)>,
    interim_verdict: String,
}

impl Kept {
    fn first(&self, wanted: impl Fn(&Event) -> bool) -> Option<u64> {
        self.events.iter().find(|(_, event)| wanted(event)).and_then(|(at, _)| *at)
    }

    fn words(&self) -> Vec<String> {
        self.events.iter().map(|(_, event)| event.to_string()).collect()
    }
}

impl Audience for Kept {
    fn event(&mut self, at: Option<Duration>, event: &Event) {
        self.events.push((at.map(|at| at.as_secs()), event.clone()));
    }

    fn interim_verdict(&mut self, _: Duration, _: u64, words: &str) {
        words.clone_into(&mut self.interim_verdict);
    }

    fn busy(&mut self, _: &str) {}
}

/// All may be done, without asking, within half a second's pause.
const ALL: Allowed = Allowed {
    agent: true,
    agent_at_once: false,
    gc: Gc::Auto,
    max_pause: Duration::from_millis(500),
    ask: false,
};

fn run(fake: &mut Fake, seconds: u64, allowed: Allowed) -> (Observed, Kept) {
    let mut kept = Kept::default();
    let task = Task { length: Duration::from_secs(seconds), allowed, references: References::Followed };
    let observed = task.run(fake, &mut kept).expect("it was watched");
    (observed, kept)
}

fn verdict(observed: &Observed) -> Diagnosis {
    let evidence = Evidence::of(&observed.snapshots);
    match &observed.search.profile {
        Some(profile) => diagnose(&evidence.with_profile(profile)),
        None => diagnose(&evidence),
    }
}

/// Malloc grows by so many bytes a second.
fn leaking(world: World, per_s: f64) -> World {
    world.with(|t, state| state.malloc += per_s * t)
}

/// A profile with one site.
fn profile(bytes: u64) -> Profile {
    let frame =
        |name: &str, kind| Frame { name: name.to_owned(), kind, file: None, line: None, module: None };
    let site = ProfileSite {
        live_bytes: bytes,
        live_count: 1_000,
        leak_bytes: bytes,
        allocated_bytes: bytes,
        stack: vec![0, 1],
        ..ProfileSite::default()
    };
    Profile {
        frames: vec![frame("block_new", FrameKind::Native), frame("app.Store.put", FrameKind::Java)],
        sites: vec![site],
        ..Profile::default()
    }
}

#[test]
fn a_leak_of_ten_minutes_is_searched_told_and_judged() {
    // One snapshot each five seconds.
    let world = World { every_s: 5.0, ..jvm(121, 3.0, &mut Random::new(7)) };
    let world = leaking(world, 0.4 * MB);
    let mut fake = Fake::of(&world);
    fake.progress = vec![SearchProgress::Loaded(Duration::from_millis(40)), SearchProgress::Interval(65_536)];
    let (observed, kept) = run(&mut fake, 600, ALL);

    assert_eq!(observed.snapshots.len(), 121);
    assert_eq!(verdict(&observed).verdict.status, Status::Leak);
    let searched = kept.first(|event| matches!(event, Event::Searching { agent: true, .. })).unwrap();
    let announced = kept.first(|event| matches!(event, Event::Certain { status: Status::Leak, .. })).unwrap();
    assert!(searched < 120 && announced < 300, "searched at {searched} s, announced at {announced} s");
    assert_eq!(fake.when("search").len(), 1);
    assert_eq!(fake.when("end search").len(), 1, "the agent is stopped");
    assert!(kept.interim_verdict.starts_with("looks like leak"), "{}", kept.interim_verdict);
    assert!(
        kept.words().iter().any(|words| words == "agent loaded in 0.0 s" || words.contains("agent loaded"))
    );
}

#[test]
fn the_same_window_gives_the_same_verdict_whoever_asks() {
    for per_s in [0.0, 0.3 * MB] {
        let world = leaking(jvm(61, 15.0, &mut Random::new(3)), per_s);
        // A recording of it, and a session that may do nothing.
        let recorded = diagnose(&Evidence::of(&world.snapshots()));
        let (watched, kept) = run(&mut Fake::of(&world), 60, Allowed::NOTHING);
        let watched = verdict(&watched);
        assert_eq!(watched.verdict.status, recorded.verdict.status);
        assert_eq!(watched.verdict.cause, recorded.verdict.cause);
        assert!(
            kept.events.iter().all(|(_, event)| matches!(event, Event::Certain { .. })),
            "{kept:?}",
            kept = kept.words()
        );
    }
}

#[test]
fn nothing_is_done_to_a_process_that_does_not_grow() {
    let level = |world: World| world.with(|_, state| state.malloc = 30.0 * MB);
    let random = || Random::new(5);
    for world in [level(jvm(61, 15.0, &mut random())), level(native(61, &mut random()))] {
        let mut fake = Fake::of(&world);
        let (observed, kept) = run(&mut fake, 60, ALL);
        assert_eq!(verdict(&observed).verdict.status, Status::Healthy);
        assert_eq!(kept.words(), Vec::<String>::new());
        assert!(fake.done.iter().all(|(_, what)| *what == "reach"), "{:?}", fake.done);
    }
}

#[test]
fn a_process_that_wavers_is_never_collected_nor_called_a_leak() {
    for seed in 0..6 {
        let mut fake = Fake::of(&jvm(61, 15.0, &mut Random::new(seed)));
        let (observed, kept) = run(&mut fake, 60, ALL);
        assert_eq!(verdict(&observed).verdict.status, Status::Healthy, "{seed}");
        assert!(fake.when("collect").is_empty(), "{seed}: {:?}", kept.words());
        let certain = |event: &Event| matches!(event, Event::Certain { .. });
        assert_eq!(kept.first(certain), None, "{seed}: {:?}", kept.words());
    }
}

#[test]
fn a_program_without_a_jvm_is_probed() {
    let mut fake = Fake::of(&leaking(native(61, &mut Random::new(1)), MB));
    let (_, kept) = run(&mut fake, 60, ALL);
    assert_eq!(fake.hunt, Some(Hunt::WithoutJvm));
    assert!(kept.first(|event| matches!(event, Event::Searching { agent: false, .. })).is_some());
    assert_eq!((fake.when("collect").len(), fake.when("count").len()), (0, 0));
}

#[test]
fn why_there_is_no_code_is_kept() {
    let mut fake = Fake::of(&leaking(jvm(61, 15.0, &mut Random::new(2)), MB));
    fake.progress = vec![SearchProgress::NoCode(NoCode::Failed("the JVM does not answer".to_owned()))];
    let (observed, kept) = run(&mut fake, 60, ALL);
    let said = "no code can be named: the JVM does not answer";
    assert_eq!(observed.search.no_code.unwrap().to_string(), said);
    assert!(kept.words().iter().any(|words| words == said));
}

#[test]
fn growth_that_shows_too_late_is_not_searched_for() {
    let world = jvm(61, 15.0, &mut Random::new(4)).with(|t, state| {
        state.malloc = 30.0 * MB + 3.0 * MB * (t - 36.0).max(0.0);
    });
    let mut fake = Fake::of(&world);
    let (observed, _) = run(&mut fake, 60, ALL);
    assert!(fake.when("search").is_empty());
    let why = observed.search.no_code.expect("it is said");
    assert!(matches!(why, NoCode::TooLate { .. }), "{why:?}");
    let why = why.to_string();
    assert!(why.contains("too late to look for it"), "{why}");
}

#[test]
fn code_that_is_asked_for_is_searched_from_the_start() {
    let mut fake = Fake::of(&jvm(31, 15.0, &mut Random::new(6)));
    fake.profile = Some(profile(1 << 20));
    let (observed, kept) = run(&mut fake, 30, Allowed::AGENT);
    assert_eq!(fake.when("search"), vec![0]);
    assert_eq!(kept.events[0].1.to_string(), "code is asked for: loading the agent, to name the code");
    assert!(observed.search.instants.len() > 2, "sites of several instants");
    assert!(fake.when("count").is_empty(), "and nothing else is done");
}

#[test]
fn who_wants_the_verdict_now_gets_it_and_the_agent_is_stopped() {
    let mut fake = Fake::of(&leaking(jvm(91, 15.0, &mut Random::new(8)), MB));
    fake.stopped = Some(Duration::from_secs(90));
    let (observed, _) = run(&mut fake, 600, ALL);
    assert_eq!(observed.snapshots.len(), 90);
    assert_eq!(fake.when("end search"), vec![90]);
    assert_eq!(observed.ended, None);
}

#[test]
fn a_process_that_ends_is_judged_by_what_was_seen() {
    let mut fake = Fake::of(&leaking(jvm(45, 15.0, &mut Random::new(9)), MB));
    fake.ends = true;
    let (observed, _) = run(&mut fake, 600, ALL);
    assert_eq!(observed.ended.as_deref(), Some("it was killed"));
    assert_eq!(verdict(&observed).verdict.status, Status::Leak);
    assert_eq!(fake.when("end search").len(), 1);

    let mut nobody = Fake { ends: true, ..Fake::default() };
    let task = Task { length: Duration::from_secs(9), allowed: ALL, references: References::Left };
    assert!(task.run(&mut nobody, &mut Kept::default()).is_err(), "nothing was seen of it");
}

/// Malloc grows, and only young collections come, which free no owners: only a full one can tell a
/// leak from garbage.
fn undecided() -> World {
    jvm(61, 12.0, &mut Random::new(3)).with(|t, state| {
        state.young = (t / 10.0) as u64;
        state.old_used = 20.0 * MB + 30.0 * MB * (t / 10.0).floor();
        state.heap_used = state.old_used + 3.2 * MB * (t % 10.0);
        state.direct = MB + 24e3 * t;
        state.malloc += MB * t;
    })
}

#[test]
fn a_collection_is_run_where_only_that_tells_and_its_pause_fits() {
    let mut fake = Fake::of(&undecided());
    fake.collection = Some(Collected::Took(Duration::from_millis(120)));
    let (_, kept) = run(&mut fake, 60, ALL);
    // Two within the window, and one behind it for the sampled objects.
    let at = fake.when("collect");
    assert!(at.len() == 3 && at[0] >= 14 && at[1] <= 56 && at[2] > 60, "{at:?}");
    let collecting =
        |event: &Event| matches!(event, Event::Collecting { purpose: Purpose::Garbage, pause: Some(_) });
    assert_eq!(kept.first(collecting), Some(at[0]));
    assert!(kept.words().iter().any(|words| words == "the collection took 120 ms"));
}

#[test]
fn to_wait_for_the_agent_delays_no_look() {
    // A busy machine: the agent takes two seconds to answer, each time.
    let mut fake = Fake::of(&undecided());
    fake.slow = Duration::from_secs(2);
    fake.collection = Some(Collected::Took(Duration::from_millis(120)));
    run(&mut fake, 60, ALL);
    assert!(fake.when("collect").first().is_some_and(|at| *at < 40), "{:?}", fake.done);
}

#[test]
fn a_pause_that_does_not_fit_is_not_made_and_said_once() {
    let few = Allowed { max_pause: Duration::from_millis(10), ..ALL };
    let mut fake = Fake::of(&undecided());
    let (_, kept) = run(&mut fake, 60, few);
    assert_eq!((fake.when("collect").len(), fake.when("count").len()), (0, 0));
    let refusals = kept.events.iter().filter(|(_, event)| {
        matches!(event, Event::NotCollected(TooLong::Longer { most, .. }) if most.as_millis() == 10)
    });
    assert_eq!(refusals.count(), 1, "{:?}", kept.words());

    // Whatever it takes; and never.
    let always = Allowed { gc: Gc::Always, ..few };
    let mut fake =
        Fake { collection: Some(Collected::Said("disabled".to_owned())), ..Fake::of(&undecided()) };
    run(&mut fake, 60, always);
    assert!(!fake.when("collect").is_empty());
    let never = Allowed { gc: Gc::Never, ..ALL };
    let mut fake = Fake::of(&undecided());
    let (_, kept) = run(&mut fake, 60, never);
    assert_eq!((fake.when("collect").len(), fake.when("count").len()), (0, 0));
    assert!(!kept.words().iter().any(|words| words.contains("--max-pause")), "it is what was asked for");
}

#[test]
fn references_are_followed_while_nothing_else_tells() {
    let looks = |reach: Option<Reach>| {
        let mut fake = Fake { reach, ..Fake::of(&undecided()) };
        run(&mut fake, 60, Allowed::NOTHING);
        fake.when("reach")
    };
    let at = looks(Some(Reach::default()));
    assert!((3..=8).contains(&at.len()), "three of them make a series: {at:?}");
    assert!(at.last().is_some_and(|last| *last >= 60), "and one at the end: {at:?}");
    // One that a collection has spoilt is made again sooner.
    let spoilt = looks(None);
    assert!((at.len() + 1..=20).contains(&spoilt.len()), "{spoilt:?}");
}

#[test]
fn what_a_session_says_is_plain() {
    let words = |event: Event| event.to_string();
    assert_eq!(
        words(Event::NotCounted(TooLong::Unknown)),
        "the objects are not counted by class: how long that would stop the JVM can't be told (part of it is swapped out, \
         or its heap can't be read); --gc always does it all the same"
    );
    assert_eq!(
        words(Event::Certain {
            status: Status::Leak,
            cause: "native-malloc-growth".to_owned(),
            per_s: 2.0 * 1_048_576.0,
            confidence: 0.92,
            place: Some("app.Store.put".to_owned()),
        }),
        "leak native-malloc-growth (+2.00 MiB/s, 92 % sure) in app.Store.put; watching on to the end of the window"
    );
    assert_eq!(
        words(Event::Counting { again: true, pause: Some(Duration::from_millis(240)) }),
        "counting the objects by class again (expected to stop the JVM for at most 240 ms)"
    );
    assert_eq!(
        words(Event::Counted(Duration::from_millis(80))),
        "the count stopped the JVM for at most 80 ms"
    );
    let collected = |collected| words(Event::Collected(collected));
    assert_eq!(collected(Collected::Said("disabled".to_owned())), "the JVM says: disabled");
    assert_eq!(collected(Collected::Failed("it is gone".to_owned())), "no collection: it is gone");
}
