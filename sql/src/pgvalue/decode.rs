//! Parameters: text and binary forms of PostgreSQL's types read into DataFusion's scalars.
//!
//! Start reading at [`decode`]. Times are read in [`super::decode_time`].

use std::sync::Arc;

use datafusion::arrow::datatypes::{IntervalMonthDayNano, i256};
use datafusion::scalar::ScalarValue;
use model::{Error, Result, error, fail};

use super::decode_time as when;
use super::encode::full_name;
use super::settings::ValueSettings;
use super::time::{PG_EPOCH_DAYS, PG_EPOCH_US};
use crate::pgtype::PgType;

/// Reads a value of type `pg_type` that came in text or binary format.
///
/// The scalar has the type [`PgType::arrow`], with two exceptions so that nothing is cut off: a numeric has the scale
/// that it was written with (as Decimal256 beyond 38 digits), and a timestamp with more than six digits of a second is
/// in nanoseconds.
///
/// # Errors
///
/// `InvalidTextRepresentation`, `InvalidBinaryRepresentation`, `NumericValueOutOfRange`, `InvalidDatetimeFormat`,
/// `DatetimeFieldOverflow`, `CharacterNotInRepertoire`.
pub fn decode(pg_type: PgType, binary: bool, bytes: &[u8], settings: &ValueSettings) -> Result<ScalarValue> {
    if binary { from_binary(pg_type, bytes) } else { from_text(pg_type, utf8(bytes)?, settings) }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|fault| {
        let bad = bytes[fault.valid_up_to()];
        error!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": 0x{bad:02x}")
    })?;
    if text.contains('\0') {
        fail!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": 0x00");
    }
    Ok(text)
}

pub(super) fn bad_text(pg_type: PgType, text: &str) -> Error {
    error!(InvalidTextRepresentation, "invalid input syntax for type {}: \"{text}\"", full_name(pg_type))
}

fn out_of_range(pg_type: PgType, text: &str) -> Error {
    error!(NumericValueOutOfRange, "value \"{text}\" is out of range for type {}", full_name(pg_type))
}

fn from_text(pg_type: PgType, text: &str, settings: &ValueSettings) -> Result<ScalarValue> {
    let word = text.trim();
    Ok(match pg_type {
        PgType::BOOL => ScalarValue::Boolean(Some(boolean(text)?)),
        PgType::INT2 => ScalarValue::Int16(Some(integer(pg_type, text)?)),
        PgType::INT4 => ScalarValue::Int32(Some(integer(pg_type, text)?)),
        PgType::INT8 => ScalarValue::Int64(Some(integer(pg_type, text)?)),
        PgType::OID | PgType::XID => ScalarValue::Int64(Some(i64::from(oid(pg_type, text)?))),
        PgType::REGCLASS | PgType::REGTYPE | PgType::REGPROC | PgType::REGNAMESPACE => {
            let number = if word == "-" { 0 } else { oid(pg_type, text)? };
            ScalarValue::Int32(Some(number.cast_signed()))
        }
        PgType::FLOAT4 => {
            let value: f32 = float(pg_type, text)?;
            if value.is_infinite() && !is_infinity(word) || value == 0.0 && !is_zero(word) {
                fail!(NumericValueOutOfRange, "\"{word}\" is out of range for type real");
            }
            ScalarValue::Float32(Some(value))
        }
        PgType::FLOAT8 => {
            let value: f64 = float(pg_type, text)?;
            if value.is_infinite() && !is_infinity(word) || value == 0.0 && !is_zero(word) {
                fail!(NumericValueOutOfRange, "\"{word}\" is out of range for type double precision");
            }
            ScalarValue::Float64(Some(value))
        }
        PgType::NUMERIC => numeric(word).ok_or_else(|| numeric_fault(word, text))?,
        PgType::BYTEA => ScalarValue::Binary(Some(bytea(text)?)),
        PgType::DATE => ScalarValue::Date32(Some(when::date(text, settings)?)),
        PgType::TIME => ScalarValue::Time64Microsecond(Some(when::time(text)?)),
        PgType::TIMESTAMP => when::timestamp(text, settings, false)?,
        PgType::TIMESTAMPTZ => when::timestamp(text, settings, true)?,
        PgType::INTERVAL => {
            let value = when::interval(text)?;
            let value = IntervalMonthDayNano::new(value.months, value.days, value.nanos);
            ScalarValue::IntervalMonthDayNano(Some(value))
        }
        PgType::UUID => {
            uuid(word)?;
            ScalarValue::Utf8(Some(word.to_ascii_lowercase()))
        }
        PgType::JSON | PgType::JSONB => {
            json(text)?;
            ScalarValue::Utf8(Some(text.to_owned()))
        }
        array if array.element != 0 => array_text(array, text, settings)?,
        _ => ScalarValue::Utf8(Some(text.to_owned())),
    })
}

fn boolean(text: &str) -> Result<bool> {
    let word = text.trim().to_ascii_lowercase();
    let starts = |of: &str| !word.is_empty() && of.starts_with(&word);
    match word.as_str() {
        "1" | "on" => Ok(true),
        "0" | "off" | "of" => Ok(false),
        _ if starts("true") || starts("yes") => Ok(true),
        _ if starts("false") || starts("no") => Ok(false),
        _ => Err(bad_text(PgType::BOOL, text)),
    }
}

fn integer<N: TryFrom<i128>>(pg_type: PgType, text: &str) -> Result<N> {
    let word = text.trim();
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad_text(pg_type, text));
    }
    let value = word.parse::<i128>().ok().and_then(|value| N::try_from(value).ok());
    value.ok_or_else(|| out_of_range(pg_type, text))
}

/// Oids are unsigned, and negative numbers wrap, as PostgreSQL reads them.
fn oid(pg_type: PgType, text: &str) -> Result<u32> {
    let value: i64 = integer(pg_type, text)?;
    match u32::try_from(value) {
        Ok(oid) => Ok(oid),
        Err(_) => Ok(i32::try_from(value).map_err(|_| out_of_range(pg_type, text))?.cast_unsigned()),
    }
}

fn is_infinity(word: &str) -> bool {
    let word = word.trim_start_matches(['+', '-']);
    word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("infinity")
}

fn is_zero(word: &str) -> bool {
    let mantissa = word.split(['e', 'E']).next().unwrap_or(word);
    mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'-' | b'+'))
}

fn float<F: std::str::FromStr>(pg_type: PgType, text: &str) -> Result<F> {
    // Rust reads what C reads, except hexadecimal floats.
    text.trim().parse().map_err(|_| bad_text(pg_type, text))
}

fn numeric_fault(word: &str, text: &str) -> Error {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if digits > 0 && word.parse::<f64>().is_ok() {
        error!(NumericValueOutOfRange, "value \"{word}\" has more digits than this server keeps")
            .with_hint("A numeric may have at most 76 digits.")
    } else if word.eq_ignore_ascii_case("nan") || is_infinity(word) {
        error!(NumericValueOutOfRange, "numeric \"{word}\" is not supported")
            .with_hint("Use double precision for NaN and infinity.")
    } else {
        bad_text(PgType::NUMERIC, text)
    }
}

/// A numeric with the scale it was written with; None if it is none or has more than 76 digits.
fn numeric(word: &str) -> Option<ScalarValue> {
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (word, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let mut digits = format!("{whole}{fraction}");
    let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    if (-76..0).contains(&scale) {
        digits.extend(std::iter::repeat_n('0', scale.unsigned_abs() as usize));
        scale = 0;
    }
    let digits = digits.trim_start_matches('0');
    numeric_of(negative, if digits.is_empty() { "0" } else { digits }, scale)
}

/// A decimal of these unscaled digits.
fn numeric_of(negative: bool, digits: &str, scale: i32) -> Option<ScalarValue> {
    let scale_i8 = i8::try_from(scale).ok().filter(|scale| (0..=76).contains(scale))?;
    let sign = if negative { "-" } else { "" };
    if digits.len() <= 38 && scale <= 38 {
        let value: i128 = format!("{sign}{digits}").parse().ok()?;
        return Some(ScalarValue::Decimal128(Some(value), 38, scale_i8));
    }
    if digits.len() > 76 {
        return None;
    }
    Some(ScalarValue::Decimal256(Some(i256::from_string(&format!("{sign}{digits}"))?), 76, scale_i8))
}

/// `\x…` or the escape form.
fn bytea(text: &str) -> Result<Vec<u8>> {
    let bad = || error!(InvalidTextRepresentation, "invalid input syntax for type bytea");
    if let Some(hex) = text.strip_prefix("\\x") {
        let mut bytes = Vec::with_capacity(hex.len() / 2);
        let mut high = None;
        for character in hex.chars().filter(|character| !character.is_ascii_whitespace()) {
            let digit = character
                .to_digit(16)
                .ok_or_else(|| error!(InvalidParameterValue, "invalid hexadecimal digit: \"{character}\""))?
                as u8;
            match high.take() {
                None => high = Some(digit),
                Some(first) => bytes.push(first << 4 | digit),
            }
        }
        return match high {
            Some(_) => Err(error!(InvalidParameterValue, "invalid hexadecimal data: odd number of digits")),
            None => Ok(bytes),
        };
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match *rest {
            [b'\\', ..] => {
                bytes.push(b'\\');
                rest = &rest[1..];
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &rest[3..];
            }
            _ => return Err(bad()),
        }
    }
    Ok(bytes)
}

/// The sixteen bytes of a UUID; braces and hyphens after any group of four digits may be there.
pub(super) fn uuid(text: &str) -> Result<[u8; 16]> {
    let bad = || bad_text(PgType::UUID, text);
    let inner = text.trim();
    let inner = match inner.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(bad)?,
        None => inner,
    };
    let mut bytes = [0; 16];
    let mut digits = 0;
    for character in inner.chars() {
        if character == '-' && digits > 0 && digits % 4 == 0 {
            continue;
        }
        let digit = character.to_digit(16).filter(|_| digits < 32).ok_or_else(bad)? as u8;
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    if digits == 32 { Ok(bytes) } else { Err(bad()) }
}

fn json(text: &str) -> Result<()> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(fault) => {
            Err(error!(InvalidTextRepresentation, "invalid input syntax for type json").with_detail(fault.to_string()))
        }
    }
}

/// `{1,NULL,"a b",{…}}`, possibly with `[1:3]=` before it.
fn array_text(pg_type: PgType, text: &str, settings: &ValueSettings) -> Result<ScalarValue> {
    let malformed =
        |detail: &str| error!(InvalidTextRepresentation, "malformed array literal: \"{text}\"").with_detail(detail);
    let mut body = text.trim();
    if body.starts_with('[') {
        body = body.split_once('=').ok_or_else(|| malformed("Missing \"=\" after array dimensions."))?.1.trim_start();
    }
    let element = PgType::from_oid(pg_type.element).unwrap_or(PgType::TEXT);
    let mut reader = ArrayReader { rest: body, element, settings, depth: 0 };
    let value = reader.list().map_err(|fault| match fault {
        ArrayFault::Malformed(detail) => malformed(detail),
        ArrayFault::Element(error) => error,
    })?;
    if !reader.rest.trim().is_empty() {
        return Err(malformed("Junk after closing right brace."));
    }
    Ok(value)
}

enum ArrayFault {
    Malformed(&'static str),
    Element(Error),
}

struct ArrayReader<'a> {
    rest: &'a str,
    element: PgType,
    settings: &'a ValueSettings,
    depth: u8,
}

impl ArrayReader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, character: char) -> bool {
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn list(&mut self) -> Result<ScalarValue, ArrayFault> {
        // PostgreSQL's limit of dimensions.
        if self.depth == 6 {
            return Err(ArrayFault::Malformed("The number of array dimensions exceeds the maximum allowed (6)."));
        }
        if !self.take('{') {
            return Err(ArrayFault::Malformed("Array value must start with \"{\" or dimension information."));
        }
        self.depth += 1;
        let mut values = Vec::new();
        self.skip_space();
        if !self.take('}') {
            loop {
                self.skip_space();
                values.push(if self.rest.starts_with('{') { self.list()? } else { self.value()? });
                self.skip_space();
                if self.take('}') {
                    break;
                }
                if !self.take(',') {
                    return Err(ArrayFault::Malformed("Unexpected end of input."));
                }
            }
        }
        self.depth -= 1;
        list_of(values, self.element).map_err(ArrayFault::Element)
    }

    fn value(&mut self) -> Result<ScalarValue, ArrayFault> {
        let quoted = self.take('"');
        let mut text = String::new();
        // Trailing space of an unquoted element does not count, unless a backslash protects it.
        let mut kept = 0;
        loop {
            let mut characters = self.rest.chars();
            let next = characters.next().ok_or(ArrayFault::Malformed("Unexpected end of input."))?;
            match next {
                '"' if quoted => {
                    self.rest = characters.as_str();
                    kept = text.len();
                    break;
                }
                ',' | '}' if !quoted => break,
                '"' | '{' if !quoted => return Err(ArrayFault::Malformed("Unexpected array element.")),
                '\\' => {
                    text.push(characters.next().ok_or(ArrayFault::Malformed("Unexpected end of input."))?);
                    kept = text.len();
                }
                other => {
                    text.push(other);
                    if !other.is_ascii_whitespace() {
                        kept = text.len();
                    }
                }
            }
            self.rest = characters.as_str();
        }
        text.truncate(kept);
        if !quoted && text.is_empty() {
            return Err(ArrayFault::Malformed("Unexpected \",\" or \"}\" character."));
        }
        if !quoted && text.eq_ignore_ascii_case("null") {
            return Ok(ScalarValue::Null);
        }
        from_text(self.element, &text, self.settings).map_err(ArrayFault::Element)
    }
}

/// A list of scalars that may be lists; NULLs take the type of the others.
fn list_of(values: Vec<ScalarValue>, element: PgType) -> Result<ScalarValue> {
    let nested = values.iter().find(|value| matches!(value, ScalarValue::List(_))).map(ScalarValue::data_type);
    let data_type = nested.unwrap_or_else(|| element.arrow());
    let typed = values.into_iter().map(|value| match value {
        ScalarValue::Null => ScalarValue::try_from(&data_type).map_err(Error::internal),
        value if value.data_type() == data_type => Ok(value),
        ScalarValue::List(_) => Err(error!(
            InvalidTextRepresentation,
            "multidimensional arrays must have sub-arrays with matching dimensions"
        )),
        value => value.cast_to(&data_type).map_err(|fault| error!(NumericValueOutOfRange, "{fault}")),
    });
    let typed = typed.collect::<Result<Vec<_>>>()?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&typed, &data_type)))
}

fn bad_binary(pg_type: PgType) -> Error {
    error!(InvalidBinaryRepresentation, "incorrect binary data format for type {}", full_name(pg_type))
}

fn fixed<const N: usize>(pg_type: PgType, bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| bad_binary(pg_type))
}

fn from_binary(pg_type: PgType, bytes: &[u8]) -> Result<ScalarValue> {
    Ok(match pg_type {
        PgType::BOOL => ScalarValue::Boolean(Some(fixed::<1>(pg_type, bytes)?[0] != 0)),
        PgType::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(fixed(pg_type, bytes)?))),
        PgType::INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(fixed(pg_type, bytes)?))),
        PgType::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(fixed(pg_type, bytes)?))),
        PgType::OID | PgType::XID => ScalarValue::Int64(Some(i64::from(u32::from_be_bytes(fixed(pg_type, bytes)?)))),
        PgType::REGCLASS | PgType::REGTYPE | PgType::REGPROC | PgType::REGNAMESPACE => {
            ScalarValue::Int32(Some(i32::from_be_bytes(fixed(pg_type, bytes)?)))
        }
        PgType::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(fixed(pg_type, bytes)?))),
        PgType::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(fixed(pg_type, bytes)?))),
        PgType::NUMERIC => numeric_binary(bytes)?,
        PgType::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        PgType::DATE => {
            let days = i32::from_be_bytes(fixed(pg_type, bytes)?);
            ScalarValue::Date32(Some(match days {
                i32::MIN | i32::MAX => days,
                _ => {
                    days.checked_add(PG_EPOCH_DAYS).ok_or_else(|| error!(DatetimeFieldOverflow, "date out of range"))?
                }
            }))
        }
        PgType::TIME => ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(fixed(pg_type, bytes)?))),
        PgType::TIMESTAMP => ScalarValue::TimestampMicrosecond(Some(micros(pg_type, bytes)?), None),
        PgType::TIMESTAMPTZ => ScalarValue::TimestampMicrosecond(Some(micros(pg_type, bytes)?), Some(Arc::from("UTC"))),
        PgType::INTERVAL => interval_binary(&fixed(pg_type, bytes)?)?,
        PgType::UUID => {
            let mut text = fixed::<16>(pg_type, bytes)?.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            for at in [20, 16, 12, 8] {
                text.insert(at, '-');
            }
            ScalarValue::Utf8(Some(text))
        }
        PgType::JSONB => match bytes.split_first() {
            Some((1, text)) => from_json(utf8(text)?)?,
            _ => return Err(bad_binary(pg_type)),
        },
        PgType::JSON => from_json(utf8(bytes)?)?,
        array if array.element != 0 => array_binary(array, bytes)?,
        PgType::INT2VECTOR | PgType::OIDVECTOR => {
            fail!(FeatureNotSupported, "parameters of type {} in binary format are not supported", pg_type.name)
        }
        _ => ScalarValue::Utf8(Some(utf8(bytes)?.to_owned())),
    })
}

fn from_json(text: &str) -> Result<ScalarValue> {
    json(text)?;
    Ok(ScalarValue::Utf8(Some(text.to_owned())))
}

/// Microseconds since 1970; the extreme values are infinite.
fn micros(pg_type: PgType, bytes: &[u8]) -> Result<i64> {
    let value = i64::from_be_bytes(fixed(pg_type, bytes)?);
    match value {
        i64::MIN | i64::MAX => Ok(value),
        _ => value.checked_add(PG_EPOCH_US).ok_or_else(|| error!(DatetimeFieldOverflow, "timestamp out of range")),
    }
}

fn interval_binary(bytes: &[u8; 16]) -> Result<ScalarValue> {
    let (micros, rest) = bytes.split_at(8);
    let (days, months) = rest.split_at(4);
    let micros = i64::from_be_bytes(fixed(PgType::INTERVAL, micros)?);
    let nanos = micros.checked_mul(1000).ok_or_else(|| error!(DatetimeFieldOverflow, "interval out of range"))?;
    let days = i32::from_be_bytes(fixed(PgType::INTERVAL, days)?);
    let months = i32::from_be_bytes(fixed(PgType::INTERVAL, months)?);
    Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos))))
}

fn numeric_binary(bytes: &[u8]) -> Result<ScalarValue> {
    let bad = || bad_binary(PgType::NUMERIC);
    if bytes.len() < 8 || !bytes.len().is_multiple_of(2) {
        return Err(bad());
    }
    let at = |word: usize| u16::from_be_bytes([bytes[word * 2], bytes[word * 2 + 1]]);
    let (count, weight, sign, scale) = (usize::from(at(0)), at(1).cast_signed(), at(2), usize::from(at(3)));
    if bytes.len() != 8 + count * 2 || (0..count).any(|digit| at(4 + digit) > 9999) {
        return Err(bad());
    }
    let negative = match sign {
        0 => false,
        0x4000 => true,
        0xC000 | 0xD000 | 0xF000 => return Err(numeric_fault("NaN", "NaN")),
        _ => return Err(bad()),
    };
    let too_long = || error!(NumericValueOutOfRange, "a numeric may have at most 76 digits");
    // From the highest group down to the last one that the scale needs.
    let lowest = -(scale.div_ceil(4) as i32);
    let highest = i32::from(weight).max(0);
    if highest > 20 || scale > 76 {
        return Err(too_long());
    }
    let mut digits = String::new();
    for group in (lowest..=highest).rev() {
        let index = i32::from(weight) - group;
        let value = usize::try_from(index).ok().filter(|index| *index < count).map_or(0, |index| at(4 + index));
        digits += &format!("{value:04}");
    }
    digits.truncate(digits.len() - (scale.div_ceil(4) * 4 - scale));
    let digits = digits.trim_start_matches('0');
    numeric_of(negative, if digits.is_empty() { "0" } else { digits }, scale as i32).ok_or_else(too_long)
}

/// The binary form of an array: dimensions, flags, element type, then per dimension its length and lower bound.
fn array_binary(pg_type: PgType, bytes: &[u8]) -> Result<ScalarValue> {
    let bad = || bad_binary(pg_type);
    let mut rest = bytes;
    let word = |rest: &mut &[u8]| -> Result<i32> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
        *rest = tail;
        Ok(i32::from_be_bytes(*head))
    };
    let dimensions = usize::try_from(word(&mut rest)?).ok().filter(|count| *count <= 6).ok_or_else(bad)?;
    word(&mut rest)?;
    let element = PgType::from_oid(word(&mut rest)?.cast_unsigned()).ok_or_else(bad)?;
    let mut lengths = Vec::with_capacity(dimensions);
    let mut total = 1usize;
    for _ in 0..dimensions {
        let length = usize::try_from(word(&mut rest)?).map_err(|_| bad())?;
        word(&mut rest)?;
        total = total.checked_mul(length).ok_or_else(bad)?;
        lengths.push(length);
    }
    // Every element takes four bytes at least.
    if dimensions == 0 {
        total = 0;
    }
    if total.checked_mul(4).is_none_or(|needed| needed > rest.len()) {
        return Err(bad());
    }
    let mut values = Vec::with_capacity(total);
    for _ in 0..total {
        let length = word(&mut rest)?;
        if length == -1 {
            values.push(ScalarValue::Null);
            continue;
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len()).ok_or_else(bad)?;
        let (value, tail) = rest.split_at(length);
        values.push(from_binary(element, value)?);
        rest = tail;
    }
    for length in lengths.iter().skip(1).rev() {
        let mut lists = Vec::new();
        for chunk in values.chunks(*length.max(&1)) {
            lists.push(list_of(chunk.to_vec(), element)?);
        }
        values = lists;
    }
    if rest.is_empty() { list_of(values, element) } else { Err(bad()) }
}
