//! What keeps an object alive: the shortest chain of references from a root to it.
//!
//! A search backwards, from the object towards the roots, a pass over the dump for each step: who
//! refers to what was found last? Only what was found is remembered, so memory does not grow with
//! the heap as a table of all objects would.

use super::stream::{Class, Item, number, size_of};
use super::{MAX_INSTANCE, Path, Step, Tables, root_name};
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};

/// Objects at once: one for each size of buffers that is looked into, as many as a mask has bits.
pub(super) const MAX_TARGETS: usize = 8;
/// Steps, that is passes. Chains in honest programs have fewer than a dozen; a linked list may have
/// any number.
const MAX_STEPS: usize = 16;
/// Objects found for one target; beyond it, everything refers to it.
const MAX_FOUND: usize = 1 << 17;

/// References of all classes' instances together that are followed.
const MAX_PLACES: usize = 4 << 20;

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

/// The references an instance's bytes hold: where, and the field's name; by class, of its parents
/// too.
type Layouts = HashMap<u64, Vec<(usize, u64)>, RandomState>;

/// Which objects are looked for, by a filter first: nearly every reference is to something else.
#[derive(Default)]
struct Wanted {
    filter: Vec<u64>,
    masks: HashMap<u64, u8, RandomState>,
}

impl Wanted {
    fn of(searches: &[Search]) -> Wanted {
        let mut wanted = Wanted { filter: vec![0; 1 << 14], masks: HashMap::default() };
        for (bit, search) in searches.iter().enumerate().filter(|(_, search)| search.end.is_none()) {
            for id in &search.frontier {
                *wanted.masks.entry(*id).or_default() |= 1 << bit;
                let (word, mask) = place(*id);
                if let Some(word) = wanted.filter.get_mut(word) {
                    *word |= mask;
                }
            }
        }
        wanted
    }

    fn mask(&self, id: u64) -> u8 {
        let (word, mask) = place(id);
        if self.filter.get(word).is_none_or(|word| word & mask == 0) {
            return 0;
        }
        self.masks.get(&id).copied().unwrap_or(0)
    }
}

/// Word and bit of `id` in a filter of 2^20 bits.
fn place(id: u64) -> (usize, u64) {
    let hash = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

/// The paths to `targets` (object, its class); `pass` walks over the dump once.
pub(super) fn search(
    tables: &Tables,
    targets: &[(u64, u64)],
    mut pass: impl FnMut(&mut dyn FnMut(Item<'_>)),
) -> Vec<Path> {
    let layouts = layouts(tables);
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
        let mut next: Vec<Vec<u64>> = searches.iter().map(|_| Vec::new()).collect();
        let mut array = (0, 0);
        let id_size = tables.id_size;
        let mut refers = |from: u64, class: u64, field: u64, to: u64| {
            let mask = wanted.mask(to);
            for (bit, search) in searches.iter_mut().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1) {
                if from != search.target
                    && search.found.len() < MAX_FOUND
                    && !search.found.contains_key(&from)
                {
                    search.found.insert(from, Found { next: to, class, field });
                    next.get_mut(bit).into_iter().for_each(|next| next.push(from));
                }
            }
        };
        let mut statics: Vec<(u64, u64, u64)> = Vec::new();
        pass(&mut |item| match item {
            Item::Instance { id, class, fields } => {
                for (at, field) in layouts.get(&class).into_iter().flatten() {
                    if let Some(bytes) = fields.get(*at..*at + id_size) {
                        refers(id, class, *field, number(bytes));
                    }
                }
            }
            Item::Array { id, class, .. } => array = (id, class),
            Item::Elements(elements) => {
                for element in elements.chunks_exact(id_size) {
                    refers(array.0, array.1, 0, number(element));
                }
            }
            Item::Class(Class { id, statics: held, .. }) => {
                statics.extend(
                    held.iter().filter(|(_, to)| wanted.mask(*to) != 0).map(|(name, to)| (id, *name, *to)),
                );
            }
            _ => {}
        });
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

/// Where each class's instances hold references; `java.lang.ref.Reference.referent` keeps nothing
/// alive.
fn layouts(tables: &Tables) -> Layouts {
    let (mut layouts, mut places) = (Layouts::default(), 0);
    for id in tables.classes.keys() {
        if places >= MAX_PLACES {
            break;
        }
        let (mut layout, mut at, mut offset) = (Vec::new(), *id, 0);
        // A class is its own ancestor only in a damaged dump.
        let mut seen = HashSet::new();
        while let Some(class) = tables.classes.get(&at).filter(|_| seen.len() < 64 && seen.insert(at)) {
            let is_reference = tables.text(class.name) == b"java/lang/ref/Reference";
            for (name, kind) in class.fields.iter().take(MAX_INSTANCE.saturating_sub(layout.len())) {
                let weak = is_reference && tables.text(*name) == b"referent";
                if *kind == 2 && !weak {
                    layout.push((offset, *name));
                }
                offset += size_of(*kind, tables.id_size).unwrap_or(0);
            }
            at = class.parent;
        }
        places += layout.len();
        if !layout.is_empty() {
            layouts.insert(*id, layout);
        }
    }
    layouts
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
