//! Dates and times as PostgreSQL and serde write them, in ISO 8601.

const DAY: i128 = 24 * 60 * 60 * 1_000_000;

/// The number of a day.
pub(super) fn date(text: &str) -> Option<[u8; 16]> {
    let (text, before_christ) = era(text);
    endless(text).or_else(|| day(text, before_christ)).map(i128::to_be_bytes)
}

/// The microseconds of a time of day.
pub(super) fn time(text: &str) -> Option<[u8; 16]> {
    clock(text).map(i128::to_be_bytes)
}

/// The microseconds of a time without an offset.
pub(super) fn timestamp(text: &str) -> Option<[u8; 16]> {
    let (text, before_christ) = era(text);
    endless(text)
        .or_else(|| {
            let (date, time) = text.split_once(['T', 't', ' '])?;
            Some(day(date, before_christ)? * DAY + clock(time)?)
        })
        .map(i128::to_be_bytes)
}

/// The microseconds of an instant.
pub(super) fn timestamp_tz(text: &str) -> Option<[u8; 16]> {
    let (text, before_christ) = era(text);
    endless(text)
        .or_else(|| {
            let (date, rest) = text.split_once(['T', 't', ' '])?;
            let at = rest.find(['Z', 'z', '+', '-'])?;
            let (time, offset) = rest.split_at(at);
            Some(day(date, before_christ)? * DAY + clock(time.trim_end())? - self::offset(offset)?)
        })
        .map(i128::to_be_bytes)
}

fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

/// `infinity` and `-infinity`: after or before every time.
fn endless(text: &str) -> Option<i128> {
    match text {
        "infinity" => Some(i128::MAX),
        "-infinity" => Some(i128::MIN),
        _ => None,
    }
}

fn digits(text: &str) -> Option<i128> {
    (!text.is_empty() && text.len() <= 9 && text.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

/// The number of a day since 1970, in the Gregorian calendar, also before its introduction.
fn day(text: &str, before_christ: bool) -> Option<i128> {
    let mut parts = text.split('-');
    let year = parts.next()?;
    let month = parts.next()?;
    let day = parts.next()?;
    if parts.next().is_some() || year.len() < 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let year = digits(year)?;
    let month = digits(month)?;
    let day = digits(day)?;
    if year == 0 {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) {
        return None;
    }
    // Years from March on, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year - 719_468)
}

/// The microseconds of `09:00`, `09:00:00` or `09:00:00.5`.
fn clock(text: &str) -> Option<i128> {
    let mut parts = text.split(':');
    let hours = parts.next()?;
    let minutes = parts.next()?;
    let seconds = parts.next().unwrap_or("00");
    let (seconds, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if parts.next().is_some() || [hours, minutes, seconds].iter().any(|number| number.len() != 2) {
        return None;
    }
    // The server rounds smaller fractions.
    let part = part.trim_end_matches('0');
    if part.len() > 6 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let micros = digits(&format!("{part:0<6}"))?;
    let hours = digits(hours)?;
    let minutes = digits(minutes)?;
    let seconds = digits(seconds)?;
    let whole = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
    (minutes < 60 && seconds <= 60 && whole <= DAY).then_some(whole)
}

/// The microseconds of `Z`, `+02`, `+02:00`, `+0200` or `+02:00:00`.
fn offset(text: &str) -> Option<i128> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let sign = if sign == "-" { -1 } else { 1 };
    let bare = rest.replace(':', "");
    if bare.len() < 2 || bare.len() > 6 || bare.len() % 2 != 0 || !bare.is_ascii() {
        return None;
    }
    let part = |at: usize| bare.get(at..at + 2).map_or(Some(0), digits);
    Some(sign * ((part(0)? * 60 + part(2)?) * 60 + part(4)?) * 1_000_000)
}
