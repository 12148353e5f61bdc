//! The scalar functions that lowering makes of INTERVAL; the arithmetic is [`Windows`]'.
//!
//! | function | gives |
//! |---|---|
//! | `__window_start(ts, width, offset, sliding, zone)` | the start of the window that `ts` is in |
//! | `__window_starts(…)` | the starts of all windows that `ts` is in, ascending: SLIDING |
//! | `__window_end(start, …)` | the first tick after the window |
//! | `__window_ticks(start, …)` | its length in ticks |
//! | `__query_start(time, n, bound, …)`, `__query_end(…)` | the first or last tick that WHERE lets through |
//! | `__query_ticks(first, last)` | the ticks from the one to the other, both included |

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, PrimitiveArray};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use model::error;

use super::grid::Windows;
use crate::plan::error::to_datafusion;
use crate::plan::filter::{instant_nanos, unit_nanos};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Start,
    Starts,
    End,
    Ticks,
    QueryStart,
    QueryEnd,
    QueryTicks,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunction {
    kind: Kind,
    signature: Signature,
}

/// The functions of this file.
#[must_use]
pub fn all() -> Vec<ScalarUDF> {
    let windows = [Kind::Start, Kind::Starts, Kind::End, Kind::Ticks];
    let kinds = windows.into_iter().chain([Kind::QueryStart, Kind::QueryEnd, Kind::QueryTicks]);
    let udf = |kind| WindowFunction { kind, signature: Signature::variadic_any(Volatility::Immutable) };
    kinds.map(|kind| ScalarUDF::from(udf(kind))).collect()
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
            Kind::QueryTicks => "__query_ticks",
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
            Kind::Ticks | Kind::QueryTicks => DataType::Int64,
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
        if self.kind == Kind::QueryTicks {
            let [first, last] = [first, args.args[1].to_array(args.number_rows)?].map(|of| cast(&of, &DataType::Int64));
            let (first, last) = (first?, last?);
            let pairs = first.as_primitive::<Int64Type>().iter().zip(last.as_primitive::<Int64Type>());
            let ticks = |(first, last): (Option<i64>, Option<i64>)| last?.checked_sub(first?)?.checked_add(1);
            return Ok(ColumnarValue::Array(Arc::new(pairs.map(ticks).collect::<Int64Array>())));
        }
        let text = |at: usize| match args.args.get(at) {
            Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten().unwrap_or_default(),
            _ => "",
        };
        let windows = Windows::parse(text(1), text(2), text(3), text(4), unit).map_err(to_datafusion)?;
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
