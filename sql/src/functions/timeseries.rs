//! TDengine's scalar and row functions: SPREAD and ELAPSED over their aggregates, DIFF over a window.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    ColumnarValue, PartitionEvaluator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, WindowUDF,
    WindowUDFImpl,
};
use model::error;

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
    vec![WindowUDF::from(Diff { signature: Signature::variadic_any(Volatility::Immutable) })]
}

/// `__spread(max, min)` and `__elapsed(min, max, unit in nanoseconds or 0 for ticks)`: a DOUBLE.
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
        let ticks = |array: &ArrayRef| -> Result<Float64Array> {
            let array = match array.data_type() {
                DataType::Timestamp(..) => cast(array, &DataType::Int64)?,
                _ => Arc::clone(array),
            };
            Ok(cast(&array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
        };
        let scale = match (arrays.get(2), arrays[0].data_type()) {
            (Some(unit), DataType::Timestamp(of, _)) => {
                let unit = cast(unit, &DataType::Int64)?;
                let unit = unit.as_primitive::<Int64Type>().iter().next().flatten().unwrap_or(0);
                if unit == 0 { 1.0 } else { unit_nanos(*of) as f64 / unit as f64 }
            }
            _ => 1.0,
        };
        let (first, second) = (ticks(&arrays[0])?, ticks(&arrays[1])?);
        let (low, high) = if self.elapsed { (first, second) } else { (second, first) };
        let of = |(low, high): (Option<f64>, Option<f64>)| Some((high? - low?) * scale);
        let values: Float64Array = low.iter().zip(high.iter()).map(of).collect();
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

/// `__diff(x, option) OVER (… ORDER BY ts)`: the difference to the non-null value before; option 1 and 3 make negative
/// ones NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Diff {
    signature: Signature,
}

impl WindowUDFImpl for Diff {
    fn name(&self) -> &'static str {
        "__diff"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let of = args.input_fields()[0].data_type();
        let data_type = match of {
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
        Ok(Box::new(Differences))
    }
}

#[derive(Debug)]
struct Differences;

impl PartitionEvaluator for Differences {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
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
