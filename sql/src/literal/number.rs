//! Text to numbers, by hand where it is hot.

use model::{Result, error};

use super::shown;

/// Reads an integer between `min` and `max`.
///
/// # Errors
///
/// 22P02 for text that is no integer, 22003 out of range; `type_name` is PostgreSQL's name of the type.
pub(crate) fn integer(text: &str, min: i128, max: i128, type_name: &str) -> Result<i128> {
    let bytes = text.trim_ascii().as_bytes();
    let (negative, digits) = match bytes.first() {
        Some(b'-') => (true, &bytes[1..]),
        Some(b'+') => (false, &bytes[1..]),
        _ => (false, bytes),
    };
    // Eighteen digits cannot overflow.
    const SAFE_DIGITS: usize = 18;
    let mut value = 0_i64;
    for byte in digits.iter().take(SAFE_DIGITS) {
        if !byte.is_ascii_digit() {
            return Err(malformed(text, type_name));
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    let mut value = i128::from(value);
    for byte in digits.iter().skip(SAFE_DIGITS) {
        if !byte.is_ascii_digit() {
            return Err(malformed(text, type_name));
        }
        value = value.saturating_mul(10).saturating_add(i128::from(byte - b'0'));
    }
    if digits.is_empty() {
        return Err(malformed(text, type_name));
    }
    if negative {
        value = -value;
    }
    if value < min || value > max {
        return Err(out_of_range(text, type_name));
    }
    Ok(value)
}

/// Reads a decimal number to `scale` digits behind the point, rounding halves away from zero.
///
/// # Errors
///
/// 22P02 for text that is no number, 22003 if it has more than 38 digits.
pub(crate) fn decimal(text: &str, scale: i8, type_name: &str) -> Result<i128> {
    let bytes = text.trim_ascii().as_bytes();
    let negative = bytes.first() == Some(&b'-');
    let unsigned = if matches!(bytes.first(), Some(b'-' | b'+')) { &bytes[1..] } else { bytes };
    let (mantissa, exponent) = match unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => {
            let digits = std::str::from_utf8(&unsigned[at + 1..]).unwrap_or_default();
            let exponent: i64 = digits.parse().map_err(|_| malformed(text, type_name))?;
            (&unsigned[..at], exponent)
        }
        None => (unsigned, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let fraction = mantissa.get(point + 1..).unwrap_or_default();
    let digits = || mantissa[..point].iter().chain(fraction);
    if digits().next().is_none() || !digits().all(u8::is_ascii_digit) {
        return Err(malformed(text, type_name));
    }
    // Digits to keep: those before the point, shifted by the exponent, and `scale` more.
    let keep = (point as i64).saturating_add(exponent).saturating_add(i64::from(scale));
    let mut value = 0_i128;
    let too_large = || out_of_range(text, type_name);
    for (place, byte) in digits().enumerate() {
        let place = place as i64;
        if place < keep {
            let next = value.checked_mul(10).and_then(|value| value.checked_add(i128::from(byte - b'0')));
            value = next.ok_or_else(too_large)?;
        } else {
            if place == keep && *byte >= b'5' {
                value += 1;
            }
            break;
        }
    }
    let given = (point + fraction.len()) as i64;
    if value != 0 {
        for _ in given..keep.min(given.saturating_add(60)) {
            value = value.checked_mul(10).ok_or_else(too_large)?;
        }
    }
    Ok(if negative { -value } else { value })
}

/// Reads a floating-point number, with `NaN` and `Infinity`.
///
/// # Errors
///
/// 22P02 for text that is no number, 22003 if it does not fit.
pub(crate) fn float(text: &str, type_name: &str) -> Result<f64> {
    let trimmed = text.trim_ascii();
    match fast_float2::parse::<f64, _>(trimmed) {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) if named(trimmed) => Ok(value),
        Ok(_) => Err(range(text, type_name)),
        Err(_) => Err(malformed(text, type_name)),
    }
}

/// Reads a 4-byte floating-point number.
///
/// # Errors
///
/// As [`float`].
pub(crate) fn float4(text: &str) -> Result<f32> {
    let trimmed = text.trim_ascii();
    match fast_float2::parse::<f32, _>(trimmed) {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) if named(trimmed) => Ok(value),
        Ok(_) => Err(range(text, "real")),
        Err(_) => Err(malformed(text, "real")),
    }
}

/// Whether the text names infinity or NaN, instead of being too large a number.
fn named(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'i' | b'I' | b'n' | b'N'))
}

/// A truth value, as PostgreSQL reads one: any beginning of true, false, yes, no; on, off; 1, 0.
pub(crate) fn boolean(text: &str) -> Result<bool> {
    let word = text.trim_ascii();
    let begins = |whole: &str, least: usize| {
        word.len() >= least && word.len() <= whole.len() && whole[..word.len()].eq_ignore_ascii_case(word)
    };
    if begins("true", 1) || begins("yes", 1) || begins("on", 2) || word == "1" {
        return Ok(true);
    }
    if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        return Ok(false);
    }
    Err(malformed(text, "boolean"))
}

pub(crate) fn malformed(text: &str, type_name: &str) -> model::Error {
    error!(InvalidTextRepresentation, "invalid input syntax for type {type_name}: \"{}\"", shown(text))
}

pub(crate) fn out_of_range(text: &str, type_name: &str) -> model::Error {
    error!(NumericValueOutOfRange, "value \"{}\" is out of range for type {type_name}", shown(text))
}

fn range(text: &str, type_name: &str) -> model::Error {
    error!(NumericValueOutOfRange, "\"{}\" is out of range for type {type_name}", shown(text))
}
