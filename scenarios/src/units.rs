//! Sizes and durations as people write them.

use std::time::Duration;

use crate::Error;

/// Bytes from `300KB`, `1.5MB`, `2GB` or a plain number; powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, Error> {
    let (number, factor) =
        split_unit(text, &[("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("B", 1)], 1);
    scaled(number, factor as f64).map(|bytes| bytes as u64).ok_or_else(|| Error::Unit {
        text: text.into(),
        what: "size",
        example: "300KB or 1.5MB",
    })
}

/// A duration from `60s`, `3m`, `1h` or plain seconds.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let (number, factor) = split_unit(text, &[("s", 1), ("m", 60), ("h", 3600)], 1);
    scaled(number, factor as f64).map(Duration::from_secs_f64).ok_or_else(|| Error::Unit {
        text: text.into(),
        what: "duration",
        example: "60s or 3m",
    })
}

fn split_unit<'a>(text: &'a str, units: &[(&str, u64)], plain: u64) -> (&'a str, u64) {
    units
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))
        .unwrap_or((text, plain))
}

/// `None` for what is no number, negative, or too large to be meant.
fn scaled(number: &str, factor: f64) -> Option<f64> {
    let value = number.trim().parse::<f64>().ok()? * factor;
    (0.0..1e15).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("300KB").unwrap(), 300 * 1024);
        assert_eq!(parse_bytes("1.5MB").unwrap(), 3 << 19);
        assert_eq!(parse_bytes("7").unwrap(), 7);
        assert_eq!(parse_bytes("7B").unwrap(), 7);
        for wrong in ["", "MB", "-1MB", "1TB", "NaN", "inf"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("60s").unwrap(), Duration::from_secs(60));
        assert_eq!(parse_duration("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("20").unwrap(), Duration::from_secs(20));
        assert!(parse_duration("soon").is_err());
    }
}
