//! Where the fields lie that the readers need: from 3.13 on the interpreter says it itself
//! (`_Py_DebugOffsets`, the first thing in `_PyRuntime`), before that it is one table for each
//! release.

use crate::words::word_in;

/// The first bytes of `_Py_DebugOffsets`.
pub(crate) const COOKIE: [u8; 8] = *b"xdebugpy";
/// Bytes of `_Py_DebugOffsets` that are read: 3.14 has 0x308.
pub(crate) const DEBUG_BYTES: usize = 0x400;
/// No field of any structure lies further in; `_PyRuntime` and the interpreters are the largest.
const LARGEST_OFFSET: u64 = 1 << 20;

/// Offsets of one release, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offsets {
    /// CPython 3.`minor`.
    pub minor: u8,
    /// A build without the GIL: its objects begin differently, and lie in mimalloc's heaps.
    pub free_threaded: bool,
    /// `_PyRuntime.interpreters.head`.
    pub interpreters: u64,
    pub gil: Gil,
    pub interp_id: u64,
    pub interp_next: u64,
    pub interp_threads: u64,
    /// Of the interpreter's collector; before 3.9 it was the runtime's.
    pub interp_gc: Option<u64>,
    pub thread_next: u64,
    /// What `pthread_self()` gave.
    pub thread_pthread: u64,
    /// Its id for the kernel, from 3.11.
    pub thread_native: Option<u64>,
    pub thread_frame: u64,
    /// Through a `_PyCFrame` (3.11 and 3.12), where its pointer to the frame lies.
    pub cframe: Option<u64>,
    pub frame_back: u64,
    pub frame_code: u64,
    /// The instruction: an index before 3.11, a pointer from then on.
    pub frame_instruction: u64,
    /// Who owns the frame, from 3.12: 3 and more own none of Python's.
    pub frame_owner: Option<u64>,
    pub frame_locals: u64,
    pub code_filename: u64,
    pub code_name: u64,
    pub code_first_line: u64,
    pub code_lines: u64,
    /// Where its instructions begin, from 3.11.
    pub code_instructions: u64,
    /// `ob_type`.
    pub object_type: u64,
    pub tuple_items: u64,
    pub str_length: u64,
    pub str_state: u64,
    /// Bytes of a `PyASCIIObject`, behind which a compact ASCII string has its characters.
    pub str_ascii: u64,
}

/// How it is told who holds the GIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gil {
    /// `_PyRuntime` has the thread state of whoever holds it.
    Current(u64),
    /// The interpreter has a pointer to its GIL, which has the last holder and whether it is
    /// locked.
    Own { pointer: u64, holder: u64, locked: u64 },
}

const OLD: Offsets = Offsets {
    minor: 8,
    free_threaded: false,
    interpreters: 0x20,
    gil: Gil::Current(0x238),
    interp_id: 0x18,
    interp_next: 0,
    interp_threads: 8,
    interp_gc: None,
    thread_next: 8,
    thread_pthread: 0xb0,
    thread_native: None,
    thread_frame: 0x18,
    cframe: None,
    frame_back: 0x18,
    frame_code: 0x20,
    frame_instruction: 0x68,
    frame_owner: None,
    frame_locals: 0,
    code_filename: 0x68,
    code_name: 0x70,
    code_first_line: 0x28,
    code_lines: 0x78,
    code_instructions: 0,
    object_type: 8,
    tuple_items: 0x18,
    str_length: 0x10,
    str_state: 0x20,
    str_ascii: 0x30,
};

/// The releases that say nothing of themselves, after their headers.
const TABLES: [Offsets; 5] = [
    Offsets { gil: Gil::Current(0x558), interp_id: 0x10, ..OLD },
    Offsets { minor: 9, interp_gc: Some(0x268), ..OLD },
    Offsets { minor: 10, interp_gc: Some(0x268), frame_instruction: 0x60, ..OLD },
    Offsets {
        minor: 11,
        interpreters: 0x28,
        gil: Gil::Current(0x240),
        interp_id: 0x30,
        interp_threads: 0x10,
        interp_gc: Some(0x288),
        thread_pthread: 0x98,
        thread_native: Some(0xa0),
        thread_frame: 0x38,
        cframe: Some(8),
        frame_back: 0x30,
        frame_code: 0x20,
        frame_instruction: 0x38,
        frame_locals: 0x48,
        code_filename: 0x70,
        code_name: 0x80,
        code_first_line: 0x48,
        code_lines: 0x88,
        code_instructions: 0xb8,
        ..OLD
    },
    Offsets {
        minor: 12,
        interpreters: 0x28,
        gil: Gil::Own { pointer: 0x180, holder: 8, locked: 0x10 },
        interp_id: 8,
        interp_threads: 0x48,
        interp_gc: Some(0x70),
        thread_pthread: 0x88,
        thread_native: Some(0x90),
        thread_frame: 0x38,
        cframe: Some(0),
        frame_back: 8,
        frame_code: 0,
        frame_instruction: 0x38,
        frame_owner: Some(0x46),
        frame_locals: 0x48,
        code_filename: 0x70,
        code_name: 0x80,
        code_first_line: 0x44,
        code_lines: 0x88,
        code_instructions: 0xc0,
        str_ascii: 0x28,
        ..OLD
    },
];

impl Offsets {
    /// Those of CPython 3.`minor` before 3.13.
    pub(crate) fn of(minor: u8) -> Option<Offsets> {
        TABLES.into_iter().find(|table| table.minor == minor)
    }

    /// Those that `_Py_DebugOffsets` names; `None` where it is not one that is known.
    pub(crate) fn named(bytes: &[u8]) -> Option<Offsets> {
        if bytes.get(..8)? != COOKIE {
            return None;
        }
        let version = word_in(bytes, 8);
        let (major, minor) = (version >> 24 & 0xff, (version >> 16 & 0xff) as u8);
        if major != 3 || !(13..=14).contains(&minor) {
            return None;
        }
        let is_14 = minor == 14;
        let mut fields = Fields { bytes, at: 24 };
        // Each structure begins with its size.
        let [_, _, interpreters] = fields.take()?;
        let [_, interp_id, interp_next, interp_threads] = fields.take()?;
        if is_14 {
            let [_threads_main] = fields.take()?;
        }
        let [gc, _, _, _, pointer, gil, _, locked, holder] = fields.take()?;
        if is_14 {
            let [_, _] = fields.take()?;
        }
        let [_, _, thread_next, _, thread_frame, thread_pthread, thread_native, _, _] = fields.take()?;
        let [_, frame_back, frame_code, frame_instruction, frame_locals, frame_owner] = fields.take()?;
        if is_14 {
            let [_, _] = fields.take()?;
        }
        let [_, code_filename, _, code_name, code_lines, code_first_line] = fields.take()?;
        let [_, _, _, code_instructions] = fields.take()?;
        if is_14 {
            let [_co_tlbc] = fields.take()?;
        }
        let [_, object_type] = fields.take()?;
        let [_, _, _, _] = fields.take()?;
        let [_, tuple_items, _] = fields.take()?;
        let [_, _, _] = fields.take()?;
        if is_14 {
            let [_, _, _, _] = fields.take()?;
        }
        // dict, float, long, bytes.
        let [_, _, _, _, _, _, _, _, _, _, _] = fields.take()?;
        let [_, str_state, str_length, str_ascii] = fields.take()?;
        Some(Offsets {
            minor,
            free_threaded: word_in(bytes, 16) != 0,
            interpreters,
            gil: Gil::Own { pointer, holder: holder.checked_sub(gil)?, locked: locked.checked_sub(gil)? },
            interp_id,
            interp_next,
            interp_threads,
            interp_gc: Some(gc),
            thread_next,
            thread_pthread,
            thread_native: Some(thread_native),
            thread_frame,
            cframe: None,
            frame_back,
            frame_code,
            frame_instruction,
            frame_owner: Some(frame_owner),
            frame_locals,
            code_filename,
            code_name,
            code_first_line,
            code_lines,
            code_instructions,
            object_type,
            tuple_items,
            str_length,
            str_state,
            str_ascii,
        })
    }
}

/// Offsets one after the other.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    /// The next ones; `None` where one can't be an offset.
    fn take<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut fields = [0; N];
        for field in &mut fields {
            *field = word_in(self.bytes.get(self.at..self.at + 8)?, 0);
            self.at += 8;
        }
        fields.iter().all(|field| *field <= LARGEST_OFFSET).then_some(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(version: u64, fields: usize) -> Vec<u8> {
        let mut bytes = COOKIE.to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        // Each field is its own number, so that what is read tells which it was.
        (0..fields as u64).for_each(|field| bytes.extend(field.to_le_bytes()));
        bytes
    }

    #[test]
    fn what_the_interpreter_names_is_taken_by_its_version() {
        let old = Offsets::named(&block(0x030d_00f0, 70)).unwrap();
        assert_eq!(
            (old.minor, old.interpreters, old.interp_threads, old.thread_native),
            (13, 2, 6, Some(22))
        );
        assert_eq!((old.frame_owner, old.code_lines, old.code_instructions), (Some(30), 35, 40));
        assert_eq!((old.object_type, old.tuple_items, old.str_state, old.str_ascii), (42, 48, 65, 67));
        let new = Offsets::named(&block(0x030e_00f0, 90)).unwrap();
        assert_eq!((new.minor, new.interp_gc, new.thread_native), (14, Some(8), Some(25)));
        assert_eq!((new.frame_owner, new.code_lines, new.code_instructions), (Some(33), 40, 45));
        assert_eq!((new.object_type, new.tuple_items, new.str_state, new.str_ascii), (48, 54, 75, 77));
    }

    #[test]
    fn what_is_unknown_or_no_offset_is_refused() {
        assert!(Offsets::named(&block(0x0310_00f0, 90)).is_none());
        assert!(Offsets::named(&block(0x030d_00f0, 20)).is_none());
        assert!(Offsets::named(b"xdebugpy").is_none() && Offsets::named(&[0; DEBUG_BYTES]).is_none());
        let mut bytes = block(0x030d_00f0, 70);
        bytes[24 + 7] = 1;
        assert!(Offsets::named(&bytes).is_none());
    }
}
