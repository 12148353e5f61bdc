//! TDengine's scalar and row functions: SPREAD and ELAPSED over their aggregates, DIFF and TWA over the rows around.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::cmp::{gt_eq, lt};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    ColumnarValue, PartitionEvaluator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, WindowUDF,
    WindowUDFImpl,
};
use model::error;

use super::aggregate::twa::{averages, points_of, twice};
use crate::plan::error::to_datafusion;
use crate::plan::filter::unit_nanos;

/// The scalar functions of this file.
#[must_use]
pub fn scalars() -> Vec<ScalarUDF> {
    let signature = || Signature::variadic_any(Volatility::Immutable);
    vec![
        ScalarUDF::from(Span { elapsed: false, signature: signature() }),
        ScalarUDF::from(Span { elapsed: true, signature: signature() }),
    ]
}

/// The window functions of this file.
#[must_use]
pub fn windows() -> Vec<WindowUDF> {
    let signature = || Signature::variadic_any(Volatility::Immutable);
    let diff = Neighbours { name: "__diff", signature: signature() };
    vec![WindowUDF::from(diff), WindowUDF::from(Neighbours { name: "__twa", signature: signature() })]
}

/// `__spread(max, min)` and `__elapsed(min, max, unit in nanoseconds or 0 for ticks[, min of all, max of all, start,
/// end])`: a DOUBLE. With a window, its `start` counts where there are rows before it, its `end` where there are any after.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Span {
    elapsed: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Span {
    fn name(&self) -> &'static str {
        if self.elapsed { "__elapsed" } else { "__spread" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let time = matches!(args.first(), Some(DataType::Timestamp(..)));
        let number = args.first().is_some_and(|first| first.is_numeric() || first.is_null());
        if time || (number && !self.elapsed) {
            return Ok(DataType::Float64);
        }
        let name = if self.elapsed { "elapsed takes a timestamp" } else { "spread takes a number or a timestamp" };
        Err(to_datafusion(error!(UndefinedFunction, "{name}")))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        if !self.elapsed {
            return Ok(ColumnarValue::Array(Arc::new(differences_of(&arrays[1], &arrays[0])?)));
        }
        let DataType::Timestamp(of, _) = *arrays[0].data_type() else {
            return Err(to_datafusion(error!(UndefinedFunction, "elapsed takes a timestamp")));
        };
        let spans = match arrays.as_slice() {
            [min, max, _, first, last, start, end] => {
                // The edge of the window, where the partition has rows beyond it.
                let low = zip(&lt(first, start)?, start, min)?;
                let high = zip(&gt_eq(last, end)?, end, max)?;
                let spans = differences_of(&low, &high)?;
                let own = min.nulls().cloned();
                Float64Array::new(spans.values().clone(), own)
            }
            _ => differences_of(&arrays[0], &arrays[1])?,
        };
        let unit = cast(&arrays[2], &DataType::Int64)?;
        let unit = unit.as_primitive::<Int64Type>().iter().next().flatten().unwrap_or(0);
        let scale = if unit == 0 { 1.0 } else { unit_nanos(of) as f64 / unit as f64 };
        Ok(ColumnarValue::Array(Arc::new(spans.unary::<_, Float64Type>(|span| span * scale))))
    }
}

/// `high - low` as doubles; whole numbers and times are subtracted before they lose digits.
fn differences_of(low: &ArrayRef, high: &ArrayRef) -> Result<Float64Array> {
    let of = low.data_type();
    if matches!(of, DataType::Timestamp(..)) || (of.is_integer() && *of != DataType::UInt64) {
        let (low, high) = (cast(low, &DataType::Int64)?, cast(high, &DataType::Int64)?);
        let pairs = low.as_primitive::<Int64Type>().iter().zip(high.as_primitive::<Int64Type>());
        return Ok(pairs.map(|(low, high)| Some((i128::from(high?) - i128::from(low?)) as f64)).collect());
    }
    let (low, high) = (cast(low, &DataType::Float64)?, cast(high, &DataType::Float64)?);
    let pairs = low.as_primitive::<Float64Type>().iter().zip(high.as_primitive::<Float64Type>());
    Ok(pairs.map(|(low, high)| Some(high? - low?)).collect())
}

/// Functions of the rows of a partition in the order of time:
///
/// - `__diff(x, option, key)`: the difference to the non-null value before; option 1 and 3 make negative ones NULL.
/// - `__twa(points, start, end)`: the time-weighted average of a window, see [`super::aggregate::twa`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct Neighbours {
    name: &'static str,
    signature: Signature,
}

impl WindowUDFImpl for Neighbours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let of = args.input_fields()[0].data_type();
        let data_type = match of {
            _ if self.name == "__twa" => DataType::Float64,
            DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => DataType::Float64,
            DataType::Boolean | DataType::Timestamp(..) | DataType::Null => DataType::Int64,
            whole if whole.is_integer() => DataType::Int64,
            other => {
                let error = error!(UndefinedFunction, "diff takes a number, a bool or a timestamp, not {other}");
                return Err(to_datafusion(error));
            }
        };
        Ok(Arc::new(Field::new(args.name(), data_type, true)))
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(if self.name == "__twa" { Box::new(Averages) } else { Box::new(Differences) })
    }
}

#[derive(Debug)]
struct Averages;

impl PartitionEvaluator for Averages {
    fn evaluate_all(&mut self, values: &[ArrayRef], _: usize) -> Result<ArrayRef> {
        let [start, end] = [cast(&values[1], &DataType::Int64)?, cast(&values[2], &DataType::Int64)?];
        let (start, end) = (start.as_primitive::<Int64Type>(), end.as_primitive::<Int64Type>());
        // The last tick of a window is the one before its end.
        let spans: Vec<(i64, i64)> =
            start.values().iter().zip(end.values()).map(|(start, end)| (*start, end - 1)).collect();
        let points = |list: Option<ArrayRef>| list.as_ref().map(points_of).unwrap_or_default();
        let windows: Vec<_> = values[0].as_list::<i32>().iter().map(points).collect();
        Ok(Arc::new(Float64Array::from(averages(&windows, &spans))))
    }

    fn evaluate(&mut self, _: &[ArrayRef], _: &Range<usize>) -> Result<ScalarValue> {
        Err(to_datafusion(model::Error::internal("twa is evaluated for whole partitions")))
    }
}

#[derive(Debug)]
struct Differences;

impl PartitionEvaluator for Differences {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        if let Some(keys) = values.get(2) {
            let keys = cast(keys, &DataType::Int64)?;
            if keys.as_primitive::<Int64Type>().values().windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(to_datafusion(twice("diff")));
            }
        }
        let option = match values.get(1) {
            Some(option) if !option.is_empty() => ScalarValue::try_from_array(option, 0)?.cast_to(&DataType::Int64)?,
            _ => ScalarValue::Int64(Some(0)),
        };
        let drop_negative = matches!(option, ScalarValue::Int64(Some(1 | 3)));
        let of = &values[0];
        if matches!(
            of.data_type(),
            DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Decimal128(..)
        ) {
            let numbers = cast(of, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            let diff = |now: f64, before: f64| Some(now - before).filter(|d| !(drop_negative && *d < 0.0));
            let result: Float64Array = differences(numbers.iter(), diff).collect();
            return Ok(Arc::new(result));
        }
        let numbers = cast(of, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        // Overflow wraps, as in TDengine.
        let diff = |now: i64, before: i64| Some(now.wrapping_sub(before)).filter(|d| !(drop_negative && *d < 0));
        let result: Int64Array = differences(numbers.iter(), diff).collect();
        debug_assert_eq!(result.len(), rows);
        Ok(Arc::new(result))
    }

    fn evaluate(&mut self, _: &[ArrayRef], _: &Range<usize>) -> Result<ScalarValue> {
        Err(to_datafusion(model::Error::internal("diff is evaluated for whole partitions")))
    }
}

fn differences<T: Copy>(
    values: impl Iterator<Item = Option<T>>,
    diff: impl Fn(T, T) -> Option<T>,
) -> impl Iterator<Item = Option<T>> {
    values.scan(None, move |before, now| {
        let result = match (now, *before) {
            (Some(now), Some(before)) => diff(now, before),
            _ => None,
        };
        if now.is_some() {
            *before = now;
        }
        Some(result)
    })
}
