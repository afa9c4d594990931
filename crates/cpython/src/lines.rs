//! Which line an instruction is of: the tables of code objects, in the three forms they had
//! (`co_lnotab` until 3.9, PEP 626's `co_linetable` in 3.10, Objects/locations.md from 3.11).

/// The form of a table, by the minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Pairs of byte and signed line deltas.
    Lnotab,
    /// The same, of ranges, where -128 is no line.
    Ranges,
    /// Entries of a code, a length and a line delta.
    Locations,
}

impl Form {
    /// That of CPython 3.`minor`.
    pub(crate) fn of(minor: u8) -> Form {
        match minor {
            ..=9 => Form::Lnotab,
            10 => Form::Ranges,
            _ => Form::Locations,
        }
    }
}

/// The line of the instruction at `offset` bytes of a code object whose first line is `first`;
/// `first` where the table does not say.
pub(crate) fn line(form: Form, table: &[u8], first: i64, offset: u64) -> i64 {
    match form {
        Form::Lnotab => lnotab(table, first, offset),
        Form::Ranges => ranges(table, first, offset),
        Form::Locations => locations(table, first, offset),
    }
    .unwrap_or(first)
}

fn lnotab(table: &[u8], first: i64, offset: u64) -> Option<i64> {
    let (mut at, mut line) = (0, first);
    for pair in table.chunks_exact(2) {
        at += u64::from(pair[0]);
        if at > offset {
            break;
        }
        line += i64::from(pair[1].cast_signed());
    }
    Some(line)
}

fn ranges(table: &[u8], first: i64, offset: u64) -> Option<i64> {
    let (mut end, mut line) = (0, first);
    for pair in table.chunks_exact(2) {
        let delta = pair[1].cast_signed();
        if delta != -128 {
            line += i64::from(delta);
        }
        end += u64::from(pair[0]);
        if offset < end {
            return (delta != -128).then_some(line);
        }
    }
    None
}

fn locations(table: &[u8], first: i64, offset: u64) -> Option<i64> {
    let (mut end, mut line, mut at) = (0, first, 0);
    while let Some(&head) = table.get(at) {
        // Each entry begins with the only byte of it that has the highest bit.
        let code = head >> 3 & 15;
        let delta = match code {
            0..=9 | 15 => 0,
            10..=12 => i64::from(code) - 10,
            _ => signed_varint(table.get(at + 1..)?)?,
        };
        line = line.checked_add(delta)?;
        // Instructions are two bytes each.
        end += 2 * (u64::from(head & 7) + 1);
        if offset < end {
            return (code != 15).then_some(line);
        }
        at += 1;
        while table.get(at).is_some_and(|byte| byte & 0x80 == 0) {
            at += 1;
        }
    }
    None
}

/// Six bits a byte, the lowest first, the seventh bit says that more follow; the lowest of the
/// value is its sign.
fn signed_varint(bytes: &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (number, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 63).checked_shl(6 * number as u32)?;
        if byte & 64 == 0 {
            let size = (value >> 1).cast_signed();
            return Some(if value & 1 == 1 { -size } else { size });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_gives_the_line() {
        // def f(): / a() / b(), compiled by 3.9: lines 2 and 3 at bytes 0 and 6.
        assert_eq!(line(Form::Lnotab, &[0, 1, 6, 1], 1, 4), 2);
        assert_eq!(line(Form::Lnotab, &[0, 1, 6, 1], 1, 6), 3);
        // A loop goes back.
        assert_eq!(line(Form::Lnotab, &[0, 1, 6, 1, 6, 0xff], 1, 12), 2);
        assert_eq!(line(Form::Ranges, &[6, 1, 8, 1], 1, 4), 2);
        assert_eq!(line(Form::Ranges, &[6, 1, 8, 1], 1, 6), 3);
        assert_eq!(line(Form::Ranges, &[6, 0x80, 8, 1], 7, 2), 7);
        // RESUME on the first line; then one line further, long form of +2, and no line at all.
        let table = [0x80, 0, 0x80 | 11 << 3 | 3, 4, 7, 0x80 | 14 << 3, 4, 0, 5, 9, 0x80 | 15 << 3];
        assert_eq!(line(Form::Locations, &table, 10, 0), 10);
        assert_eq!(line(Form::Locations, &table, 10, 2), 11);
        assert_eq!(line(Form::Locations, &table, 10, 9), 11);
        assert_eq!(line(Form::Locations, &table, 10, 10), 13);
        assert_eq!(line(Form::Locations, &table, 10, 12), 10);
        // A negative delta of several bytes: -100 is 0b1100_1001, 9 and 3.
        assert_eq!(line(Form::Locations, &[0x80 | 13 << 3, 64 | 9, 3], 200, 0), 100);
    }

    #[test]
    fn garbage_gives_some_line_and_ends() {
        for form in [Form::Lnotab, Form::Ranges, Form::Locations] {
            for seed in 0..200u8 {
                let table: Vec<u8> = (0..97u8).map(|n| n.wrapping_mul(seed) ^ seed.rotate_left(3)).collect();
                line(form, &table, i64::from(i32::MAX), u64::from(seed) * 7);
            }
        }
        assert_eq!(
            line(Form::Locations, &[0xf0, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f], 3, 0),
            3
        );
    }
}
