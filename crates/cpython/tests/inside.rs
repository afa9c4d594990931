//! Every CPython of the machine, looked into from outside: stacks, objects by type, and who holds
//! them, against what the program itself says.

mod common;

use common::{Target, memory, minor, pythons};
use offheap_cpython::{Census, Code, HolderKind, Holders, Interpreter, Look, Marks, Search};
use offheap_linux::{Live, Memory as _, Target as _};
use std::time::Duration;

const BUDGET: u64 = 1 << 30;

/// The C heap of a program with one thread that allocates.
fn c_heap(memory: &Live) -> Vec<(u64, u64)> {
    let heap = memory.vmas().iter().filter(|vma| vma.path == "[heap]");
    heap.map(|vma| (vma.start, vma.end)).collect()
}

fn census(interpreter: &Interpreter, memory: &Live, mark: Option<&mut Marks>) -> Census {
    let look = Look { c_heap: &c_heap(memory), budget: BUDGET, mark };
    interpreter.census(memory, look).unwrap()
}

fn holders(interpreter: &Interpreter, memory: &Live, name: &str, before: Option<&Marks>) -> Holders {
    let search = Search {
        name,
        before,
        c_heap: &c_heap(memory),
        places: &[],
        time: Duration::from_secs(4),
        budget: BUDGET,
    };
    interpreter.holders(memory, &search).unwrap()
}

/// The interpreters that can be read, each with the program at work.
fn each(program: &str, mut test: impl FnMut(&mut Target, u32)) {
    let mut tested = 0;
    for python in pythons() {
        let mut target = Target::start(&python, program);
        let Some(minor) = minor(&target.open().2) else { continue };
        eprintln!("{}", python.display());
        test(&mut target, minor);
        tested += 1;
    }
    assert!(tested > 0, "no CPython from 3.8 on is here");
}

const STACKS: &str = "
import sys, threading
lines = {}
stop = threading.Event()
class Shop:
    def serve(self):
        inner = [self.wait for _ in range(1)]
        for call in inner:
            lines['serve'] = sys._getframe().f_lineno; call()
    def wait(self):
        def generator():

            lines['generator'] = sys._getframe().f_lineno; started.set(); stop.wait()
            yield 1
        lines['wait'] = sys._getframe().f_lineno; next(generator())
started = threading.Event()
worker = threading.Thread(target=Shop().serve, daemon=True)
worker.start()
started.wait()
print('ready')
def at_the_end():
    print(getattr(worker, 'native_id', 0), lines['generator'], lines['wait'], lines['serve'], flush=True)
    sys.stdin.readline()
at_the_end()
";

#[test]
fn every_thread_has_its_stack_with_functions_and_lines() {
    for python in pythons() {
        let mut target = Target::start(&python, STACKS);
        let truth: Vec<i64> = target.line().split(' ').map(|word| word.parse().unwrap()).collect();
        let (_, memory, interpreter) = target.open();
        let Some(minor) = minor(&interpreter) else { continue };
        let [tid, generator, wait, serve] = truth[..] else { panic!("{truth:?}") };
        let found = interpreter.interpreters(&memory).unwrap();
        assert_eq!((found.len(), found[0].id), (1, 0), "{}", python.display());
        assert_ne!(found[0].collects, Some(false));
        let threads = &found[0].threads;
        assert_eq!(threads.len(), 2, "{}: {threads:#?}", python.display());
        let worker = threads.iter().find(|thread| i64::from(thread.tid.unwrap()) == tid).unwrap();
        let frames: Vec<(&str, i64)> =
            worker.frames.iter().map(|frame| (frame.function.as_str(), frame.line)).collect();
        let at = frames.iter().position(|(name, _)| name.ends_with("generator")).unwrap();
        let full = |qualified: &'static str, name: &'static str| if minor >= 11 { qualified } else { name };
        assert_eq!(frames[at], (full("Shop.wait.<locals>.generator", "generator"), generator), "{frames:?}");
        assert_eq!(frames[at + 1], (full("Shop.wait", "wait"), wait), "{frames:?}");
        assert_eq!(frames[at + 2], (full("Shop.serve", "serve"), serve), "{frames:?}");
        assert_eq!(worker.frames[at].file, "<string>");
        assert!(!worker.cut && frames.last().unwrap().0.ends_with("_bootstrap"), "{frames:?}");
        assert!(threads.iter().all(|thread| !thread.holds_gil), "all wait: {threads:#?}");
        let main = threads.iter().find(|thread| i64::from(thread.tid.unwrap()) != tid).unwrap();
        let names: Vec<&str> = main.frames.iter().map(|frame| frame.function.as_str()).collect();
        assert_eq!(names[names.len() - 2..], ["at_the_end", "<module>"]);
    }
}

const BUSY: &str = "
import gc, sys
gc.disable()
print('ready', flush=True)
def spin():
    while True:
        pass
spin()
";

#[test]
fn who_holds_the_gil_and_that_the_collector_is_off_are_seen() {
    each(BUSY, |target, minor| {
        let (_, memory, interpreter) = target.open();
        let mut seen = None;
        for _ in 0..500 {
            memory.forget();
            let found = interpreter.interpreters(&memory).unwrap();
            // Before 3.9 the collector is not an interpreter's.
            assert_eq!(found[0].collects, (minor >= 9).then_some(false));
            let thread = found[0].threads[0].clone();
            if thread.holds_gil && thread.frames.first().is_some_and(|frame| frame.function == "spin") {
                seen = Some(thread);
                break;
            }
        }
        assert!(seen.is_some(), "who spins holds the GIL");
    });
}

const OBJECTS: &str = "
import collections, functools, gc, sys
class Cart:
    def __init__(self, i): self.items = [i, i]
class Slim:
    __slots__ = ('x',)
class Kept(list):
    pass
carts = {i: Cart(i) for i in range(5000)}
@functools.lru_cache(maxsize=None)
def cached(i):
    return Slim()
for i in range(3000): cached(i)
class Registry:
    blobs = [bytes(4000) for _ in range(1000)]
waiting = collections.deque(frozenset([str(i)]) for i in range(2000))
def closure():
    kept = [Kept([0]) for _ in range(1500)]
    def inner(): return kept
    return inner
hold = [closure()]
class Tree:
    def __init__(self, up): self.up = up
def main():
    local = []
    for i in range(1200): local.append(Tree(local[-1:]))
    gc.collect()
    print('ready', flush=True)
    sys.stdin.readline()
    for i in range(5000, 6000): carts[i] = Cart(i)
    print('more', flush=True)
    sys.stdin.readline()
# The module's frame holds the blobs too, and all its code.
for _ in Registry.blobs:
    main()
    break
";

#[test]
fn objects_are_counted_by_type_and_their_holders_named() {
    each(OBJECTS, |target, minor| {
        let (process, memory, interpreter) = target.open();
        let mut marks = Marks::default();
        let first = census(&interpreter, &memory, Some(&mut marks));
        let of = |census: &Census, name: &str| {
            census.types.iter().find(|sum| sum.name == name).cloned().unwrap_or_default()
        };
        for (name, count) in [("__main__.Cart", 5000), ("__main__.Slim", 3000), ("__main__.Kept", 1500)] {
            assert_eq!(of(&first, name).count, count, "{name}");
        }
        assert!(of(&first, "__main__.Cart").gc && !of(&first, "str").gc);
        let blobs = of(&first, "bytes");
        assert!((1000..1400).contains(&(blobs.heap_bytes / 4048)), "{blobs:?}");
        assert!(of(&first, "frozenset").count >= 2000);
        let share = first.other_bytes as f64 / first.block_bytes as f64;
        assert!(share < 0.35, "{share} of the blocks are not known: {first:#?}");
        // The table of a dict of 5000 lies in the C heap.
        assert!(of(&first, "dict").heap_bytes > 150_000);

        let who = |name: &str, before: Option<&Marks>| {
            let found = holders(&interpreter, &memory, name, before);
            assert!(found.looked_at > 0 && found.lonely == 0, "{found:#?}");
            let best = found.holders[0].clone();
            assert!(best.objects * 10 >= found.looked_at * 9, "{name}: {found:#?}");
            best
        };
        let carts = who("__main__.Cart", None);
        assert_eq!((carts.what.as_str(), carts.kind), ("`carts` of module __main__", HolderKind::Module));
        assert_eq!(carts.container, "dict of 5000");
        // The code that speaks of it, and that makes what it holds.
        let names = |code: &[Code]| code.iter().map(|code| code.function.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&carts.used_by), names(&carts.made_by)),
            (vec!["main".into()], vec!["main".into()])
        );
        assert_eq!((carts.used_by[0].file.as_str(), carts.used_by[0].line), ("<string>", 24), "{carts:#?}");
        let cached = who("__main__.Slim", None);
        assert_eq!(cached.what, "the lru_cache of cached (maxsize=None: without bound)");
        assert_eq!(cached.container, "dict of 3000");
        assert_eq!(
            (cached.kind, cached.entries, cached.most_entries),
            (HolderKind::LruCache, Some(3000), None)
        );
        // A class without methods does not lead to its module.
        assert_eq!((names(&cached.used_by), names(&cached.made_by)), (vec!["cached".into()], vec![]));
        let waiting = who("frozenset", None);
        assert_eq!(
            (waiting.what.as_str(), waiting.kind),
            ("`waiting` of module __main__", HolderKind::Module)
        );
        let closure = who("__main__.Kept", None);
        assert_eq!(
            (closure.what.as_str(), closure.kind),
            ("the closure or defaults of closure.<locals>.inner", HolderKind::Function)
        );
        assert_eq!(closure.container, "list of 1500");
        // Many short ones, those of code, are held by many others.
        let blobs = holders(&interpreter, &memory, "bytes", None);
        assert_eq!(blobs.holders[0].what, "class attribute __main__.Registry.blobs", "{blobs:#?}");
        assert_eq!(blobs.holders[0].container, "list of 1000");
        if minor >= 11 {
            let tree = who("__main__.Tree", None);
            assert!(tree.what.starts_with("variable `local` of main (<string>:"), "{tree:?}");
            assert_eq!(tree.container, "list of 1200");
        }

        // Of those that come later it is said who holds just them.
        assert_eq!(target.ask("more"), "more");
        let memory = self::memory(&process);
        assert_eq!(of(&census(&interpreter, &memory, None), "__main__.Cart").count, 6000);
        let new = holders(&interpreter, &memory, "__main__.Cart", Some(&marks));
        assert_eq!((new.of, new.looked_at), (1000, 120));
        assert_eq!(new.holders[0].what, "`carts` of module __main__");
    });
}

const LOST: &str = "
import sys
try:
    import ctypes
    lose = ctypes.pythonapi.Py_IncRef
    lose.argtypes = [ctypes.py_object]
    lose.restype = None
except ImportError:
    lose = lambda it: None
class Lost:
    pass
class Held:
    pass
for i in range(2000):
    lost = Lost()
    lose(lost)
lost = None
held = [Held() for _ in range(2000)]
print('ready', flush=True)
sys.stdin.readline()
";

#[test]
fn objects_whose_reference_was_lost_are_told_from_those_that_are_held() {
    let mut lost = 0;
    each(LOST, |target, _| {
        let (_, memory, interpreter) = target.open();
        let found = holders(&interpreter, &memory, "__main__.Held", None);
        assert_eq!((found.of, found.lonely), (2000, 0), "{found:#?}");
        let found = holders(&interpreter, &memory, "__main__.Lost", None);
        // A stale pointer or two may lie about.
        if found.of > 0 {
            assert_eq!(found.of, 2000);
            assert!(found.lonely * 100 >= found.looked_at * 95, "{found:#?}");
            lost += 1;
        }
    });
    assert!(lost > 0);
}
