//! The words a line is made of: amounts with units, deltas, counts, names.

use crate::report::{Allocations, Counted, Mapping, Scale};

/// Why a line could not be read.
pub type Bad = &'static str;

pub const NOT_UNDERSTOOD: Bad = "not understood";
pub const TOO_LARGE: Bad = "the number is too large";

/// Reads one line from left to right. A method that answers `None` or `false` has not moved.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a str,
}

/// An amount in bytes and the unit it was printed in.
#[derive(Clone, Copy)]
pub struct Amount {
    pub bytes: u64,
    pub unit: Scale,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Cursor { rest: text }
    }

    pub fn rest(&self) -> &'a str {
        self.rest
    }

    pub fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub fn expect(&mut self, token: &str) -> Result<(), Bad> {
        if self.eat(token) { Ok(()) } else { Err(NOT_UNDERSTOOD) }
    }

    pub fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Nothing but spaces may be left.
    pub fn end(self) -> Result<(), Bad> {
        if self.rest.trim_start().is_empty() { Ok(()) } else { Err(NOT_UNDERSTOOD) }
    }

    /// Everything up to `stop`, which is eaten too.
    pub fn until(&mut self, stop: &str) -> Option<&'a str> {
        let (before, after) = self.rest.split_once(stop)?;
        self.rest = after;
        Some(before)
    }

    fn while_matches(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    pub fn number(&mut self) -> Result<u64, Bad> {
        match self.while_matches(|c| c.is_ascii_digit()) {
            "" => Err(NOT_UNDERSTOOD),
            digits => digits.parse().map_err(|_| TOO_LARGE),
        }
    }

    pub fn hex_digits(&mut self) -> &'a str {
        self.while_matches(|c| c.is_ascii_hexdigit())
    }

    /// `0x` and hexadecimal digits.
    pub fn address(&mut self) -> Result<u64, Bad> {
        self.expect("0x")?;
        match self.hex_digits() {
            "" => Err(NOT_UNDERSTOOD),
            digits => u64::from_str_radix(digits, 16).map_err(|_| TOO_LARGE),
        }
    }

    fn unit(&mut self) -> Result<Scale, Bad> {
        match self.while_matches(|c| c.is_ascii_alphabetic()) {
            "" | "B" => Ok(Scale::Bytes),
            "KB" => Ok(Scale::Kilobytes),
            "MB" => Ok(Scale::Megabytes),
            "GB" => Ok(Scale::Gigabytes),
            _ => Err("unknown unit"),
        }
    }

    /// `912KB`; without a unit at scale b.
    pub fn amount(&mut self) -> Result<Amount, Bad> {
        let value = self.number()?;
        let unit = self.unit()?;
        let bytes = value.checked_mul(unit.bytes()).ok_or(TOO_LARGE)?;
        Ok(Amount { bytes, unit })
    }

    /// ` +9KB`, if there is one. An arena's delta lacks the unit up to JDK 17 (`+9`), and JDK 21
    /// prints a stray `d` there (`+9d`): both are meant in the unit of the figure itself.
    pub fn delta(&mut self, unit: Scale) -> Result<Option<i64>, Bad> {
        let Some((sign, value)) = self.signed()? else { return Ok(None) };
        if !self.eat("d") {
            match self.unit()? {
                Scale::Bytes => {}
                own if own == unit => {}
                _ => return Err("figure and delta differ in their units"),
            }
        }
        let factor = i64::try_from(unit.bytes()).map_err(|_| TOO_LARGE)?;
        Ok(Some(value.checked_mul(factor).ok_or(TOO_LARGE)?.wrapping_mul(sign)))
    }

    /// A sign and a number, after spaces.
    fn signed(&mut self) -> Result<Option<(i64, i64)>, Bad> {
        let mut ahead = *self;
        ahead.spaces();
        let sign = if ahead.eat("+") {
            1
        } else if ahead.eat("-") {
            -1
        } else {
            return Ok(None);
        };
        let value = i64::try_from(ahead.number()?).map_err(|_| TOO_LARGE)?;
        *self = ahead;
        Ok(Some((sign, value)))
    }

    /// ` #5905 +12`, if there is one.
    pub fn count(&mut self) -> Result<Option<Counted>, Bad> {
        let mut ahead = *self;
        ahead.spaces();
        if !ahead.eat("#") {
            return Ok(None);
        }
        let count = ahead.number()?;
        let count_delta = ahead.signed()?.map(|(sign, value)| sign * value);
        *self = ahead;
        Ok(Some(Counted { count, count_delta }))
    }

    /// A category's name: it ends before a count, a delta, a comma or a parenthesis.
    pub fn name(&mut self) -> Result<&'a str, Bad> {
        let end = self.rest.find(['#', '+', '-', ',', '(', ')']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let name = name.trim();
        if name.is_empty() {
            return Err(NOT_UNDERSTOOD);
        }
        self.rest = rest;
        Ok(name)
    }

    /// ` type=Class`, ` tag=Class` (JDK 25 and later), in mmap sites with a capital letter.
    pub fn tag(&mut self) -> Result<Option<&'a str>, Bad> {
        let mut ahead = *self;
        ahead.spaces();
        if ["type=", "tag=", "Type=", "Tag="].into_iter().any(|key| ahead.eat(key)) {
            let name = ahead.name()?;
            *self = ahead;
            return Ok(Some(name));
        }
        Ok(None)
    }

    /// `reserved=912KB +3KB, committed=912KB +3KB` and what may follow: `, peak=3KB` or `, at
    /// peak`.
    pub fn mapping(&mut self) -> Result<(Mapping, Scale), Bad> {
        self.spaces();
        self.expect("reserved=")?;
        let reserved = self.amount()?;
        let reserved_bytes_delta = self.delta(reserved.unit)?;
        self.expect(", committed=")?;
        let committed = self.amount()?;
        let committed_bytes_delta = self.delta(committed.unit)?;
        let peak_bytes = if self.eat(", peak=") {
            Some(self.amount()?.bytes)
        } else if self.eat(", at peak") {
            Some(committed.bytes)
        } else {
            None
        };
        let mapping = Mapping {
            reserved_bytes: reserved.bytes,
            reserved_bytes_delta,
            committed_bytes: committed.bytes,
            committed_bytes_delta,
            peak_bytes,
        };
        Ok((mapping, reserved.unit))
    }

    /// `912KB +3KB #20 +1`, perhaps with a category's name after the amount.
    pub fn allocations(&mut self) -> Result<(Allocations, Option<&'a str>), Bad> {
        let amount = self.amount()?;
        let tag = self.tag()?;
        let bytes_delta = self.delta(amount.unit)?;
        let counted = self.count()?;
        let allocations = Allocations {
            bytes: amount.bytes,
            bytes_delta,
            count: counted.map(|c| c.count),
            count_delta: counted.and_then(|c| c.count_delta),
            ..Allocations::default()
        };
        Ok((allocations, tag))
    }

    /// What may follow allocations: ` (at peak)` or ` (peak=3KB #20)`.
    pub fn peak(&mut self, of: &mut Allocations) -> Result<(), Bad> {
        self.spaces();
        if self.eat("(at peak)") {
            of.peak_bytes = Some(of.bytes);
            of.peak_count = of.count;
        } else if self.eat("(peak=") {
            self.peak_figures(of)?;
            self.expect(")")?;
        }
        Ok(())
    }

    /// `3KB #20`.
    pub fn peak_figures(&mut self, of: &mut Allocations) -> Result<(), Bad> {
        of.peak_bytes = Some(self.amount()?.bytes);
        of.peak_count = self.count()?.map(|c| c.count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(text: &str, unit: Scale) -> Result<Option<i64>, Bad> {
        Cursor::new(text).delta(unit)
    }

    #[test]
    fn deltas_of_all_jdks() {
        assert_eq!(delta(" +9KB)", Scale::Kilobytes), Ok(Some(9 << 10)));
        assert_eq!(delta(" -9 #3", Scale::Megabytes), Ok(Some(-(9 << 20))), "JDK 17 and before");
        assert_eq!(delta(" +9d #3", Scale::Kilobytes), Ok(Some(9 << 10)), "JDK 21");
        assert_eq!(delta(" +9", Scale::Bytes), Ok(Some(9)));
        assert_eq!(delta(" #9", Scale::Bytes), Ok(None));
        assert!(delta(" +9MB", Scale::Kilobytes).is_err());
        assert!(delta(" +", Scale::Kilobytes).is_err());
    }

    #[test]
    fn numbers_that_overflow_are_refused() {
        assert_eq!(Cursor::new("99999999999999999999KB").amount().err(), Some(TOO_LARGE));
        assert_eq!(Cursor::new("18446744073709551615GB").amount().err(), Some(TOO_LARGE));
        assert_eq!(Cursor::new("18446744073709551615").amount().map(|a| a.bytes), Ok(u64::MAX));
        assert_eq!(delta(" -9223372036854775808", Scale::Bytes), Err(TOO_LARGE));
        assert_eq!(delta(" +9223372036854775807GB", Scale::Gigabytes), Err(TOO_LARGE));
    }

    #[test]
    fn names_hold_spaces() {
        let mut cursor = Cursor::new(" tag=Native Memory Tracking #2082)");
        assert_eq!(cursor.tag(), Ok(Some("Native Memory Tracking")));
        assert_eq!(cursor.count(), Ok(Some(Counted { count: 2082, count_delta: None })));
        assert_eq!(Cursor::new(" Type=Java Heap)").tag(), Ok(Some("Java Heap")));
    }
}
