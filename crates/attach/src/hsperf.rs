//! The one performance counter that matters here. Layout: perfMemory.hpp (`PerfDataPrologue`,
//! `PerfDataEntry`).

/// The counter of what a JVM can do; its first character tells whether it can be attached to
/// (statSampler.cpp).
const CAPABILITIES: &[u8] = b"sun.rt.jvmCapabilities";

/// Whether the JVM takes attaches, from its `hsperfdata` file. `None` where the file doesn't say.
pub fn attach_enabled(data: &[u8]) -> Option<bool> {
    if data.get(..4)? != [0xca, 0xfe, 0xc0, 0xc0] {
        return None;
    }
    let little_endian = *data.get(4)? == 1;
    let read = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = data.get(at..at.checked_add(4)?)?.try_into().ok()?;
        let value = if little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        Some(value as usize)
    };
    let mut entry = read(24)?;
    // Each entry has a header of 20 bytes, so the file itself bounds their number.
    for _ in 0..read(28)?.min(data.len() / 20) {
        let length = read(entry)?;
        let name = entry.checked_add(read(entry.checked_add(4)?)?)?;
        let value = entry.checked_add(read(entry.checked_add(16)?)?)?;
        let name_end = name.checked_add(CAPABILITIES.len())?;
        if data.get(name..name_end) == Some(CAPABILITIES) && data.get(name_end) == Some(&0) {
            return match data.get(value)? {
                b'1' => Some(true),
                b'0' => Some(false),
                _ => None,
            };
        }
        entry = entry.checked_add(length)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one other counter and the one of interest.
    fn file(capabilities: &[u8]) -> Vec<u8> {
        let mut data = vec![0xca, 0xfe, 0xc0, 0xc0, 1, 2, 0, 1];
        data.extend([0; 16]);
        data.extend(32_u32.to_le_bytes());
        data.extend(2_u32.to_le_bytes());
        for (name, value) in [(&b"java.threads.live"[..], &b"3"[..]), (CAPABILITIES, capabilities)] {
            let name_end = 20 + name.len() as u32 + 1;
            for field in [name_end + value.len() as u32 + 1, 20, value.len() as u32, 0, name_end] {
                data.extend(field.to_le_bytes());
            }
            data.extend(name);
            data.push(0);
            data.extend(value);
            data.push(0);
        }
        data
    }

    #[test]
    fn the_first_character_tells() {
        assert_eq!(attach_enabled(&file(b"1100000")), Some(true));
        assert_eq!(attach_enabled(&file(b"0100000")), Some(false));
        assert_eq!(attach_enabled(&file(b"?")), None);
        assert_eq!(attach_enabled(b"not a counter file, but long enough for its header"), None);
    }

    #[test]
    fn damaged_files_are_no_answer_or_the_right_one() {
        let whole = file(b"1100000");
        for end in 0..whole.len() {
            assert_ne!(attach_enabled(&whole[..end]), Some(false));
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                attach_enabled(&damaged);
            }
        }
    }
}
