//! Casts that Arrow does otherwise than PostgreSQL: to whole numbers by rounding, and from text that is no literal.
//!
//! The planner puts these in place of its casts, so they have no name that SQL could call.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, TimeUnit, i256};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use model::error;

use super::moments::intervals;
use super::numeric::unscaled;
use super::scalar::{Call, external, session};
use crate::catalogs::relations;
use crate::numeric::{self, Shape};
use crate::pgtype::PgType;
use crate::pgvalue::{decode, full_name};

/// A cast to one type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Conversion {
    to: PgType,
    arrow: DataType,
    signature: Signature,
}

/// `expr` as `to`, whose values have the type `arrow`.
pub(crate) fn conversion(expr: Expr, to: PgType, arrow: DataType) -> Expr {
    let signature = Signature::any(1, Volatility::Stable);
    let function = ScalarUDF::from(Conversion { to, arrow, signature });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![expr]))
}

impl ScalarUDFImpl for Conversion {
    fn name(&self) -> &str {
        self.to.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.arrow.clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = relations::field(self.to.name, self.to, true);
        let metadata = field.metadata().clone();
        Ok(Arc::new(Field::new(self.to.name, self.arrow.clone(), true).with_metadata(metadata)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let call =
            Call { session: session(&args.config_options), options: &args.config_options, fields: &args.arg_fields };
        let scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let array = args.args[0].to_array(if scalar { 1 } else { args.number_rows })?;
        let array = self.convert(&call, &array)?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

impl Conversion {
    fn convert(&self, call: &Call<'_>, array: &ArrayRef) -> Result<ArrayRef> {
        let from = array.data_type();
        if *from == self.arrow {
            return Ok(Arc::clone(array));
        }
        if from.is_string() {
            return self.read_text(call, array);
        }
        if self.arrow.is_integer() && from.is_numeric() {
            return self.whole(array);
        }
        match (from, &self.arrow) {
            (DataType::Time32(_) | DataType::Time64(_), DataType::Interval(_)) => {
                let nanos = cast(&cast(array, &DataType::Time64(TimeUnit::Nanosecond))?, &DataType::Int64)?;
                let lengths = cast(&nanos, &DataType::Duration(TimeUnit::Nanosecond))?;
                Ok(Arc::new(intervals(&lengths)?))
            }
            (DataType::Interval(_) | DataType::Duration(_), DataType::Time32(_) | DataType::Time64(_)) => {
                const DAY: i64 = 86_400_000_000_000;
                let nanos = intervals(array)?.unary::<_, Int64Type>(|of| of.nanoseconds.rem_euclid(DAY));
                Ok(cast(&cast(&nanos, &DataType::Time64(TimeUnit::Nanosecond))?, &self.arrow)?)
            }
            (DataType::Duration(_), DataType::Interval(_)) => Ok(Arc::new(intervals(array)?)),
            _ => internal_err!("{from} is not converted to {}", self.to.name),
        }
    }

    fn read_text(&self, call: &Call<'_>, array: &ArrayRef) -> Result<ArrayRef> {
        let texts = cast(array, &DataType::Utf8)?;
        let settings = super::text::settings(call)?;
        let none = ScalarValue::try_from(&self.arrow)?;
        let one = |text: Option<&str>| match text {
            None => Ok(none.clone()),
            Some(text) => decode(self.to, false, text.as_bytes(), &settings).map_err(external)?.cast_to(&self.arrow),
        };
        let values = texts.as_string::<i32>().iter().map(one).collect::<Result<Vec<_>>>()?;
        if values.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.arrow));
        }
        ScalarValue::iter_to_array(values)
    }

    fn out_of_range(&self) -> DataFusionError {
        external(error!(NumericValueOutOfRange, "{} out of range", full_name(self.to)))
    }

    /// Doubles round half to even, numerics half away from zero.
    fn whole(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let whole: ArrayRef = if array.data_type().is_floating() {
            let wide = cast(array, &DataType::Float64)?;
            let one = |value: f64| {
                let rounded = value.round_ties_even();
                // The bounds of i64 as doubles; NaN is in no range.
                let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded);
                if fits { Ok(rounded as i64) } else { Err(self.out_of_range()) }
            };
            let wide = wide.as_primitive::<Float64Type>();
            Arc::new(wide.iter().map(|value| value.map(one).transpose()).collect::<Result<Int64Array>>()?)
        } else if let Some(shape) = Shape::of(array.data_type()).filter(|_| !array.data_type().is_integer()) {
            let one = |value: i256| {
                let whole = numeric::rescaled(value, shape.scale, 0).and_then(|of| of.to_i128());
                whole.and_then(|of| i64::try_from(of).ok()).ok_or_else(|| self.out_of_range())
            };
            let values = unscaled(array)?;
            Arc::new(values.iter().map(|value| value.map(one).transpose()).collect::<Result<Int64Array>>()?)
        } else {
            Arc::clone(array)
        };
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(&whole, &self.arrow, &strict).map_err(|_| self.out_of_range())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array};

    use super::*;

    fn to_int4() -> Conversion {
        Conversion { to: PgType::INT4, arrow: DataType::Int32, signature: Signature::any(1, Volatility::Stable) }
    }

    fn ints(array: &ArrayRef) -> Vec<i32> {
        array.as_primitive::<arrow::datatypes::Int32Type>().values().to_vec()
    }

    #[test]
    fn doubles_round_half_to_even() {
        let doubles: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5, -2.5, 3.4]));
        assert_eq!(ints(&to_int4().whole(&doubles).expect("they fit")), [0, 2, 2, -2, 3]);
        for wrong in [1e10, f64::NAN, f64::INFINITY, 2_147_483_647.5] {
            let wrong: ArrayRef = Arc::new(Float64Array::from(vec![wrong]));
            assert!(to_int4().whole(&wrong).is_err());
        }
    }

    #[test]
    fn numerics_round_half_away_from_zero() {
        let numerics = Decimal128Array::from(vec![5, 15, 25, -25, 24]).with_data_type(DataType::Decimal128(5, 1));
        assert_eq!(ints(&to_int4().whole(&(Arc::new(numerics) as ArrayRef)).expect("they fit")), [1, 2, 3, -3, 2]);
    }
}
