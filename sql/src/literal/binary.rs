//! PostgreSQL's binary format of values.
//!
//! Integers of any width and floats of both are taken for any integer and float type, since clients bind the type that
//! holds their number; the range is checked.

use model::{DataType, Precision, Result, Value, error};

use super::pg_name;

/// Seconds from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
const EPOCH_SECONDS: i64 = 946_684_800;

/// Days of the same.
const EPOCH_DAYS: i64 = 10_957;

/// Reads one value. Its range and length are checked where it is stored.
///
/// # Errors
///
/// 22P03 for a wrong length or form, 22021 for text that is not UTF-8, 22003 and 22008 for what does not fit.
pub(super) fn read(bytes: &[u8], data_type: DataType, precision: Precision) -> Result<Value> {
    let bad = || error!(InvalidBinaryRepresentation, "incorrect binary data format for type {}", pg_name(data_type));
    Ok(match data_type {
        DataType::Bool => match bytes {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return Err(bad()),
        },
        DataType::Float | DataType::Double => Value::Float(match bytes.len() {
            4 => f32::from_be_bytes(array(bytes).ok_or_else(bad)?).into(),
            8 if data_type == DataType::Double => f64::from_be_bytes(array(bytes).ok_or_else(bad)?),
            8 => {
                let value = f64::from_be_bytes(array(bytes).ok_or_else(bad)?);
                if value.is_finite() && !(value as f32).is_finite() {
                    return Err(error!(NumericValueOutOfRange, "\"{value}\" is out of range for type real"));
                }
                value
            }
            _ => return Err(bad()),
        }),
        DataType::Timestamp => Value::Int(timestamp(bytes, precision)?),
        DataType::Date => {
            let days = i32::from_be_bytes(array(bytes).ok_or_else(bad)?);
            if matches!(days, i32::MIN | i32::MAX) {
                return Err(error!(DatetimeFieldOverflow, "dates cannot be infinite"));
            }
            Value::Int(i64::from(days) + EPOCH_DAYS)
        }
        DataType::Varbinary(_) | DataType::Geometry(_) => Value::Bytes(bytes.to_vec()),
        DataType::Json if bytes.first() == Some(&1) => text(&bytes[1..])?,
        _ if data_type.is_text() => text(bytes)?,
        DataType::Decimal(_, scale) => Value::Decimal(numeric(bytes, scale).ok_or_else(bad)??),
        DataType::UBigInt => Value::Decimal(numeric(bytes, 0).ok_or_else(bad)??),
        _ => Value::Int(match bytes.len() {
            2 => i16::from_be_bytes(array(bytes).ok_or_else(bad)?).into(),
            4 => i32::from_be_bytes(array(bytes).ok_or_else(bad)?).into(),
            8 => i64::from_be_bytes(array(bytes).ok_or_else(bad)?),
            _ => return Err(bad()),
        }),
    })
}

/// Reads a time as ticks.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn timestamp(bytes: &[u8], precision: Precision) -> Result<i64> {
    match array(bytes) {
        Some(micros) => ticks(i64::from_be_bytes(micros), precision),
        None => {
            let name = pg_name(DataType::Timestamp);
            Err(error!(InvalidBinaryRepresentation, "incorrect binary data format for type {name}"))
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn text(bytes: &[u8]) -> Result<Value> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(Value::Text(text.to_owned())),
        _ => Err(error!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"")),
    }
}

/// Microseconds since 2000 to ticks since 1970, rounded to the nearest tick.
fn ticks(micros: i64, precision: Precision) -> Result<i64> {
    let out_of_range = || error!(DatetimeFieldOverflow, "timestamp out of range");
    if matches!(micros, i64::MIN | i64::MAX) {
        return Err(error!(DatetimeFieldOverflow, "timestamps cannot be infinite"));
    }
    let micros = micros.checked_add(EPOCH_SECONDS * 1_000_000).ok_or_else(out_of_range)?;
    match precision {
        Precision::Milli => Ok(micros.checked_add(500).ok_or_else(out_of_range)?.div_euclid(1000)),
        Precision::Micro => Ok(micros),
        Precision::Nano => micros.checked_mul(1000).ok_or_else(out_of_range),
    }
}

/// PostgreSQL's numeric at `scale` digits behind the point; None if the bytes are malformed.
fn numeric(bytes: &[u8], scale: i8) -> Option<Result<i128>> {
    let word = |at: usize| Some(i16::from_be_bytes(array(bytes.get(at..at + 2)?)?));
    let digits = usize::try_from(word(0)?).ok()?;
    let weight = i32::from(word(2)?);
    let sign = word(4)? as u16;
    if bytes.len() != 8 + digits * 2 || !matches!(sign, 0 | 0x4000 | 0xc000 | 0xd000 | 0xf000) {
        return None;
    }
    let out_of_range = || Some(Err(error!(NumericValueOutOfRange, "numeric field overflow")));
    if sign > 0x4000 {
        return Some(Err(error!(NumericValueOutOfRange, "NaN and infinity cannot be stored as numeric")));
    }
    // Each digit is four decimal ones; `exponent` is the power of ten of the digit's last one, at the scale.
    let mut value = 0_i128;
    let mut exponent = (weight + 1) * 4 + i32::from(scale);
    for at in 0..digits {
        let digit = word(8 + at * 2).filter(|digit| (0..10_000).contains(digit))?;
        for power in [1000, 100, 10, 1] {
            let one = i128::from(digit / power % 10);
            if exponent > 0 {
                let Some(next) = value.checked_mul(10).and_then(|value| value.checked_add(one)) else {
                    return out_of_range();
                };
                value = next;
            } else if exponent == 0 && one >= 5 {
                value += 1;
            }
            exponent -= 1;
        }
    }
    while exponent > 0 && value != 0 {
        let Some(next) = value.checked_mul(10) else { return out_of_range() };
        value = next;
        exponent -= 1;
    }
    Some(Ok(if sign == 0x4000 { -value } else { value }))
}
