//! Durations as they are written in options: `"10m"`.

use std::time::Duration;

const FIX: &str = "write a whole number and a unit: `500ms`, `10s`, `10m`, `2h` or `1d`";

/// The duration, or the mistake in it.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60 * 1_000,
        "h" => 60 * 60 * 1_000,
        "d" => 24 * 60 * 60 * 1_000,
        _ => return Err(format!("`{}` is not a duration: {FIX}", text.escape_debug())),
    };
    if number.is_empty() {
        return Err(format!("`{}` is not a duration: {FIX}", text.escape_debug()));
    }
    // Signed, because a store that keeps milliseconds in 64 bits with a sign must be able to hold it.
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    match total.filter(|&total| i64::try_from(total).is_ok()) {
        Some(0) => Err(format!("`{text}` is no time at all: give it more, or leave the option away")),
        Some(total) => Ok(Duration::from_millis(total)),
        None => Err(format!("`{text}` is too long: {FIX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        let read = |text| parse(text).map(|duration| duration.as_millis());
        assert_eq!(read("500ms"), Ok(500));
        assert_eq!(read("10s"), Ok(10_000));
        assert_eq!(read("10m"), Ok(600_000));
        assert_eq!(read("2h"), Ok(7_200_000));
        assert_eq!(read("1d"), Ok(86_400_000));
    }

    #[test]
    fn anything_else_is_refused_with_the_fix() {
        for bad in ["", "10", "m", "10 m", "10min", "1h30m", "-1s", "1.5s", "١s", "10M", "99999999999999999999s"] {
            let message = parse(bad).expect_err(bad);
            assert!(message.contains(FIX), "{message}");
        }
        assert!(parse("9223372036854775808ms").expect_err("too long").contains("too long"));
        assert!(parse("0m").expect_err("zero").contains("no time at all"));
    }
}
