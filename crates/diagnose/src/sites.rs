//! Sites: which code a finding speaks of, read off the stacks of a profile.

use crate::evidence::Evidence;
use crate::libraries::{Library, library_of};
use offheap_model::{
    Domain, Evidence as Observation, Finding, Frame, FrameKind, ProfileSite, Site, Status, units,
};

/// A site of the profile with what its stack tells.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    /// Its figures.
    pub site: &'a ProfileSite,
    /// Its stack, innermost first.
    pub frames: Vec<Frame>,
    /// What kind of memory it takes.
    pub domain: Domain,
    /// The well-known library in it.
    pub library: Option<&'static Library>,
}

impl Origin<'_> {
    /// The native function that Java called: the outermost native frame below the innermost Java one.
    pub fn native_entry(&self) -> Option<&Frame> {
        let java = self.frames.iter().position(|f| f.kind == FrameKind::Java)?;
        self.frames.get(..java)?.iter().rev().find(|f| f.kind == FrameKind::Native && !is_plumbing(&f.name))
    }

    /// The Java method nearest to the allocation that is neither the JDK's nor the library's.
    pub fn java_caller(&self) -> Option<&Frame> {
        let java = || self.frames.iter().filter(|f| f.kind == FrameKind::Java);
        java()
            .find(|f| !is_jdk(&f.name) && library_of(std::slice::from_ref(*f)).is_none())
            .or_else(|| java().next())
    }

    /// The innermost frame that is not the allocator itself.
    pub fn allocator(&self) -> Option<&Frame> {
        self.frames.iter().find(|f| !is_plumbing(&f.name))
    }

    /// In words: `frame_new in libjni_codec.so, called by app.NativeCodec.handleFrame`.
    pub fn words(&self) -> String {
        let mut text = self.allocator().map_or_else(|| "unknown code".to_owned(), |f| f.name.clone());
        if let Some(module) = self.allocator().and_then(|f| f.module.as_deref()) {
            text.push_str(&format!(" in {}", module.rsplit('/').next().unwrap_or(module)));
        }
        if let Some(caller) = self.java_caller().filter(|caller| Some(*caller) != self.allocator()) {
            text.push_str(&format!(", called by {}", caller.name));
            if let (Some(file), Some(line)) = (&caller.file, caller.line) {
                text.push_str(&format!(" ({file}:{line})"));
            }
        }
        text
    }
}

/// More sites than this are not looked at: they are ordered, and a leak is not the thousandth.
const MOST_SITES: usize = 1_000;
/// A site must hold this share of the growing sites' bytes to be named as the one.
const NAMED_SHARE: f64 = 0.2;

/// The site that explains growth of `domain` best: the one with most bytes that stay, if those are a good part of all.
pub(crate) fn best<'a>(evidence: &Evidence<'a>, domain: Domain) -> Option<Origin<'a>> {
    let profile = evidence.profile()?;
    let fits = |site: Domain| {
        site == domain
            || domain == Domain::Malloc
                && matches!(site, Domain::NativeMalloc | Domain::JvmInternal | Domain::DirectMemory)
    };
    let origins: Vec<Origin<'a>> = profile
        .sites
        .iter()
        .take(MOST_SITES)
        .filter(|site| site.leak_bytes > 0)
        .map(|site| {
            let frames: Vec<Frame> =
                site.stack.iter().filter_map(|&i| profile.frames.get(i as usize)).cloned().collect();
            Origin { site, domain: domain_of(&frames), library: library_of(&frames), frames }
        })
        .filter(|origin| !origin.frames.is_empty() && fits(origin.domain))
        .collect();
    let all: f64 = origins.iter().map(|origin| origin.site.leak_bytes as f64).sum();
    let grown = |origin: &Origin<'_>| origin.site.slope_bytes_per_s.unwrap_or(0.0);
    origins
        .into_iter()
        .filter(|origin| origin.site.leak_bytes as f64 >= NAMED_SHARE * all)
        .max_by(|a, b| grown(a).total_cmp(&grown(b)).then(a.site.leak_bytes.cmp(&b.site.leak_bytes)))
}

/// Adds the site to a finding of growth, with the advice for its library.
pub(crate) fn attach(finding: &mut Finding, evidence: &Evidence<'_>) {
    let growing = matches!(finding.status, Status::Leak | Status::Inconclusive);
    let Some(origin) =
        finding.domain.filter(|_| growing && finding.site.is_none()).and_then(|d| best(evidence, d))
    else {
        return;
    };
    // What was C heap of unknown owner has one now, if this site is most of it.
    if finding.domain == Some(Domain::Malloc)
        && origin.site.slope_bytes_per_s.is_some_and(|slope| slope >= 0.5 * finding.slope_bytes_per_s)
    {
        finding.domain = Some(origin.domain);
    }
    finding.summary.push_str(&format!(" Most of what stays is allocated by {}.", origin.words()));
    finding
        .evidence
        .push(Observation { text: age_words(origin.site), source: "the agent's live table".to_owned() });
    if let Some(library) = origin.library {
        finding.fix.insert(0, format!("{}: {}", library.name, library.advice));
    }
    finding.site = Some(site(origin));
}

/// The site in the model's words.
pub(crate) fn site(origin: Origin<'_>) -> Site {
    let slope = origin.site.slope_bytes_per_s.unwrap_or(0.0);
    Site {
        bytes: origin.site.live_bytes,
        slope_bytes_per_s: if slope.is_finite() { slope } else { 0.0 },
        frames: origin.frames,
    }
}

/// How much of a site's memory stays, in words.
pub(crate) fn age_words(site: &ProfileSite) -> String {
    let mut text = format!(
        "{} live in {} blocks at the site, {} of it older than the window's tail",
        units::bytes(site.live_bytes),
        site.live_count,
        units::bytes(site.leak_bytes)
    );
    if let Some(age) = site.age_seconds {
        text.push_str(&format!(
            "; half is older than {}, a tenth than {}",
            units::duration(age.p50),
            units::duration(age.p90)
        ));
    }
    text
}

/// What kind of memory a stack takes, from the functions in it; innermost first.
pub fn domain_of(frames: &[Frame]) -> Domain {
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
    let innermost = frames.first().map_or("", |f| f.name.as_str());
    let first = frames.iter().find(|f| !is_plumbing(&f.name));
    if matches!(innermost, "mmap" | "mmap64" | "__mmap" | "__mmap64") {
        return match first.map(|f| f.kind) {
            _ if java(&["sun.nio.ch.FileChannelImpl.map"]) => Domain::MappedFiles,
            _ if named(&["create_thread", "pthread_create"]) => Domain::ThreadStacks,
            Some(FrameKind::Jvm) => Domain::JvmInternal,
            Some(FrameKind::Python) => Domain::PythonHeap,
            _ => Domain::NativeMmap,
        };
    }
    if named(&["pthread_create", "os::create_thread"]) {
        return Domain::ThreadStacks;
    }
    match first.map(|f| f.kind) {
        Some(FrameKind::Jvm) if java(&["java.lang.ClassLoader.defineClass"]) => Domain::Metaspace,
        Some(FrameKind::Jvm) => Domain::JvmInternal,
        Some(FrameKind::Python) => Domain::PythonHeap,
        _ => Domain::NativeMalloc,
    }
}

/// The allocator's own functions, which every stack ends in.
fn is_plumbing(name: &str) -> bool {
    const NAMES: [&str; 18] = [
        "malloc",
        "calloc",
        "realloc",
        "reallocarray",
        "memalign",
        "aligned_alloc",
        "posix_memalign",
        "valloc",
        "strdup",
        "strndup",
        "mmap",
        "mmap64",
        "__libc_malloc",
        "__libc_calloc",
        "__libc_realloc",
        "_int_malloc",
        "__strdup",
        "__mmap",
    ];
    NAMES.contains(&name)
        || name.starts_with("operator new")
        || name.starts_with("std::__new_allocator")
        || name.starts_with("std::allocator")
}

fn is_jdk(name: &str) -> bool {
    ["java.", "javax.", "jdk.", "sun.", "com.sun."].iter().any(|prefix| name.starts_with(prefix))
}
