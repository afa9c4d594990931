//! Sizes, rates and durations in words a person reads.

/// `1536` → `"1.5 KiB"`. Three significant digits, binary units.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scaled = value as f64;
    let mut unit = 0;
    // 999.5 would be printed as 1000: one unit up it has its three digits again.
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{value} B")
    } else if scaled < 9.995 {
        format!("{scaled:.2} {}", UNITS[unit])
    } else if scaled < 99.95 {
        format!("{scaled:.1} {}", UNITS[unit])
    } else {
        format!("{scaled:.0} {}", UNITS[unit])
    }
}

/// A signed difference: always with its sign, `"+1.50 KiB"`, `"-3 B"`, `"±0 B"`.
pub fn delta(value: i64) -> String {
    match value {
        0 => "±0 B".to_owned(),
        1.. => format!("+{}", bytes(value.unsigned_abs())),
        _ => format!("-{}", bytes(value.unsigned_abs())),
    }
}

/// A growth rate: `"+1.20 MiB/s"`; small ones by the hour, so that 3 B/s does not read as nothing.
pub fn rate(bytes_per_s: f64) -> String {
    let (value, per) =
        if bytes_per_s.abs() >= 1024.0 { (bytes_per_s, "s") } else { (bytes_per_s * 3600.0, "h") };
    format!("{}/{per}", delta(value.round() as i64))
}

/// `93784` seconds → `"1 d 2 h"`; two units at the most.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => join(whole / 60, "min", whole % 60, "s"),
        3600..86_400 => join(whole / 3600, "h", whole % 3600 / 60, "min"),
        _ => join(whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    }
}

/// An instant as people say it: `"16:40 UTC"` on the day of `now`, else with the days between;
/// milliseconds since the Unix epoch.
pub fn hour(at_ms: i64, now_ms: i64) -> String {
    const DAY: i64 = 86_400_000;
    let minutes = at_ms.rem_euclid(DAY) / 60_000;
    let days = at_ms.div_euclid(DAY) - now_ms.div_euclid(DAY);
    let day = match days {
        0 => String::new(),
        1 => " tomorrow".to_owned(),
        days if days < 0 => format!(" {} days before", days.unsigned_abs()),
        days => format!(" in {days} days"),
    };
    format!("{:02}:{:02} UTC{day}", minutes / 60, minutes % 60)
}

fn join(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

/// A size as people write it on a command line: `"512k"`, `"1.5MiB"`, `"2 GB"`, `"4096"`. Units are
/// binary.
///
/// # Errors
/// A sentence that says what is wrong with the text.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let wrong =
        || format!("{text:?} is not a size; write a number with an optional unit, like 512k, 1.5MiB or 2GB");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let value = number * 1024f64.powi(power);
    if value.is_finite() && value < u64::MAX as f64 { Ok(value as u64) } else { Err(wrong()) }
}

/// A duration as people write it: `"30s"`, `"5m"`, `"1.5h"`, `"2d"`, `"500ms"`, `"90"` (seconds).
///
/// # Errors
/// A sentence that says what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let wrong = || format!("{text:?} is not a duration; write a number with a unit, like 30s, 5m or 1h");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "" | "s" => number,
        "ms" => number / 1000.0,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return Err(wrong()),
    };
    std::time::Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_said_with_their_day() {
        let now = 1_700_000_000_000; // 22:13:20
        assert_eq!(hour(now + 60_000, now), "22:14 UTC");
        assert_eq!(hour(now + 2 * 3_600_000, now), "00:13 UTC tomorrow");
        assert_eq!(hour(now + 48 * 3_600_000, now), "22:13 UTC in 2 days");
    }

    #[test]
    fn sizes_keep_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.98 KiB"),
            (1024, "1.00 KiB"),
            (10_235, "10.0 KiB"),
            (102_400, "100 KiB"),
            (1_048_576, "1.00 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (value, text) in cases {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn differences_always_show_their_sign() {
        assert_eq!([delta(0), delta(2048), delta(-2048)], ["±0 B", "+2.00 KiB", "-2.00 KiB"]);
        assert_eq!(rate(2048.0), "+2.00 KiB/s");
        assert_eq!(rate(-1.0), "-3.52 KiB/h");
    }

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("512k"), Ok(524_288));
        assert_eq!(parse_bytes("1.5 MiB"), Ok(1_572_864));
        assert_eq!(parse_bytes("1MB"), Ok(1_048_576));
        assert_eq!(parse_bytes("7"), Ok(7));
        assert!(parse_bytes("").is_err() && parse_bytes("x").is_err() && parse_bytes("1e9").is_err());
        assert_eq!(parse_duration("1.5m"), Ok(std::time::Duration::from_secs(90)));
        assert!(parse_duration("-3s").is_err() && parse_duration("3 parsecs").is_err());
    }

    #[test]
    fn durations_use_two_units_at_the_most() {
        assert_eq!(
            [duration(5.4), duration(60.0), duration(3661.0), duration(93_784.0)],
            ["5 s", "1 min", "1 h 1 min", "1 d 2 h"]
        );
    }
}
