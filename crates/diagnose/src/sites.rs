//! Sites: which code a finding speaks of, read off the stacks of a profile.

use crate::evidence::Evidence;
use crate::libraries::{advise, library_of};
use crate::names;
use crate::references;
use crate::rules::is_of_python;
use crate::verdict::needs_code;
use offheap_knowledge::{Answer, knowledge};
use offheap_model::{
    Domain, Evidence as Observation, Finding, Frame, FrameKind, FrameLabel, Profile, ProfileSite, Site,
    Status, units, vocabulary,
};
use std::collections::BTreeMap;

/// Code that allocates: the sites of the profile that one method or function is to answer for, with
/// what their stacks tell. One line that leaks makes many stacks: it is called from several places,
/// and a library's depths differ from call to call.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    /// Its largest site.
    pub site: &'a ProfileSite,
    /// The figures of all its sites.
    pub sum: Sum,
    /// Its stack, innermost first.
    pub frames: Vec<Frame>,
    /// What kind of memory it takes.
    pub domain: Domain,
    /// The well-known library in it.
    pub library: Option<Answer<'static>>,
}

/// Figures of several sites.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    /// How many stacks.
    pub stacks: usize,
    /// Live.
    pub live_bytes: u64,
    /// How many blocks that is.
    pub live_count: u64,
    /// Of the live bytes, those older than the window's tail.
    pub leak_bytes: u64,
    /// What counts as staying: see [`kept`].
    pub kept_bytes: f64,
    /// Allocated in the window, freed or not.
    pub allocated_bytes: u64,
    /// Growth of what is live.
    pub slope_bytes_per_s: f64,
    /// Its 95 % interval; the sum of its stacks' intervals, which is wider than it need be.
    pub slope_ci95: [f64; 2],
}

impl Sum {
    fn add(&mut self, site: &ProfileSite, kept: f64) {
        self.kept_bytes += kept;
        self.stacks += 1;
        self.live_bytes += site.live_bytes;
        self.live_count += site.live_count;
        self.leak_bytes += site.leak_bytes;
        self.allocated_bytes += site.allocated_bytes;
        let [low, high] = site.slope_ci95.filter(|ci| ci.iter().all(|v| v.is_finite())).unwrap_or_default();
        self.slope_ci95 = [self.slope_ci95[0] + low, self.slope_ci95[1] + high];
        self.slope_bytes_per_s += site.slope_bytes_per_s.filter(|slope| slope.is_finite()).unwrap_or(0.0);
    }
}

impl Origin<'_> {
    /// The native function that Java called: the outermost native frame below the innermost Java
    /// one.
    pub fn native_entry(&self) -> Option<&Frame> {
        let java = self.frames.iter().position(|f| f.kind == FrameKind::Java)?;
        self.frames.get(..java)?.iter().rev().find(|f| f.kind == FrameKind::Native && !is_plumbing(f))
    }

    /// The Java method nearest to the allocation that is neither the JDK's nor the library's.
    pub fn java_caller(&self) -> Option<&Frame> {
        caller(&self.frames)
    }

    /// The innermost frame that is neither the allocator itself nor a bridge.
    pub fn allocator(&self) -> Option<&Frame> {
        self.frames.iter().find(|f| !is_plumbing(f) && !passes_through(f))
    }

    /// Who has to answer for it: the application's method nearest to the allocation; without Java,
    /// the function.
    fn owner(&self) -> &str {
        self.java_caller().or_else(|| self.function()).map_or("", |frame| &frame.name)
    }

    /// See [`function`].
    fn function(&self) -> Option<&Frame> {
        function(self.frames.iter())
    }

    /// In words: `frame_new in libjni_codec.so, called by app.NativeCodec.handleFrame`.
    pub fn words(&self) -> String {
        let mut text = self.function().map_or_else(|| "unknown code".to_owned(), |f| names::folded(&f.name));
        if let Some(module) = self.function().and_then(|f| f.module.as_deref()) {
            text.push_str(&format!(" in {}", module.rsplit('/').next().unwrap_or(module)));
        }
        if let Some(caller) = self.java_caller().filter(|caller| Some(*caller) != self.function()) {
            text.push_str(&format!(", called by {}", caller.name));
            if let (Some(file), Some(line)) = (&caller.file, caller.line) {
                text.push_str(&format!(" ({file}:{line})"));
            }
        }
        text
    }
}

/// The frame that a person would call the culprit: the Java method nearest to the allocation that
/// is neither the JDK's nor a well-known library's; else the innermost Java method, of the JDK's
/// collections, threads and executors only where there is no other. `frames` run from the innermost
/// outwards.
pub fn caller(frames: &[Frame]) -> Option<&Frame> {
    let java = || frames.iter().filter(|f| f.kind == FrameKind::Java);
    let own = java().find(|f| !knowledge().recognises(f));
    // Where all of it is well known, the program is a well-known one.
    own.or_else(|| java().find(|f| !vocabulary::is_of_jdk(&f.name) && !knowledge().passes_through(f)))
        .or_else(|| java().find(|f| !["java.lang.", "java.util."].iter().any(|own| f.name.starts_with(own))))
        .or_else(|| java().next())
}

/// Whether a library only passes calls through to functions of others: it is not the one to answer
/// for what they allocate.
fn passes_through(frame: &Frame) -> bool {
    frame.kind == FrameKind::Native && knowledge().passes_through(frame)
}

/// The innermost function that is neither the allocator nor the C++ library, which is the same for
/// every leak; where there is none but these, the C++ library's. `frames` run from the innermost
/// outwards.
pub fn function<'a>(frames: impl Iterator<Item = &'a Frame> + Clone) -> Option<&'a Frame> {
    let of_std = |frame: &Frame| {
        // An inlined function is named without its namespace.
        let is_header = frame.file.as_deref().is_some_and(|file| file.contains("/include/c++/"));
        is_header || frame.name.trim_start_matches("void ").starts_with("std::")
    };
    let mut all = frames.filter(|frame| !is_plumbing(frame));
    all.clone().find(|frame| !of_std(frame) && !passes_through(frame)).or_else(|| all.next())
}

/// The source of what is said of a site: the agent…
pub(crate) const LIVE_TABLE: &str = "the agent's live table";
/// …or, without a JVM, the kernel.
const PROBES: &str = "probes at malloc's return, and a walk of the glibc heap";
const FAULTS: &str = "page faults, sampled by the kernel, and the page map";
/// Whether a stack's figures are of pages that it was first to write to.
pub fn is_of_pages(frames: &[Frame]) -> bool {
    frames.first().and_then(FrameLabel::of).is_some_and(FrameLabel::is_of_pages)
}

/// What the code of a stack did to the memory that its figures are of.
pub(crate) fn does(frames: &[Frame]) -> &'static str {
    if is_of_pages(frames) { "first written to" } else { "allocated" }
}

/// Who opened arenas is taken for who fills them where this share of what was opened stays open.
const ARENAS_STAY: f64 = 0.9;
/// Where less than this share of the arenas that were opened stays, it says nothing of who fills
/// them.
const ARENAS_COME_AND_GO: f64 = 0.5;
/// More sites than this are not looked at: they are ordered, and a leak is not the thousandth.
const MOST_SITES: usize = 1_000;
/// A site that was found by probes must grow by this share of the growth to be named as its code.
const EXPLAINED_SHARE: f64 = 0.25;
/// How sure it is that something is wrong where a collector's own structures grow; as for those
/// that have mappings of their own.
const FOLLOWS_CERTAINTY: f64 = 0.5;
/// A site must hold this share of the growing sites' bytes to be named as the one.
const NAMED_SHARE: f64 = 0.2;

/// The site that explains growth of `domain` best: the one with most bytes that stay, if those are
/// a good part of all.
pub(crate) fn best<'a>(evidence: &Evidence<'a>, domain: Domain) -> Option<Origin<'a>> {
    let profile = evidence.profile()?;
    let fits = |site: Domain| {
        site == domain
            || domain == Domain::Malloc
                && matches!(
                    site,
                    Domain::NativeMalloc | Domain::JvmInternal | Domain::DirectMemory | Domain::Gc
                )
    };
    let mut owners = owners(profile);
    owners.retain(|origin| fits(origin.domain) || domain == Domain::CodeCache && makes_stubs(&origin.frames));
    let kept = |origin: &Origin<'_>| origin.sum.kept_bytes;
    let all: f64 = owners.iter().map(kept).sum();
    owners.into_iter().filter(|origin| kept(origin) >= NAMED_SHARE * all).max_by(|a, b| {
        let by_slope = a.sum.slope_bytes_per_s.total_cmp(&b.sum.slope_bytes_per_s);
        let by_leak = a.sum.leak_bytes.cmp(&b.sum.leak_bytes);
        // Objects seem to stay until a collection comes, so what grew tells less than what was old
        // after the last one.
        if domain == Domain::JavaHeap { by_leak.then(by_slope) } else { by_slope.then(by_leak) }
    })
}

/// The code that makes objects of which `is` true, where the JVM samples its objects: the site that
/// keeps most of them.
pub(crate) fn maker_of<'a>(evidence: &Evidence<'a>, is: impl Fn(&[Frame]) -> bool) -> Option<Origin<'a>> {
    let makes = |origin: &Origin<'_>| origin.domain == Domain::JavaHeap && is(&origin.frames);
    let makers = owners(evidence.profile()?).into_iter().filter(makes);
    makers.max_by(|a, b| a.sum.kept_bytes.total_cmp(&b.sum.kept_bytes))
}

/// The Java frames below the interpreter, from the innermost outwards, of who has Python make what
/// stays: told by blocks of the C heap that objects keep their elements in; where there are none,
/// by who opened the arenas, if all did so and none was given back.
pub(crate) fn java_below_python(evidence: &Evidence<'_>) -> Vec<Frame> {
    let Some(profile) = evidence.profile() else { return Vec::new() };
    let all = owners(profile);
    let of_python = |origin: &&Origin<'_>| origin.function().is_some_and(is_cpython);
    let most = |domain: Domain| {
        let mine = all.iter().filter(of_python).filter(move |origin| origin.domain == domain);
        let kept: f64 = mine.clone().map(|origin| origin.sum.kept_bytes).sum();
        let best = mine.max_by(|a, b| a.sum.kept_bytes.total_cmp(&b.sum.kept_bytes))?;
        Some((best, best.sum.kept_bytes >= ARENAS_STAY * kept))
    };
    let stays = |origin: &&Origin<'_>| {
        origin.sum.live_bytes as f64 >= ARENAS_STAY * origin.sum.allocated_bytes as f64
    };
    let alone = |domain| most(domain).filter(|(_, alone)| *alone).map(|(origin, _)| origin).filter(stays);
    let Some(origin) = alone(Domain::NativeMalloc).or_else(|| alone(Domain::PythonHeap)) else {
        return Vec::new();
    };
    let java = origin.frames.iter().position(|frame| frame.kind == FrameKind::Java);
    java.and_then(|at| origin.frames.get(at..)).unwrap_or_default().to_vec()
}

/// Whether a stack makes entry points for native callers, whose code is in the code cache and its
/// handles in the C heap.
fn makes_stubs(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| {
        ["UpcallLinker", "UpcallStub", "upcallStub"].iter().any(|part| frame.name.contains(part))
    })
}

/// All code of the profile that keeps something, in the order of its names.
pub(crate) fn owners(profile: &Profile) -> Vec<Origin<'_>> {
    let mut owners: BTreeMap<String, Origin<'_>> = BTreeMap::new();
    // Ordered by what stays, so that the first site of an owner is its largest.
    for site in profile.sites.iter().take(MOST_SITES).filter(|site| kept(site, profile.seconds) > 0.0) {
        let frames: Vec<Frame> =
            site.stack.iter().filter_map(|&i| profile.frames.get(i as usize)).cloned().collect();
        // Where the stack could not be unwound nobody is named.
        if frames.is_empty() || frames.iter().all(|frame| FrameLabel::of(frame) == Some(FrameLabel::NoStack))
        {
            continue;
        }
        let domain = domain_of(&frames);
        let origin = Origin { site, sum: Sum::default(), domain, library: library_of(&frames), frames };
        owners
            .entry(format!("{domain} {}", origin.owner()))
            .or_insert(origin)
            .sum
            .add(site, kept(site, profile.seconds));
    }
    owners.into_values().collect()
}

/// Bytes of a site that count as staying: those older than the window's tail, or, where blocks are
/// renewed while they grow (realloc makes each one young again), what surely came to be in the
/// window.
fn kept(site: &ProfileSite, seconds: f64) -> f64 {
    let surely = site.slope_ci95.map_or(0.0, |[low, _]| low.max(0.0)) * seconds;
    (site.leak_bytes as f64).max(if surely.is_finite() { surely } else { 0.0 })
}

/// Adds the site to a finding of growth, with the advice for its library.
pub(crate) fn attach(finding: &mut Finding, evidence: &Evidence<'_>) {
    let growing = needs_code(finding);
    let of_heap = finding.domain == Some(Domain::JavaHeap);
    if growing && let Some(site) = finding.site.clone() {
        // The rule has named the code itself.
        advise(finding, &site.frames);
    }
    if growing && of_heap && finding.site.is_none() && references::attach(finding, evidence) {
        return;
    }
    let Some(origin) =
        finding.domain.filter(|_| growing && finding.site.is_none()).and_then(|d| best(evidence, d))
    else {
        return;
    };
    // Probes in bursts miss blocks that are large and rare: what they have seen must then not pass
    // for the code.
    let is_probed = evidence.profile().is_some_and(|profile| profile.sampling.is_probed());
    if is_probed && origin.sum.slope_bytes_per_s < EXPLAINED_SHARE * finding.slope_bytes_per_s {
        return;
    }
    // Arenas that come and go are opened by who needs much for a moment, and not by who fills them.
    let opens = is_of_python(&finding.cause) && origin.domain == Domain::PythonHeap;
    if opens && (origin.sum.live_bytes as f64) < ARENAS_COME_AND_GO * origin.sum.allocated_bytes as f64 {
        return;
    }
    // What was C heap of unknown owner has one now, if this site is most of it.
    if finding.domain == Some(Domain::Malloc)
        && origin.sum.slope_bytes_per_s >= 0.5 * finding.slope_bytes_per_s
    {
        finding.domain = Some(origin.domain);
    }
    let of_interpreter = is_of_python(&finding.cause) && origin.function().is_some_and(is_cpython);
    if !of_interpreter {
        let (does, words) = (does(&origin.frames), origin.words());
        finding.summary.push_str(&format!(" Most of what stays is {does} by {words}."));
    } else if finding.domain != Some(Domain::PythonHeap)
        && let Some(maker) = maker(&origin)
    {
        finding.summary.push_str(&format!(" Most of what stays is made by {maker}."));
    } else if let Some(caller) = origin.java_caller() {
        // An arena is opened by whoever needs the next block: the objects in it may be others'.
        finding.summary.push_str(&format!(
            " Arenas were opened in {}, which need not be where the objects that stay are made.",
            caller.name
        ));
    }
    let source = match is_probed {
        true if is_of_pages(&origin.frames) => FAULTS,
        true => PROBES,
        false => LIVE_TABLE,
    };
    finding.evidence.push(Observation { text: age_words(&origin, is_probed), source: source.to_owned() });
    advise(finding, &origin.frames);
    if finding.domain == Some(Domain::Gc) && origin.domain == Domain::Gc {
        follows_the_heap(finding);
    }
    finding.site = Some(site(origin));
}

/// The extension's function that had CPython make an object with a block of its own.
fn maker(origin: &Origin<'_>) -> Option<String> {
    // Where no extension is in it, the interpreter was called by the C library's start.
    let of_extension = |frame: &&Frame| {
        frame.kind == FrameKind::Native
            && !is_plumbing(frame)
            && !is_cpython(frame)
            && !vocabulary::is_c_library(frame.file_name())
    };
    let maker = origin.frames.iter().find(of_extension)?;
    Some(format!("{} in {}", maker.name, maker.file_name()))
}

/// What a collector keeps beside the objects grows with a Java heap that leaks, and with one that
/// fills: it is no leak itself.
fn follows_the_heap(finding: &mut Finding) {
    finding.status = Status::Inconclusive;
    finding.confidence = finding.confidence.min(FOLLOWS_CERTAINTY);
    finding.summary.push_str(
        " That is what the collector keeps beside the objects: it grows with the Java heap and is bounded with it.",
    );
    finding.fix = vec!["look at the Java heap first: if it leaks, this ends with it".to_owned()];
}

/// The site in the model's words: the largest stack with the figures of all of its owner.
pub(crate) fn site(origin: Origin<'_>) -> Site {
    Site {
        bytes: origin.sum.live_bytes,
        slope_bytes_per_s: origin.sum.slope_bytes_per_s,
        frames: origin.frames,
    }
}

/// How much of what is allocated there stays, and how old it is, in words: what tells a leak from a
/// pool or a cache. What probes say was allocated is the least that it can have been.
pub(crate) fn age_words(origin: &Origin<'_>, is_probed: bool) -> String {
    let sum = &origin.sum;
    let what = if is_of_pages(&origin.frames) { "pages" } else { "blocks" };
    let mut text = format!("{} live in {} {what} at the site", units::bytes(sum.live_bytes), sum.live_count);
    if sum.stacks > 1 {
        text.push_str(&format!(" ({} stacks, the largest is shown)", sum.stacks));
    }
    text.push_str(&format!(", {} of it older than the window's tail", units::bytes(sum.leak_bytes)));
    if sum.allocated_bytes > 0 && !is_of_pages(&origin.frames) {
        // More can be live than was allocated in the window, if an agent was there before.
        let stays = (100.0 * sum.live_bytes as f64 / sum.allocated_bytes as f64).min(100.0);
        text.push_str(&format!(
            "; of {}{} allocated there meanwhile, {stays:.0} % is live",
            units::bytes(sum.allocated_bytes),
            if is_probed { " or more" } else { "" }
        ));
    }
    if let Some(age) = origin.site.age_seconds {
        text.push_str(&format!(
            "; half is older than {}, a tenth than {}",
            units::duration(age.p50),
            units::duration(age.p90)
        ));
    }
    text
}

/// Whether a frame says that Java objects were made.
pub fn is_object(frame: &Frame) -> bool {
    matches!(FrameLabel::of(frame), Some(FrameLabel::Objects(_)))
}

/// What kind of memory a stack takes, from the functions in it; innermost first.
pub fn domain_of(frames: &[Frame]) -> Domain {
    let label = frames.first().and_then(FrameLabel::of);
    if matches!(label, Some(FrameLabel::Objects(_))) {
        return Domain::JavaHeap;
    }
    let named =
        |parts: &[&str]| frames.iter().take(12).any(|f| parts.iter().any(|part| f.name.contains(part)));
    let java = |parts: &[&str]| {
        frames
            .iter()
            .filter(|f| f.kind == FrameKind::Java)
            .take(8)
            .any(|f| parts.iter().any(|part| f.name.starts_with(part)))
    };
    if named(&["Unsafe_AllocateMemory", "Unsafe.allocateMemory", "Unsafe_ReallocateMemory"])
        || java(&["java.nio.DirectByteBuffer", "java.nio.ByteBuffer.allocateDirect"])
    {
        return Domain::DirectMemory;
    }
    let first = frames.iter().find(|f| !is_plumbing(f));
    let maps = match label {
        Some(FrameLabel::MapOfFile) => return Domain::MappedFiles,
        Some(FrameLabel::ThreadStack) => return Domain::ThreadStacks,
        Some(FrameLabel::FirstWriteToMap | FrameLabel::Map) => true,
        _ => frames.first().is_some_and(|frame| MAPS.contains(&frame.name.as_str())),
    };
    if maps {
        return match first.map(|f| f.kind) {
            _ if java(&["sun.nio.ch.FileChannelImpl.map"]) => Domain::MappedFiles,
            _ if named(&["create_thread", "pthread_create"]) => Domain::ThreadStacks,
            Some(FrameKind::Jvm) => Domain::JvmInternal,
            Some(FrameKind::Python) => Domain::PythonHeap,
            _ if first.is_some_and(is_cpython) => Domain::PythonHeap,
            _ => Domain::NativeMmap,
        };
    }
    if named(&["pthread_create", "os::create_thread"]) {
        return Domain::ThreadStacks;
    }
    match first.map(|f| f.kind) {
        Some(FrameKind::Jvm) if java(&["java.lang.ClassLoader.defineClass"]) => Domain::Metaspace,
        Some(FrameKind::Jvm) if named(&OF_COLLECTORS) => Domain::Gc,
        Some(FrameKind::Jvm) => Domain::JvmInternal,
        Some(FrameKind::Python) => Domain::PythonHeap,
        _ => Domain::NativeMalloc,
    }
}

/// Functions of collectors that allocate by malloc: live maps and forwarding tables of ZGC,
/// remembered sets and mark stacks of G1 before and since JDK 18 (src/hotspot/share/gc/z, gc/g1).
const OF_COLLECTORS: [&str; 9] = [
    "ZLiveMap::",
    "ZForwarding",
    "ZRemembered",
    "ZMarkStack",
    "G1CardSet",
    "G1CMMarkStack",
    "HeapRegionRemSet::",
    "OtherRegionsTable::",
    "SparsePRT",
];

/// True for CPython's own code, which maps anonymous memory for pymalloc's arenas only
/// (Objects/obmalloc.c): the module `mmap` is a library of its own.
fn is_cpython(frame: &Frame) -> bool {
    frame.file_name().starts_with("libpython3") || frame.file_name().starts_with("python3")
}

/// The functions that map memory.
const MAPS: [&str; 4] = ["mmap", "mmap64", "__mmap", "__mmap64"];

/// Whether a frame is the allocator's own, which every stack ends in, or the label of what is no
/// malloc.
pub(crate) fn is_plumbing(frame: &Frame) -> bool {
    let is_label = FrameLabel::of(frame)
        .is_some_and(|label| !matches!(label, FrameLabel::NoStack | FrameLabel::JvmSpace));
    is_label || vocabulary::is_plumbing(&frame.name) || knowledge().is_allocator(&frame.name)
}

/// Whether a frame is the JDK's own: one of its methods, or the native part of one.
pub(crate) fn is_of_jdk(frame: &Frame) -> bool {
    match frame.kind {
        FrameKind::Java => vocabulary::is_of_jdk(&frame.name),
        _ => ["Java_java_", "Java_sun_", "Java_jdk_"].iter().any(|start| frame.name.starts_with(start)),
    }
}
