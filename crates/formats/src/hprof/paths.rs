//! What keeps an object alive: the shortest chain of references from a root to it.
//!
//! A search backwards, from the object towards the roots: who refers to what was found last? Each
//! step looks into the parts of the dump that may tell. Only what was found is remembered, so
//! memory does not grow with the heap as a table of all objects would.

use super::census::Census;
use super::stream::{Class, Stream, Visit, sized};
use super::tables::Tables;
use super::{Path, Step, root_name};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Objects at once: one for each size of buffers that is looked into, as many as a mask has bits.
pub(super) const MAX_TARGETS: usize = 8;
/// Steps, each at most a pass. Chains in honest programs have fewer than a dozen; a linked list may have
/// any number.
const MAX_STEPS: usize = 16;
/// Objects found for one target; beyond it, everything refers to it.
const MAX_FOUND: usize = 1 << 17;

/// How an object was found.
struct Found {
    /// The object it refers to, on the way to the target.
    next: u64,
    /// Its class; 0 of an array of references' elements is the array's class.
    class: u64,
    /// Name of the field, 0 in an array.
    field: u64,
}

/// One search.
struct Search {
    target: u64,
    class: u64,
    found: HashMap<u64, Found, RandomState>,
    frontier: Vec<u64>,
    /// The root it ended in, or why it ended.
    end: Option<Result<u64, &'static str>>,
    /// A static field that holds the last object: its class, its name, the object.
    held: Option<(u64, u64, u64)>,
}

/// Which objects are looked for, by a filter first: nearly every reference is to something else.
#[derive(Default)]
struct Wanted {
    filter: Vec<u64>,
    masks: HashMap<u64, u8, RandomState>,
}

impl Wanted {
    fn of(searches: &[Search]) -> Wanted {
        let mut wanted = Wanted::default();
        for (bit, search) in searches.iter().enumerate().filter(|(_, search)| search.end.is_none()) {
            for id in &search.frontier {
                *wanted.masks.entry(*id).or_default() |= 1 << bit;
            }
        }
        // 64 bits for each, as far as the processor's caches like it.
        wanted.filter = vec![0; wanted.masks.len().next_power_of_two().clamp(FILTER.0, FILTER.1)];
        for id in wanted.masks.keys() {
            let (word, mask) = place(*id, wanted.filter.len());
            if let Some(word) = wanted.filter.get_mut(word) {
                *word |= mask;
            }
        }
        wanted
    }

    #[inline(always)]
    fn mask(&self, id: u64) -> u8 {
        let (word, mask) = place(id, self.filter.len());
        if self.filter.get(word).is_none_or(|word| word & mask == 0) {
            return 0;
        }
        self.masks.get(&id).copied().unwrap_or(0)
    }
}

/// Words of the filter: at the least, at most.
const FILTER: (usize, usize) = (64, 1 << 14);

/// Word and bit of `id` in a filter of so many words, a power of two.
#[inline(always)]
fn place(id: u64, words: usize) -> (usize, u64) {
    let hash = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
    ((hash >> 6) as usize & (words - 1), 1 << (hash & 63))
}

/// One step of all searches.
struct StepBack<'s> {
    census: &'s Census,
    wanted: Wanted,
    searches: &'s mut [Search],
    /// What each search has found.
    next: Vec<Vec<u64>>,
    /// Static fields that hold what is looked for: class, name, object.
    statics: Vec<(u64, u64, u64)>,
    /// The array whose elements come, and its class.
    array: (u64, u64),
}

impl StepBack<'_> {
    #[inline(always)]
    fn refers(&mut self, from: u64, class: u64, field: u64, to: u64) {
        let mask = self.wanted.mask(to);
        if mask != 0 {
            self.found(mask, from, Found { next: to, class, field });
        }
    }

    fn found(&mut self, mask: u8, from: u64, Found { next: to, class, field }: Found) {
        let searches = self.searches.iter_mut().zip(&mut self.next).enumerate();
        for (_, (search, next)) in searches.filter(|(bit, _)| mask >> bit & 1 == 1) {
            if from != search.target && search.found.len() < MAX_FOUND && !search.found.contains_key(&from) {
                search.found.insert(from, Found { next: to, class, field });
                next.push(from);
            }
        }
    }
}

impl Visit for StepBack<'_> {
    #[inline(always)]
    fn instance<const ID: usize>(&mut self, id: u64, class: u64, fields: &[u8]) {
        for (at, field) in self.census.layout(class) {
            if let Some(to) = sized::<ID>(fields, *at) {
                self.refers(id, class, *field, to);
            }
        }
    }

    fn array(&mut self, id: u64, class: u64, _bytes: u64) {
        self.array = (id, class);
    }

    #[inline(always)]
    fn elements<const ID: usize>(&mut self, elements: &[u8]) {
        let (id, class) = self.array;
        for element in elements.chunks_exact(ID) {
            self.refers(id, class, 0, sized::<ID>(element, 0).unwrap_or(0));
        }
    }

    fn class(&mut self, class: Class) {
        let wanted = &self.wanted;
        let held = class.statics.iter().filter(|(_, to)| wanted.mask(*to) != 0);
        self.statics.extend(held.map(|(name, to)| (class.id, *name, *to)));
    }
}

/// The paths to `targets` (object, its class).
pub(super) fn search(
    tables: &Tables,
    census: &Census,
    targets: &[(u64, u64)],
    stream: &mut Stream<'_>,
) -> Vec<Path> {
    let mut searches: Vec<Search> = targets
        .iter()
        .take(MAX_TARGETS)
        .map(|(target, class)| Search {
            target: *target,
            class: *class,
            found: HashMap::default(),
            frontier: vec![*target],
            end: tables.roots.contains_key(target).then_some(Ok(*target)),
            held: None,
        })
        .collect();
    for _ in 0..MAX_STEPS {
        let wanted = Wanted::of(&searches);
        if wanted.masks.is_empty() {
            break;
        }
        let spans = census.chunks.referring(wanted.masks.keys().copied().collect());
        let next = searches.iter().map(|_| Vec::new()).collect();
        let searches_now = &mut searches;
        let mut step =
            StepBack { census, wanted, searches: searches_now, next, statics: Vec::new(), array: (0, 0) };
        spans.into_iter().for_each(|span| stream.part(span, &mut step));
        let (next, statics) = (step.next, step.statics);
        for (search, next) in searches.iter_mut().zip(next).filter(|(search, _)| search.end.is_none()) {
            // A static field is as good as a root, and one step nearer than what was found just
            // now.
            let held = statics.iter().find(|(_, _, to)| search.frontier.contains(to));
            if let Some(held) = held {
                search.held = Some(*held);
                search.end = Some(Ok(held.2));
            } else if let Some(root) = next.iter().find(|id| tables.roots.contains_key(id)) {
                search.end = Some(Ok(*root));
            } else if next.is_empty() {
                search.end = Some(Err("nothing strong refers to it: it waits for the collector"));
            } else if search.found.len() >= MAX_FOUND {
                search.end = Some(Err("too many objects refer to it"));
            }
            search.frontier = next;
        }
    }
    searches.iter().map(|search| path(tables, search)).collect()
}

fn path(tables: &Tables, search: &Search) -> Path {
    let mut path = Path { object: search.target, ..Path::default() };
    let mut at = match &search.end {
        Some(Ok(at)) => *at,
        Some(Err(why)) => {
            path.root = format!("({why})");
            return path;
        }
        None => {
            path.root = format!("(farther than {MAX_STEPS} references from any root)");
            return path;
        }
    };
    path.root = match search.held {
        Some((class, field, _)) => {
            format!("static {}.{}", tables.class_name(class), String::from_utf8_lossy(tables.text(field)))
        }
        None => root_name(tables.roots.get(&at).copied().unwrap_or(0xff)).to_owned(),
    };
    path.is_held = true;
    while let Some(found) = search.found.get(&at).filter(|_| path.steps.len() <= MAX_STEPS) {
        let field = match found.field {
            0 => "[]".to_owned(),
            field => String::from_utf8_lossy(tables.text(field)).into_owned(),
        };
        path.steps.push(Step { class: tables.class_name(found.class), field });
        at = found.next;
    }
    path.steps.push(Step { class: tables.class_name(search.class), field: String::new() });
    path
}
