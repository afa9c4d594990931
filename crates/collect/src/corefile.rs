//! The account of a core file.

use crate::collector::Effort;
use crate::lens::Lenses;
use crate::{files, notes};
use offheap_corefile::Core;
use offheap_linux::user_name;
use offheap_model::units::bytes;
use offheap_model::{CoreFile, Note, Process, Snapshot, secrets};
use offheap_target::{ProcText, Target, Vma};

/// Everything that `core` tells. In the snapshot, what is called resident is what the core holds;
/// what only the kernel knew of the process while it lived (its RSS, swap, control group, start) is
/// not filled in, and not to be shown.
pub fn look(core: &Core) -> (Snapshot, CoreFile) {
    let file = CoreFile {
        signal: core.threads().first().map(|thread| thread.signal).filter(|signal| *signal != 0),
        held_bytes: core.held_bytes(),
        zero_bytes: core.zero_bytes(),
        missing_bytes: core.missing_bytes(),
    };
    let mut lenses = Lenses::default();
    lenses.open(core);
    let mut snapshot =
        Snapshot { process: process(core), files: files::files(core.vmas()), ..Snapshot::default() };
    snapshot.memory.rss_bytes = file.held_bytes;
    snapshot.memory.virtual_bytes = core.vmas().iter().map(Vma::len).sum();
    snapshot.memory.vma_count = core.vmas().len() as u64;
    let sight = lenses.look(core, core.tasks().unwrap_or_default(), Effort::FULL, &mut snapshot);
    snapshot.notes = notes::notes(&snapshot, &sight, false);
    if file.missing_bytes > 0 {
        snapshot.notes.insert(0, cut_off(&file));
    }
    (snapshot, file)
}

fn cut_off(file: &CoreFile) -> Note {
    Note {
        id: "core-cut-off".to_owned(),
        text: format!(
            "The core file was cut off: {} that its headers promise are missing.",
            bytes(file.missing_bytes)
        ),
        remedy: "ulimit -c unlimited (systemd-coredump: ProcessSizeMax and ExternalSizeMax in coredump.conf), and \
                 room on the disk"
            .to_owned(),
    }
}

fn process(core: &Core) -> Process {
    let identity = core.identity().cloned().unwrap_or_default();
    let line = core.text(ProcText::CommandLine).unwrap_or_default();
    let line = String::from_utf8_lossy(line.strip_suffix(&[0]).unwrap_or(&line)).into_owned();
    Process {
        pid: identity.pid,
        inner_pid: identity.pid,
        uid: identity.uid,
        user: user_name(identity.uid),
        name: identity.name,
        command: secrets::masked(line.split('\0')),
        exe: core.exe().unwrap_or_default(),
        threads: core.threads().len() as u64,
        ..Process::default()
    }
}
