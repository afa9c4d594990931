//! hsperfdata: the counters a HotSpot keeps in shared memory
//! (src/hotspot/share/runtime/perfMemory.hpp, `PerfDataPrologue` and `PerfDataEntry`). A prologue,
//! then self-describing entries in either byte order.

use std::collections::HashMap;

/// `PERFDATA_MAGIC`, always big-endian.
const MAGIC: u32 = 0xcafe_c0c0;
/// Bytes of the prologue, version 2.
const PROLOGUE: usize = 32;
/// Bytes of an entry before its name.
const ENTRY: usize = 20;
/// More counters than any JVM has: 250.
const MAX_ENTRIES: usize = 10_000;

/// A counter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A 64-bit number.
    Number(i64),
    /// Text; what is not UTF-8 is replaced.
    Text(String),
}

/// Why bytes are not hsperfdata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HsperfError {
    /// Shorter than a prologue.
    #[error("hsperfdata is cut off in its prologue")]
    Short,
    /// Does not start with the magic number.
    #[error("this is not hsperfdata: it starts with {0:#010x}")]
    Magic(u32),
    /// Not version 2, the format since JDK 1.5.
    #[error("hsperfdata has the unknown version {0}")]
    Version(u8),
    /// The JVM has not finished setting it up.
    #[error("hsperfdata is not filled in yet: the JVM is just starting")]
    NotReady,
}

/// The counters of a JVM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hsperf {
    counters: HashMap<String, Value>,
    /// True where an entry made no sense, so that the ones after it are missing.
    pub cut_off: bool,
}

impl Hsperf {
    /// Reads the counters.
    ///
    /// # Errors
    /// [`HsperfError`] where the bytes are not hsperfdata at all; a broken entry only ends the list
    /// (see [`Hsperf::cut_off`]).
    pub fn parse(bytes: &[u8]) -> Result<Hsperf, HsperfError> {
        let prologue = bytes.get(..PROLOGUE).ok_or(HsperfError::Short)?;
        let magic = prologue.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        if magic != MAGIC {
            return Err(HsperfError::Magic(magic));
        }
        if prologue[5] != 2 {
            return Err(HsperfError::Version(prologue[5]));
        }
        if prologue[7] == 0 {
            return Err(HsperfError::NotReady);
        }
        let order = Order { little: prologue[4] == 1 };
        let first = order.size(bytes, 24).unwrap_or(0);
        let count = order.size(bytes, 28).unwrap_or(0).min(MAX_ENTRIES);
        let mut hsperf = Hsperf::default();
        let mut at = first;
        for _ in 0..count {
            let Some((name, value, length)) = order.entry(bytes, at) else {
                hsperf.cut_off = true;
                break;
            };
            if let Some(value) = value {
                hsperf.counters.insert(name, value);
            }
            at += length;
        }
        Ok(hsperf)
    }

    /// Bytes in use, prologue included: what has to be read for [`Hsperf::parse`]. Needs only the
    /// prologue.
    pub fn used(prologue: &[u8]) -> Option<usize> {
        let magic = prologue.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))?;
        let order = Order { little: *prologue.get(4)? == 1 };
        (magic == MAGIC).then(|| order.size(prologue, 8))?
    }

    /// The value of the counter `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.counters.get(name)
    }

    /// The number `name`; `None` also where it is negative.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Value::Number(number) => u64::try_from(*number).ok(),
            Value::Text(_) => None,
        }
    }

    /// The text `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            Value::Number(_) => None,
        }
    }

    /// Every counter, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.counters.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// The byte order of the writer.
#[derive(Clone, Copy)]
struct Order {
    little: bool,
}

impl Order {
    fn array<const N: usize>(self, bytes: &[u8], at: usize) -> Option<[u8; N]> {
        let mut chunk = *bytes.get(at..)?.first_chunk::<N>()?;
        if !self.little {
            chunk.reverse();
        }
        Some(chunk)
    }

    /// A 32-bit size or offset that is not negative.
    fn size(self, bytes: &[u8], at: usize) -> Option<usize> {
        self.array(bytes, at).and_then(|chunk| usize::try_from(i32::from_le_bytes(chunk)).ok())
    }

    /// Name, value (`None` for a type this reader does not know) and length of the entry at `at`.
    fn entry(self, bytes: &[u8], at: usize) -> Option<(String, Option<Value>, usize)> {
        let length = self.size(bytes, at).filter(|length| *length >= ENTRY)?;
        let entry = bytes.get(at..at.checked_add(length)?)?;
        let name = text(entry.get(self.size(entry, 4)?..)?);
        let vector = self.size(entry, 8)?;
        let data = self.size(entry, 16)?;
        let value = match (*entry.get(12)?, vector) {
            (b'J', 0) => Some(Value::Number(i64::from_le_bytes(self.array(entry, data)?))),
            (b'B', 1..) => {
                let bytes = entry.get(data..data.checked_add(vector)?)?;
                Some(Value::Text(text(bytes)))
            }
            _ => None,
        };
        Some((name, value, length))
    }
}

/// The text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// hsperfdata with the given counters, in either byte order.
    fn sample(little: bool, counters: &[(&str, Value)]) -> Vec<u8> {
        let int = |number: i32| if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let mut body = Vec::new();
        for (name, value) in counters {
            let data_offset = (ENTRY + name.len() + 1).next_multiple_of(8);
            let (kind, vector, data) = match value {
                Value::Number(number) => {
                    (b'J', 0, if little { number.to_le_bytes() } else { number.to_be_bytes() }.to_vec())
                }
                Value::Text(text) => (b'B', text.len() as i32 + 1, [text.as_bytes(), &[0]].concat()),
            };
            let length = (data_offset + data.len()).next_multiple_of(8);
            let mut entry = [int(length as i32), int(ENTRY as i32), int(vector)].concat();
            entry.extend([kind, 1, 1, 1]);
            entry.extend(int(data_offset as i32));
            entry.extend(name.as_bytes());
            entry.resize(data_offset, 0);
            entry.extend(data);
            entry.resize(length, 0);
            body.extend(entry);
        }
        let mut bytes = MAGIC.to_be_bytes().to_vec();
        bytes.extend([u8::from(little), 2, 0, 1]);
        bytes.extend(int((PROLOGUE + body.len()) as i32));
        bytes.extend(int(0));
        bytes.extend([0; 8]);
        bytes.extend(int(PROLOGUE as i32));
        bytes.extend(int(counters.len() as i32));
        bytes.extend(body);
        bytes.resize(bytes.len() + 100, 0);
        bytes
    }

    fn counters() -> [(&'static str, Value); 3] {
        [
            ("java.threads.live", Value::Number(26)),
            ("sun.rt.javaCommand", Value::Text("demo.Main --ünï".to_owned())),
            ("sun.gc.policy.slope", Value::Number(-3)),
        ]
    }

    #[test]
    fn both_byte_orders_are_read() {
        for little in [true, false] {
            let bytes = sample(little, &counters());
            let hsperf = Hsperf::parse(&bytes).unwrap();
            assert_eq!(hsperf.number("java.threads.live"), Some(26));
            assert_eq!(hsperf.text("sun.rt.javaCommand"), Some("demo.Main --ünï"));
            assert_eq!(hsperf.get("sun.gc.policy.slope"), Some(&Value::Number(-3)));
            assert_eq!(hsperf.number("sun.gc.policy.slope"), None);
            assert_eq!(hsperf.iter().count(), 3);
            assert!(!hsperf.cut_off);
            assert_eq!(Hsperf::used(&bytes[..PROLOGUE]), Some(bytes.len() - 100));
        }
    }

    #[test]
    fn what_is_not_hsperfdata_is_refused() {
        assert_eq!(Hsperf::parse(b"short"), Err(HsperfError::Short));
        assert_eq!(Hsperf::parse(&[0; 64]), Err(HsperfError::Magic(0)));
        let mut bytes = sample(true, &counters());
        bytes[7] = 0;
        assert_eq!(Hsperf::parse(&bytes), Err(HsperfError::NotReady));
        bytes[5] = 3;
        assert_eq!(Hsperf::parse(&bytes), Err(HsperfError::Version(3)));
    }

    #[test]
    fn a_cut_off_file_gives_what_came_before_the_cut() {
        let bytes = sample(true, &counters());
        let hsperf = Hsperf::parse(&bytes[..PROLOGUE + 60]).unwrap();
        assert!(hsperf.cut_off);
        assert_eq!(hsperf.number("java.threads.live"), Some(26));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            little: bool,
            cut in 0..400usize,
            changes in proptest::collection::vec((0..400usize, proptest::num::u8::ANY), 0..8),
        ) {
            let mut bytes = sample(little, &counters());
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(cut);
            let _ = Hsperf::used(&bytes);
            if let Ok(hsperf) = Hsperf::parse(&bytes) {
                assert!(hsperf.iter().count() <= 10);
            }
        }
    }
}
