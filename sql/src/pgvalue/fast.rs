//! The columns that most large results are made of, written with their length at once and without a call through a
//! pointer: whole numbers, doubles, text, and timestamps in ISO style near each other.
//!
//! Start reading at [`Fast::of`]. What is not here is written by the closures of `encode.rs`, which say the same.

use bytes::BytesMut;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};

use super::encode::{Target, is_text, nanos_per};
use super::settings::DateStyle;
use super::time::{DAY_S, civil};
use super::zone::TimeZone;
use crate::pgtype::PgType;

/// Timestamps of one batch may lie so many days apart for their dates to be printed beforehand.
const DAYS_MAX: i64 = 400;
/// Bytes of the length before a value.
const LENGTH: usize = 4;

/// One column of one batch.
pub(super) enum Fast {
    /// Whole numbers as text.
    Whole(ScalarBuffer<i64>),
    /// BIGINT in binary format.
    Long(ScalarBuffer<i64>),
    /// Doubles as text, with the fewest digits.
    Double(ScalarBuffer<f64>),
    /// Text in either format.
    Text(StringArray),
    /// Timestamps as text.
    Time(Times),
}

/// Timestamps of a batch at a fixed offset.
pub(super) struct Times {
    values: ScalarBuffer<i64>,
    /// Nanoseconds in a tick.
    tick: i64,
    /// Seconds east of Greenwich.
    east_s: i64,
    /// Whether the offset, of whole hours, is printed.
    zoned: bool,
    /// The day of the first of `dates` since 1970-01-01.
    first_day: i64,
    /// `2016-01-01` for each day.
    dates: Vec<[u8; 10]>,
}

impl Fast {
    /// How to write this column; None if it is not one of these.
    pub(super) fn of(array: &ArrayRef, target: &Target) -> Option<Self> {
        let longs =
            |array: &ArrayRef| cast(array, &DataType::Int64).ok().map(|l| l.as_primitive::<Int64Type>().clone());
        let numeric = matches!(target.pg_type, PgType::INT2 | PgType::INT4 | PgType::INT8);
        match array.data_type() {
            DataType::Int16 | DataType::Int32 | DataType::Int64 if numeric && !target.binary => {
                Some(Self::Whole(longs(array)?.values().clone()))
            }
            DataType::Int64 if target.pg_type == PgType::INT8 => Some(Self::Long(longs(array)?.values().clone())),
            DataType::Float64 if target.pg_type == PgType::FLOAT8 => {
                let shortest = !target.binary && target.settings.extra_float_digits > 0;
                shortest.then(|| Self::Double(array.as_primitive::<Float64Type>().values().clone()))
            }
            DataType::Utf8 if is_text(target.pg_type) => Some(Self::Text(array.as_string::<i32>().clone())),
            DataType::Timestamp(unit, _) if !target.binary => Times::of(array, *unit, target).map(Self::Time),
            _ => None,
        }
    }

    /// Appends length and value of a row that is not NULL. False if nothing was appended: the closure knows this value.
    pub(super) fn put_sized(&self, row: usize, out: &mut BytesMut) -> bool {
        match self {
            Self::Whole(values) => put_whole(values[row], out),
            Self::Long(values) => {
                let mut cell = [0; LENGTH + 8];
                cell[..LENGTH].copy_from_slice(&8_u32.to_be_bytes());
                cell[LENGTH..].copy_from_slice(&values[row].to_be_bytes());
                out.extend_from_slice(&cell);
            }
            Self::Double(values) => return put_double(values[row], out),
            Self::Text(texts) => {
                let text = texts.value(row);
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Self::Time(times) => times.put_sized(row, out),
        }
        true
    }
}

fn put_whole(value: i64, out: &mut BytesMut) {
    let mut cell = [0; LENGTH + 20];
    let digits = match value {
        0..=9 => {
            cell[LENGTH] = b'0' + value as u8;
            1
        }
        10..=99 => {
            two(&mut cell[LENGTH..LENGTH + 2], value as u32);
            2
        }
        _ => {
            let mut buffer = itoa::Buffer::new();
            let text = buffer.format(value).as_bytes();
            cell[LENGTH..LENGTH + text.len()].copy_from_slice(text);
            text.len()
        }
    };
    cell[..LENGTH].copy_from_slice(&(digits as u32).to_be_bytes());
    out.extend_from_slice(&cell[..LENGTH + digits]);
}

/// Doubles that are printed without an exponent; false for others.
fn put_double(value: f64, out: &mut BytesMut) -> bool {
    let mut buffer = ryu::Buffer::new();
    let Some(text) = super::number::plain_f64(&mut buffer, value) else { return false };
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    true
}

fn two(target: &mut [u8], value: u32) {
    target[0] = b'0' + (value / 10) as u8;
    target[1] = b'0' + (value % 10) as u8;
}

impl Times {
    fn of(array: &ArrayRef, unit: TimeUnit, target: &Target) -> Option<Self> {
        let zone = match target.pg_type {
            PgType::TIMESTAMP => None,
            PgType::TIMESTAMPTZ => Some(target.settings.time_zone),
            _ => return None,
        };
        let east_s = match zone {
            None | Some(TimeZone::UTC) => 0,
            Some(TimeZone::Fixed(east)) if east % 3600 == 0 => i64::from(east),
            Some(_) => return None,
        };
        if target.settings.date_style != DateStyle::Iso {
            return None;
        }
        let longs = cast(array, &DataType::Int64).ok()?;
        let values = longs.as_primitive::<Int64Type>().values().clone();
        let tick = nanos_per(unit);
        let day_of = |value: i64| Some(value.div_euclid(1_000_000_000 / tick).checked_add(east_s)?.div_euclid(DAY_S));
        // What stands where a value is NULL counts too: it is zero as a rule, and then these are not fast.
        let (least, greatest) = (values.iter().min()?, values.iter().max()?);
        let (first_day, last_day) = (day_of(*least)?, day_of(*greatest)?);
        if last_day - first_day > DAYS_MAX {
            return None;
        }
        let dates = (first_day..=last_day).map(date).collect::<Option<Vec<_>>>()?;
        Some(Self { values, tick, east_s, zoned: zone.is_some(), first_day, dates })
    }

    fn put_sized(&self, row: usize, out: &mut BytesMut) {
        let value = self.values[row];
        let per_second = 1_000_000_000 / self.tick;
        let (local, fraction) = (value.div_euclid(per_second) + self.east_s, value.rem_euclid(per_second) * self.tick);
        let (day, seconds) = (local.div_euclid(DAY_S) - self.first_day, local.rem_euclid(DAY_S) as u32);
        // `2016-01-01 00:00:00.123456789+00`
        let mut cell = [0; LENGTH + 32];
        cell[4..14].copy_from_slice(&self.dates[day as usize]);
        cell[14] = b' ';
        two(&mut cell[15..17], seconds / 3600);
        cell[17] = b':';
        two(&mut cell[18..20], seconds / 60 % 60);
        cell[20] = b':';
        two(&mut cell[21..23], seconds % 60);
        let mut end = 23;
        if fraction > 0 {
            cell[end] = b'.';
            end += 1;
            let (mut rest, mut unit) = (fraction, 100_000_000);
            while rest > 0 {
                cell[end] = b'0' + (rest / unit) as u8;
                rest %= unit;
                unit /= 10;
                end += 1;
            }
        }
        if self.zoned {
            cell[end] = if self.east_s < 0 { b'-' } else { b'+' };
            two(&mut cell[end + 1..end + 3], (self.east_s.unsigned_abs() / 3600) as u32);
            end += 3;
        }
        cell[..LENGTH].copy_from_slice(&((end - LENGTH) as u32).to_be_bytes());
        out.extend_from_slice(&cell[..end]);
    }
}

/// A day as `2016-01-01`; None before year 1 and after 9999.
fn date(day: i64) -> Option<[u8; 10]> {
    let (year, month, of_month) = civil(day);
    let year = u32::try_from(year).ok().filter(|year| (1..=9999).contains(year))?;
    let mut text = *b"0000-00-00";
    two(&mut text[0..2], year / 100);
    two(&mut text[2..4], year % 100);
    two(&mut text[5..7], month);
    two(&mut text[8..10], of_month);
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int16Array, Int64Array, TimestampMillisecondArray};
    use datafusion::arrow::array::{TimestampMicrosecondArray, TimestampNanosecondArray};

    use super::super::encode::column;
    use super::super::settings::ValueSettings;
    use super::*;

    /// Every row by the fast way, where there is one, and by the closure.
    fn compare(array: ArrayRef, pg_type: PgType, binary: bool, settings: ValueSettings, expects_fast: bool) {
        let target = Target { pg_type, binary, settings: Arc::new(settings) };
        let fast = Fast::of(&array, &target);
        assert_eq!(fast.is_some(), expects_fast, "{array:?}");
        let encoder = column(&array, &target).expect("an encoder");
        for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
            let (mut quick, mut slow) = (BytesMut::new(), BytesMut::new());
            encoder.put_sized(row, &mut quick).expect("a value");
            encoder.put(row, &mut slow).expect("a value");
            assert_eq!(quick[4..], slow[..], "row {row} of {array:?}");
            assert_eq!(quick[..4], (slow.len() as u32).to_be_bytes());
        }
    }

    #[test]
    fn both_ways_say_the_same() {
        let of = ValueSettings::default;
        let longs = [0, 7, 10, 42, 99, 100, 12_345, -1, -99, i64::MAX, i64::MIN];
        compare(Arc::new(Int64Array::from(longs.to_vec())), PgType::INT8, false, of(), true);
        compare(Arc::new(Int64Array::from(longs.to_vec())), PgType::INT8, true, of(), true);
        compare(Arc::new(Int64Array::from(vec![Some(5), None])), PgType::INT8, false, of(), true);
        compare(Arc::new(Int16Array::from(vec![-32768, 3])), PgType::INT2, false, of(), true);
        let doubles = [
            0.0,
            -0.0,
            1.0,
            -2.5,
            1e-4,
            9.99e-5,
            1e15,
            999_999_999_999_999.9,
            1e14,
            0.1 + 0.2,
            1e300,
            5e-324,
            123_456.0,
        ];
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let all: Vec<f64> = doubles.into_iter().chain(odd).collect();
        compare(Arc::new(Float64Array::from(all)), PgType::FLOAT8, false, of(), true);
        compare(Arc::new(StringArray::from(vec!["", "ä", "long enough"])), PgType::TEXT, false, of(), true);
        compare(Arc::new(StringArray::from(vec!["", "ä"])), PgType::VARCHAR, true, of(), true);
    }

    #[test]
    fn times_are_printed_alike() {
        let of = |zone| ValueSettings { time_zone: zone, ..ValueSettings::default() };
        let millis =
            |values: Vec<i64>| -> ArrayRef { Arc::new(TimestampMillisecondArray::from(values).with_timezone("UTC")) };
        let near = vec![1_451_606_400_000, 1_451_606_399_999, 1_451_692_800_120, 1_456_704_000_000];
        for zone in [TimeZone::UTC, TimeZone::Fixed(7200), TimeZone::Fixed(-10_800)] {
            compare(millis(near.clone()), PgType::TIMESTAMPTZ, false, of(zone), true);
            compare(millis(vec![-1, 0, -86_400_001]), PgType::TIMESTAMPTZ, false, of(zone), true);
        }
        compare(millis(near.clone()), PgType::TIMESTAMP, false, of(TimeZone::UTC), true);
        compare(millis(near.clone()), PgType::TIMESTAMPTZ, false, of(TimeZone::Fixed(5400)), false);
        let berlin = TimeZone::named("Europe/Berlin").expect("a zone");
        compare(millis(near), PgType::TIMESTAMPTZ, false, of(berlin), false);
        compare(millis(vec![0, 1_451_606_400_000]), PgType::TIMESTAMPTZ, false, of(TimeZone::UTC), false);
        compare(millis(vec![-62_135_596_800_001]), PgType::TIMESTAMPTZ, false, of(TimeZone::UTC), false);
        let nanos = TimestampNanosecondArray::from(vec![1_451_606_400_123_456_789, 1_451_606_400_100_000_000]);
        compare(Arc::new(nanos), PgType::TIMESTAMP, false, of(TimeZone::UTC), true);
        let infinite = TimestampMicrosecondArray::from(vec![i64::MAX, i64::MAX]);
        compare(Arc::new(infinite), PgType::TIMESTAMP, false, of(TimeZone::UTC), false);
    }
}
