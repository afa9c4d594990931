//! Damaged memory in place of the JVM's: what races, unloads and lies must not make a view panic,
//! hang or grow without bound.

mod support;

use offheap_hotspot::{HotSpot, Target, ViewOptions};
use offheap_linux::{Live, Memory, ProcText, Process, ReadError, Reads, Run, Task, Vma};
use std::fs::File;
use support::{Jvm, javas};

/// Memory of which one word in `rarity` is something else.
struct Damaged<'a> {
    memory: &'a Live,
    seed: u64,
    rarity: u64,
}

impl Damaged<'_> {
    /// A fixed pseudo-random number for an address (splitmix64).
    fn hash(&self, address: u64) -> u64 {
        let mut word = (address ^ self.seed.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// What stands at the damaged word: rubbish, an extreme, another word's value, an address
    /// nearby, the word's own address.
    fn damage(&self, address: u64, word: u64) -> u64 {
        let hash = self.hash(address);
        if !hash.is_multiple_of(self.rarity) {
            return word;
        }
        let other = || {
            let vmas = self.memory.vmas();
            vmas[(hash >> 8) as usize % vmas.len()].start
        };
        match (hash >> 40) % 9 {
            0 => hash,
            1 => 0,
            2 => u64::MAX,
            3 => other(),
            4 => word.wrapping_add(8),
            5 => address,
            6 => word << 1,
            7 => u64::from(u32::MAX >> (hash % 32)),
            _ => i64::MAX as u64,
        }
    }
}

impl Memory for Damaged<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.memory.read(address, buffer)?;
        self.spoil(address, buffer);
        Ok(())
    }

    fn read_bulk(&self, address: u64, buffer: &mut [u8]) -> usize {
        let count = self.memory.read_bulk(address, buffer);
        self.spoil(address, &mut buffer[..count]);
        count
    }
}

impl Target for Damaged<'_> {
    fn pid(&self) -> i32 {
        self.memory.pid()
    }

    fn vmas(&self) -> &[Vma] {
        self.memory.vmas()
    }

    fn runs(&self, start: u64, end: u64) -> Vec<Run> {
        self.memory.runs(start, end)
    }

    fn knows_residency(&self) -> bool {
        true
    }

    fn open(&self, vma: &Vma) -> Option<File> {
        self.memory.open(vma)
    }

    fn tasks(&self) -> Option<Vec<Task>> {
        self.memory.tasks()
    }

    fn text(&self, text: ProcText) -> Option<Vec<u8>> {
        self.memory.text(text)
    }
}

impl Damaged<'_> {
    /// Damages the words of a range, the same ones however it is read.
    fn spoil(&self, address: u64, buffer: &mut [u8]) {
        let end = address + buffer.len() as u64;
        let words = (address & !7..end).step_by(8);
        for word in words.filter(|word| self.hash(*word).is_multiple_of(self.rarity)) {
            let damaged = self.damage(word, self.memory.u64(word).unwrap_or(0)).to_le_bytes();
            for (at, byte) in (word..=word | 7).zip(damaged).filter(|(at, _)| (address..end).contains(at)) {
                buffer[(at - address) as usize] = byte;
            }
        }
    }
}

#[test]
fn no_damage_makes_a_view_panic_or_lie_about_ranges() {
    let newest = javas().pop().unwrap();
    let oldest = javas().remove(0);
    for java in [oldest, newest] {
        for collector in
            ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC", "-XX:+UseZGC", "-XX:+UseShenandoahGC"]
        {
            let options = [
                "-XX:+UnlockExperimentalVMOptions",
                collector,
                "-Xmx64m",
                "-XX:NativeMemoryTracking=summary",
            ];
            if !java.accepts(&options) {
                continue;
            }
            let jvm = Jvm::idle(&java, &options);
            let process = Process::open(jvm.pid()).unwrap();
            let memory = process.memory(&process.maps().unwrap()).unwrap();
            let tasks = process.tasks().unwrap();
            let mut hotspot = HotSpot::open(&memory).unwrap();
            for seed in 0..60 {
                // From a word in three, where little is understood, to one in ten thousand, where
                // all but one thing is.
                let rarity = [3, 10, 30, 100, 1000, 10_000][seed as usize % 6];
                let target = Damaged { memory: &memory, seed, rarity };
                // What was learnt from damaged memory stays for a while.
                if seed % 12 == 0 {
                    hotspot = HotSpot::open(&memory).unwrap();
                }
                // Or damaged from the start, where enough is whole to open it at all.
                if seed % 6 == 5
                    && let Ok(opened) = HotSpot::open(&target)
                {
                    opened.reach(&target, &tasks, 64 << 20);
                    opened.handles(&target, &tasks);
                }
                for _ in 0..2 {
                    let view = hotspot.view(&target, &tasks, ViewOptions::default());
                    for pair in view.labels.windows(2) {
                        assert!(pair[0].start < pair[0].end && pair[0].end <= pair[1].start, "{pair:x?}");
                    }
                    assert!(view.threads.len() == tasks.len());
                }
                hotspot.direct_buffers(&target, 8 << 20);
                hotspot.references(&target, 64 << 20);
                hotspot.reach(&target, &tasks, 64 << 20);
                hotspot.handles(&target, &tasks);
            }
        }
    }
}
