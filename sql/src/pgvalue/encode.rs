//! One column of one batch, ready to be written row by row: the array is looked at once, a cell costs one indirect call.
//!
//! Start reading at [`column`].

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{self as arrow, DataType, IntervalUnit, TimeUnit};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use model::{Error, Result, error, fail};

use super::fast::Fast;
use super::list;
use super::number::{put_f32, put_f64, put_numeric_binary, put_numeric_text};
use super::settings::ValueSettings;
use super::time::{self, Interval, PG_EPOCH_DAYS, PG_EPOCH_US};
use super::zone::TimeZone;
use crate::numeric::{self, Shown};
use crate::pgtype::PgType;

/// Appends the value of one row; never called for NULL.
pub(super) type Cell = Box<dyn Fn(usize, &mut BytesMut) -> Result<()> + Send + Sync>;

/// How one column's values are written.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) pg_type: PgType,
    pub(super) binary: bool,
    pub(super) settings: Arc<ValueSettings>,
}

/// One column of one batch.
pub(super) struct ColumnEncoder {
    nulls: Option<NullBuffer>,
    cell: Cell,
    /// A shorter way to the same.
    fast: Option<Fast>,
}

impl ColumnEncoder {
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value of a row that is not NULL, without its length.
    pub(super) fn put(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        (self.cell)(row, out)
    }

    /// Appends length and value; -1 for NULL.
    pub(super) fn put_sized(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        if self.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        if self.fast.as_ref().is_some_and(|fast| fast.put_sized(row, out)) {
            return Ok(());
        }
        let at = out.len();
        out.put_i32(0);
        self.put(row, out)?;
        let len = i32::try_from(out.len() - at - 4)
            .map_err(|_| error!(ConfigurationLimitExceeded, "a value is longer than 2 GB"))?;
        out[at..at + 4].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }
}

/// Types that a client reads as text, whatever they mean.
pub(super) fn is_text(pg_type: PgType) -> bool {
    matches!(
        pg_type,
        PgType::TEXT
            | PgType::VARCHAR
            | PgType::BPCHAR
            | PgType::NAME
            | PgType::JSON
            | PgType::UNKNOWN
            | PgType::PG_NODE_TREE
            | PgType::ACLITEM
            | PgType::VOID
    )
}

fn is_reg(pg_type: PgType) -> bool {
    matches!(pg_type, PgType::REGCLASS | PgType::REGTYPE | PgType::REGPROC | PgType::REGNAMESPACE)
}

/// The encoder of `array` as `target` wants it.
pub(super) fn column(array: &ArrayRef, target: &Target) -> Result<ColumnEncoder> {
    let array = match array.data_type() {
        DataType::Dictionary(_, value) => as_type(array, value)?,
        DataType::RunEndEncoded(_, value) => as_type(array, value.data_type())?,
        _ => Arc::clone(array),
    };
    Ok(ColumnEncoder { nulls: array.logical_nulls(), cell: cell(&array, target)?, fast: Fast::of(&array, target) })
}

fn as_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    cast(array, data_type)
        .map_err(|fault| Error::internal(format!("cannot send {} as {data_type}: {fault}", array.data_type())))
}

fn cell(array: &ArrayRef, target: &Target) -> Result<Cell> {
    if let Some(better) = needs_cast(array.data_type(), target.pg_type) {
        return cell(&as_type(array, &better)?, target);
    }
    match array.data_type() {
        DataType::Null => Ok(Box::new(|_, _| Ok(()))),
        DataType::Boolean => Ok(booleans(array, target)),
        DataType::Int8 => integers::<arrow::Int8Type>(array, target),
        DataType::Int16 => integers::<arrow::Int16Type>(array, target),
        DataType::Int32 => integers::<arrow::Int32Type>(array, target),
        DataType::Int64 => integers::<arrow::Int64Type>(array, target),
        DataType::UInt8 => integers::<arrow::UInt8Type>(array, target),
        DataType::UInt16 => integers::<arrow::UInt16Type>(array, target),
        DataType::UInt32 => integers::<arrow::UInt32Type>(array, target),
        DataType::UInt64 => integers::<arrow::UInt64Type>(array, target),
        DataType::Float16 => cell(&as_type(array, &DataType::Float32)?, target),
        DataType::Float32 => Ok(floats4(array, target)),
        DataType::Float64 => Ok(floats8(array, target)),
        DataType::Decimal32(_, scale) => Ok(decimals::<arrow::Decimal32Type>(array, *scale, target)),
        DataType::Decimal64(_, scale) => Ok(decimals::<arrow::Decimal64Type>(array, *scale, target)),
        DataType::Decimal128(_, scale) => Ok(decimals::<arrow::Decimal128Type>(array, *scale, target)),
        DataType::Decimal256(_, scale) => Ok(decimals::<arrow::Decimal256Type>(array, *scale, target)),
        DataType::Utf8 => texts(array.as_string::<i32>().clone(), target, |of, row| of.value(row)),
        DataType::LargeUtf8 => texts(array.as_string::<i64>().clone(), target, |of, row| of.value(row)),
        DataType::Utf8View => texts(array.as_string_view().clone(), target, |of, row| of.value(row)),
        DataType::Binary => Ok(bytes(array.as_binary::<i32>().clone(), target, |of, row| of.value(row))),
        DataType::LargeBinary => Ok(bytes(array.as_binary::<i64>().clone(), target, |of, row| of.value(row))),
        DataType::BinaryView => Ok(bytes(array.as_binary_view().clone(), target, |of, row| of.value(row))),
        DataType::FixedSizeBinary(_) => {
            Ok(bytes(array.as_fixed_size_binary().clone(), target, |of, row| of.value(row)))
        }
        DataType::Date32 => Ok(dates(array, target)),
        DataType::Date64 => cell(&as_type(array, &DataType::Date32)?, target),
        DataType::Time32(unit) => times::<i32>(array, *unit, target),
        DataType::Time64(unit) => times::<i64>(array, *unit, target),
        DataType::Timestamp(unit, zone) => Ok(timestamps(array, *unit, zone.is_some(), target)),
        DataType::Interval(unit) => Ok(intervals(array, *unit, target)),
        DataType::Duration(unit) => Ok(durations(array, *unit, target)),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => list::lists(array, target),
        _ => Ok(anything(array)),
    }
}

/// The Arrow type to cast to first, if values of `data_type` are not of the family of `pg_type`.
fn needs_cast(data_type: &DataType, pg_type: PgType) -> Option<DataType> {
    let fits = match data_type {
        _ if is_text(pg_type) => true,
        DataType::Null => true,
        DataType::Boolean => pg_type == PgType::BOOL,
        of if of.is_integer() => {
            matches!(pg_type, PgType::INT2 | PgType::INT4 | PgType::INT8 | PgType::OID | PgType::XID)
                || matches!(pg_type, PgType::NUMERIC | PgType::FLOAT4 | PgType::FLOAT8 | PgType::CHAR)
                || is_reg(pg_type)
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            matches!(pg_type, PgType::FLOAT4 | PgType::FLOAT8)
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) => pg_type == PgType::NUMERIC,
        DataType::Decimal128(..) | DataType::Decimal256(..) => pg_type == PgType::NUMERIC,
        DataType::Date32 | DataType::Date64 => pg_type == PgType::DATE,
        DataType::Time32(_) | DataType::Time64(_) => pg_type == PgType::TIME,
        DataType::Timestamp(..) => matches!(pg_type, PgType::TIMESTAMP | PgType::TIMESTAMPTZ),
        DataType::Interval(_) | DataType::Duration(_) => pg_type == PgType::INTERVAL,
        // Text is taken as the text form of whatever the type is; lists and the rest know their own.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            !matches!(pg_type, PgType::BOOL | PgType::INT2 | PgType::INT4 | PgType::INT8 | PgType::OID | PgType::XID)
                && !matches!(pg_type, PgType::FLOAT4 | PgType::FLOAT8 | PgType::DATE | PgType::TIME)
                && !matches!(pg_type, PgType::TIMESTAMP | PgType::TIMESTAMPTZ | PgType::NUMERIC | PgType::INTERVAL)
        }
        _ => true,
    };
    (!fits).then(|| pg_type.arrow()).filter(|better| better != data_type)
}

fn booleans(array: &ArrayRef, target: &Target) -> Cell {
    let array = array.as_boolean().clone();
    if target.binary && target.pg_type == PgType::BOOL {
        return Box::new(move |row, out| {
            out.put_u8(u8::from(array.value(row)));
            Ok(())
        });
    }
    Box::new(move |row, out| {
        out.put_u8(if array.value(row) { b't' } else { b'f' });
        Ok(())
    })
}

fn integers<T>(array: &ArrayRef, target: &Target) -> Result<Cell>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128> + itoa::Integer,
{
    let array = array.as_primitive::<T>().clone();
    let (pg_type, settings) = (target.pg_type, Arc::clone(&target.settings));
    let out_of_range = move || error!(NumericValueOutOfRange, "{} out of range", full_name(pg_type));
    macro_rules! binary {
        ($wire:ty) => {
            Box::new(move |row, out: &mut BytesMut| {
                let value = <$wire>::try_from(array.value(row).into()).map_err(|_| out_of_range())?;
                out.put_slice(&value.to_be_bytes());
                Ok(())
            })
        };
    }
    if is_reg(pg_type) && !target.binary {
        return Ok(Box::new(move |row, out| {
            let oid = u32::try_from(array.value(row).into()).map_err(|_| out_of_range())?;
            put_reg(out, pg_type, oid, &settings);
            Ok(())
        }));
    }
    if pg_type == PgType::CHAR {
        return Ok(Box::new(move |row, out| {
            out.put_u8(array.value(row).into() as u8);
            Ok(())
        }));
    }
    if !target.binary || is_text(pg_type) {
        return Ok(Box::new(move |row, out| {
            out.put_slice(itoa::Buffer::new().format(array.value(row)).as_bytes());
            Ok(())
        }));
    }
    Ok(match pg_type {
        PgType::INT2 => binary!(i16),
        PgType::INT4 => binary!(i32),
        PgType::INT8 => binary!(i64),
        PgType::FLOAT4 => Box::new(move |row, out| {
            out.put_f32(array.value(row).into() as f32);
            Ok(())
        }),
        PgType::FLOAT8 => Box::new(move |row, out| {
            out.put_f64(array.value(row).into() as f64);
            Ok(())
        }),
        PgType::NUMERIC => Box::new(move |row, out| {
            put_numeric_binary(out, itoa::Buffer::new().format(array.value(row)), 0);
            Ok(())
        }),
        PgType::OID | PgType::XID => binary!(u32),
        reg if is_reg(reg) => binary!(u32),
        other => fail!(InternalError, "cannot send {} as {}", array.data_type(), other.name),
    })
}

/// As messages name a type.
#[must_use]
pub fn full_name(pg_type: PgType) -> &'static str {
    match pg_type {
        PgType::INT2 => "smallint",
        PgType::INT4 => "integer",
        PgType::INT8 => "bigint",
        PgType::FLOAT4 => "real",
        PgType::FLOAT8 => "double precision",
        PgType::BOOL => "boolean",
        PgType::TIMESTAMP => "timestamp",
        PgType::TIMESTAMPTZ => "timestamp with time zone",
        PgType::VARCHAR => "character varying",
        PgType::BPCHAR => "character",
        PgType::CHAR => "\"char\"",
        other => other.name,
    }
}

/// `regclass` and its kin: the name of what the oid points to, `-` for none.
fn put_reg(out: &mut BytesMut, pg_type: PgType, oid: u32, settings: &ValueSettings) {
    if oid == 0 {
        return out.put_u8(b'-');
    }
    match settings.oid_names.as_ref().and_then(|names| names.name(pg_type, oid)) {
        Some(name) => out.put_slice(name.as_bytes()),
        None => out.put_slice(itoa::Buffer::new().format(oid).as_bytes()),
    }
}

fn floats4(array: &ArrayRef, target: &Target) -> Cell {
    let array = array.as_primitive::<arrow::Float32Type>().clone();
    let digits = target.settings.extra_float_digits;
    match (target.binary, target.pg_type) {
        (true, PgType::FLOAT4) => Box::new(move |row, out| {
            out.put_f32(array.value(row));
            Ok(())
        }),
        (true, PgType::FLOAT8) => Box::new(move |row, out| {
            out.put_f64(f64::from(array.value(row)));
            Ok(())
        }),
        (false, PgType::FLOAT8) => Box::new(move |row, out| {
            put_f64(out, f64::from(array.value(row)), digits);
            Ok(())
        }),
        _ => Box::new(move |row, out| {
            put_f32(out, array.value(row), digits);
            Ok(())
        }),
    }
}

fn floats8(array: &ArrayRef, target: &Target) -> Cell {
    let array = array.as_primitive::<arrow::Float64Type>().clone();
    let digits = target.settings.extra_float_digits;
    match (target.binary, target.pg_type) {
        (true, PgType::FLOAT8) => Box::new(move |row, out| {
            out.put_f64(array.value(row));
            Ok(())
        }),
        (true, PgType::FLOAT4) => Box::new(move |row, out| {
            out.put_f32(array.value(row) as f32);
            Ok(())
        }),
        (false, PgType::FLOAT4) => Box::new(move |row, out| {
            put_f32(out, array.value(row) as f32, digits);
            Ok(())
        }),
        _ => Box::new(move |row, out| {
            put_f64(out, array.value(row), digits);
            Ok(())
        }),
    }
}

fn decimals<T>(array: &ArrayRef, scale: i8, target: &Target) -> Cell
where
    T: ArrowPrimitiveType,
    T::Native: std::fmt::Display,
{
    let shown = numeric::shown(array.data_type());
    let array = array.as_primitive::<T>().clone();
    let binary = target.binary && target.pg_type == PgType::NUMERIC;
    Box::new(move |row, out| {
        let mut unscaled = array.value(row).to_string();
        let mut scale = scale;
        if shown != Shown::All {
            let digits = unscaled.trim_start_matches('-');
            let kept = numeric::shown_scale(shown, digits, scale.unsigned_abs().into());
            let cut = usize::from(scale.unsigned_abs()) - kept;
            // Only zeros are cut; of 0 itself none are there.
            unscaled.truncate(if digits == "0" { unscaled.len() } else { unscaled.len() - cut });
            scale = kept as i8;
        }
        if binary {
            put_numeric_binary(out, &unscaled, scale);
        } else {
            put_numeric_text(out, &unscaled, scale);
        }
        Ok(())
    })
}

fn texts<A: Send + Sync + 'static>(array: A, target: &Target, value: fn(&A, usize) -> &str) -> Result<Cell> {
    if target.binary {
        match target.pg_type {
            PgType::JSONB => {
                return Ok(Box::new(move |row, out| {
                    out.put_u8(1);
                    out.put_slice(value(&array, row).as_bytes());
                    Ok(())
                }));
            }
            PgType::UUID => {
                return Ok(Box::new(move |row, out| {
                    out.put_slice(&super::decode::uuid(value(&array, row))?);
                    Ok(())
                }));
            }
            PgType::BYTEA | PgType::INT2VECTOR | PgType::OIDVECTOR => {
                return list::binary_of_text(array, target, value);
            }
            reg if is_reg(reg) => {
                return Ok(Box::new(move |row, out| {
                    let text = value(&array, row);
                    let oid = if text == "-" { Ok(0) } else { text.parse::<u32>() };
                    let no_oid =
                        |_| error!(FeatureNotSupported, "a name of type {} has no oid in binary format", reg.name);
                    out.put_u32(oid.map_err(no_oid)?);
                    Ok(())
                }));
            }
            array_type if array_type.element != 0 => return list::binary_of_text(array, target, value),
            _ => {}
        }
    }
    let (one_byte, binary) = (target.pg_type == PgType::CHAR, target.binary);
    Ok(Box::new(move |row, out| {
        let text = value(&array, row).as_bytes();
        // "char" holds one byte; none stands for zero, which prints as nothing.
        match (one_byte, text.len()) {
            (false, _) | (true, 1) => out.put_slice(text),
            (true, 0) if binary => out.put_u8(0),
            (true, 0) => {}
            (true, _) => out.put_u8(text[0]),
        }
        Ok(())
    }))
}

fn bytes<A: Send + Sync + 'static>(array: A, target: &Target, value: fn(&A, usize) -> &[u8]) -> Cell {
    let escape = target.settings.bytea_escape;
    match (target.binary && !is_text(target.pg_type), target.pg_type) {
        (false, PgType::UUID) => Box::new(move |row, out| {
            put_uuid(out, value(&array, row));
            Ok(())
        }),
        (true, _) => Box::new(move |row, out| {
            out.put_slice(value(&array, row));
            Ok(())
        }),
        _ => Box::new(move |row, out| {
            put_bytea(out, value(&array, row), escape);
            Ok(())
        }),
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn put_bytea(out: &mut BytesMut, bytes: &[u8], escape: bool) {
    if !escape {
        out.reserve(2 + bytes.len() * 2);
        out.put_slice(b"\\x");
        for byte in bytes {
            out.put_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        return;
    }
    for &byte in bytes {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            0x20..=0x7e => out.put_u8(byte),
            _ => out.put_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]),
        }
    }
}

fn put_uuid(out: &mut BytesMut, bytes: &[u8]) {
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.put_u8(b'-');
        }
        out.put_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

fn dates(array: &ArrayRef, target: &Target) -> Cell {
    let array = array.as_primitive::<arrow::Date32Type>().clone();
    let settings = Arc::clone(&target.settings);
    if target.binary && target.pg_type == PgType::DATE {
        return Box::new(move |row, out| {
            out.put_i32(match array.value(row) {
                infinite @ (i32::MIN | i32::MAX) => infinite,
                days => {
                    days.checked_sub(PG_EPOCH_DAYS).ok_or_else(|| error!(DatetimeFieldOverflow, "date out of range"))?
                }
            });
            Ok(())
        });
    }
    Box::new(move |row, out| {
        time::put_date(out, array.value(row), &settings);
        Ok(())
    })
}

/// Nanoseconds in one tick.
pub(super) fn nanos_per(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn times<N>(array: &ArrayRef, unit: TimeUnit, target: &Target) -> Result<Cell> {
    let wide = if size_of::<N>() == 4 { as_type(array, &DataType::Int32)? } else { Arc::clone(array) };
    let array = as_type(&wide, &DataType::Int64)?.as_primitive::<arrow::Int64Type>().clone();
    let tick = nanos_per(unit);
    if target.binary && target.pg_type == PgType::TIME {
        return Ok(Box::new(move |row, out| {
            out.put_i64(round_div(array.value(row).saturating_mul(tick), 1000));
            Ok(())
        }));
    }
    Ok(Box::new(move |row, out| {
        time::put_time(out, array.value(row).saturating_mul(tick));
        Ok(())
    }))
}

/// Rounded to the nearest, halves away from zero, as PostgreSQL rounds fractions of a second.
fn round_div(value: i64, by: i64) -> i64 {
    let (quotient, rest) = (value / by, value % by);
    if rest.abs() * 2 >= by { quotient + value.signum() } else { quotient }
}

fn timestamps(array: &ArrayRef, unit: TimeUnit, zoned: bool, target: &Target) -> Cell {
    let values = match unit {
        TimeUnit::Second => array.as_primitive::<arrow::TimestampSecondType>().values().clone(),
        TimeUnit::Millisecond => array.as_primitive::<arrow::TimestampMillisecondType>().values().clone(),
        TimeUnit::Microsecond => array.as_primitive::<arrow::TimestampMicrosecondType>().values().clone(),
        TimeUnit::Nanosecond => array.as_primitive::<arrow::TimestampNanosecondType>().values().clone(),
    };
    let tick = nanos_per(unit);
    let per_second = 1_000_000_000 / tick;
    // In microseconds the extreme values are PostgreSQL's infinities.
    let infinite = move |value: i64| unit == TimeUnit::Microsecond && (value == i64::MAX || value == i64::MIN);
    if target.binary && !is_text(target.pg_type) {
        return Box::new(move |row, out| {
            let value = values[row];
            if infinite(value) {
                out.put_i64(value);
                return Ok(());
            }
            let micros = if tick >= 1000 { value.checked_mul(tick / 1000) } else { Some(round_div(value, 1000)) };
            let micros = micros.and_then(|micros| micros.checked_sub(PG_EPOCH_US));
            out.put_i64(micros.ok_or_else(|| error!(DatetimeFieldOverflow, "timestamp out of range"))?);
            Ok(())
        });
    }
    let settings = Arc::clone(&target.settings);
    let zone = match target.pg_type {
        PgType::TIMESTAMP => None,
        PgType::TIMESTAMPTZ => Some(settings.time_zone),
        _ => zoned.then_some(settings.time_zone),
    };
    let zone = zone.map(|zone| if zone == TimeZone::UTC { TimeZone::UTC } else { zone });
    Box::new(move |row, out| {
        let value = values[row];
        if infinite(value) {
            out.put_slice(if value > 0 { b"infinity" } else { b"-infinity" });
            return Ok(());
        }
        let nanos = value.rem_euclid(per_second) * tick;
        time::put_timestamp(out, value.div_euclid(per_second), nanos as u32, zone, &settings);
        Ok(())
    })
}

fn interval_cell(target: &Target, value: impl Fn(usize) -> Interval + Send + Sync + 'static) -> Cell {
    let style = target.settings.interval_style;
    if target.binary && target.pg_type == PgType::INTERVAL {
        return Box::new(move |row, out| {
            let value = value(row);
            out.put_i64(round_div(value.nanos, 1000));
            out.put_i32(value.days);
            out.put_i32(value.months);
            Ok(())
        });
    }
    Box::new(move |row, out| {
        value(row).put(out, style);
        Ok(())
    })
}

fn intervals(array: &ArrayRef, unit: IntervalUnit, target: &Target) -> Cell {
    match unit {
        IntervalUnit::YearMonth => {
            let array = array.as_primitive::<arrow::IntervalYearMonthType>().clone();
            interval_cell(target, move |row| Interval { months: array.value(row), ..Interval::default() })
        }
        IntervalUnit::DayTime => {
            let array = array.as_primitive::<arrow::IntervalDayTimeType>().clone();
            interval_cell(target, move |row| {
                let value = array.value(row);
                Interval { months: 0, days: value.days, nanos: i64::from(value.milliseconds) * 1_000_000 }
            })
        }
        IntervalUnit::MonthDayNano => {
            let array = array.as_primitive::<arrow::IntervalMonthDayNanoType>().clone();
            interval_cell(target, move |row| {
                let value = array.value(row);
                Interval { months: value.months, days: value.days, nanos: value.nanoseconds }
            })
        }
    }
}

/// A duration is an interval; like the difference of two timestamps it has days of 24 hours.
fn durations(array: &ArrayRef, unit: TimeUnit, target: &Target) -> Cell {
    let values = match unit {
        TimeUnit::Second => array.as_primitive::<arrow::DurationSecondType>().values().clone(),
        TimeUnit::Millisecond => array.as_primitive::<arrow::DurationMillisecondType>().values().clone(),
        TimeUnit::Microsecond => array.as_primitive::<arrow::DurationMicrosecondType>().values().clone(),
        TimeUnit::Nanosecond => array.as_primitive::<arrow::DurationNanosecondType>().values().clone(),
    };
    let tick = nanos_per(unit);
    let per_day = time::DAY_S * (1_000_000_000 / tick);
    interval_cell(target, move |row| {
        let (days, rest) = (values[row] / per_day, values[row] % per_day);
        Interval { months: 0, days: days.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32, nanos: rest * tick }
    })
}

/// Structs, maps and whatever has no PostgreSQL type: the text that Arrow gives them.
fn anything(array: &ArrayRef) -> Cell {
    let array = Arc::clone(array);
    Box::new(move |row, out| {
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(array.as_ref(), &options).map_err(Error::internal)?;
        out.put_slice(formatter.value(row).to_string().as_bytes());
        Ok(())
    })
}
