//! Numbers: decimals whatever their scale, and floats of a width.

use smache_core::FieldValue;

/// The digits of a number, without zeros before or after them, and its exponent; `None` if it is no number.
pub(super) fn decimal(value: &FieldValue) -> Option<Vec<u8>> {
    let text = match value {
        FieldValue::Integer(value) => value.to_string(),
        FieldValue::Float32(value) => value.to_string(),
        FieldValue::Float64(value) => value.to_string(),
        FieldValue::Text(text) => text.trim_ascii().to_ascii_lowercase(),
        _ => return None,
    };
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", &text[..]),
    };
    match rest {
        "nan" if text == "nan" => return Some(b"nan".to_vec()),
        "inf" | "infinity" => return Some(format!("{sign}inf").into_bytes()),
        _ => {}
    }
    let (mantissa, exponent) = match rest.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some(b"0".to_vec());
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let exponent = exponent.checked_sub(i64::try_from(part.len()).ok()?)?.checked_add(i64::try_from(zeros).ok()?)?;
    Some(format!("{sign}{significant}e{exponent}").into_bytes())
}

/// The bits of a float of 64 bits, as the server reads it from text.
pub(super) fn float8(value: &FieldValue) -> Option<[u8; 8]> {
    let float: f64 = match value {
        FieldValue::Integer(value) => value.to_string().parse().ok()?,
        FieldValue::Float32(value) => f64::from(*value),
        FieldValue::Float64(value) => *value,
        FieldValue::Text(text) => text.trim_ascii().parse().ok()?,
        _ => return None,
    };
    // -0.0 equals 0.0, and every NaN equals every other.
    Some(if float.is_nan() { f64::NAN } else { float + 0.0 }.to_be_bytes())
}

/// The bits of a float of 32 bits, as the server reads it from text.
#[cfg(feature = "postgres")]
pub(super) fn float4(value: &FieldValue) -> Option<[u8; 4]> {
    let float: f32 = match value {
        FieldValue::Integer(value) => value.to_string().parse().ok()?,
        FieldValue::Float32(value) => *value,
        // Read from its digits, as the server does: rounded once.
        FieldValue::Float64(value) => value.to_string().parse().ok()?,
        FieldValue::Text(text) => text.trim_ascii().parse().ok()?,
        _ => return None,
    };
    Some(if float.is_nan() { f32::NAN } else { float + 0.0 }.to_be_bytes())
}
