//! INTERVAL's arithmetic ([`Windows`]) and the scalar functions that lowering makes of it.
//!
//! Fixed units count from the epoch in UTC; days, weeks, months and years follow the wall clock of the session's zone,
//! through daylight saving. A window is `[start, start + width)`.
//!
//! | function | gives |
//! |---|---|
//! | `__window_start(ts, width, offset, sliding, zone)` | the start of the window that `ts` is in |
//! | `__window_starts(…)` | the starts of all windows that `ts` is in, ascending: SLIDING |
//! | `__window_end(start, width, offset, zone)` | the first tick after the window |
//! | `__window_ticks(start, width, offset, zone)` | its length in ticks |
//! | `__query_start(start, n, bound, …)`, `__query_end(…)` | the first or last tick that WHERE lets through |

use std::sync::Arc;

use chrono::{DateTime, Datelike, Duration as Span, Months, NaiveDate, NaiveDateTime};
use chrono_tz::Tz;
use datafusion::arrow::array::{Array, ArrayRef, Int64Array, ListArray, PrimitiveArray};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use model::aggregate::Windows as Grid;
use model::{TimeRange, error, fail};

use crate::parser::markers::{Duration, Unit};
use crate::plan::coerce::local_instant;
use crate::plan::error::to_datafusion;
use crate::plan::filter::{instant_nanos, unit_nanos};

/// Windows that one row may be in, at most.
pub const WINDOWS_PER_ROW_MAX: usize = 10_000;

/// Windows of the calendar that storage is told of, at most.
const GRID_MAX: usize = 10_000;

/// A length of time as windows count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// Ticks from the epoch.
    Ticks(i64),
    /// Days of the wall clock.
    Days(i64),
    /// Months of the calendar.
    Months(i64),
}

/// INTERVAL(width, offset) SLIDING(sliding) in one zone and precision.
#[derive(Clone, Debug)]
pub struct Windows {
    width: Length,
    offset: Length,
    sliding: Length,
    zone: Tz,
    /// Nanoseconds in one tick.
    tick: i64,
}

impl Windows {
    /// Reads the lengths as [`Duration`] prints them; empty for none.
    ///
    /// # Errors
    ///
    /// 22023 for a length that is no whole number of ticks, or too long.
    pub fn parse(width: &str, offset: &str, sliding: &str, zone: &str, unit: TimeUnit) -> model::Result<Self> {
        let tick = unit_nanos(unit);
        let width = length(width, tick)?;
        let sliding = if sliding.is_empty() { width } else { length(sliding, tick)? };
        let offset = if offset.is_empty() { Length::Ticks(0) } else { length(offset, tick)? };
        let zone = zone.parse().map_err(|_| error!(InvalidParameterValue, "time zone {zone:?} is not recognized"))?;
        if let (Length::Ticks(width), Length::Ticks(sliding)) = (width, sliding)
            && sliding > width
        {
            fail!(InvalidParameterValue, "SLIDING must be no longer than INTERVAL");
        }
        Ok(Self { width, offset, sliding, zone, tick })
    }

    fn wall(&self, tick: i64) -> Option<NaiveDateTime> {
        let per_second = 1_000_000_000 / self.tick;
        let nanos = u32::try_from(tick.rem_euclid(per_second) * self.tick).ok()?;
        Some(DateTime::from_timestamp(tick.div_euclid(per_second), nanos)?.with_timezone(&self.zone).naive_local())
    }

    fn tick_of(&self, wall: NaiveDateTime) -> Option<i64> {
        let instant = local_instant(self.zone, wall)?;
        let per_second = 1_000_000_000 / self.tick;
        let below = i64::from(instant.timestamp_subsec_nanos()) / self.tick;
        instant.timestamp().checked_mul(per_second)?.checked_add(below)
    }

    fn shifted(&self, wall: NaiveDateTime, length: Length, times: i64) -> Option<NaiveDateTime> {
        match length {
            Length::Ticks(ticks) => wall.checked_add_signed(Span::nanoseconds(ticks.checked_mul(self.tick)? * times)),
            Length::Days(days) => wall.checked_add_signed(Span::days(days * times)),
            Length::Months(months) => {
                let months = months * times;
                let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
                if months < 0 { wall.checked_sub_months(count) } else { wall.checked_add_months(count) }
            }
        }
    }

    /// The latest point of the grid that is not after `tick`; None outside what a calendar can say.
    #[must_use]
    pub fn floor(&self, tick: i64) -> Option<i64> {
        match self.sliding {
            Length::Ticks(step) => {
                let offset = self.offset_ticks()?;
                tick.checked_sub(offset)?.div_euclid(step).checked_mul(step)?.checked_add(offset)
            }
            Length::Days(step) => {
                let wall = self.shifted(self.wall(tick)?, self.offset, -1)?;
                let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
                let day = (wall.date() - epoch).num_days().div_euclid(step) * step;
                let start = (epoch + Span::days(day)).and_hms_opt(0, 0, 0)?;
                self.tick_of(self.shifted(start, self.offset, 1)?)
            }
            Length::Months(step) => {
                let wall = self.shifted(self.wall(tick)?, self.offset, -1)?;
                let since_1900 = i64::from(wall.year() - 1900) * 12 + i64::from(wall.month0());
                let month = since_1900.div_euclid(step) * step;
                let year = i32::try_from(1900 + month.div_euclid(12)).ok()?;
                let month = u32::try_from(month.rem_euclid(12)).ok()? + 1;
                let start = NaiveDate::from_ymd_opt(year, month, 1)?.and_hms_opt(0, 0, 0)?;
                self.tick_of(self.shifted(start, self.offset, 1)?)
            }
        }
    }

    fn offset_ticks(&self) -> Option<i64> {
        match self.offset {
            Length::Ticks(ticks) => Some(ticks),
            Length::Days(days) => days.checked_mul(86_400_000_000_000 / self.tick),
            Length::Months(_) => None,
        }
    }

    fn add(&self, start: i64, length: Length) -> Option<i64> {
        match length {
            Length::Ticks(ticks) => start.checked_add(ticks),
            _ => {
                // The offset is taken off first: a month after the 31st is no month after the 1st.
                let wall = self.shifted(self.wall(start)?, self.offset, -1)?;
                self.tick_of(self.shifted(self.shifted(wall, length, 1)?, self.offset, 1)?)
            }
        }
    }

    /// The first tick after the window that starts at `start`.
    #[must_use]
    pub fn end(&self, start: i64) -> Option<i64> {
        self.add(start, self.width)
    }

    /// The start of the window after the one that starts at `start`.
    #[must_use]
    pub fn next(&self, start: i64) -> Option<i64> {
        self.add(start, self.sliding)
    }

    /// Ticks between two starts, where that is always the same.
    #[must_use]
    pub fn fixed_step(&self) -> Option<i64> {
        match self.sliding {
            Length::Ticks(step) => Some(step),
            _ => None,
        }
    }

    /// The windows that times in `range` are in, as storage counts them. None if a row may be in several, or if it would
    /// take more than [`GRID_MAX`] windows of the calendar.
    #[must_use]
    pub fn grid(&self, range: TimeRange) -> Option<Grid> {
        if self.sliding != self.width {
            return None;
        }
        let step = match self.sliding {
            Length::Ticks(step) => Some(step),
            // A day of UTC is always as long.
            Length::Days(days) if self.zone == Tz::UTC => days.checked_mul(86_400_000_000_000 / self.tick),
            _ => None,
        };
        if let Some(step) = step {
            let offset = self.offset_ticks()?.rem_euclid(step);
            return Some(Grid::Fixed { step, offset });
        }
        let mut start = self.floor(range.min)?;
        let mut starts = Vec::new();
        while start <= range.max {
            if starts.len() == GRID_MAX {
                return None;
            }
            starts.push(start);
            start = self.next(start).filter(|next| *next > start)?;
        }
        Some(Grid::Starts(starts.into()))
    }

    /// The earliest window that has `tick` in it.
    #[must_use]
    pub fn first(&self, tick: i64) -> Option<i64> {
        let mut first = self.floor(tick)?;
        if self.sliding == self.width {
            return Some(first);
        }
        if let (Length::Ticks(width), Length::Ticks(step)) = (self.width, self.sliding) {
            let back = (width - (tick - first) - 1).div_euclid(step);
            return first.checked_sub(back.checked_mul(step)?);
        }
        for _ in 0..WINDOWS_PER_ROW_MAX {
            let before = self.floor(first.checked_sub(1)?)?;
            if self.end(before)? <= tick {
                return Some(first);
            }
            first = before;
        }
        None
    }

    /// The starts of all windows that `tick` is in, ascending.
    ///
    /// # Errors
    ///
    /// 53400 for more than [`WINDOWS_PER_ROW_MAX`] of them, 22008 outside the calendar.
    pub fn all(&self, tick: i64, starts: &mut Vec<i64>) -> model::Result<()> {
        let outside = || error!(DatetimeFieldOverflow, "a timestamp is outside the calendar");
        let before = starts.len();
        let mut start = self.first(tick).ok_or_else(outside)?;
        while start <= tick {
            if starts.len() - before == WINDOWS_PER_ROW_MAX {
                fail!(
                    ConfigurationLimitExceeded,
                    "SLIDING is so short that a row is in more than {WINDOWS_PER_ROW_MAX} windows"
                );
            }
            starts.push(start);
            start = self.next(start).ok_or_else(outside)?;
        }
        Ok(())
    }
}

fn length(text: &str, tick: i64) -> model::Result<Length> {
    let wrong = || error!(InvalidParameterValue, "the length {text} is no whole number of ticks of this precision");
    let duration = Duration::parse(text).ok_or_else(wrong)?;
    let (count, unit) = (duration.count, duration.unit);
    Ok(match unit {
        Unit::Tick => Length::Ticks(count),
        Unit::Day => Length::Days(count),
        Unit::Week => Length::Days(count.checked_mul(7).ok_or_else(wrong)?),
        Unit::Month | Unit::Year => Length::Months(duration.months().ok_or_else(wrong)?),
        _ => {
            let nanos = i128::from(unit.nanos().ok_or_else(wrong)?) * i128::from(count);
            if nanos % i128::from(tick) != 0 {
                return Err(wrong());
            }
            Length::Ticks(i64::try_from(nanos / i128::from(tick)).map_err(|_| wrong())?)
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Start,
    Starts,
    End,
    Ticks,
    QueryStart,
    QueryEnd,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunction {
    kind: Kind,
    signature: Signature,
}

/// The functions of this file.
#[must_use]
pub fn all() -> Vec<ScalarUDF> {
    let kinds = [Kind::Start, Kind::Starts, Kind::End, Kind::Ticks, Kind::QueryStart, Kind::QueryEnd];
    let udf = |kind| WindowFunction { kind, signature: Signature::variadic_any(Volatility::Immutable) };
    kinds.into_iter().map(|kind| ScalarUDF::from(udf(kind))).collect()
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Start => "__window_start",
            Kind::Starts => "__window_starts",
            Kind::End => "__window_end",
            Kind::Ticks => "__window_ticks",
            Kind::QueryStart => "__query_start",
            Kind::QueryEnd => "__query_end",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let time = args.first().filter(|first| matches!(first, DataType::Timestamp(..)));
        let time = time.cloned().ok_or_else(|| {
            to_datafusion(error!(DatatypeMismatch, "INTERVAL needs a TIMESTAMP column as the time of its rows"))
        })?;
        Ok(match self.kind {
            Kind::Starts => DataType::List(Arc::new(Field::new("item", time, true))),
            Kind::Ticks => DataType::Int64,
            _ => time,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let first = args.args[0].to_array(args.number_rows)?;
        let DataType::Timestamp(unit, _) = first.data_type().clone() else {
            return Err(to_datafusion(error!(DatatypeMismatch, "a window needs a TIMESTAMP")));
        };
        if matches!(self.kind, Kind::QueryStart | Kind::QueryEnd) {
            let bound = query_bound(self.kind == Kind::QueryStart, &args.args[1..], unit)?;
            let ticks = Int64Array::from(vec![bound; first.len()]);
            return Ok(ColumnarValue::Array(cast(&ticks, first.data_type())?));
        }
        let text = |at: usize| match args.args.get(at) {
            Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten().unwrap_or_default(),
            _ => "",
        };
        let windows = match self.kind {
            Kind::Start | Kind::Starts => Windows::parse(text(1), text(2), text(3), text(4), unit),
            _ => Windows::parse(text(1), text(2), "", text(3), unit),
        };
        let windows = windows.map_err(to_datafusion)?;
        let ticks = cast(&first, &DataType::Int64)?;
        let ticks = ticks.as_any().downcast_ref::<Int64Array>().expect("just cast");
        if self.kind == Kind::Starts {
            return Ok(ColumnarValue::Array(lists(ticks, &windows, first.data_type())?));
        }
        let result = self.evaluate(&windows, ticks).map_err(to_datafusion)?;
        let result = match self.kind {
            Kind::Ticks => result,
            _ => cast(&result, first.data_type())?,
        };
        Ok(ColumnarValue::Array(result))
    }
}

impl WindowFunction {
    fn evaluate(&self, windows: &Windows, ticks: &Int64Array) -> model::Result<ArrayRef> {
        let outside = || error!(DatetimeFieldOverflow, "a timestamp is outside the calendar");
        // Neighbours are mostly in one window: the calendar is asked once for it.
        let mut known = (i64::MAX, i64::MIN);
        let mut one = |tick: i64| -> Option<i64> {
            match self.kind {
                Kind::Start => {
                    if tick < known.0 || tick >= known.1 {
                        let start = windows.floor(tick)?;
                        known = (start, windows.end(start)?);
                    }
                    Some(known.0)
                }
                Kind::End => windows.end(tick),
                _ => windows.end(tick).map(|end| end - tick),
            }
        };
        let values: Vec<Option<i64>> = ticks
            .iter()
            .map(|tick| tick.map(|tick| one(tick).ok_or_else(outside)).transpose())
            .collect::<model::Result<_>>()?;
        Ok(Arc::new(PrimitiveArray::<Int64Type>::from(values)))
    }
}

fn lists(ticks: &Int64Array, windows: &Windows, time: &DataType) -> Result<ArrayRef> {
    let mut starts = Vec::with_capacity(ticks.len());
    let mut ends: Vec<i32> = vec![0];
    for tick in ticks {
        if let Some(tick) = tick {
            windows.all(tick, &mut starts).map_err(to_datafusion)?;
        }
        let end = i32::try_from(starts.len());
        ends.push(end.map_err(|_| to_datafusion(error!(ConfigurationLimitExceeded, "too many windows in one batch")))?);
    }
    let values = cast(&Int64Array::from(starts), time)?;
    let field = Arc::new(Field::new("item", time.clone(), true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
}

/// Pairs of a correction in ticks and a bound; the tightest one, NULL for none.
fn query_bound(lower: bool, args: &[ColumnarValue], unit: TimeUnit) -> Result<Option<i64>> {
    let tick = i128::from(unit_nanos(unit));
    let mut tightest: Option<i64> = None;
    for pair in args.chunks_exact(2) {
        let scalar = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(value) => Ok(value.clone()),
            ColumnarValue::Array(array) if !array.is_empty() => ScalarValue::try_from_array(array, 0),
            ColumnarValue::Array(_) => Ok(ScalarValue::Null),
        };
        let (correction, value) = (scalar(&pair[0])?, scalar(&pair[1])?);
        let correction = correction.cast_to(&DataType::Int64)?;
        let ScalarValue::Int64(Some(correction)) = correction else { continue };
        let ticks = match (instant_nanos(&value), value.cast_to(&DataType::Int64)) {
            // Beyond a bound between two ticks lies the next one anyway.
            (Some(nanos), _) if nanos.rem_euclid(tick) != 0 => {
                let below = nanos.div_euclid(tick);
                i64::try_from(if lower { below + 1 } else { below }).ok()
            }
            (Some(nanos), _) => i64::try_from(nanos / tick).ok().and_then(|ticks| ticks.checked_add(correction)),
            (None, Ok(ScalarValue::Int64(Some(ticks)))) => ticks.checked_add(correction),
            _ => None,
        };
        let Some(ticks) = ticks else { continue };
        tightest = Some(match tightest {
            None => ticks,
            Some(known) if lower => known.max(ticks),
            Some(known) => known.min(ticks),
        });
    }
    Ok(tightest)
}
