//! `EXTRACT(unit FROM x)`: `date_part` as a numeric, with the digits that PostgreSQL shows of each unit.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use model::error;

use super::scalar::{Call, external, session};
use super::time::date_part;
use crate::pgtype::PgType;

/// `pg_extract(unit, x)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extract {
    signature: Signature,
}

/// For the registry.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(Extract { signature: Signature::any(2, Volatility::Stable) })
}

/// Digits behind the point.
fn scale(unit: &str, of: &DataType) -> i8 {
    let nanos = matches!(of, DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, _));
    match unit.trim_end_matches('s') {
        "epoch" if *of == DataType::Date32 => 0,
        "second" | "sec" if nanos => 9,
        "epoch" | "second" | "sec" => 6,
        "millisecond" | "msec" | "m" => 3,
        "julian" if *of != DataType::Date32 => 16,
        _ => 0,
    }
}

impl ScalarUDFImpl for Extract {
    fn name(&self) -> &'static str {
        "pg_extract"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        datafusion::common::internal_err!("pg_extract is asked for its return field")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let given = args.arg_fields[1].data_type();
        let unit = args.scalar_arguments.first().copied().flatten().and_then(|unit| unit.try_as_str().flatten());
        let Some(unit) = unit else { return plan_err!("EXTRACT takes the name of a unit") };
        let known =
            given.is_temporal() || given.is_null() || matches!(given, DataType::Interval(_)) || given.is_string();
        if !known {
            let name = crate::plan::types::type_name(PgType::of(&args.arg_fields[1]));
            let error = error!(UndefinedFunction, "function pg_catalog.extract(unknown, {name}) does not exist");
            return Err(external(error));
        }
        let clock = matches!(unit.trim_end_matches('s'), "hour" | "minute" | "second" | "millisecond" | "microsecond");
        if *given == DataType::Date32 && (clock || unit.starts_with("timezone")) {
            return Err(external(error!(FeatureNotSupported, "unit \"{unit}\" not supported for type date")));
        }
        Ok(Arc::new(Field::new("extract", DataType::Decimal128(30, scale(unit, given)), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let call =
            Call { session: session(&args.config_options), options: &args.config_options, fields: &args.arg_fields };
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let count = if scalar { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> = args.args.iter().map(|arg| arg.to_array(count)).collect::<Result<_>>()?;
        let parts = date_part(&call, &arrays, count, &args.return_field)?;
        let DataType::Decimal128(_, scale) = args.return_type() else { return plan_err!("EXTRACT gives a numeric") };
        let factor = 10_f64.powi((*scale).into());
        let exact = |part: f64| (part * factor).round() as i128;
        let values: Decimal128Array = parts.as_primitive::<Float64Type>().iter().map(|part| part.map(exact)).collect();
        let array: ArrayRef = Arc::new(values.with_data_type(args.return_type().clone()));
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}
